//! The connections to the broker, and who ends them.

use std::sync::{Arc, atomic::AtomicU64};

use common::queue::QueueError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    connection::{ManagedConnection, Role, State, first_of},
    hosts::Hosts,
    limits::{STEP_LIMIT, unavailable},
    publishers::Publishers,
    settings::RabbitSettings,
};

/// What the queue, its consumers and its dead letters need, all as long as any of them is there.
pub(super) struct Hub {
    pub(super) publishers: Publishers,
    /// To different hosts, if there are several: what the broker holds for one that stands still, and does not know yet
    /// that it does, is all that does not come by the other.
    pub(super) consuming: Vec<ManagedConnection>,
    pub(super) epochs: Arc<AtomicU64>,
    stop: CancellationToken,
    closed: Vec<CancellationToken>,
    _stop_when_dropped: DropGuard,
}

impl Hub {
    /// Connects, declares what every service needs, and from then on keeps connected.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], in words: the setting cannot be read; no host answers within 5 s each; something of
    /// the same name is there with other properties.
    pub(super) async fn connect(settings: &RabbitSettings) -> Result<Hub, QueueError> {
        let hosts = Hosts::new(settings.addresses().map_err(unavailable)?);
        let epochs = Arc::new(AtomicU64::new(1));
        let stop = CancellationToken::new();
        let stop_when_dropped = stop.clone().drop_guard();
        let mut closed = Vec::new();
        let mut open = async |role| {
            let token = CancellationToken::new();
            closed.push(token.clone());
            ManagedConnection::open(role, hosts.clone(), epochs.clone(), stop.clone(), token)
                .await
                .map_err(unavailable)
        };
        let (mut publishing, mut consuming) = (Vec::new(), Vec::new());
        for _ in 0..if hosts.are_several() { 2 } else { 1 } {
            publishing.push(open(Role::Publishing).await?);
            consuming.push(open(Role::Consuming).await?);
        }
        let publishers = Publishers::start(publishing);
        publishers.opened(STEP_LIMIT).await;
        Ok(Hub {
            publishers,
            consuming,
            epochs,
            stop,
            closed,
            _stop_when_dropped: stop_when_dropped,
        })
    }

    /// A connection to consume over, or why there is none.
    pub(super) fn consuming(&self) -> State {
        first_of(self.consuming.iter().map(ManagedConnection::now))
    }

    /// Ends all connections, and waits until they have ended.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        for closed in &self.closed {
            closed.cancelled().await;
        }
    }
}
