//! The connections to the broker, and who ends them.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use common::{
    queue::{QueueError, Route},
    supervise,
};
use futures_util::future::join_all;
use lapin::{
    Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    connection::{ManagedConnection, Role, Session, State, first_of},
    hosts::Hosts,
    limits::{BrokerError, STEP_LIMIT, unavailable},
    partitions::{self, PARTITIONS_MAX},
    publishers::Publishers,
    request::{PROBE, properties},
    settings::RabbitSettings,
    topology::EXCHANGE,
};

/// How often it is seen whether there are partitions beyond those that are set: somebody may publish to them still.
const LOOK_FOR_PARTITIONS_EVERY: Duration = Duration::from_secs(60);

/// What the queue, its consumers and its dead letters need, all as long as any of them is there.
pub(super) struct Hub {
    /// Of each partition that is set.
    publishers: Vec<Publishers>,
    /// To different hosts, if there are several: what the broker holds for one that stands still, and does not know yet
    /// that it does, is all that does not come by the other.
    pub(super) consuming: Vec<ManagedConnection>,
    pub(super) epochs: Arc<AtomicU64>,
    /// How many partitions there are, at least as many as are set: those of an earlier setting are read until they are removed.
    pub(super) partitions: watch::Receiver<usize>,
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
        let set = usize::from(settings.queue_partitions).clamp(1, PARTITIONS_MAX);
        let epochs = Arc::new(AtomicU64::new(1));
        let stop = CancellationToken::new();
        let stop_when_dropped = stop.clone().drop_guard();
        let mut closed = Vec::new();
        let mut open = async |role| {
            let token = CancellationToken::new();
            closed.push(token.clone());
            let to = (hosts.clone(), set);
            ManagedConnection::open(role, to, epochs.clone(), stop.clone(), token)
                .await
                .map_err(unavailable)
        };
        let (mut publishing, mut consuming) = (Vec::new(), Vec::new());
        for _ in 0..if hosts.are_several() { 2 } else { 1 } {
            publishing.push(open(Role::Publishing).await?);
            consuming.push(open(Role::Consuming).await?);
        }
        let of_partition = |partition| Publishers::start(&publishing, partition);
        let publishers: Vec<Publishers> = (0..set).map(of_partition).collect();
        join_all(publishers.iter().map(|one| one.opened(STEP_LIMIT))).await;
        let (known, partitions) = watch::channel(set);
        let first = publishing[0].clone();
        look_for_partitions(&first, set, &known).await;
        supervise::spawn_part("RabbitMQ partitions", {
            let stop = stop.clone();
            async move {
                let looking = async {
                    loop {
                        sleep(LOOK_FOR_PARTITIONS_EVERY).await;
                        look_for_partitions(&first, set, &known).await;
                    }
                };
                stop.run_until_cancelled(looking).await;
            }
        });
        Ok(Hub {
            publishers,
            consuming,
            epochs,
            partitions,
            stop,
            closed,
            _stop_when_dropped: stop_when_dropped,
        })
    }

    /// How many partitions are set.
    pub(super) fn set_partitions(&self) -> usize {
        self.publishers.len()
    }

    /// Who publishes to a partition: to one that is not set, and to anything else, those of the first.
    pub(super) fn publishers_to(&self, partition: usize) -> &Publishers {
        self.publishers.get(partition).unwrap_or(self.publishers())
    }

    /// Who publishes what belongs to no partition.
    pub(super) fn publishers(&self) -> &Publishers {
        &self.publishers[0]
    }

    /// Why nothing should be published to any partition now.
    pub(super) fn obstacle(&self) -> Option<String> {
        let mut obstacles = self.publishers.iter().map(Publishers::obstacle);
        let first = obstacles.next().flatten()?;
        obstacles.all(|other| other.is_some()).then_some(first)
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

/// Sees how many partitions there are, if the broker tells just now.
async fn look_for_partitions(
    connection: &ManagedConnection,
    set: usize,
    known: &watch::Sender<usize>,
) {
    let Ok(session) = connection.now() else {
        return;
    };
    let mut found = set;
    let looked = timeout(STEP_LIMIT, count_partitions(&session, &mut found)).await;
    // One whose leader stands still hides those behind it: what was found before is there still.
    if !matches!(looked, Ok(Ok(()))) {
        found = found.max(*known.borrow());
    }
    // Told also where nothing has changed: one that was removed and came back since the last look is read again.
    if known.send_replace(found) != found {
        tracing::info!(
            set,
            found,
            "partitions of an earlier QUEUE_PARTITIONS are read until their queues are removed"
        );
    }
}

/// Counts on from those that are set: a message without a body is published to each of the others until one comes back. A queue
/// that refuses it is there. (To declare a queue passively that is not there is an error, which the client logs as one.)
async fn count_partitions(session: &Session, count: &mut usize) -> Result<(), BrokerError> {
    let channel = session.channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let mandatory = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    while *count < PARTITIONS_MAX {
        let key = partitions::routing_key(Route::Persist, *count);
        let probe = properties(Uuid::now_v7(), PROBE).with_delivery_mode(2);
        let published = channel
            .basic_publish(EXCHANGE.into(), key.into(), mandatory, &[], probe)
            .await?
            .await?;
        let has_come_back = matches!(
            published,
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))
        );
        if has_come_back {
            break;
        }
        *count += 1;
    }
    channel.close(200, "looked".into()).await?;
    Ok(())
}
