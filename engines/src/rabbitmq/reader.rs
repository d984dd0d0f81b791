//! Reading a queue over one connection: a channel of its own, that a task opens again whenever it ends, for whatever
//! reason: the connection, the channel, or the queue under it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{
    queue::{Delivery, Receipt},
    retry::RetryPolicy,
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties,
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
    group,
    headers::number,
    limits::{BrokerError, STEP_LIMIT, in_time},
    reading::ReadingChannel,
    request::PROBE,
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

/// What the consumer's handle and the task share.
pub(super) struct ChannelReader {
    source: Source,
    prefetch: u16,
    inbox: Arc<Inbox>,
    open_channel: Mutex<Option<OpenChannel>>,
    epochs: Arc<AtomicU64>,
    /// Someone asked for no more deliveries.
    closing: CancellationToken,
    /// None will come, and what was not taken is handed back.
    closed: CancellationToken,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The queue's name on the broker.
    pub(super) queue: &'static str,
    /// Whether it is of an earlier setting: then nobody declares it again, and when it is removed reading it is over.
    pub(super) is_left_over: bool,
}

/// One channel, from its opening until it ends.
struct OpenChannel {
    epoch: u64,
    session: Arc<Session>,
    channel: Arc<ReadingChannel>,
    unsettled: Unsettled<Kept>,
    /// The broker numbers what it hands out on a channel from 1 on.
    last_tag: u64,
    /// The last one to be dropped tells the broker to end the consumer, which can hang there, and the end of the
    /// channel behind it. So the channel ends first.
    _stream: lapin::Consumer,
}

impl OpenChannel {
    /// Ends it for certain: what is unsettled is then given to others.
    async fn end(self) {
        if self.channel.status().connected() {
            let closing = self.channel.close(200, "bye".into());
            // What does not end in time has ended its connection.
            let _ = self.session.ask("the end of a channel", closing).await;
        }
    }
}

/// What a dead letter needs of an unsettled delivery.
struct Kept {
    properties: BasicProperties,
    body: Bytes,
}

impl ChannelReader {
    pub(super) fn new(
        source: Source,
        prefetch: u16,
        inbox: Arc<Inbox>,
        epochs: Arc<AtomicU64>,
    ) -> Arc<ChannelReader> {
        Arc::new(ChannelReader {
            source,
            prefetch,
            inbox,
            open_channel: Mutex::new(None),
            epochs,
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        })
    }

    fn open_channel(&self) -> MutexGuard<'_, Option<OpenChannel>> {
        self.open_channel.lock()
    }

    pub(super) fn ack(&self, receipts: &[Receipt]) {
        self.settle(receipts, Settlement::Done);
    }

    pub(super) fn hand_back(&self, receipts: &[Receipt]) {
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
    pub(super) fn kept(&self, receipt: Receipt) -> Option<(BasicProperties, Bytes)> {
        let open_channel = self.open_channel();
        let open_channel = open_channel
            .as_ref()
            .filter(|open_channel| open_channel.epoch == receipt.epoch)?;
        let Kept { properties, body } = open_channel.unsettled.get(receipt.tag, receipt.part)?;
        let payload = group::split(properties, body.clone()).nth(receipt.part as usize)?;
        Some((group::part_alone(properties, &payload), payload))
    }

    /// Whether it reads still.
    pub(super) fn is_reading(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// What it reads.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// No more deliveries; returns when none will come, and what nobody took is handed back.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }

    /// Nobody waits for it any more.
    pub(super) fn leave(&self) {
        self.closed.cancel();
    }

    /// The channel that there is, if any, ends. What was fetched over it comes again; to pass it on would only do the
    /// work twice.
    pub(super) async fn end_channel(&self) {
        let open_channel = self.open_channel().take();
        if let Some(open_channel) = open_channel {
            self.inbox.take_of(open_channel.epoch);
            open_channel.end().await;
        }
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

    /// Reads until it is told to end, or the connection is closed for good.
    pub(super) async fn run(self: Arc<Self>, mut connection: ManagedConnection) {
        let mut back_off = REOPEN.back_off();
        let mut is_missing = false;
        while let Some(Some(session)) = self.closing.run_until_cancelled(connection.session()).await
        {
            let why = match self.consume(&session, is_missing).await {
                Ended::Closing => break,
                Ended::Lost { why, worked } => {
                    if worked {
                        back_off.reset();
                    }
                    why
                }
            };
            is_missing = matches!(why, BrokerError::Missing(_));
            self.end_channel().await;
            if is_missing && self.source.is_left_over {
                tracing::info!(queue = self.source.queue, "the queue was removed");
                break;
            }
            tracing::debug!(
                queue = self.source.queue,
                %why,
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
        let epoch = self
            .open_channel()
            .as_ref()
            .map(|open_channel| open_channel.epoch);
        let untaken = epoch.map(|epoch| self.inbox.take_of(epoch));
        let untaken = untaken.into_iter().flatten();
        let untaken: Vec<Receipt> = untaken.map(|delivery| delivery.receipt).collect();
        self.hand_back(&untaken);
        self.closed.cancel();
    }

    /// Opens a channel and passes on what comes, until it ends.
    async fn consume(&self, session: &Arc<Session>, is_missing: bool) -> Ended {
        let (channel, stream) = match self.open(session, is_missing).await {
            Ok(opened) => opened,
            Err(why) => return Ended::Lost { why, worked: false },
        };
        // Before the first delivery is taken: whoever takes one can settle it.
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        *self.open_channel() = Some(OpenChannel {
            epoch,
            session: session.clone(),
            channel: channel.clone(),
            unsettled: Unsettled::new(),
            last_tag: 0,
            _stream: stream.clone(),
        });
        let taken = AtomicU64::new(0);
        let ended = |why| Ended::Lost {
            why,
            worked: taken.load(Ordering::Relaxed) > 0,
        };
        tokio::select! {
            why = self.pass_on(epoch, stream.clone(), &taken) => ended(why),
            why = self.watch_served(session, &taken) => ended(why),
            () = session.lost() => ended(BrokerError::Away("the connection is lost".to_owned())),
            () = self.closing.cancelled() => {
                let cancelled = channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
                let _ = session.ask("the end of a consumer", cancelled).await;
                // After the broker has agreed, these are all.
                let mut left = stream.ready_chunks(STEP_MAX);
                while let Some(Some(chunk)) = left.next().now_or_never() {
                    self.take_in(epoch, chunk);
                }
                Ended::Closing
            }
        }
    }

    /// Passes on what comes. Returns why no more does.
    async fn pass_on(&self, epoch: u64, stream: lapin::Consumer, taken: &AtomicU64) -> BrokerError {
        let mut stream = stream.ready_chunks(STEP_MAX);
        while let Some(chunk) = stream.next().await {
            taken.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if let Some(error) = self.take_in(epoch, chunk) {
                return error;
            }
        }
        BrokerError::Missing("the broker has ended it: the queue is gone".to_owned())
    }

    /// Asks the broker about the queue whenever nothing has come for a while that could have. Returns when messages
    /// wait and are not delivered: then the broker believes that they were, or has lost track of the consumer. That it
    /// counts none proves nothing: it says so, and that no message waits, while the queue's leader stands still.
    async fn watch_served(&self, session: &Session, taken: &AtomicU64) -> BrokerError {
        let has_room =
            |open_channel: &OpenChannel| open_channel.unsettled.len() < usize::from(self.prefetch);
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // How many had been taken at the last check, if there was room for more, and at the last one at which messages
        // were waiting.
        let (mut idle_since, mut waiting_since) = (None, None);
        loop {
            check.tick().await;
            let now = taken.load(Ordering::Relaxed);
            if !self.open_channel().as_ref().is_some_and(has_room) {
                (idle_since, waiting_since) = (None, None);
                continue;
            }
            if idle_since.replace(now) != Some(now) {
                continue;
            }
            match self.messages_wait(session).await {
                Ok(true) if waiting_since == Some(now) => {
                    return BrokerError::Away(
                        "messages wait, and the broker does not deliver them".to_owned(),
                    );
                }
                Ok(true) => waiting_since = Some(now),
                Err(why @ BrokerError::Missing(_)) => return why,
                // What else there is to say about the connection its supervisor says.
                Ok(false) | Err(_) => waiting_since = None,
            }
        }
    }

    /// Whether the broker has messages for whoever is there to take them.
    async fn messages_wait(&self, session: &Session) -> Result<bool, BrokerError> {
        let channel = session.channel().await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let queue = self.source.queue.into();
        let asked = channel.queue_declare(queue, options, FieldTable::default());
        Ok(in_time(asked).await?.message_count() > 0)
    }

    async fn open(
        &self,
        session: &Session,
        is_missing: bool,
    ) -> Result<(Arc<ReadingChannel>, lapin::Consumer), BrokerError> {
        if is_missing {
            session.redeclare().await?;
        }
        let channel = session.reading_channel().await?;
        in_time(channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let (queue, tag) = (self.source.queue.into(), "".into());
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue, tag, options, FieldTable::default());
        let stream = session.ask("a consumer", consuming).await?;
        Ok((Arc::new(channel), stream))
    }

    /// Notes deliveries as unsettled and passes them on. Returns the error among them.
    fn take_in(
        &self,
        epoch: u64,
        chunk: Vec<lapin::Result<lapin::message::Delivery>>,
    ) -> Option<BrokerError> {
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
                        error = Some(why.into());
                        break;
                    }
                };
                let tag = delivery.delivery_tag;
                if tag != std::mem::replace(&mut open_channel.last_tag, tag) + 1 {
                    let session = &open_channel.session;
                    let why = session
                        .unread("the broker has handed out messages that nobody here has seen");
                    session.give_up(&*why);
                    error = Some(BrokerError::Away(why));
                    break;
                }
                let (properties, body) = (delivery.properties, Bytes::from(delivery.data));
                if is_probe(&properties) {
                    let acked = open_channel
                        .channel
                        .basic_ack(tag, BasicAckOptions::default());
                    let _ = acked.now_or_never();
                    continue;
                }
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

enum Ended {
    Closing,
    Lost {
        why: BrokerError,
        /// Whether anything came.
        worked: bool,
    },
}

/// Whether it is what a publisher began its channel with.
fn is_probe(properties: &BasicProperties) -> bool {
    let content_type = properties.content_type().as_ref();
    content_type.is_some_and(|content_type| content_type.as_str() == PROBE)
}

/// The broker counts how often it handed a message out before: until RabbitMQ 4.2 in `x-delivery-count`, from 4.3 on in
/// `x-acquired-count`, while the other then counts only what it takes for failures. A header that would be 0 is left
/// out.
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
