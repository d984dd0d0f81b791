//! The door: who may come in, and invitations.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{
    names,
    secret_token::{invite_path, new_token},
    store::{Actor, INVITE_USES_MAX, Invite},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Http,
    account::rfc3339,
    body::{Caller, InPath, JsonBody},
};
use crate::{Registration, problem::Problem, sessions::now_ms};

/// How long an invitation may be used, if the call does not say.
const EXPIRES_IN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// And at the longest.
const EXPIRES_IN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Serialize)]
struct Door<'a> {
    registration: Registration,
    passwords: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc: Option<SignOn<'a>>,
}

/// The provider of single sign-on.
#[derive(Serialize)]
struct SignOn<'a> {
    name: &'a str,
}

/// `GET /api/door`: for whoever stands before it.
pub(super) async fn door(State(http): State<Arc<Http>>) -> Response {
    let provider = http.provider.as_ref();
    let door = Door {
        registration: http.registration,
        passwords: http.are_passwords_on,
        oidc: provider.map(|provider| SignOn {
            name: provider.name(),
        }),
    };
    Json(door).into_response()
}

#[derive(Deserialize)]
pub(super) struct NewInvite {
    room: Option<String>,
    uses: Option<u32>,
    /// Seconds.
    expires_in: Option<u64>,
    admin: Option<bool>,
}

#[derive(Serialize)]
struct ShownInvite<'a> {
    id: Uuid,
    /// Shown once, to whoever made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// The same as what to open, below this server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// None if no account did.
    made_by: Option<&'a str>,
    made_at: String,
    expires_at: String,
    uses: u32,
    used: u32,
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
}

impl<'a> ShownInvite<'a> {
    fn of(invite: &'a Invite) -> ShownInvite<'a> {
        ShownInvite {
            id: invite.id,
            token: None,
            link: None,
            made_by: Some(&*invite.made_by).filter(|by| names::check_user(by).is_ok()),
            made_at: rfc3339(invite.made_at_ms),
            expires_at: rfc3339(invite.expires_at_ms),
            uses: invite.uses,
            used: invite.used,
            admin: invite.admin,
            room: invite.room.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Invites<'a> {
    invites: Vec<ShownInvite<'a>>,
}

/// `POST /api/invites`.
pub(super) async fn make_invite(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    JsonBody(new): JsonBody<NewInvite>,
) -> Result<Response, Problem> {
    let is_administrator = http.services.sessions.is_administrator(&caller.user);
    if http.registration == Registration::Closed && !is_administrator.await? {
        return Err(Problem::forbidden(
            "this server is closed: only an administrator may invite somebody (REGISTRATION)",
        ));
    }
    let uses = new.uses.unwrap_or(1);
    if !(1..=INVITE_USES_MAX).contains(&uses) {
        return Err(Problem::bad_request(format!(
            "`uses` is 1 to {INVITE_USES_MAX}"
        )));
    }
    let expires_in = new.expires_in.map_or(EXPIRES_IN, Duration::from_secs);
    if expires_in.is_zero() || expires_in > EXPIRES_IN_MAX {
        let most = EXPIRES_IN_MAX.as_secs();
        return Err(Problem::bad_request(format!(
            "`expires_in` is 1 to {most} seconds"
        )));
    }
    if let Some(room) = &new.room {
        names::check_room(room).map_err(|why| Problem::bad_request(format!("`room`: {why}")))?;
        // Of a room that one may not see nothing is told, not even who owns it.
        http.services.access.room(&caller.user, room).await?;
    }
    let (token, now) = (new_token(), now_ms());
    let invite = Invite {
        id: Uuid::now_v7(),
        made_by: caller.user.clone(),
        admin: new.admin.unwrap_or(false),
        room: new.room,
        uses,
        used: 0,
        made_at_ms: now,
        expires_at_ms: now + expires_in.as_millis() as u64,
    };
    let store = &http.services.store;
    store.make_invite(&invite, &token.hash).await?;
    let shown = ShownInvite {
        token: Some(&token.token),
        link: Some(format!("{}{}", http.base_path, invite_path(&token.token))),
        ..ShownInvite::of(&invite)
    };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `GET /api/invites`: one's own; administrators see all.
pub(super) async fn invites(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let sees_all = http.services.sessions.is_administrator(&caller.user);
    let by = (!sees_all.await?).then_some(&*caller.user);
    let listed = http.services.store.invites(by, now_ms()).await?;
    let invites = listed.iter().map(ShownInvite::of).collect();
    Ok(Json(Invites { invites }).into_response())
}

/// `DELETE /api/invites/{id}`.
pub(super) async fn withdraw(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
) -> Result<StatusCode, Problem> {
    let store = &http.services.store;
    if store
        .withdraw_invite(Actor::Account(&caller.user), id)
        .await?
    {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("you have no such invitation"))
    }
}
