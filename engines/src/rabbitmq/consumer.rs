//! Consuming: each consumer has a channel of its own, and a task that opens it again whenever it ends, for whatever
//! reason: the connection, the channel, or the queue under it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    queue::{Consumer, Delivery, QueueError, QueueName, Receipt, Verdict},
    retry::RetryPolicy,
    supervise,
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions,
        BasicRejectOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{ManagedConnection, Session},
    dead_letters, group,
    headers::number,
    hub::Hub,
    limits::{BrokerError, STEP_LIMIT},
    request::PublishError,
    unsettled::{Frame, Settlement, Unsettled},
};
use crate::inbox::Inbox;

/// Between two attempts at the channel.
const REOPEN: RetryPolicy = RetryPolicy::new(Duration::from_millis(50), Duration::from_secs(5));

/// How often an idle consumer asks whether the broker still serves it. RabbitMQ 3.10 can lose track of a consumer
/// without a word, for one when its queue is deleted and declared again at once.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The most deliveries that are passed on in one step.
const STEP_MAX: usize = 128;

/// The handle. When it is dropped the channel is closed, and the broker requeues what was not settled.
pub(super) struct RabbitConsumer {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    gone: CancellationToken,
}

/// What the handle and the task share.
pub(super) struct Shared {
    queue: QueueName,
    prefetch: u16,
    inbox: Inbox,
    open_channel: Mutex<Option<OpenChannel>>,
    epochs: Arc<AtomicU64>,
    /// Someone asked for no more deliveries.
    closing: CancellationToken,
    /// None will come, and what was not taken is handed back.
    closed: CancellationToken,
}

/// One channel, from its opening until it ends.
struct OpenChannel {
    epoch: u64,
    channel: Channel,
    unsettled: Unsettled<Kept>,
}

/// What a dead letter needs of an unsettled delivery.
struct Kept {
    properties: BasicProperties,
    body: Bytes,
}

impl RabbitConsumer {
    pub(super) fn start(
        hub: Arc<Hub>,
        queue: QueueName,
        prefetch: u16,
    ) -> (RabbitConsumer, Arc<Shared>) {
        let shared = Arc::new(Shared {
            queue,
            prefetch: prefetch.max(1),
            inbox: Inbox::default(),
            open_channel: Mutex::new(None),
            epochs: hub.epochs.clone(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let gone = CancellationToken::new();
        let task = Arc::clone(&shared).run(hub.consuming.clone());
        let ended = gone.clone();
        supervise::spawn_part("RabbitMQ consumer", async move {
            ended.run_until_cancelled(task).await;
        });
        (
            RabbitConsumer {
                shared: shared.clone(),
                hub,
                gone,
            },
            shared,
        )
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        self.gone.cancel();
        self.shared.inbox.close();
        // The channel closes with its last handle.
        self.shared.open_channel().take();
        self.shared.closed.cancel();
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&self) -> Option<Delivery> {
        self.shared.inbox.next().await
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        match verdict {
            Verdict::Ack => self.shared.ack(&receipts),
            Verdict::HandBack => self.shared.hand_back(&receipts),
            Verdict::DeadLetter(reason) => {
                for receipt in receipts {
                    self.bury(receipt, &reason).await?;
                }
            }
        }
        Ok(())
    }

    async fn close(&self) {
        self.shared.close().await;
    }
}

impl RabbitConsumer {
    /// Publishes the dead letter, and acks the delivery only when that is confirmed.
    async fn bury(&self, receipt: Receipt, reason: &str) -> Result<(), QueueError> {
        let Some((properties, payload)) = self.shared.kept(receipt) else {
            return Ok(());
        };
        let queue = self.shared.queue;
        let buried = self.hub.publisher.publish(
            dead_letters::target(queue),
            dead_letters::properties(&properties, queue, reason),
            payload,
        );
        match buried.await {
            Ok(()) => {
                self.shared.ack(&[receipt]);
                metrics::counter!("chinwag_queue_dead_letters_total", "queue" => queue.as_str())
                    .increment(1);
                Ok(())
            }
            Err(error) => {
                self.shared.hand_back(&[receipt]);
                if matches!(error, PublishError::Returned) {
                    tracing::error!(queue = queue.as_str(), "the dead-letter queue is missing");
                }
                Err(error.into())
            }
        }
    }
}

impl Shared {
    fn open_channel(&self) -> MutexGuard<'_, Option<OpenChannel>> {
        self.open_channel.lock()
    }

    fn ack(&self, receipts: &[Receipt]) {
        self.settle(receipts, Settlement::Done);
    }

    fn hand_back(&self, receipts: &[Receipt]) {
        self.settle(receipts, Settlement::Back);
    }

    /// Sends the frames while it holds the lock: in another order, the broker would be told of tags that are settled.
    fn settle(&self, receipts: &[Receipt], settlement: Settlement) {
        let mut open_channel = self.open_channel();
        let Some(open_channel) = open_channel.as_mut() else {
            return;
        };
        let epoch = open_channel.epoch;
        let parts = receipts
            .iter()
            .filter(|receipt| receipt.epoch == epoch)
            .map(|receipt| (receipt.tag, receipt.part));
        let channel = &open_channel.channel;
        for Frame {
            tag,
            settlement,
            multiple,
        } in open_channel.unsettled.settle(parts, settlement)
        {
            // Polled once, it is queued for the socket. To wait until it is written would tell nothing: it is not
            // confirmed.
            let _ = match settlement {
                Settlement::Done => channel
                    .basic_ack(tag, BasicAckOptions { multiple })
                    .now_or_never(),
                Settlement::Back => channel
                    .basic_reject(tag, BasicRejectOptions { requeue: true })
                    .now_or_never(),
            };
        }
    }

    /// An unsettled part, as it would be published alone.
    fn kept(&self, receipt: Receipt) -> Option<(BasicProperties, Bytes)> {
        let open_channel = self.open_channel();
        let open_channel = open_channel
            .as_ref()
            .filter(|open_channel| open_channel.epoch == receipt.epoch)?;
        let Kept { properties, body } = open_channel.unsettled.get(receipt.tag, receipt.part)?;
        let payload = group::split(properties, body.clone()).nth(receipt.part as usize)?;
        Some((group::part_alone(properties, &payload), payload))
    }

    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }

    /// Waits until the broker has taken everything that was settled until now.
    pub(super) async fn flush(&self) {
        let channel = self
            .open_channel()
            .as_ref()
            .map(|open_channel| open_channel.channel.clone());
        if let Some(channel) = channel {
            // Acks are not answered; this is, and what is sent on one channel is done in order.
            let asked = channel.basic_qos(self.prefetch, BasicQosOptions::default());
            let _ = timeout(STEP_LIMIT, asked).await;
        }
    }

    async fn run(self: Arc<Self>, mut connection: ManagedConnection) {
        let mut back_off = REOPEN.back_off();
        let mut tried = None;
        while let Some(Some(session)) = self.closing.run_until_cancelled(connection.session()).await
        {
            let again = tried == Some(session.epoch);
            tried = Some(session.epoch);
            let why = match self.consume(&session, again).await {
                Ended::Closing => break,
                Ended::Lost { why, worked } => {
                    if worked {
                        back_off.reset();
                    }
                    why
                }
            };
            // What was fetched over the lost channel comes again; to pass it on would only do the work twice.
            self.open_channel().take();
            self.inbox.clear();
            tracing::debug!(
                queue = self.queue.as_str(),
                why,
                "consuming has ended; it begins again"
            );
            if self
                .closing
                .run_until_cancelled(back_off.wait())
                .await
                .is_none()
            {
                break;
            }
        }
        let untaken: Vec<Receipt> = self
            .inbox
            .close()
            .into_iter()
            .map(|delivery| delivery.receipt)
            .collect();
        self.hand_back(&untaken);
        self.closed.cancel();
    }

    /// Opens a channel and passes on what comes, until it ends.
    async fn consume(&self, session: &Session, again: bool) -> Ended {
        let opened = timeout(STEP_LIMIT, self.open(session, again)).await;
        let (channel, stream) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                return Ended::Lost {
                    why: error.to_string(),
                    worked: false,
                };
            }
            Err(_) => {
                return Ended::Lost {
                    why: BrokerError::no_answer().to_string(),
                    worked: false,
                };
            }
        };
        let tag = stream.tag();
        // Before the first delivery is taken: whoever takes one can settle it.
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        *self.open_channel() = Some(OpenChannel {
            epoch,
            channel: channel.clone(),
            unsettled: Unsettled::new(),
        });
        let mut stream = stream.ready_chunks(STEP_MAX);
        let mut worked = false;
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = Idle::default();
        loop {
            let chunk = tokio::select! {
                chunk = stream.next() => chunk,
                _ = check.tick() => {
                    match self.check_served(session, &mut idle).await {
                        Ok(()) => continue,
                        Err(error) => return Ended::Lost { why: error.to_string(), worked },
                    }
                }
                () = session.lost() => return Ended::Lost { why: "the connection is lost".to_owned(), worked },
                () = self.closing.cancelled() => {
                    let cancelled = channel.basic_cancel(tag, BasicCancelOptions::default());
                    let _ = timeout(STEP_LIMIT, cancelled).await;
                    // After the broker has agreed, these are all.
                    while let Some(Some(chunk)) = stream.next().now_or_never() {
                        self.take_in(epoch, chunk);
                    }
                    return Ended::Closing;
                }
            };
            // The broker ended it: the queue is gone.
            let Some(chunk) = chunk else {
                return Ended::Lost {
                    why: "the broker has ended it".to_owned(),
                    worked,
                };
            };
            worked = true;
            idle = Idle::default();
            if let Some(error) = self.take_in(epoch, chunk) {
                return Ended::Lost {
                    why: error.to_string(),
                    worked,
                };
            }
        }
    }

    /// Asks the broker about the queue if nothing has come for a while that could have.
    async fn check_served(&self, session: &Session, idle: &mut Idle) -> Result<(), BrokerError> {
        let has_room =
            |open_channel: &OpenChannel| open_channel.unsettled.len() < usize::from(self.prefetch);
        if !self.open_channel().as_ref().is_some_and(has_room) {
            *idle = Idle::default();
            return Ok(());
        }
        if !std::mem::replace(&mut idle.since_last_check, true) {
            return Ok(());
        }
        let channel = session.channel().await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let asked =
            channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default());
        let queue = match timeout(STEP_LIMIT, asked).await {
            Ok(answer) => answer?,
            // The supervisor of the connection decides what that means.
            Err(_) => return Ok(()),
        };
        if queue.consumer_count() == 0 {
            return Err(BrokerError::Away(
                "the broker does not know the consumer any more".to_owned(),
            ));
        }
        let messages_wait = queue.message_count() > 0;
        if std::mem::replace(&mut idle.messages_waited, messages_wait) && messages_wait {
            return Err(BrokerError::Away(
                "messages wait, and the broker does not deliver them".to_owned(),
            ));
        }
        Ok(())
    }

    async fn open(
        &self,
        session: &Session,
        again: bool,
    ) -> Result<(Channel, lapin::Consumer), BrokerError> {
        if again {
            // On the same connection, so it was not that: something may be missing.
            session.redeclare().await?;
        }
        let channel = session.channel().await?;
        let opened = async {
            channel
                .basic_qos(self.prefetch, BasicQosOptions::default())
                .await?;
            let (queue, tag) = (self.queue.as_str().into(), "".into());
            channel
                .basic_consume(
                    queue,
                    tag,
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await
        };
        let consumer = opened.await?;
        Ok((channel, consumer))
    }

    /// Notes deliveries as unsettled and passes them on. Returns the error among them.
    fn take_in(
        &self,
        epoch: u64,
        chunk: Vec<lapin::Result<lapin::message::Delivery>>,
    ) -> Option<lapin::Error> {
        let mut deliveries = Vec::with_capacity(chunk.len());
        let mut error = None;
        {
            let mut open_channel = self.open_channel();
            // The handle was dropped meanwhile.
            let open_channel = open_channel
                .as_mut()
                .filter(|open_channel| open_channel.epoch == epoch)?;
            for delivery in chunk {
                let delivery = match delivery {
                    Ok(delivery) => delivery,
                    Err(why) => {
                        error = Some(why);
                        break;
                    }
                };
                let tag = delivery.delivery_tag;
                let (properties, body) = (delivery.properties, Bytes::from(delivery.data));
                let attempt = attempt(&properties);
                let before = deliveries.len();
                for (part, payload) in (0..).zip(group::split(&properties, body.clone())) {
                    let receipt = Receipt { epoch, tag, part };
                    deliveries.push(Delivery {
                        payload,
                        attempt,
                        receipt,
                    });
                }
                let parts = deliveries.len() - before;
                open_channel
                    .unsettled
                    .add(tag, parts, Kept { properties, body });
            }
        }
        // Refused only when closed, and then the broker requeues them with the channel.
        self.inbox.put(deliveries);
        error
    }
}

/// What an idle consumer has seen since its last delivery.
#[derive(Default)]
struct Idle {
    /// A whole time between two checks has passed, with room for more.
    since_last_check: bool,
    /// And at the last check messages were waiting.
    messages_waited: bool,
}

enum Ended {
    Closing,
    Lost {
        why: String,
        /// Whether anything came.
        worked: bool,
    },
}

/// The broker counts how often it handed a message out before: until RabbitMQ 4.2 in `x-delivery-count`, from 4.3 on in
/// `x-acquired-count`, while the other then counts only what it takes for failures. A header that would be 0 is left out.
fn attempt(properties: &BasicProperties) -> u32 {
    let headers = properties.headers().as_ref();
    let count = |name| number(headers?.inner().get(name)?);
    let before = count("x-delivery-count").max(count("x-acquired-count"));
    u32::try_from(before.unwrap_or(0)).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::{super::headers::table, *};

    #[test]
    fn an_attempt_is_counted_by_every_version_of_the_broker() {
        let long = AMQPValue::LongLongInt;
        let header = |name| table([(name, long(3))]);
        let both = |failed, handed_out| {
            table([
                ("x-delivery-count", long(failed)),
                ("x-acquired-count", long(handed_out)),
            ])
        };
        for (what, headers, wanted) in [
            ("the first delivery", FieldTable::default(), 1),
            ("until 4.2", header("x-delivery-count"), 4),
            ("from 4.3 on, none a failure", header("x-acquired-count"), 4),
            ("from 4.3 on, one a failure", both(1, 5), 6),
            ("whatever this may be", both(5, 1), 6),
            ("nonsense", both(-1, i64::MAX), u32::MAX),
        ] {
            let properties = BasicProperties::default().with_headers(headers);
            assert_eq!(attempt(&properties), wanted, "{what}");
        }
        assert_eq!(attempt(&BasicProperties::default()), 1, "no headers at all");
    }
}
