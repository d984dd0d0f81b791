//! One node's connection for commands, rebuilt for ever: by a task that pings it, because a connection on which nothing
//! comes back looks like a slow one to the kernel for a quarter of an hour.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{causes::WithCauses, retry::RetryPolicy, supervise};
use redis::{aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    deployment::{Address, Deployment},
    topology_refresh::TopologyRefresh,
    write_batcher::WriteBatcher,
};

/// How often a connection is pinged, and how long the answer may take before the connection is given up.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// Between two attempts at a connection.
pub(super) const RECONNECT: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(20), Duration::from_secs(1));

/// A connection that lasted this long was a good one: the pauses begin anew.
pub(super) const GOOD: Duration = Duration::from_secs(5);

/// A command waits for a connection that went away less than this ago; after that it fails at once.
const GRACE: Duration = Duration::from_secs(1);

/// A connection to one node.
pub(super) struct NodeConnection {
    state: watch::Receiver<State>,
    broken: Arc<Broken>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone)]
enum State {
    Up(Connected),
    Down { since: Instant, why: Arc<str> },
}

/// A connection, and which one it is.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) writes: WriteBatcher,
    number: u64,
}

#[derive(Default)]
struct Broken {
    number: AtomicU64,
    notify: Notify,
}

impl NodeConnection {
    /// Starts connecting. `refresh` is asked for whenever there is no connection.
    pub(super) fn open(
        deployment: Arc<Deployment>,
        node: Address,
        refresh: Arc<TopologyRefresh>,
    ) -> NodeConnection {
        let (publish, state) = watch::channel(State::Down {
            since: Instant::now(),
            why: "not connected yet".into(),
        });
        let broken = Arc::<Broken>::default();
        let keeping = keep_up(deployment, node, publish, Arc::clone(&broken), refresh);
        let task = supervise::spawn_part("Redis connection", keeping);
        NodeConnection {
            state,
            broken,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The connection; waits for it a little if it has just gone away.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connection(&self, until: Instant) -> Result<Connected, Arc<str>> {
        if let State::Up(up) = &*self.state.borrow() {
            return Ok(up.clone());
        }
        let mut state = self.state.clone();
        loop {
            let (since, why) = match &*state.borrow_and_update() {
                State::Up(up) => return Ok(up.clone()),
                State::Down { since, why } => (*since, Arc::clone(why)),
            };
            let until = until.min(since + GRACE);
            if !matches!(timeout_at(until, state.changed()).await, Ok(Ok(()))) {
                return Err(why);
            }
        }
    }

    /// This connection is of no use any more.
    pub(super) fn broken(&self, connected: &Connected) {
        self.broken
            .number
            .store(connected.number, Ordering::Release);
        self.broken.notify.notify_one();
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }
}

async fn keep_up(
    deployment: Arc<Deployment>,
    node: Address,
    state: watch::Sender<State>,
    broken: Arc<Broken>,
    refresh: Arc<TopologyRefresh>,
) {
    let mut back_off = RECONNECT.back_off();
    // What was said last of why there is none. Each reason is said once, and not at every attempt.
    let mut told = String::new();
    for number in 1.. {
        match deployment.connect(&node).await {
            Ok(connection) => {
                let connected = Connected {
                    writes: WriteBatcher::start(connection.clone()),
                    connection,
                    number,
                };
                let since = Instant::now();
                told.clear();
                state.send_replace(State::Up(connected.clone()));
                let why = until_broken(connected, &broken).await;
                tracing::warn!(%node, why, "lost the connection to Redis");
                state.send_replace(State::Down {
                    since: Instant::now(),
                    why: why.into(),
                });
                refresh.lost_connection();
                if since.elapsed() >= GOOD {
                    back_off.reset();
                }
            }
            Err(error) => {
                let why = WithCauses(&error).to_string();
                if why != told {
                    tracing::warn!(why, "no connection to Redis (REDIS_URL); it is tried again");
                    told.clone_from(&why);
                }
                refresh.lost_connection();
                let since = match &*state.borrow() {
                    State::Down { since, .. } => *since,
                    State::Up(_) => Instant::now(),
                };
                let why = why.into();
                state.send_replace(State::Down { since, why });
            }
        }
        back_off.wait().await;
    }
}

async fn until_broken(mut connected: Connected, broken: &Broken) -> &'static str {
    let ping = cmd("PING");
    loop {
        tokio::select! {
            () = broken.notify.notified() => {
                if broken.number.load(Ordering::Acquire) == connected.number {
                    return "it broke";
                }
            }
            () = sleep(PING_EVERY) => {
                let pong = connected.connection.send_packed_command(&ping);
                match timeout(PING_LIMIT, pong).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => return "it broke",
                    Err(_) => return "it does not answer",
                }
            }
        }
    }
}
