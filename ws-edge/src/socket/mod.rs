//! The WebSockets: what all sockets of this edge share.
//!
//! One task owns one socket ([`socket`]); what a client may do is a state machine without I/O ([`connection`]); rooms
//! are read from a ring that all sockets of the process share ([`hub`], [`ring`]).

mod arriving;
mod changing;
mod closing;
mod connection;
mod draft_state;
mod feed;
mod hub;
mod inbox;
mod invitations;
mod meters;
mod outgoing;
mod past_reads;
mod presence;
mod rates;
mod rechecks;
mod reconciliation;
mod registry;
mod replay;
mod ring;
mod room;
mod send_queue;
#[expect(
    clippy::module_inception,
    reason = "one socket, among what all of them need"
)]
mod socket;
mod standings;
mod tasks;
mod wake_schedule;

use std::{
    future::ready,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{extract::ws::WebSocketUpgrade, response::Response};
use common::{live::LiveEvent, store::Session, supervise, traces, wire::Seq};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    arriving::{Arriving, LargeMessages},
    closing::Closing,
    connection::ConnectionLimits,
    hub::Hub,
    invitations::SocketsByUser,
    meters::Meters,
    rechecks::Rechecks,
    registry::Registry,
    send_queue::UnansweredBytes,
    socket::Socket,
};
use crate::{
    EdgeSettings, admission::CallOrigin, problem::Problem, services::Services,
    watched_stream::BytesRead,
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
    services: Arc<Services>,
    hub: Arc<Hub>,
    registry: Arc<Registry>,
    by_user: Arc<SocketsByUser>,
    rechecks: Rechecks,
    events: Mutex<Option<mpsc::Receiver<LiveEvent>>>,
    meters: Arc<Meters>,
    unanswered: Arc<UnansweredBytes>,
    /// Of each connection.
    limits: ConnectionLimits,
    /// How long a client may take nothing of a batch, or take for one message.
    stuck_after: Duration,
    large_messages: LargeMessages,
    draining: AtomicBool,
}

impl Sockets {
    /// None yet, and no room.
    pub(crate) fn new(services: Arc<Services>, settings: &EdgeSettings) -> Sockets {
        let (subscriber, events) = services.live.subscriber(EVENTS_MAX);
        let meters = Arc::new(Meters::new());
        let hub = Hub::new(
            Arc::clone(&services.live),
            subscriber,
            services.timeline.clone(),
            Arc::clone(&services.lost_deletions),
            Arc::clone(&services.deleted_accounts),
            Arc::clone(&meters),
        );
        let stuck_after = settings.stuck_after();
        let twice = |limit: NonZeroU32| limit.get().saturating_mul(2);
        let limits = ConnectionLimits {
            ping_every: Duration::from_millis(settings.ping_ms),
            // What a user may post has its own limit; this one is there against floods of anything.
            frames_per_second: twice(settings.user_messages_per_second).max(1_000),
            frames_burst: twice(settings.user_messages_burst).max(4_000),
        };
        Sockets {
            services,
            hub: Arc::new(hub),
            registry: Arc::new(Registry::new(settings.sockets_max, settings.user_sockets)),
            by_user: Arc::default(),
            rechecks: Rechecks::default(),
            events: Mutex::new(Some(events)),
            meters,
            unanswered: Arc::default(),
            limits,
            stuck_after,
            large_messages: LargeMessages::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// Starts what goes on beside the sockets, until `stop`: above all, what the live engine shows is put into the rooms.
    pub(crate) fn start(self: &Arc<Self>, stop: &CancellationToken) {
        let events = self.events.lock().take();
        let events = events.expect("an edge runs once");
        let (sockets, hub) = (Arc::clone(self), Arc::clone(&self.hub));
        let (stopped, ended) = (stop.clone(), hub.stop.clone());
        supervise::spawn("live events", stop, async move {
            let hear = hub.hear(events, |event| rechecks::hear(&sockets, event));
            stopped.run_until_cancelled(hear).await;
            hub.stop.cancel();
        });
        let hub = || Arc::clone(&self.hub);
        supervise::spawn_until("room sweep", &ended, hub().sweep());
        supervise::spawn_until("reconciliation", &ended, hub().reconcile());
        supervise::spawn_until("presence", &ended, hub().announce_presence());
        supervise::spawn_until("rechecks", &ended, rechecks::run(Arc::clone(self)));
        supervise::spawn_until("standings", &ended, standings::run(Arc::clone(self)));
    }

    /// Whether sockets are let in at all.
    ///
    /// # Errors
    /// If this edge drains.
    pub(crate) fn check_open(&self) -> Result<(), Problem> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Problem::unavailable(
                "this edge is going away; any other will do",
            ));
        }
        Ok(())
    }

    /// Lets a socket in whose session and room were checked, and joins the room, from after a `seq` on.
    ///
    /// # Errors
    /// If there are too many, the session ended at this very moment, or this edge drains.
    pub(crate) fn let_in(
        self: &Arc<Self>,
        session: Arc<Session>,
        origin: CallOrigin,
        bytes_read: BytesRead,
        upgrade: WebSocketUpgrade,
        room: Option<(Arc<str>, Option<Seq>)>,
    ) -> Result<Response, Problem> {
        let registered = self.registry.enter(&session)?;
        // Registered first and asked again then: a revocation in between finds it either way.
        if self.services.sessions.was_revoked(session.id) {
            return Err(Problem::unauthorized("the session was revoked"));
        }
        self.check_open()?;
        let sockets = Arc::clone(self);
        let arriving = Arriving::new(bytes_read, self.stuck_after);
        let caller = traces::current();
        Ok(socket::configure(upgrade).on_upgrade(move |ws| {
            // A task of its own: that of the upgrade keeps room for everything that an upgrade needs, as long as it lives.
            let socket = Socket::open(sockets, session, registered, origin, arriving, ws, room);
            drop(tokio::spawn(socket.traced(caller).run()));
            ready(())
        }))
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
