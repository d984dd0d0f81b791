//! The WebSockets: who is let in, and what all sockets of this edge share.
//!
//! One task owns one socket ([`socket`]); what a client may do is a state machine without I/O ([`connection`]); rooms
//! are read from a ring that all sockets of the process share ([`hub`], [`ring`]).

mod closing;
mod connection;
mod errands;
mod feed;
mod growing;
mod hub;
mod inbox;
mod lane;
mod meters;
mod news;
mod outgoing;
mod presence;
mod rates;
mod rechecks;
mod registry;
mod replay;
mod ring;
mod room;
#[expect(
    clippy::module_inception,
    reason = "one socket, among what all of them need"
)]
mod socket;

use std::{
    future::ready,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
use common::{
    live::{Live, LiveEvent},
    names,
    timeline::Timeline,
    wire::Seq,
};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    closing::Closing, hub::Hub, meters::Meters, rechecks::Rechecks, registry::Registry,
    socket::Socket,
};
use crate::{
    EdgeSettings,
    http::body::{InPath, InQuery},
    problem::Problem,
    state::Edge,
};

/// Events between the live engine and the rooms. Putting them there never waits, so this only evens out bursts.
const EVENTS_MAX: usize = 8_192;

/// The part of the time to drain over which sockets are told to go, so that their clients do not all come to the other
/// edges at once.
const DRAIN_SPREAD: f64 = 0.5;

/// In how many steps.
const DRAIN_STEPS: usize = 20;

/// The longest it takes, however much time there is.
const DRAIN_SPREAD_MAX: Duration = Duration::from_secs(5);

/// Every socket of this edge, and the rooms that they are in.
pub(crate) struct Sockets {
    hub: Arc<Hub>,
    registry: Arc<Registry>,
    rechecks: Rechecks,
    events: Mutex<Option<mpsc::Receiver<LiveEvent>>>,
    meters: Arc<Meters>,
    draining: AtomicBool,
}

impl Sockets {
    /// None yet, and no room.
    pub(crate) fn new(
        live: &Arc<dyn Live>,
        timeline: Timeline,
        settings: &EdgeSettings,
    ) -> Sockets {
        let (subscriber, events) = live.subscriber(EVENTS_MAX);
        let meters = Arc::new(Meters::new());
        Sockets {
            hub: Arc::new(Hub::new(
                Arc::clone(live),
                subscriber,
                timeline,
                Arc::clone(&meters),
            )),
            registry: Arc::new(Registry::new(settings.sockets_max)),
            rechecks: Rechecks::default(),
            events: Mutex::new(Some(events)),
            meters,
            draining: AtomicBool::new(false),
        }
    }

    /// Takes what the live engine shows to the rooms, and does everything else that goes on beside the sockets, until
    /// `stop`.
    pub(crate) async fn run(edge: Arc<Edge>, stop: CancellationToken) {
        let sockets = &edge.sockets;
        let events = sockets
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let events = events.expect("an edge runs once");
        let hub = &sockets.hub;
        hub.spawn(Arc::clone(hub).sweep());
        hub.spawn(Arc::clone(hub).announce_presence());
        hub.spawn(rechecks::run(Arc::clone(&edge)));
        let hear = hub.hear(events, |event| rechecks::hear(&edge, event));
        stop.run_until_cancelled(hear).await;
        hub.stop.cancel();
    }

    /// Lets no socket in any more and closes those that are open, some at a time, each when its messages are answered.
    /// Returns when there is none any more, or at `until`.
    pub(crate) async fn drain(&self, until: Instant) {
        self.draining.store(true, Ordering::SeqCst);
        let time = until
            .saturating_duration_since(Instant::now())
            .mul_f64(DRAIN_SPREAD)
            .min(DRAIN_SPREAD_MAX);
        let open = self.registry.all();
        let step = open.len().div_ceil(DRAIN_STEPS).max(1);
        // A handful needs no spreading.
        let pause = if open.len() <= DRAIN_STEPS {
            Duration::ZERO
        } else {
            time / u32::try_from(DRAIN_STEPS).unwrap_or(1)
        };
        for some in open.chunks(step) {
            for inbox in some {
                inbox.close(Closing::Draining);
            }
            sleep(pause).await;
        }
        // Those that were let in at the very moment.
        for inbox in self.registry.all() {
            inbox.close(Closing::Draining);
        }
        if timeout_at(until, self.registry.empty()).await.is_err() {
            tracing::warn!(
                left = self.registry.all().len(),
                "sockets were still open when the time to drain was up"
            );
        }
    }
}

/// The addresses of the sockets.
pub(crate) fn routes() -> Router<Arc<Edge>> {
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
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(edge, &headers, upgrade, None).await
}

async fn one_room(
    State(edge): State<Arc<Edge>>,
    InPath(room): InPath<String>,
    InQuery(JoinQuery { after }): InQuery<JoinQuery>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    connect(edge, &headers, upgrade, Some((room, after))).await
}

/// Lets a socket in, or says why not.
async fn connect(
    edge: Arc<Edge>,
    headers: &HeaderMap,
    upgrade: Upgrade,
    room: Option<(String, Option<Seq>)>,
) -> Result<Response, Problem> {
    let sockets = &edge.sockets;
    if sockets.draining.load(Ordering::SeqCst) {
        return Err(Problem::unavailable(
            "this edge is going away; any other will do",
        ));
    }
    if !edge.origin_allowed(headers) {
        return Err(Problem::forbidden("pages of this origin may not connect"));
    }
    let session = edge.sessions.authenticate(headers).await?;
    if let Some((name, _)) = &room {
        names::check_room(name).map_err(Problem::not_found)?;
        edge.access.room(&session.user, name).await?;
    }
    let upgrade = upgrade.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Some(registered) = sockets.registry.enter(session.id) else {
        return Err(Problem::unavailable(
            "this edge has as many sockets as it may have",
        ));
    };
    // Registered first and asked again then: a revocation in between finds it either way.
    if edge.sessions.was_revoked(session.id) {
        return Err(Problem::unauthorized("the session was revoked"));
    }
    if sockets.draining.load(Ordering::SeqCst) {
        return Err(Problem::unavailable(
            "this edge is going away; any other will do",
        ));
    }
    let room = room.map(|(name, after)| (Arc::from(name), after));
    Ok(socket::configure(upgrade).on_upgrade(move |ws| {
        // A task of its own: that of the upgrade keeps room for everything that an upgrade needs, as long as it lives.
        drop(tokio::spawn(
            Socket::open(edge, session, registered, ws, room).run(),
        ));
        ready(())
    }))
}
