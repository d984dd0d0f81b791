//! Consuming: over each connection that there is for it, a channel and a task that keeps it ([`ChannelReader`]), and
//! one inbox for all.

use std::sync::Arc;

use async_trait::async_trait;
use common::{
    queue::{Consumer, Delivery, QueueError, QueueName, Receipt, Verdict},
    supervise,
};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{dead_letters, hub::Hub, reader::ChannelReader, request::PublishError};
use crate::inbox::Inbox;

/// The handle. When it is dropped the channels are closed, and the broker requeues what was not settled.
pub(super) struct RabbitConsumer {
    queue: QueueName,
    readers: Arc<ChannelReaders>,
    hub: Arc<Hub>,
    gone: CancellationToken,
}

/// Those of one consumer.
pub(super) struct ChannelReaders {
    all: Vec<Arc<ChannelReader>>,
    inbox: Arc<Inbox>,
}

impl ChannelReaders {
    /// Ends all, and returns when no more deliveries come.
    pub(super) async fn close(&self) {
        join_all(self.all.iter().map(|reader| reader.close())).await;
        self.inbox.close();
    }

    /// Waits until the broker has taken everything that was settled until now.
    pub(super) async fn flush(&self) {
        join_all(self.all.iter().map(|reader| reader.flush())).await;
    }

    fn ack(&self, receipts: &[Receipt]) {
        for reader in &self.all {
            reader.ack(receipts);
        }
    }

    fn hand_back(&self, receipts: &[Receipt]) {
        for reader in &self.all {
            reader.hand_back(receipts);
        }
    }
}

impl RabbitConsumer {
    /// At most `prefetch` are unsettled, over all connections together.
    pub(super) fn start(
        hub: Arc<Hub>,
        queue: QueueName,
        prefetch: u16,
    ) -> (RabbitConsumer, Arc<ChannelReaders>) {
        let inbox = Arc::new(Inbox::default());
        let gone = CancellationToken::new();
        let mut readers = Vec::new();
        let mut left = prefetch.max(1);
        for (connection, connections) in hub.consuming.iter().zip((1..=hub.consuming.len()).rev()) {
            let share = u16::try_from(usize::from(left).div_ceil(connections)).unwrap_or(left);
            if share == 0 {
                break;
            }
            left -= share;
            let reader = ChannelReader::new(queue, share, inbox.clone(), hub.epochs.clone());
            let (ended, of_task) = (gone.clone(), reader.clone());
            let task = reader.clone().run(connection.clone());
            supervise::spawn_part("RabbitMQ consumer", async move {
                ended.run_until_cancelled(task).await;
                // What was taken can be settled until then.
                ended.cancelled().await;
                of_task.end_channel().await;
            });
            readers.push(reader);
        }
        let readers = Arc::new(ChannelReaders {
            all: readers,
            inbox,
        });
        let consumer = RabbitConsumer {
            queue,
            readers: readers.clone(),
            hub,
            gone,
        };
        (consumer, readers)
    }

    /// Publishes the dead letter, and acks the delivery only when that is confirmed.
    async fn bury(&self, receipt: Receipt, reason: &str) -> Result<(), QueueError> {
        let kept = self
            .readers
            .all
            .iter()
            .find_map(|reader| reader.kept(receipt));
        let Some((properties, payload)) = kept else {
            return Ok(());
        };
        let queue = self.queue;
        let buried = self.hub.publishers.publish(
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
        self.gone.cancel();
        self.readers.inbox.close();
        for reader in &self.readers.all {
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
