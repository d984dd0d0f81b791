//! Tokens of programs: made, listed and revoked by whom they act for. A token may chat, and nothing that would outlast its
//! revocation (`body.rs`).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{
    live::Control,
    secret_token::{hash_of, new_token},
    store::{ProgramToken, TOKEN_NAME_MAX_CHARS},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Http,
    account::rfc3339,
    body::{Caller, InPath, JsonBody},
    rooms::check_line,
};
use crate::{
    problem::Problem,
    sessions::{PROGRAM_TOKEN, now_ms},
};

/// The longest that a token may be asked to hold: ten years. Without a limit is without.
const EXPIRES_IN_MAX_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;

#[derive(Deserialize)]
pub(super) struct NewProgramToken {
    name: String,
    /// In seconds.
    expires_in: Option<u64>,
}

/// A token as its owner sees it.
#[derive(Serialize)]
struct Shown {
    id: Uuid,
    name: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Once, to who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Shown {
    fn of(known: ProgramToken, token: Option<String>) -> Shown {
        Shown {
            id: known.id,
            name: known.name,
            created_at: rfc3339(known.created_at_ms),
            last_used_at: known.last_used_at_ms.map(rfc3339),
            expires_at: known.expires_at_ms.map(rfc3339),
            token,
        }
    }
}

/// `POST /api/tokens`.
pub(super) async fn create(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    JsonBody(new): JsonBody<NewProgramToken>,
) -> Result<Response, Problem> {
    let name = check_line("name", &new.name, TOKEN_NAME_MAX_CHARS)?;
    if name.is_empty() {
        return Err(Problem::bad_request("`name` is empty"));
    }
    if let Some(seconds) = new.expires_in
        && !(1..=EXPIRES_IN_MAX_SECONDS).contains(&seconds)
    {
        return Err(Problem::bad_request(format!(
            "`expires_in` is 1 to {EXPIRES_IN_MAX_SECONDS} seconds; without it, the token holds until it is revoked"
        )));
    }
    let now = now_ms();
    let known = ProgramToken {
        id: Uuid::now_v7(),
        user: caller.user.clone(),
        name,
        created_at_ms: now,
        last_used_at_ms: None,
        expires_at_ms: new.expires_in.map(|seconds| now + seconds * 1_000),
    };
    let token = format!("{PROGRAM_TOKEN}{}", new_token().token);
    let store = &http.services.store;
    store
        .create_token(&known, &hash_of(&token), caller.id)
        .await?;
    let shown = Json(Shown::of(known, Some(token)));
    Ok((StatusCode::CREATED, shown).into_response())
}

#[derive(Serialize)]
struct Listing {
    tokens: Vec<Shown>,
}

/// `GET /api/tokens`.
pub(super) async fn list(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let tokens = http.services.store.tokens(&caller.user, now_ms()).await?;
    let tokens = tokens.into_iter().map(|known| Shown::of(known, None));
    let tokens = tokens.collect();
    Ok(Json(Listing { tokens }).into_response())
}

/// `DELETE /api/tokens/{id}`. Its sockets close everywhere.
pub(super) async fn revoke(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(token): InPath<Uuid>,
) -> Result<StatusCode, Problem> {
    if !http
        .services
        .store
        .revoke_token(&caller.user, token)
        .await?
    {
        return Err(Problem::not_found("you have no such token"));
    }
    http.tell(Control::SessionRevoked { session: token }).await;
    Ok(StatusCode::NO_CONTENT)
}
