//! The calls that become sockets: who is let in.

use std::sync::Arc;

use axum::{
    Router,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
    routing::get,
};
use common::{names, wire::Seq};
use serde::Deserialize;

use super::{
    Http,
    body::{InPath, InQuery},
};
use crate::problem::Problem;

/// The addresses of the sockets.
pub(super) fn routes() -> Router<Arc<Http>> {
    Router::new()
        .route("/ws", get(any_room))
        .route("/ws/chat/{room}", get(one_room))
        .route("/ws/chat/{room}/", get(one_room))
}

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
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(&http, &headers, upgrade, None).await
}

async fn one_room(
    State(http): State<Arc<Http>>,
    InPath(room): InPath<String>,
    InQuery(JoinQuery { after }): InQuery<JoinQuery>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(&http, &headers, upgrade, Some((room, after))).await
}

/// Lets a socket in, or says why not.
async fn connect(
    http: &Http,
    headers: &HeaderMap,
    upgrade: Upgrade,
    room: Option<(String, Option<Seq>)>,
) -> Result<Response, Problem> {
    http.sockets.check_open()?;
    if !http.origins.allowed(headers) {
        return Err(Problem::forbidden("pages of this origin may not connect"));
    }
    let session = http.services.sessions.authenticate(headers).await?;
    if let Some((name, _)) = &room {
        names::check_room(name).map_err(Problem::not_found)?;
        http.services.access.room(&session.user, name).await?;
    }
    let upgrade = upgrade.map_err(|error| Problem::bad_request(error.body_text()))?;
    let room = room.map(|(name, after)| (Arc::from(name), after));
    http.sockets.let_in(session, upgrade, room)
}
