//! Consuming: for each partition, and over each connection that there is for it, a channel and a task that keeps it
//! ([`ChannelReader`]), and one inbox for all.

use std::sync::Arc;

use async_trait::async_trait;
use common::{
    queue::{Consumer, Delivery, QueueError, QueueName, Receipt, Verdict},
    supervise,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    dead_letters,
    hub::Hub,
    partitions,
    reader::{ChannelReader, Source},
    request::PublishError,
};
use crate::inbox::Inbox;

/// The handle. When it is dropped the channels are closed, and the broker requeues what was not settled.
pub(super) struct RabbitConsumer {
    queue: QueueName,
    readers: Arc<ChannelReaders>,
    hub: Arc<Hub>,
}

/// Those of one consumer.
pub(super) struct ChannelReaders {
    queue: QueueName,
    /// How many deliveries of each partition are unsettled at most, over all connections together.
    of_partition: u16,
    all: Mutex<Vec<Arc<ChannelReader>>>,
    inbox: Arc<Inbox>,
    /// No more deliveries are wanted.
    closing: CancellationToken,
    /// Nobody is there any more to settle any.
    gone: CancellationToken,
}

impl ChannelReaders {
    /// Ends all, and returns when no more deliveries come.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        join_all(self.all().iter().map(|reader| reader.close())).await;
        self.inbox.close();
    }

    /// Waits until the broker has taken everything that was settled until now.
    pub(super) async fn flush(&self) {
        join_all(self.all().iter().map(|reader| reader.flush())).await;
    }

    fn all(&self) -> Vec<Arc<ChannelReader>> {
        self.all.lock().clone()
    }

    fn ack(&self, receipts: &[Receipt]) {
        for reader in &*self.all.lock() {
            reader.ack(receipts);
        }
    }

    fn hand_back(&self, receipts: &[Receipt]) {
        for reader in &*self.all.lock() {
            reader.hand_back(receipts);
        }
    }

    /// Reads each partition that is not read yet. Those that were removed meanwhile are not read any more.
    fn read(&self, hub: &Hub, partitions: usize) {
        let mut all = self.all.lock();
        if self.closing.is_cancelled() || self.gone.is_cancelled() {
            return;
        }
        // What was delivered by one that has ended comes again.
        all.retain(|reader| reader.is_reading());
        for partition in 0..partitions {
            let source = Source {
                queue: partitions::queue(self.queue, partition),
                is_left_over: partition >= hub.set_partitions(),
            };
            if !all.iter().any(|reader| reader.source() == source) {
                self.read_one(hub, source, &mut all);
            }
        }
    }

    fn read_one(&self, hub: &Hub, source: Source, all: &mut Vec<Arc<ChannelReader>>) {
        let mut left = self.of_partition;
        for (connection, connections) in hub.consuming.iter().zip((1..=hub.consuming.len()).rev()) {
            let share = u16::try_from(usize::from(left).div_ceil(connections)).unwrap_or(left);
            if share == 0 {
                break;
            }
            left -= share;
            let reader = ChannelReader::new(source, share, self.inbox.clone(), hub.epochs.clone());
            let (ended, of_task) = (self.gone.clone(), reader.clone());
            let task = reader.clone().run(connection.clone());
            supervise::spawn_part("RabbitMQ consumer", async move {
                ended.run_until_cancelled(task).await;
                // What was taken can be settled until then.
                ended.cancelled().await;
                of_task.end_channel().await;
            });
            all.push(reader);
        }
    }
}

impl RabbitConsumer {
    /// At most `prefetch` are unsettled, over all connections and partitions together, but for one of each at least, and for as
    /// many of a partition that is left over from an earlier setting.
    pub(super) fn start(
        hub: Arc<Hub>,
        queue: QueueName,
        prefetch: u16,
    ) -> (RabbitConsumer, Arc<ChannelReaders>) {
        let mut known = hub.partitions.clone();
        let partitions = *known.borrow_and_update();
        let of_partition = prefetch / u16::try_from(partitions).unwrap_or(u16::MAX);
        let readers = Arc::new(ChannelReaders {
            queue,
            of_partition: of_partition.max(1),
            all: Mutex::default(),
            inbox: Arc::default(),
            closing: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        readers.read(&hub, partitions);
        // Neither is kept by it: whoever drops the consumer ends it.
        let (all, connections) = (Arc::downgrade(&readers), Arc::downgrade(&hub));
        let gone = readers.gone.clone();
        supervise::spawn_part("RabbitMQ consumer's partitions", async move {
            while let Some(Ok(())) = gone.run_until_cancelled(known.changed()).await {
                let (Some(all), Some(hub)) = (all.upgrade(), connections.upgrade()) else {
                    return;
                };
                all.read(&hub, *known.borrow_and_update());
            }
        });
        let consumer = RabbitConsumer {
            queue,
            readers: readers.clone(),
            hub,
        };
        (consumer, readers)
    }

    /// Publishes the dead letter, and acks the delivery only when that is confirmed.
    async fn bury(&self, receipt: Receipt, reason: &str) -> Result<(), QueueError> {
        let readers = self.readers.all();
        let kept = readers.iter().find_map(|reader| reader.kept(receipt));
        let Some((properties, payload)) = kept else {
            return Ok(());
        };
        let queue = self.queue;
        let buried = self.hub.publishers().publish(
            dead_letters::target(queue),
            dead_letters::properties(&properties, queue, reason),
            payload,
        );
        match buried.await {
            Ok(()) => {
                self.readers.ack(&[receipt]);
                metrics::counter!("chinwag_queue_dead_letters_total", "queue" => queue.as_str())
                    .increment(1);
                Ok(())
            }
            Err(error) => {
                self.readers.hand_back(&[receipt]);
                if matches!(error, PublishError::Returned) {
                    tracing::error!(queue = queue.as_str(), "the dead-letter queue is missing");
                }
                Err(error.into())
            }
        }
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        // The tasks end the channels.
        self.readers.gone.cancel();
        self.readers.inbox.close();
        for reader in &self.readers.all() {
            reader.leave();
        }
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&self) -> Option<Delivery> {
        self.readers.inbox.next().await
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        match verdict {
            Verdict::Ack => self.readers.ack(&receipts),
            Verdict::HandBack => self.readers.hand_back(&receipts),
            Verdict::DeadLetter(reason) => {
                for receipt in receipts {
                    self.bury(receipt, &reason).await?;
                }
            }
        }
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}
