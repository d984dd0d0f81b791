//! What is asked of the publisher, by whom, how much of it there may be at a time, and why it was not done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{queue::QueueError, retry::RetryPolicy};
use lapin::BasicProperties;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::limits::unavailable;
use crate::letters::now_ms;

/// The most messages that wait for their confirm, and their bytes: 64 MiB. The broker confirms some 25,000 a second,
/// so that this is more than half a second's worth.
pub(super) const IN_FLIGHT_MAX: usize = 16_384;
pub(super) const BYTES_IN_FLIGHT_MAX: usize = 64 << 20;

/// When nothing has been confirmed for so long nothing more is begun, but for one message at a time.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How long one message may wait for its confirm: longer than a cluster needs to choose another leader for a queue,
/// some 5 to 9 s. Then it is confirmed, and whoever was told before that it may not be would have to ask again.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(10);

/// A broker that is alive and yet does not confirm one message for this long has lost the confirm: the connection is
/// given up.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(12);

/// The same for the message with which a channel to a cluster begins. What it has sent to a leader that stands still
/// may stay with that, and only a new channel finds the next leader. Longer each time, since a broker may also be slow.
pub(super) const FIRST_CONFIRM: RetryPolicy =
    RetryPolicy::new(Duration::from_secs(4), Duration::from_secs(30));

/// How exactly these are kept.
pub(super) const CONFIRM_CHECK_EVERY: Duration = Duration::from_millis(250);

/// The content type of the message, without a body, with which a channel to a cluster begins. Whoever takes it out of a
/// queue acks it, and nobody else hears of it.
pub(super) const PROBE: &str = "application/x-chinwag-probe";

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) exchange: &'static str,
    pub(super) routing_key: &'static str,
}

/// Why a message was not confirmed.
#[derive(Clone, Debug)]
pub(super) enum PublishError {
    /// Try again.
    Unavailable(String),
    /// No queue takes it.
    Returned,
}

impl From<PublishError> for QueueError {
    fn from(error: PublishError) -> QueueError {
        let why = match error {
            PublishError::Unavailable(why) => why,
            PublishError::Returned => "there is no queue for it".to_owned(),
        };
        unavailable(why)
    }
}

pub(super) struct Gauges {
    /// Whether there is a confirm channel that can be used.
    pub(super) open: AtomicBool,
    pub(super) changed: Notify,
    /// Whether confirms are overdue, and nothing has been confirmed since.
    pub(super) stalled: AtomicBool,
    pub(super) messages: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    /// What is told of them.
    unconfirmed: metrics::Gauge,
}

impl Default for Gauges {
    fn default() -> Gauges {
        Gauges {
            open: AtomicBool::default(),
            changed: Notify::default(),
            stalled: AtomicBool::default(),
            messages: AtomicUsize::default(),
            bytes: AtomicUsize::default(),
            unconfirmed: metrics::gauge!("chinwag_queue_unconfirmed_messages"),
        }
    }
}

/// A permit to be among those in flight; free again when dropped.
struct InFlightPermit {
    gauges: Arc<Gauges>,
    bytes: usize,
}

impl InFlightPermit {
    fn take(gauges: &Arc<Gauges>, bytes: usize) -> InFlightPermit {
        gauges.messages.fetch_add(1, Ordering::Relaxed);
        gauges.bytes.fetch_add(bytes, Ordering::Relaxed);
        gauges.unconfirmed.increment(1.0);
        InFlightPermit {
            gauges: gauges.clone(),
            bytes,
        }
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.gauges.messages.fetch_sub(1, Ordering::Relaxed);
        self.gauges.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gauges.unconfirmed.decrement(1.0);
    }
}

pub(super) struct Request {
    pub(super) batching: Batching,
    pub(super) payload: Bytes,
    pub(super) caller: Caller,
}

pub(super) enum Batching {
    Alone(Target, Box<BasicProperties>),
    /// Together with others of the same target, if there are any. The id is the message's.
    Grouped(Target, Uuid),
}

/// Someone who waits for a confirm.
pub(super) struct Caller {
    pub(super) since: Instant,
    pub(super) done: Option<oneshot::Sender<Result<(), PublishError>>>,
    _permit: InFlightPermit,
}

impl Caller {
    /// Takes a permit for so many bytes, and keeps it until the answer has been given.
    pub(super) fn new(
        done: oneshot::Sender<Result<(), PublishError>>,
        gauges: &Arc<Gauges>,
        bytes: usize,
    ) -> Caller {
        Caller {
            since: Instant::now(),
            done: Some(done),
            _permit: InFlightPermit::take(gauges, bytes),
        }
    }

    pub(super) fn answer(&mut self, answer: Result<(), PublishError>) {
        if let Some(done) = self.done.take() {
            // It may be that nobody waits for it any more.
            drop(done.send(answer));
        }
    }
}

/// The properties of a new message.
pub(super) fn properties(id: Uuid, content_type: &str) -> BasicProperties {
    BasicProperties::default()
        .with_message_id(id.to_string().into())
        .with_content_type(content_type.into())
        .with_timestamp(now_ms() / 1_000)
        .with_app_id("chinwag".into())
}
