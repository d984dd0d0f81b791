//! The calls that become sockets: who is let in.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, header},
    response::Response,
    routing::get,
};
use common::{names, wire::Seq};
use serde::Deserialize;

use super::{
    Http,
    body::{InPath, InQuery},
};
use crate::{admission::CallOrigin, problem::Problem, watched_stream::BytesRead};

/// The addresses of the sockets.
pub(super) fn routes() -> Router<Arc<Http>> {
    Router::new()
        .route("/ws", get(any_room))
        .route("/ws/chat/{room}", get(one_room))
        .route("/ws/chat/{room}/", get(one_room))
}

/// Where the call comes from, and how much came in on its connection.
type From = (Extension<CallOrigin>, Extension<BytesRead>);

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// What may stand behind the address of a room.
#[derive(Deserialize)]
struct JoinQuery {
    /// As in `join`.
    after: Option<Seq>,
}

async fn any_room(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    from: From,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(&http, &headers, from, upgrade, None).await
}

async fn one_room(
    State(http): State<Arc<Http>>,
    InPath(room): InPath<String>,
    InQuery(JoinQuery { after }): InQuery<JoinQuery>,
    headers: HeaderMap,
    from: From,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(&http, &headers, from, upgrade, Some((room, after))).await
}

/// Lets a socket in, or says why not.
async fn connect(
    http: &Http,
    headers: &HeaderMap,
    (Extension(origin), Extension(bytes_read)): From,
    upgrade: Upgrade,
    room: Option<(String, Option<Seq>)>,
) -> Result<Response, Problem> {
    http.sockets.check_open()?;
    // The upgrade would wait for it, and its place with it.
    if has_body(headers) {
        return Err(Problem::bad_request("a call for a socket has no body"));
    }
    if !http.origins.allowed(headers) {
        return Err(Problem::forbidden("pages of this origin may not connect"));
    }
    let session = http.services.sessions.authenticate(headers).await?;
    http.services
        .admission
        .user_call(&session.user, origin.address)?;
    if let Some((name, _)) = &room {
        names::check_room(name).map_err(Problem::not_found)?;
        http.services.access.room(&session.user, name).await?;
    }
    let upgrade = upgrade.map_err(|error| Problem::bad_request(error.body_text()))?;
    let room = room.map(|(name, after)| (Arc::from(name), after));
    http.sockets
        .let_in(session, origin, bytes_read, upgrade, room)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}
