//! Accounts and sessions: registering, logging in and out, and which devices are logged in.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use common::{
    live::Control,
    names,
    secret_token::{TokenHash, hash_of, new_token},
    store::{LogIn, Session, StoreError},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Http,
    body::{Address, Caller, InPath, JsonBody},
    passwords::check_password,
};
use crate::{Registration, devices::KnownDevice, problem::Problem, sessions::now_ms};

/// The most characters kept of what a device says it is.
const DEVICE_MAX_CHARS: usize = 200;

/// How long it may take to look up what somebody is, for a page that only wants to show it.
const LOOK_UP_TIME: Duration = Duration::from_secs(1);

/// The same words whichever of the limits it is: they tell a guesser nothing.
const TOO_MANY_LOG_INS: &str =
    "too many wrong passwords, or too many log-ins as this user from your address";

/// A name and a password. Has no `Debug`, so that it can get into no log.
#[derive(Deserialize)]
pub(super) struct Credentials {
    username: String,
    password: String,
}

/// The same, with an invitation. Has no `Debug` either.
#[derive(Deserialize)]
pub(super) struct NewAccount {
    username: String,
    password: String,
    invite: Option<String>,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    user: &'a str,
    token: &'a str,
}

/// `POST /api/register`.
pub(super) async fn register(
    State(http): State<Arc<Http>>,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(NewAccount {
        username,
        password,
        invite,
    }): JsonBody<NewAccount>,
) -> Result<Response, Problem> {
    http.passwords_are_on()?;
    may_register(&http, address)?;
    // Before anything is said about names or passwords: a shut door tells nobody who is behind it.
    let invite = invite.as_deref().map(hash_of);
    check_door(&http, address, invite.as_ref()).await?;
    names::check_user(&username)
        .map_err(|why| Problem::bad_request(format!("`username`: {why}")))?;
    check_password(&password, &username)?;
    let taken = || {
        http.services.limits.register_failed(address);
        Problem::from(StoreError::Taken)
    };
    // Before the password is hashed, since that is what costs. A name that only looks like another is found at the end.
    if names::is_reserved(&username) || http.services.store.room(&username).await?.is_some() {
        return Err(taken());
    }
    let turn = http.passwords.turn(address, false).await?;
    may_register(&http, address)?;
    let hash = turn.hash(password, &username).await;
    if hash
        .as_ref()
        .is_err_and(|problem| problem.status == StatusCode::BAD_REQUEST)
    {
        http.services.limits.register_failed(address);
    }
    let hash = hash?;
    http.services.allowances.registered(address);
    let store = &http.services.store;
    let by_keepers = http.registration == Registration::Closed;
    let made = match &invite {
        Some(invite) => {
            store
                .create_invited_user(&username, &hash, invite, by_keepers)
                .await
        }
        None => store.create_user(&username, &hash).await.map(|()| None),
    };
    match made {
        Ok(room) => {
            if let Some(room) = room {
                http.tell(Control::RoomChanged { room }).await;
            }
            log_in_as(&http, &username, &hash, &headers, None).await
        }
        Err(StoreError::Taken) => Err(taken()),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody may come in, with this invitation or none. It may be used up, or withdrawn, before they are in.
pub(super) async fn check_door(
    http: &Http,
    address: IpAddr,
    invite: Option<&TokenHash>,
) -> Result<(), Problem> {
    let by_keepers = match (http.registration, invite) {
        (Registration::Open, None) => return Ok(()),
        (Registration::Invite, None) => {
            return Err(Problem::forbidden(
                "one comes in here by invitation alone; ask somebody who has an account for one",
            ));
        }
        (Registration::Closed, None) => {
            return Err(Problem::forbidden(
                "this server is closed: only an administrator lets somebody in",
            ));
        }
        (registration, Some(_)) => registration == Registration::Closed,
    };
    let Some(invite) = invite else { return Ok(()) };
    let checked = http.services.store.check_invite(invite, by_keepers).await;
    if let Err(StoreError::Forbidden(_)) = &checked {
        http.services.limits.register_failed(address);
    }
    Ok(checked?)
}

pub(super) fn may_register(http: &Http, address: IpAddr) -> Result<(), Problem> {
    let allowed = http.services.limits.check_register(address);
    allowed
        .map_err(|wait| Problem::rate_limited("too many taken names were tried from here", wait))?;
    let allowed = http.services.allowances.check_registration(address);
    allowed.map_err(|wait| {
        Problem::rate_limited(
            "as many accounts as may be within an hour were registered from here (ADDRESS_REGISTRATIONS_PER_HOUR)",
            wait,
        )
    })
}

/// `POST /api/login`.
pub(super) async fn log_in(
    State(http): State<Arc<Http>>,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(Credentials { username, password }): JsonBody<Credentials>,
) -> Result<Response, Problem> {
    http.passwords_are_on()?;
    // What cannot be a name is nobody's, and must not fill the tables of failures with texts of any length.
    names::check_user(&username).map_err(|_| wrong())?;
    let device = http.devices.of(&headers, &username).await?;
    let device_hash = device.as_ref().map(|device| device.hash);
    let judged = judge(&http, &username, password, address, device_hash).await?;
    let kept = judged.ok_or_else(wrong)?;
    log_in_as(&http, &username, &kept, &headers, device).await
}

/// Whether this is somebody's password: then what is kept of it. Guessed from an address, or for a name, no more often than
/// the limits allow.
pub(super) async fn judge(
    http: &Arc<Http>,
    username: &str,
    password: String,
    address: IpAddr,
    device: Option<TokenHash>,
) -> Result<Option<String>, Problem> {
    let may_log_in = || may_log_in(http, username, address, device.as_ref());
    may_log_in()?;
    let kept = http.services.store.password_hash(username).await?;
    let turn = http.passwords.turn(address, device.is_some()).await?;
    // Others may have failed while this one waited: without a second look, all who wait get a guess.
    may_log_in()?;
    // Counted and told also where the caller hangs up meanwhile.
    let judged = http.behind.spawn({
        let (http, username) = (Arc::clone(http), username.to_owned());
        async move {
            let (matches, turn) = turn.verify(password, kept.clone()).await?;
            let limits = &http.services.limits;
            if matches {
                limits.logged_in(&username, address);
            } else {
                limits.log_in_failed(&username, address, device.as_ref());
                // A name that nobody has may be a password that was typed into the wrong field.
                let user = if kept.is_some() {
                    &*username
                } else {
                    "(unknown)"
                };
                http.failed_log_ins.tell(user, address);
            }
            drop(turn);
            Ok::<_, Problem>(kept.filter(|_| matches))
        }
    });
    judged.await.map_err(|_| Problem::internal())?
}

fn may_log_in(
    http: &Http,
    name: &str,
    address: IpAddr,
    device: Option<&TokenHash>,
) -> Result<(), Problem> {
    let allowed = http.services.limits.check_log_in(name, address, device);
    allowed.map_err(|wait| Problem::rate_limited(TOO_MANY_LOG_INS, wait))
}

fn wrong() -> Problem {
    Problem::unauthorized("the name or the password is wrong")
}

/// Begins a session for somebody who has shown that they may, by the password of which this is kept, and tells its token.
pub(super) async fn log_in_as(
    http: &Http,
    user: &str,
    kept: &str,
    headers: &HeaderMap,
    device: Option<KnownDevice>,
) -> Result<Response, Problem> {
    let begun = begin_session(http, user, Shown::Password(kept), headers, device).await?;
    let token = &begun.token;
    let cookies = begun.cookies.map(|cookie| (header::SET_COOKIE, cookie));
    Ok((AppendHeaders(cookies), Json(LoggedIn { user, token })).into_response())
}

/// By what somebody has shown who they are: what is kept of it.
pub(super) enum Shown<'a> {
    Password(&'a str),
    Identity([u8; 32]),
}

/// A session that has begun. Has no `Debug`, so that its token can get into no log.
pub(super) struct BegunSession {
    token: String,
    /// The session's and the device's.
    pub(super) cookies: [HeaderValue; 2],
}

/// Begins a session for somebody who has shown that they may.
pub(super) async fn begin_session(
    http: &Http,
    user: &str,
    shown: Shown<'_>,
    headers: &HeaderMap,
    device: Option<KnownDevice>,
) -> Result<BegunSession, Problem> {
    let (token, now) = (new_token(), now_ms());
    let (device_hash, device_cookie) = http.devices.remembered(device);
    let device = headers
        .get(header::USER_AGENT)
        .map_or("".into(), |agent| String::from_utf8_lossy(agent.as_bytes()));
    let session = Session {
        id: Uuid::now_v7(),
        user: user.to_owned(),
        device: device
            .chars()
            .filter(|c| !c.is_control())
            .take(DEVICE_MAX_CHARS)
            .collect(),
        created_at_ms: now,
        last_seen_at_ms: now,
        expires_at_ms: http.services.sessions.expiry(now, now),
        is_token: false,
    };
    let (password_hash, identity_hash) = match shown {
        Shown::Password(kept) => (Some(kept), None),
        Shown::Identity(hash) => (None, Some(hash)),
    };
    let log_in = LogIn {
        password_hash,
        identity_hash,
        device_hash: Some(device_hash),
        sessions_max: http.people.sessions(),
    };
    let store = &http.services.store;
    let ended = store.begin_session(&session, &token.hash, log_in).await?;
    http.tell_ended(ended).await;
    let cookie = cookie(
        http,
        &token.token,
        http.services.sessions.lifetime(&session),
    );
    Ok(BegunSession {
        token: token.token,
        cookies: [cookie, device_cookie],
    })
}

fn cookie(http: &Http, token: &str, lifetime: Duration) -> HeaderValue {
    let secure = if http.secure_cookies { "; Secure" } else { "" };
    let (name, seconds) = (http.services.sessions.cookie(), lifetime.as_secs());
    let cookie =
        format!("{name}={token}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).expect("a token that was looked up or made here is hexadecimal")
}

/// What clears the cookie.
pub(super) fn cleared_cookie(http: &Http) -> HeaderValue {
    cookie(http, "", Duration::ZERO)
}

/// `POST /api/logout`. The cookie is cleared even if its session had ended already.
pub(super) async fn log_out(
    State(http): State<Arc<Http>>,
    caller: Result<Caller, Problem>,
) -> Response {
    let ended = match caller {
        Ok(Caller(session)) => end(&http, &session.user, session.id)
            .await
            .map(|_| StatusCode::NO_CONTENT),
        Err(problem) => Err(problem),
    };
    let keep_cookie = matches!(&ended, Err(problem) if problem.status != StatusCode::UNAUTHORIZED);
    if keep_cookie {
        return ended.into_response();
    }
    ([(header::SET_COOKIE, cleared_cookie(&http))], ended).into_response()
}

/// Ends a session and closes its sockets everywhere. False if there was none.
async fn end(http: &Http, user: &str, session: Uuid) -> Result<bool, Problem> {
    let ended = http.services.store.end_session(user, session).await?;
    if ended {
        http.tell(Control::SessionRevoked { session }).await;
    }
    Ok(ended)
}

#[derive(Serialize)]
struct Me<'a> {
    user: &'a str,
    session: Uuid,
    admin: bool,
    /// Whether they may make invitations to the server.
    may_invite: bool,
    /// Whether they have a password, and it is asked for.
    password: bool,
    /// Whether they are a program.
    program: bool,
}

/// `GET /api/me`. A cookie is given its full time again, as its session is by being used.
pub(super) async fn me(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    Caller(session): Caller,
) -> Response {
    // Whoever is let in while the database is away is shown no more than anybody is.
    let admin = http.services.sessions.is_administrator(&session.user);
    let has_password = http.has_password(&session.user);
    let program = http.services.programs.has(&session.user);
    let (admin, has_password, program) = tokio::join!(
        timeout(LOOK_UP_TIME, admin),
        timeout(LOOK_UP_TIME, has_password),
        timeout(LOOK_UP_TIME, program)
    );
    let admin = matches!(admin, Ok(Ok(true)));
    let answer = Json(Me {
        user: &session.user,
        session: session.id,
        admin,
        may_invite: admin || http.registration != Registration::Closed,
        password: matches!(has_password, Ok(Ok(true))),
        program: program.unwrap_or(false),
    });
    match http.services.sessions.token_of_cookie(&headers, &session) {
        Some(token) if !headers.contains_key(header::AUTHORIZATION) => {
            let cookie = cookie(&http, token, http.services.sessions.lifetime(&session));
            ([(header::SET_COOKIE, cookie)], answer).into_response()
        }
        _ => answer.into_response(),
    }
}

#[derive(Serialize)]
struct Sessions {
    sessions: Vec<Device>,
}

#[derive(Serialize)]
struct Device {
    id: Uuid,
    device: String,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    current: bool,
}

/// `GET /api/sessions`.
pub(super) async fn sessions(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let sessions = http.services.store.sessions(&caller.user, now_ms()).await?;
    let devices = sessions.into_iter().map(|session| Device {
        current: session.id == caller.id,
        id: session.id,
        device: session.device,
        created_at: rfc3339(session.created_at_ms),
        last_seen_at: rfc3339(session.last_seen_at_ms),
        expires_at: rfc3339(session.expires_at_ms),
    });
    Ok(Json(Sessions {
        sessions: devices.collect(),
    })
    .into_response())
}

/// As times are written.
pub(super) fn rfc3339(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// `DELETE /api/sessions/{id}`.
pub(super) async fn end_session(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(session): InPath<Uuid>,
) -> Result<StatusCode, Problem> {
    if end(&http, &caller.user, session).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("you have no such session"))
    }
}
