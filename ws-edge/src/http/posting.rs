//! Posting over HTTP, for programs: the same checks and the same way as over a socket, and an answer when the message is kept.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{
    names,
    posting::PostError,
    queue::Route,
    wire::{BadFrame, ClientFrame, ErrorCode, Kind, NewMessage, Seq},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Http,
    body::{Caller, InPath, JsonBody},
};
use crate::{access::AccessError, problem::Problem};

#[derive(Serialize)]
struct Posted {
    id: Uuid,
    seq: Seq,
}

/// `POST /api/rooms/{room}/messages`.
pub(super) async fn post(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    names::check_room(&name).map_err(|_| AccessError::NotFound)?;
    let (id, message, reply_to) = read(&name, body)?;
    let id = id.unwrap_or_else(Uuid::now_v7);
    let services = &http.services;
    let counted = services.limits.check_user_message(&caller.user);
    counted.map_err(|wait| Problem::rate_limited("too many messages", wait))?;
    let bytes = message.len();
    let counted = services.allowances.take_bytes(&caller.user, bytes);
    counted.map_err(|wait| {
        let why =
            "as many bytes of messages as may be within a day were posted (USER_BYTES_PER_DAY)";
        Problem::rate_limited(why, wait)
    })?;
    let posted = async {
        let room = services.access.room(&caller.user, &name).await?;
        let route = match room.bot.asks(&message) {
            true => Route::PersistAndAsk,
            false => Route::Persist,
        };
        let new = NewMessage {
            room: name,
            id,
            sender: caller.user.clone(),
            kind: Kind::User,
            message,
            reply_to,
            of: None,
            grounding: Default::default(),
        };
        Ok::<_, Problem>(services.poster.post(new, route, None).await?)
    };
    match posted.await {
        Ok(posted) => {
            let seq = posted.message.seq;
            Ok((StatusCode::OK, Json(Posted { id, seq })).into_response())
        }
        Err(problem) => {
            services.allowances.give_back_bytes(&caller.user, bytes);
            Err(problem)
        }
    }
}

/// Reads the body as a socket reads a frame, so that what is wrong is wrong in the same words.
fn read(
    room: &str,
    mut body: Map<String, Value>,
) -> Result<(Option<Uuid>, String, Option<Uuid>), Problem> {
    body.insert("type".into(), "send".into());
    body.insert("room".into(), room.into());
    match ClientFrame::read(&Value::Object(body).to_string()) {
        Ok(ClientFrame::Send {
            id,
            message,
            reply_to,
            ..
        }) => Ok((id, message, reply_to)),
        Err(BadFrame {
            code: ErrorCode::TooLarge,
            message,
            ..
        }) => Err(Problem::too_large(message)),
        Err(BadFrame { message, .. }) => Err(Problem::bad_request(message)),
        Ok(_) => Err(Problem::internal()),
    }
}

impl From<PostError> for Problem {
    fn from(error: PostError) -> Problem {
        match error {
            PostError::Unavailable { retry_after, .. } => Problem {
                retry_after: Some(retry_after),
                ..Problem::unavailable("not kept yet; send it again with the same id")
            },
            error @ PostError::TooSoon { retry_after } => {
                Problem::rate_limited(error.to_string(), retry_after)
            }
            PostError::RoomGone => AccessError::NotFound.into(),
            error @ (PostError::IdTaken | PostError::Gone | PostError::Fenced) => {
                Problem::bad_request_as(StatusCode::CONFLICT, error.to_string())
            }
        }
    }
}
