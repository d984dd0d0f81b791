//! The HTTP side: which call goes where, and what holds for all of them.

mod account;
mod administration;
mod body;
mod bot;
mod door;
mod export;
mod failed_log_ins;
mod history;
mod origin;
mod own_account;
mod page;
mod password_line;
mod password_profile;
mod passwords;
mod posting;
mod rooms;
mod sign_on;
mod tell;
mod tokens;
mod traced;
mod upgrade;
mod usage;

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post, put},
};
use common::{
    admin::{Readiness, public_health_routes},
    quota::budgets::Budgets,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};

use crate::{
    EdgeSettings, PeopleLimits, Registration,
    admission::{CallKind, CallOrigin},
    answers::held,
    devices::Devices,
    problem::Problem,
    services::Services,
    shares::Shares,
    sign_on::Provider,
    socket::Sockets,
};

use self::{failed_log_ins::FailedLogIns, origin::Origins, passwords::Passwords};

/// How long a call may take. Longer than any engine's own time limit, so that theirs is told where there is one.
const CALL_TIME: Duration = Duration::from_secs(30);

/// Archives that are written at a time.
const EXPORTS_MAX: usize = 2;

/// Scripts and styles from here alone, nothing inline, and no page of another site around this one.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// What the page never asks a browser for; whatever is put into it cannot either.
const PERMISSIONS_POLICY: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), \
     serial=(), usb=()";

/// Where cookies go over TLS only, everything is to: browsers remember it for a year.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000";

/// What goes along with every answer.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        PERMISSIONS_POLICY,
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What calls share: what they and the sockets stand on, and what is theirs alone.
pub(crate) struct Http {
    services: Arc<Services>,
    sockets: Arc<Sockets>,
    passwords: Passwords,
    origins: Origins,
    /// What stands before every address.
    base_path: String,
    readiness: Readiness,
    secure_cookies: bool,
    failed_log_ins: FailedLogIns,
    devices: Devices,
    people: PeopleLimits,
    /// Who may register.
    registration: Registration,
    are_passwords_on: bool,
    /// Single sign-on, where it is set.
    provider: Option<Provider>,
    /// The right to write an archive.
    exports: Arc<Semaphore>,
    /// The same of each person.
    exports_of: Arc<Shares<String>>,
    /// What goes on behind calls that were answered.
    behind: TaskTracker,
    /// What was used of the models, where that is known.
    budgets: Option<Arc<dyn Budgets>>,
}

impl Http {
    pub(crate) fn new(
        services: Arc<Services>,
        sockets: Arc<Sockets>,
        settings: EdgeSettings,
        readiness: Readiness,
    ) -> Http {
        let devices = Devices::new(Arc::clone(&services.store), settings.secure_cookies);
        Http {
            services,
            sockets,
            passwords: Passwords::new(),
            origins: Origins::new(&settings),
            readiness,
            registration: settings.registration(),
            are_passwords_on: settings.sign_on.are_passwords_on(),
            provider: settings.sign_on.provider().map(Provider::new),
            base_path: settings.base_path,
            secure_cookies: settings.secure_cookies,
            devices,
            people: settings.people,
            failed_log_ins: FailedLogIns::default(),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            exports_of: Shares::new(1),
            behind: TaskTracker::new(),
            budgets: None,
        }
    }

    /// Shows what was used of the models.
    pub(crate) fn show_budgets(&mut self, budgets: Arc<dyn Budgets>) {
        self.budgets = Some(budgets);
    }

    /// Waits until other processes are told of all that calls have changed. False if they are not at `until`.
    pub(crate) async fn all_told(&self, until: Instant) -> bool {
        self.behind.close();
        timeout_at(until, self.behind.wait()).await.is_ok()
    }
}

/// Every address of the edge.
pub(crate) fn routes(http: &Arc<Http>) -> Router {
    let sealed = Router::new()
        .route("/register", post(account::register))
        .route("/login", post(account::log_in))
        .route("/logout", post(account::log_out))
        .route("/me", get(account::me).delete(own_account::leave))
        .route("/me/export", get(export::export))
        .route("/password", post(own_account::change_password))
        .route("/reset", post(own_account::reset))
        .route("/logout-everywhere", post(own_account::log_out_everywhere))
        .route("/door", get(door::door))
        .route(
            "/oidc/login",
            get(sign_on::begin_by_link).post(sign_on::begin_by_page),
        )
        .route("/oidc/callback", get(sign_on::come_back))
        .route("/identities", get(sign_on::identities))
        .route("/identities/{id}", delete(sign_on::unlink))
        .route("/invites", get(door::invites).post(door::make_invite))
        .route("/invites/{id}", delete(door::withdraw))
        .route(
            "/admin/users/{user}/reset",
            post(administration::make_reset),
        )
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/sessions", get(account::sessions))
        .route("/sessions/{id}", delete(account::end_session));
    let read = Router::new()
        .route("/rooms", get(rooms::list).post(rooms::create))
        .route(
            "/rooms/{room}",
            get(rooms::show).patch(rooms::change).delete(rooms::delete),
        )
        .route("/rooms/{room}/bans", get(rooms::bans))
        .route(
            "/rooms/{room}/bans/{user}",
            put(rooms::ban).delete(rooms::lift_ban),
        )
        .route("/rooms/{room}/members", get(rooms::members))
        .route(
            "/rooms/{room}/members/{user}",
            put(rooms::add_member).delete(rooms::remove_member),
        )
        .route(
            "/rooms/{room}/messages",
            get(history::page).post(posting::post),
        )
        .route(
            "/rooms/{room}/messages/{id}/suggestions",
            get(bot::suggestions),
        )
        .route("/bot", get(bot::offers))
        .route("/admin/users", get(administration::users))
        .route(
            "/admin/users/{user}",
            patch(administration::change).delete(administration::delete),
        )
        .route(
            "/admin/users/{user}/identities",
            get(administration::ways_in),
        )
        .route(
            "/admin/users/{user}/identities/{id}",
            delete(administration::take_identity),
        )
        .route("/admin/rooms", get(administration::rooms))
        .route("/admin/usage", get(administration::usage))
        .route("/usage", get(usage::usage))
        .route("/admin/audit", get(administration::audit))
        // Not around the calls that answer with a token: compressed along with what a caller chose, its length tells.
        .layer(from_fn_with_state(Arc::clone(http), in_slices))
        .layer(CompressionLayer::new());
    let api = sealed
        .merge(read)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(http), only_allowed_origins))
        .layer(from_fn(never_stored));
    let health = public_health_routes(http.readiness.clone());
    let all = Router::new()
        .nest("/api", api)
        .merge(upgrade::routes())
        .merge(page::routes());
    let all = match http.base_path.as_str() {
        "" => all,
        path => page::at_base(path).nest(path, all),
    };
    all.fallback(page::elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(http))
        .merge(health)
        .layer(from_fn_with_state(Arc::clone(http), until_read))
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(http), traced::traced))
        .layer(from_fn_with_state(Arc::clone(http), admitted))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(counted))
        .layer(from_fn_with_state(Arc::clone(http), with_security_headers))
}

async fn not_found() -> Problem {
    Problem::not_found("there is nothing at this address")
}

async fn wrong_method(method: Method) -> Problem {
    let detail = format!("{method} is not for this address; the header `Allow` says what is");
    Problem::bad_request_as(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Refuses what changes something when a page from elsewhere asks for it.
async fn only_allowed_origins(
    State(http): State<Arc<Http>>,
    call: Request,
    next: Next,
) -> Response {
    if !call.method().is_safe() && !http.origins.allowed(call.headers()) {
        return Problem::forbidden("pages of this origin may not call; see ALLOWED_ORIGINS")
            .into_response();
    }
    next.run(call).await
}

async fn never_stored(call: Request, next: Next) -> Response {
    let mut response = next.run(call).await;
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

/// Refuses what an address asks for beyond its share.
async fn admitted(
    State(http): State<Arc<Http>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut call: Request,
    next: Next,
) -> Response {
    let path = call.uri().path();
    let path = path.strip_prefix(&*http.base_path).unwrap_or(path);
    let kind = match path {
        "/healthz" | "/readyz" => CallKind::Health,
        "" | "/" => CallKind::Page,
        _ if path.starts_with("/web/") || path.starts_with("/rooms/") => CallKind::Page,
        _ => CallKind::Call,
    };
    match http.services.admission.call(peer, call.headers(), kind) {
        Ok(origin) => {
            let shares = origin.shares.clone();
            call.extensions_mut().insert(origin);
            let answer = next.run(call).await;
            match shares {
                Some(shares) => held(answer, shares),
                None => answer,
            }
        }
        Err(problem) => {
            let mut refused = problem.into_response();
            // Another connection is counted, another call on this one would be refused as fast as it is asked. A proxy's
            // connections carry others' calls too.
            if !http.services.admission.is_behind_proxy() {
                let close = HeaderValue::from_static("close");
                refused.headers_mut().insert(header::CONNECTION, close);
            }
            refused
        }
    }
}

/// Counts what the answers of calls that may answer with much hold until they are read.
async fn in_slices(
    State(http): State<Arc<Http>>,
    Extension(origin): Extension<CallOrigin>,
    call: Request,
    next: Next,
) -> Result<Response, Problem> {
    let answer = next.run(call).await;
    http.services
        .answers
        .in_slices(origin.address, answer)
        .await
}

async fn until_read(
    State(http): State<Arc<Http>>,
    Extension(origin): Extension<CallOrigin>,
    call: Request,
    next: Next,
) -> Result<Response, Problem> {
    let answer = next.run(call).await;
    http.services
        .answers
        .until_read(origin.address, answer)
        .await
}

async fn in_time(call: Request, next: Next) -> Response {
    match timeout(CALL_TIME, next.run(call)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("this took too long").into_response(),
    }
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = words.unwrap_or("without words"), "a call panicked");
    Problem::internal().into_response()
}

async fn counted(call: Request, next: Next) -> Response {
    let began = Instant::now();
    // The pattern, not the address: a counter per room would be without end.
    let route = call.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let method = match *call.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let response = next.run(call).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("chinwag_http_requests_total", "route" => route.clone(), "method" => method, "status" => status)
        .increment(1);
    metrics::histogram!("chinwag_http_seconds", "route" => route, "method" => method)
        .record(began.elapsed());
    response
}

async fn with_security_headers(
    State(http): State<Arc<Http>>,
    call: Request,
    next: Next,
) -> Response {
    let mut response = next.run(call).await;
    let over_tls = (header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT_SECURITY);
    let over_tls = http.secure_cookies.then_some(over_tls);
    for (name, value) in SECURITY_HEADERS.into_iter().chain(over_tls) {
        // What is another's has a policy of its own, which allows it less.
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
