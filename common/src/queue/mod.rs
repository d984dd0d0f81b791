//! The queue seam: what must not be lost on its way to the database or to the bot.
//!
//! Two sides in the crate `engines`: RabbitMQ, shared by any number of processes, and a table in the data folder. Both
//! pass the suite in `common/suites/src/queue/`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::retry::{Retry, Retryable};

/// The queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueName {
    /// What the persisters write to the database.
    Persist,
    /// What the bot workers answer.
    BotRequests,
}

impl QueueName {
    /// Both.
    pub const ALL: [QueueName; 2] = [QueueName::Persist, QueueName::BotRequests];

    /// Its name on the broker. Its dead-letter queue has `.dead` behind it.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueName::Persist => "persist",
            QueueName::BotRequests => "bot.requests",
        }
    }
}

/// Which queues a message goes to; on the broker, a routing key of the exchange `chat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To `persist`.
    Persist,
    /// To `persist` and to `bot.requests`.
    PersistAndAsk,
}

impl Route {
    /// The queues it leads to.
    pub fn queues(self) -> &'static [QueueName] {
        match self {
            Route::Persist => &[QueueName::Persist],
            Route::PersistAndAsk => &[QueueName::Persist, QueueName::BotRequests],
        }
    }
}

/// How often one message may come again: after one delivery more than this without being settled it becomes a dead
/// letter. High, because every restart of a consumer or of the broker counts as well; it is there for the payload that
/// kills whoever takes it.
pub const DELIVERY_LIMIT: u32 = 50;

/// At least once: what was published and confirmed is delivered until it is settled.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Puts a payload into every queue of the route, there into this partition, and returns when it is on disk in each of them. One attempt, with
    /// a time limit; after [`QueueError::Unavailable`] it may be there or not, so consumers are idempotent. `id` names
    /// the message for operators.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: try again. [`QueueError::Unroutable`]: the topology is not as it should be.
    async fn publish(
        &self,
        route: Route,
        partition: usize,
        id: Uuid,
        payload: Bytes,
    ) -> Result<(), QueueError>;

    /// Into how many partitions each queue is split, or was: consumers read all of them, and while there are more than are set
    /// nothing new comes into the last ones. Each keeps its own order.
    fn partitions(&self) -> usize {
        1
    }

    /// The partition that a room's messages go to.
    fn partition_of(&self, room: &str) -> usize {
        let _ = room;
        0
    }

    /// Starts taking from a queue, at most `prefetch` unsettled at a time. It outlives every break of the connection;
    /// it ends when the last handle is dropped or [`Consumer::close`] is called. On RabbitMQ, what travels together
    /// counts as one: of [`Route::Persist`], up to 64 payloads or 32 KiB.
    ///
    /// # Errors
    /// None while the engine is away: deliveries begin when it is back.
    async fn consume(&self, queue: QueueName, prefetch: u16) -> Arc<dyn Consumer>;

    /// The dead letters of all queues, for an operator.
    fn dead_letters(&self) -> Arc<dyn DeadLetters>;

    /// Whether a message published now has a fair chance of being confirmed: connected, not blocked.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] with the time after which to try again. Answers at once, from what is known.
    fn ready(&self) -> Result<(), QueueError>;

    /// The same of one published to this partition.
    ///
    /// # Errors
    /// As [`Queue::ready`].
    fn ready_in(&self, partition: usize) -> Result<(), QueueError> {
        let _ = partition;
        self.ready()
    }

    /// Whether the engine answers within its time limit.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if not.
    async fn ping(&self) -> Result<(), QueueError>;

    /// Clears what the engine's files still hold of what was settled, as far as that is in this process's hand: a broker's files
    /// are its own. Costs nothing if nothing was settled since.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if it could not be done just now.
    async fn clear_remains(&self) -> Result<(), QueueError> {
        Ok(())
    }

    /// An orderly end: ends all consumers, and returns when the engine has what was settled. That does not come again,
    /// unless it travelled with what was not settled. Everything after it is refused.
    async fn close(&self);
}

/// One reader of a queue. Its methods may be called from many tasks.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// The next delivery, in the queue's order; waits for one. `None` after [`Consumer::close`]. Safe to cancel.
    async fn next(&self) -> Option<Delivery>;

    /// Settles deliveries, all in the same way. What was delivered over a connection that is gone is passed over: the
    /// engine delivers it again.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if it could not be noted, or a dead letter could not be kept; the delivery then comes
    /// again.
    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError>;

    /// Takes no more, and hands back what was fetched and not yet taken by [`Consumer::next`]. Deliveries that were taken
    /// can still be settled, for as long as the consumer is held.
    async fn close(&self);
}

/// One payload, delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What was published.
    pub payload: Bytes,
    /// 1 for the first delivery. Counts every time it was handed out, also by a broken connection or to a process that
    /// died; it may count what was fetched and not looked at.
    pub attempt: u32,
    /// To settle it by.
    pub receipt: Receipt,
}

/// Names one delivery to the consumer it came from. Good for one settling, on the connection it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Which connection (or opening of the data folder) it came by.
    pub epoch: u64,
    /// Which delivery on it.
    pub tag: u64,
    /// Which part of it, where several payloads travelled together.
    pub part: u32,
}

impl Receipt {
    /// The receipt of a delivery `tag` on a connection `epoch` that is no part of another.
    pub fn new(epoch: u64, tag: u64) -> Receipt {
        Receipt {
            epoch,
            tag,
            part: 0,
        }
    }
}

/// What to do with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done: forget it.
    Ack,
    /// Deliver it again, to anyone; on RabbitMQ, when all that travelled with it is settled, and all of that again.
    HandBack,
    /// It can never be done: keep it for an operator, with the reason.
    DeadLetter(String),
}

/// What an operator can do with dead letters. Nothing here is lost by looking. On the broker, what one operator looks at
/// is out of another's sight for that moment.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// The first `limit` dead letters of a queue, oldest first, left where they are.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the engine is away.
    async fn list(&self, queue: QueueName, limit: usize) -> Result<Vec<DeadLetter>, QueueError>;

    /// Puts those with these ids (all, if empty) back into the queue they came from, confirmed, and then forgets them here.
    /// Returns how many.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the engine is away; what was not put back is still there.
    async fn replay(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError>;

    /// Forgets those with these ids (all, if empty). Returns how many.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the engine is away.
    async fn discard(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError>;

    /// How many dead letters a queue has, without looking at them; what somebody else looks at just now may be missing in it.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the engine is away.
    async fn count(&self, queue: QueueName) -> Result<usize, QueueError>;

    /// Shows each dead letter of a queue to somebody who may have it replaced, or forgotten. What is replaced keeps its id, its
    /// reason and its time, and nothing is left of what it said; it may come last. Returns how many were not left as they are.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the engine is away; what was done by then is done.
    async fn revise(&self, queue: QueueName, reviser: &dyn Reviser) -> Result<usize, QueueError>;
}

/// Who decides what becomes of dead letters.
#[async_trait]
pub trait Reviser: Send + Sync {
    /// What is to become of this one.
    async fn revise(&self, letter: &DeadLetter) -> Revision;
}

/// What is to become of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It stays as it is.
    Leave,
    /// It says this instead.
    Replace(Bytes),
    /// It goes.
    Forget,
}

/// What could not be done.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The id it was published under.
    pub id: Uuid,
    /// The queue it was in.
    pub queue: QueueName,
    /// Why it was given up.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub died_at_ms: u64,
    /// What was published.
    pub payload: Bytes,
}

/// Why the queue could not do it.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The engine is away, blocked or full, or did not confirm in time.
    #[error("the queue is unavailable: {why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// When another attempt makes sense.
        retry_after: Duration,
    },
    /// The exchange led it to no queue: the topology is not as every service declares it.
    #[error("no queue takes a message of route {0:?}")]
    Unroutable(Route),
}

/// What is missing on the broker is declared again, so both pass.
impl Retryable for QueueError {
    fn retry(&self) -> Retry {
        match self {
            QueueError::Unavailable { .. } | QueueError::Unroutable(_) => Retry::Again,
        }
    }
}
