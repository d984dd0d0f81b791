//! Logging in by single sign-on: to the provider and back, and which identities lead into an account.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use common::{
    live::Control,
    secret_token::{TokenHash, hash_of},
    store::{ByInvite, Identity, LinkedIdentity, Session, StoreError},
};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{
    Http,
    account::{Shown, begin_session, check_door, may_register, rfc3339},
    body::{Address, Caller, InPath, InQuery, JsonBody},
};
use crate::{
    Registration,
    problem::Problem,
    sessions::{now_ms, token_of_cookie},
    sign_on::{ATTEMPT_HOLDS, Attempt, Intent, Provider, ProviderError, names_for},
};

/// The cookie that carries an attempt.
const COOKIE: &str = "sign_on";
/// The same where it is only sent over TLS: browsers let nobody else set it, no page on a neighbouring name either.
const SECURE_COOKIE: &str = "__Host-sign_on";

/// For so long after its log-in a session may change by what one gets in, without a password being asked for once more.
const RECENT: Duration = Duration::from_secs(600);

/// Beyond the longest time that an attempt may take it is known for so long that it came back: clocks may differ.
const SPENT_KNOWN_LONGER: Duration = Duration::from_secs(600);

/// The most characters of where one goes afterwards.
const RETURN_MAX_CHARS: usize = 500;
/// The most characters of an invitation's token.
const INVITE_MAX_CHARS: usize = 100;

/// Who failed to log in whose account is not known.
const NOBODY: &str = "(single sign-on)";

/// What is asked for at the beginning. Has no `Debug`, so that an invitation can get into no log.
#[derive(Deserialize)]
pub(super) struct Begin {
    r#return: Option<String>,
    invite: Option<String>,
}

/// What comes back from the provider. Has no `Debug` either.
#[derive(Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// From where somebody comes back, as far as their failures are counted.
struct Comer {
    address: IpAddr,
    /// On which somebody has logged in before; there others' failures do not count.
    known_device: Option<TokenHash>,
}

/// Where a browser goes, and the cookie with which it does.
enum Onward {
    ToProvider(Url, HeaderValue),
    /// It is in already.
    To(String),
}

#[derive(Serialize)]
struct Begun<'a> {
    location: &'a str,
}

/// `GET /api/oidc/login`.
pub(super) async fn begin_by_link(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    InQuery(begin): InQuery<Begin>,
) -> Response {
    let may_link = http.origins.surely_own(&headers, http.secure_cookies);
    match http.begins(&headers, begin, may_link).await {
        Ok(Onward::ToProvider(url, cookie)) => {
            ([(header::SET_COOKIE, cookie)], see_other(url.as_str())).into_response()
        }
        Ok(Onward::To(path)) => see_other(&path),
        Err(problem) => http.told(&headers, problem),
    }
}

/// `POST /api/oidc/login`: the same for the page, which goes there by itself. So an invitation stands in no address.
pub(super) async fn begin_by_page(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    JsonBody(begin): JsonBody<Begin>,
) -> Result<Response, Problem> {
    let onward = http.begins(&headers, begin, true).await?;
    Ok(match onward {
        Onward::ToProvider(url, cookie) => {
            let location = url.as_str();
            ([(header::SET_COOKIE, cookie)], Json(Begun { location })).into_response()
        }
        Onward::To(path) => Json(Begun { location: &path }).into_response(),
    })
}

/// `GET /api/oidc/callback`.
pub(super) async fn come_back(
    State(http): State<Arc<Http>>,
    Address(address): Address,
    headers: HeaderMap,
    InQuery(back): InQuery<Back>,
) -> Response {
    let comer = match http.comer(address, &headers).await {
        Ok(comer) => comer,
        Err(problem) => return http.told(&headers, problem),
    };
    let attempt = match http.attempt(&comer, &headers, &back) {
        Ok(attempt) => attempt,
        Err(problem) => return http.told(&headers, problem),
    };
    let came = http.comes_back(&comer, &headers, back, attempt).await;
    let mut answer = came.unwrap_or_else(|problem| http.told(&headers, problem));
    // It has come back, for good or ill.
    let cleared = http.attempt_cookie("", Duration::ZERO);
    answer.headers_mut().append(header::SET_COOKIE, cleared);
    answer
}

impl Http {
    fn provider(&self) -> Result<&Provider, Problem> {
        let provider = self.provider.as_ref();
        provider.ok_or_else(|| {
            Problem::not_found("there is no single sign-on on this server (OIDC_ISSUER)")
        })
    }

    /// Refuses what is done with a password where there are none.
    pub(super) fn passwords_are_on(&self) -> Result<(), Problem> {
        if self.are_passwords_on {
            return Ok(());
        }
        let name = self.provider.as_ref().map_or("", Provider::name);
        Err(Problem::forbidden(format!(
            "there are no passwords on this server: log in by {name}"
        )))
    }

    /// Whether somebody shows by a password that it is them.
    pub(super) async fn has_password(&self, user: &str) -> Result<bool, Problem> {
        let has = async || self.services.store.password_hash(user).await;
        Ok(self.are_passwords_on && has().await?.is_some())
    }

    async fn begins(
        &self,
        headers: &HeaderMap,
        begin: Begin,
        may_link: bool,
    ) -> Result<Onward, Problem> {
        let provider = self.provider()?;
        let return_to = match begin.r#return {
            Some(path) if self.is_own_path(&path) => path,
            Some(_) => {
                return Err(Problem::bad_request(
                    "`return` is an address below this server's own, beginning with /",
                ));
            }
            None => format!("{}/", self.base_path),
        };
        let is_token = |token: &String| {
            token.len() <= INVITE_MAX_CHARS
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if begin.invite.as_ref().is_some_and(|token| !is_token(token)) {
            return Err(Problem::bad_request("`invite` is no invitation"));
        }
        let session = match self.services.sessions.authenticate(headers).await {
            Ok(session) => Some(session),
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED => None,
            Err(problem) => return Err(problem),
        };
        let links_in = match session {
            // A page from elsewhere may have brought them here: then nothing of their account is changed.
            Some(_) if !may_link => return Ok(Onward::To(return_to)),
            Some(session) => {
                not_of_a_program(&session)?;
                is_recent(&session)?;
                Some(session.id)
            }
            None => None,
        };
        let origin = self.origins.of_server(headers, self.secure_cookies)?;
        let attempt = Attempt::begin(Intent {
            redirect_uri: format!("{origin}{}/api/oidc/callback", self.base_path),
            return_to,
            invite: begin.invite,
            links_in,
            begun_at_ms: now_ms(),
        });
        let url = provider.authorization_url(&attempt).await;
        let url = url.map_err(|error| refused(provider, error))?;
        let cookie = self.attempt_cookie(&attempt.cookie(), ATTEMPT_HOLDS);
        Ok(Onward::ToProvider(url, cookie))
    }

    /// Who comes back from the provider, if they are heard.
    async fn comer(&self, address: IpAddr, headers: &HeaderMap) -> Result<Comer, Problem> {
        self.provider()?;
        let known_device = self.devices.of_anybody(headers).await?;
        let limits = &self.services.limits;
        let allowed = limits.check_coming_back(address, known_device.as_ref());
        allowed.map_err(|wait| {
            Problem::rate_limited("too many failed log-ins from your address", wait)
        })?;
        Ok(Comer {
            address,
            known_device,
        })
    }

    /// The attempt that this browser began, if this is the end of that very one.
    fn attempt(&self, comer: &Comer, headers: &HeaderMap, back: &Back) -> Result<Attempt, Problem> {
        let cookie = token_of_cookie(headers, self.attempt_cookie_name());
        let attempt = cookie.and_then(|cookie| Attempt::of_cookie(cookie, now_ms()));
        let state = back.state.as_deref().unwrap_or_default();
        attempt
            .filter(|attempt| attempt.is_state(state))
            .ok_or_else(|| {
                self.failed(NOBODY, comer);
                Problem::forbidden(
                    "this log-in was not begun in this browser, or it took longer than ten minutes: begin anew",
                )
            })
    }

    async fn comes_back(
        &self,
        comer: &Comer,
        headers: &HeaderMap,
        back: Back,
        attempt: Attempt,
    ) -> Result<Response, Problem> {
        let (provider, address) = (self.provider()?, comer.address);
        let intent = attempt.intent();
        let longest = ATTEMPT_HOLDS + SPENT_KNOWN_LONGER;
        let known_until = intent.begun_at_ms + longest.as_millis() as u64;
        let store = &self.services.store;
        // Before anything else, so that whatever comes of it comes once.
        if !store.spend_sign_on(&attempt.hash(), known_until).await? {
            self.failed(NOBODY, comer);
            return Err(Problem::forbidden(
                "this log-in has come back already: begin anew",
            ));
        }
        let Some(code) = back.code.filter(|_| back.error.is_none()) else {
            self.failed(NOBODY, comer);
            return Err(Problem::forbidden(match back.error.as_deref() {
                Some("access_denied") => format!("{} did not let you in", provider.name()),
                _ => format!(
                    "{} says that something went wrong: begin anew",
                    provider.name()
                ),
            }));
        };
        let identified = provider
            .identify(address, &attempt, &code, back.iss.as_deref())
            .await;
        let (issuer, claims) = identified.map_err(|error| {
            // Whoever makes up a code has the provider refuse it, in one way or another. What it says of people and is not
            // believed is its own doing: nobody is kept out for that.
            if matches!(error, ProviderError::NotTaken | ProviderError::Refused(_)) {
                self.failed(NOBODY, comer);
            }
            refused(provider, error)
        })?;
        let identity = Identity {
            issuer: &issuer,
            subject: claims.subject(),
        };
        let onward = match self.is_own_path(&intent.return_to) {
            true => intent.return_to.clone(),
            false => format!("{}/", self.base_path),
        };
        if let Some(links_in) = intent.links_in {
            let session = self.services.sessions.authenticate(headers).await?;
            if session.id != links_in {
                return Err(Problem::forbidden(
                    "somebody else has logged in meanwhile: begin anew",
                ));
            }
            // Once more, and of the session itself: all that the attempt says, the session in which it began and when,
            // stands in a cookie that whoever has the browser can make.
            not_of_a_program(&session)?;
            is_recent(&session)?;
            let linked = store.link_identity(&session.user, identity, session.id);
            return match linked.await {
                Ok(()) => Ok(see_other(&onward)),
                Err(StoreError::Taken) => Err(Problem::bad_request_as(
                    StatusCode::CONFLICT,
                    "this identity leads into another account",
                )),
                Err(error) => Err(error.into()),
            };
        }
        let user = match store.user_of_identity(identity).await? {
            Some(user) => user,
            None => {
                let names = names_for(&claims);
                self.makes_account(address, identity, names, intent.invite.as_deref())
                    .await?
            }
        };
        let allowed = self.services.limits.check_sign_on(&user, address);
        allowed.map_err(|wait| {
            Problem::rate_limited("too many log-ins as this user from your address", wait)
        })?;
        let deleted = store.standing(&user).await?;
        if deleted.is_some_and(|standing| standing.deleted) {
            self.failed(&user, comer);
            return Err(Problem::forbidden(
                "the account of this identity was deleted, for good",
            ));
        }
        let device = self.devices.of(headers, &user).await?;
        let shown = Shown::Identity(identity.hash());
        let begun = begin_session(self, &user, shown, headers, device).await;
        let begun = begun.inspect_err(|problem| {
            if problem.status == StatusCode::FORBIDDEN {
                self.failed(&user, comer);
            }
        })?;
        self.services.limits.logged_in(&user, address);
        let cookies = begun.cookies.map(|cookie| (header::SET_COOKIE, cookie));
        Ok((AppendHeaders(cookies), see_other(&onward)).into_response())
    }

    /// Makes an account for somebody who comes for the first time, if they may come in as whoever registers may.
    async fn makes_account(
        &self,
        address: IpAddr,
        identity: Identity<'_>,
        names: Vec<String>,
        invite: Option<&str>,
    ) -> Result<String, Problem> {
        may_register(self, address)?;
        let invite = invite.map(hash_of);
        check_door(self, address, invite.as_ref()).await?;
        self.services.allowances.registered(address);
        let store = &self.services.store;
        let by_keepers_alone = self.registration == Registration::Closed;
        for name in names {
            let invite = invite.as_ref().map(|token_hash| ByInvite {
                token_hash,
                by_keepers_alone,
            });
            match store.create_identified_user(&name, identity, invite).await {
                Ok(room) => {
                    if let Some(room) = room {
                        self.tell(Control::RoomChanged { room }).await;
                    }
                    return Ok(name);
                }
                // The name; or they came at the same moment by another browser.
                Err(StoreError::Taken) => {
                    if let Some(user) = store.user_of_identity(identity).await? {
                        return Ok(user);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::unavailable(
            "no name was found for your account that nobody has; try again",
        ))
    }

    fn failed(&self, user: &str, comer: &Comer) {
        let limits = &self.services.limits;
        limits.sign_on_failed(comer.address, comer.known_device.as_ref());
        self.failed_log_ins.tell(user, comer.address);
    }

    /// Whether a browser that is sent there stays on this server, below its own path. Browsers pass over some
    /// characters, take one stroke for the other, and go up at two dots, however those are written.
    fn is_own_path(&self, path: &str) -> bool {
        let goes_up =
            |path: &str| path.contains("/.") || path.to_ascii_lowercase().contains("/%2e");
        let below = path.strip_prefix(&*self.base_path);
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        path.len() <= RETURN_MAX_CHARS
            && path.bytes().all(is_plain)
            && !path.starts_with("//")
            && !goes_up(path)
            && below.is_some_and(|below| below.starts_with('/'))
    }

    fn attempt_cookie_name(&self) -> &'static str {
        match self.secure_cookies {
            true => SECURE_COOKIE,
            false => COOKIE,
        }
    }

    fn attempt_cookie(&self, value: &str, lifetime: Duration) -> HeaderValue {
        let secure = if self.secure_cookies { "; Secure" } else { "" };
        let (name, seconds) = (self.attempt_cookie_name(), lifetime.as_secs());
        let cookie =
            format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}");
        HeaderValue::from_str(&cookie).expect("it is made of letters, digits, -, _ and a dot")
    }

    /// A refusal: for a person in a browser a page with the words and a way back, for a program what programs read.
    fn told(&self, headers: &HeaderMap, problem: Problem) -> Response {
        let mut accepts = headers.get_all(header::ACCEPT).iter();
        let is_person = accepts.any(|kinds| {
            let kinds = kinds.to_str().unwrap_or_default();
            kinds.contains("text/html")
        });
        if !is_person {
            return problem.into_response();
        }
        let words = problem.detail.replace('&', "&amp;").replace('<', "&lt;");
        let base_path = &self.base_path;
        let page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Not logged in</title>\
             <h1>You are not logged in</h1><p>{words}.</p><p><a href=\"{base_path}/\">Back to Chinwag</a></p></html>"
        );
        let mut response = problem.into_response();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        *response.body_mut() = page.into();
        response
    }
}

fn refused(provider: &Provider, error: ProviderError) -> Problem {
    let name = provider.name();
    match error {
        ProviderError::Away | ProviderError::NotTaken => Problem::unavailable(format!(
            "{name}, by which one logs in here, does not answer as it should just now"
        )),
        ProviderError::Busy => Problem::unavailable(error.to_string()),
        ProviderError::Refused(_) | ProviderError::NotBelieved(_) => {
            Problem::forbidden(error.to_string())
        }
    }
}

fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

fn not_of_a_program(session: &Session) -> Result<(), Problem> {
    if session.is_token {
        return Err(Problem::forbidden(
            "a program's token may not do this; log in for it",
        ));
    }
    Ok(())
}

/// Refuses what would outlast a session that somebody else has got hold of. Where a password is asked for once more
/// elsewhere, here it is a new log-in.
pub(super) fn is_recent(session: &Session) -> Result<(), Problem> {
    let age = now_ms().saturating_sub(session.created_at_ms);
    if u128::from(age) <= RECENT.as_millis() {
        return Ok(());
    }
    Err(Problem::forbidden(
        "this changes who gets into your account: log out, log in anew, and do it within ten minutes",
    ))
}

#[derive(Serialize)]
struct Identities {
    identities: Vec<ShownIdentity>,
}

#[derive(Serialize)]
pub(super) struct ShownIdentity {
    id: Uuid,
    issuer: String,
    linked_at: String,
}

impl From<LinkedIdentity> for ShownIdentity {
    fn from(identity: LinkedIdentity) -> ShownIdentity {
        ShownIdentity {
            id: identity.id,
            issuer: identity.issuer,
            linked_at: rfc3339(identity.linked_at_ms),
        }
    }
}

/// `GET /api/identities`: what leads into one's account.
pub(super) async fn identities(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    let identities = http.services.store.identities(&caller.user).await?;
    let identities = identities.into_iter().map(ShownIdentity::from).collect();
    Ok(Json(Identities { identities }).into_response())
}

/// `DELETE /api/identities/{id}`.
pub(super) async fn unlink(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
) -> Result<StatusCode, Problem> {
    is_recent(&caller)?;
    let store = &http.services.store;
    let unlinked = store.unlink_identity(&caller.user, id, http.are_passwords_on);
    match unlinked.await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(
            "no such identity leads into your account",
        )),
    }
}
