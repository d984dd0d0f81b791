//! What people do with their own account: another password, logging out everywhere, leaving for good.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    live::Control,
    secret_token::{TokenHash, hash_of},
    store::Actor,
};
use futures_util::future::join_all;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Http,
    account::{cleared_cookie, judge, log_in_as},
    body::{Address, Caller, JsonBody},
    passwords::check_password,
    sign_on::is_recent,
};
use crate::problem::Problem;

impl Http {
    /// Closes the sockets of sessions that have ended, everywhere.
    pub(super) async fn tell_ended(&self, sessions: Vec<Uuid>) {
        let told = sessions.into_iter();
        join_all(told.map(|session| self.tell(Control::SessionRevoked { session }))).await;
    }

    /// What is kept of the device that a call of this user comes from.
    async fn device_of(
        &self,
        headers: &HeaderMap,
        user: &str,
    ) -> Result<Option<TokenHash>, Problem> {
        let device = self.devices.of(headers, user).await?;
        Ok(device.map(|device| device.hash))
    }

    /// Whoever has somebody's session does not have their password yet: it is asked for once more, and guessed no more often
    /// than at log-in. Returns what is kept of it.
    async fn password_of(
        self: &Arc<Self>,
        user: &str,
        password: String,
        address: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<String, Problem> {
        let kept = judge(self, user, password, address, device).await?;
        kept.ok_or_else(|| Problem::unauthorized("the password is wrong"))
    }
}

/// A new password, and the one before it. Has no `Debug`, so that it can get into no log.
#[derive(Deserialize)]
pub(super) struct NewPassword {
    current: String,
    password: String,
}

/// `POST /api/password`.
pub(super) async fn change_password(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(NewPassword { current, password }): JsonBody<NewPassword>,
) -> Result<StatusCode, Problem> {
    http.passwords_are_on()?;
    let user = &*caller.user;
    check_password(&password, user)?;
    if !http.has_password(user).await? {
        return Err(Problem::forbidden(
            "this account has no password: an administrator can make you a link to set one",
        ));
    }
    let device = http.device_of(&headers, user).await?;
    let kept = http.password_of(user, current, address, device).await?;
    let turn = http.passwords.turn(address, device.is_some()).await?;
    let hash = turn.hash(password, user).await?;
    let store = &http.services.store;
    let changed = store.change_password(user, &kept, &hash, caller.id, device);
    let Some(ended) = changed.await? else {
        return Err(Problem::bad_request_as(
            StatusCode::CONFLICT,
            "the password was changed elsewhere at this moment",
        ));
    };
    http.tell_ended(ended).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/logout-everywhere`. The caller stays logged in.
pub(super) async fn log_out_everywhere(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let device = http.device_of(&headers, &caller.user).await?;
    let store = &http.services.store;
    let ended = store.end_other_sessions(&caller.user, caller.id, device);
    http.tell_ended(ended.await?).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What a link is for. Has no `Debug`, so that it can get into no log.
#[derive(Deserialize)]
pub(super) struct Reset {
    token: String,
    password: String,
}

/// `POST /api/reset`. Whoever comes by the link is logged in, as by any log-in.
pub(super) async fn reset(
    State(http): State<Arc<Http>>,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(Reset { token, password }): JsonBody<Reset>,
) -> Result<Response, Problem> {
    http.passwords_are_on()?;
    let store = &http.services.store;
    let limits = &http.services.limits;
    let allowed = limits.check_register(address);
    allowed.map_err(|wait| Problem::rate_limited("too many wrong links from here", wait))?;
    let token = hash_of(&token);
    // Before the password is hashed, since that is what costs.
    let user = store.reset_of(&token).await.inspect_err(|_| {
        limits.register_failed(address);
    })?;
    check_password(&password, &user)?;
    let turn = http.passwords.turn(address, false).await?;
    let hash = turn.hash(password, &user).await?;
    let ended = store.use_reset(&token, &hash).await?;
    http.tell_ended(ended).await;
    log_in_as(&http, &user, &hash, &headers, None).await
}

/// What becomes of what somebody wrote who leaves.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum TheirMessages {
    /// It stays.
    Keep,
    /// It goes with them.
    Delete,
}

/// A good-bye. Has no `Debug`, so that it can get into no log.
#[derive(Deserialize)]
pub(super) struct Leaving {
    password: Option<String>,
    messages: TheirMessages,
}

/// `DELETE /api/me`. Whoever has no password shows by a new log-in that it is them.
pub(super) async fn leave(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(Leaving { password, messages }): JsonBody<Leaving>,
) -> Result<Response, Problem> {
    let user = &*caller.user;
    let device = http.device_of(&headers, user).await?;
    let kept = match http.has_password(user).await? {
        true => {
            let missing = || Problem::bad_request("`password` is missing");
            let password = password.ok_or_else(missing)?;
            Some(http.password_of(user, password, address, device).await?)
        }
        false => {
            is_recent(&caller)?;
            None
        }
    };
    let with_messages = messages == TheirMessages::Delete;
    let store = &http.services.store;
    let deleted = store.delete_account(Actor::Account(user), user, kept.as_deref(), with_messages);
    let ended = deleted.await?.unwrap_or_default();
    http.services.deleted_accounts.forget();
    http.tell_ended(ended).await;
    let cookie = [(header::SET_COOKIE, cleared_cookie(&http))];
    Ok((cookie, StatusCode::NO_CONTENT).into_response())
}
