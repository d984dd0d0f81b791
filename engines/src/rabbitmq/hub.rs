//! The two connections to the broker, and who ends them.

use std::sync::{Arc, atomic::AtomicU64};

use common::queue::QueueError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    connection::{ManagedConnection, Role},
    limits::{STEP_LIMIT, unavailable},
    publisher::Publisher,
    settings::RabbitSettings,
};
/// What the queue, its consumers and its dead letters need, all as long as any of them is there.
pub(super) struct Hub {
    pub(super) publisher: Publisher,
    pub(super) publishing: ManagedConnection,
    pub(super) consuming: ManagedConnection,
    pub(super) epochs: Arc<AtomicU64>,
    stop: CancellationToken,
    publishing_closed: CancellationToken,
    consuming_closed: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl Hub {
    /// Connects, declares what every service needs, and from then on keeps connected.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], in words: the setting cannot be read; no host answers within 5 s each; something of
    /// the same name is there with other properties.
    pub(super) async fn connect(settings: &RabbitSettings) -> Result<Hub, QueueError> {
        let addresses: Arc<[_]> = settings.addresses().map_err(unavailable)?.into();
        let epochs = Arc::new(AtomicU64::new(1));
        let stop = CancellationToken::new();
        let stop_when_dropped = stop.clone().drop_guard();
        let open = async |role, closed: &CancellationToken| {
            ManagedConnection::open(
                role,
                addresses.clone(),
                epochs.clone(),
                stop.clone(),
                closed.clone(),
            )
            .await
        };
        let (publishing_closed, consuming_closed) =
            (CancellationToken::new(), CancellationToken::new());
        let publishing = open(Role::Publishing, &publishing_closed)
            .await
            .map_err(unavailable)?;
        let consuming = open(Role::Consuming, &consuming_closed)
            .await
            .map_err(unavailable)?;
        let publisher = Publisher::start(publishing.clone());
        publisher.opened(STEP_LIMIT).await;
        Ok(Hub {
            publisher,
            publishing,
            consuming,
            epochs,
            stop,
            publishing_closed,
            consuming_closed,
            _stop_when_dropped: stop_when_dropped,
        })
    }

    /// Ends both connections, and waits until they have ended.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.publishing_closed.cancelled().await;
        self.consuming_closed.cancelled().await;
    }
}
