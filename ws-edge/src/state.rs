//! What every call and every socket of one edge shares, and the edge's life from first to last.

use std::{io, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use common::{
    admin::{Engines, Readiness},
    live::{Control, Live, Signal},
    posting::Poster,
    queue::Queue,
    store::Store,
    timeline::Timeline,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    EdgeSettings,
    access::Access,
    background, http,
    http::{origin::Origins, passwords::Passwords},
    limits::Limits,
    serving,
    sessions::Sessions,
    socket::Sockets,
};

/// How long a call waits for other processes to be told of a change; the telling goes on behind it.
const TELL_PATIENCE: Duration = Duration::from_secs(1);

/// How long other processes are tried to be told. Later they find out by asking again what they remember.
const TELL_TRIES: Duration = Duration::from_secs(60);

/// One edge.
pub struct Edge {
    pub(crate) settings: EdgeSettings,
    pub(crate) live: Arc<dyn Live>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) poster: Poster,
    pub(crate) timeline: Timeline,
    pub(crate) sessions: Sessions,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) passwords: Passwords,
    pub(crate) origins: Origins,
    pub(crate) sockets: Sockets,
    pub(crate) readiness: Readiness,
    /// What goes on behind calls that were answered.
    pub(crate) behind: TaskTracker,
}

impl Edge {
    /// An edge on these engines. Nothing runs before [`run`].
    pub fn new(
        live: Arc<dyn Live>,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        settings: EdgeSettings,
        readiness: Readiness,
    ) -> Arc<Edge> {
        readiness.started(Engines {
            live: Some(Arc::clone(&live)),
            queue: Some(Arc::clone(&queue)),
            store: Some(Arc::clone(&store)),
        });
        let poster = Poster::new(Arc::clone(&live), queue, Arc::clone(&store));
        let days = u64::from(settings.session_days.get());
        let session_lifetime = Duration::from_secs(days * 24 * 60 * 60);
        let timeline = Timeline::new(Arc::clone(&live), Arc::clone(&store), poster.clone());
        Arc::new(Edge {
            sessions: Sessions::new(Arc::clone(&store), session_lifetime),
            access: Access::new(Arc::clone(&store)),
            limits: Limits::new(&settings),
            passwords: Passwords::new(),
            origins: Origins::new(&settings),
            sockets: Sockets::new(&live, timeline.clone(), &settings),
            timeline,
            behind: TaskTracker::new(),
            settings,
            live,
            store,
            poster,
            readiness,
        })
    }

    /// Whether a page of this origin may call: programs that are no browsers (no `Origin`), and the pages that
    /// `ALLOWED_ORIGINS` names, or the edge's own page if it names none.
    pub(crate) fn origin_allowed(&self, headers: &HeaderMap) -> bool {
        self.origins.allowed(headers)
    }

    /// Acts on what every process is told: here first, then everywhere. Waits only a moment for the live engine; if it
    /// is away, the telling goes on for a while behind the call.
    pub(crate) async fn tell(self: &Arc<Self>, control: Control) {
        self.apply(&control);
        let edge = Arc::clone(self);
        let told = self.behind.spawn(async move {
            let signal = Signal::Control(control);
            let give_up_at = Instant::now() + TELL_TRIES;
            let mut pause = Duration::from_millis(100);
            while let Err(error) = edge.live.signal(&signal).await {
                if Instant::now() + pause > give_up_at {
                    tracing::warn!(%error, ?signal, "other processes were not told");
                    return;
                }
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        });
        // Late is no error: it goes on.
        drop(tokio::time::timeout(TELL_PATIENCE, told).await);
    }

    /// Acts on what this process was told, or tells itself. Idempotent: its own words come back to it.
    pub(crate) fn apply(&self, control: &Control) {
        match control {
            Control::SessionRevoked { session } => self.sessions.forget(*session),
            Control::RoomChanged { room } => self.access.forget(room),
            Control::StopReply { .. } => {}
        }
        self.sockets.handle_control(control);
    }
}

/// Serves HTTP and WebSockets until `stop`. Then: not ready any more, no new sockets, open ones are told to go
/// elsewhere, posts under way are confirmed. Returns within `drain_within` after `stop`.
///
/// # Errors
/// If the listener breaks.
pub async fn run(
    edge: Arc<Edge>,
    listener: TcpListener,
    drain_within: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    // The background outlives the calls: a socket that is being drained is still served.
    let drained = CancellationToken::new();
    let _stop_background = drained.clone().drop_guard();
    tokio::spawn(Sockets::run(Arc::clone(&edge), drained.clone()));
    background::start(&edge, &drained);

    let routes = http::routes(&edge);
    let mut serving = tokio::spawn(serving::serve(listener, routes, stop.clone()));
    tokio::select! {
        // Told to stop, serving ends too, and perhaps before this is looked at: that is no reason not to drain.
        biased;
        () = stop.cancelled() => {}
        ended = &mut serving => return ended.map_err(io::Error::other)?,
    }

    let until = Instant::now() + drain_within;
    edge.readiness.drain();
    edge.sockets.drain(until).await;
    // What is left of the time goes to calls that are still answered, and to posts.
    let calls = tokio::time::timeout_at(until, &mut serving).await;
    if calls.is_err() {
        tracing::warn!("calls were still under way when the time to drain was up");
        serving.abort();
    }
    edge.behind.close();
    let told = tokio::time::timeout_at(until, edge.behind.wait())
        .await
        .is_ok();
    let posted = edge.poster.drained(until).await;
    edge.sessions.upkeep_until(until).await;
    tracing::info!(posted, told, "drained");
    Ok(())
}
