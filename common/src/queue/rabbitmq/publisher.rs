//! Publishing: many callers, one confirm channel, one task that feeds it.
//!
//! One task, because the client library numbers a message in one step and queues its frames in another: two that publish
//! on the same channel at the same time can be confirmed for each other. It polls the confirms itself, so that a
//! returned message is found for exactly the publish it belongs to: see `docs/decisions/our-own-amqp-supervisor.md`.
//! Under load what may travel together leaves as one message: see `docs/decisions/grouped-publishing.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{BasicProperties, Channel, options::ConfirmSelectOptions};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::{
    RETRY_AFTER, STEP_LIMIT,
    connection::{Line, Live},
    flight::Flight,
};
use crate::{queue::QueueError, supervise};

/// The most messages that wait for their confirm, and their bytes: 64 MiB. The broker confirms some 25,000 a second,
/// so that this is more than half a second's worth.
pub(super) const IN_FLIGHT_MAX: usize = 16_384;
pub(super) const BYTES_IN_FLIGHT_MAX: usize = 64 << 20;

/// How long one message may wait for its confirm.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// A broker that is alive and yet confirms nothing for this long has lost the confirm: the connection is given up.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// How exactly the two are kept.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) exchange: &'static str,
    pub(super) routing_key: &'static str,
}

/// Why a message was not confirmed.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Try again.
    Unavailable(String),
    /// No queue takes it.
    Returned,
}

impl From<Refusal> for QueueError {
    fn from(refusal: Refusal) -> QueueError {
        let why = match refusal {
            Refusal::Unavailable(why) => why,
            Refusal::Returned => "there is no queue for it".to_owned(),
        };
        QueueError::Unavailable {
            why,
            retry_after: RETRY_AFTER,
        }
    }
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Publisher {
    requests: mpsc::UnboundedSender<Request>,
    line: Line,
    gauges: Arc<Gauges>,
}

#[derive(Default)]
pub(super) struct Gauges {
    /// Whether there is a confirm channel.
    pub(super) open: AtomicBool,
    changed: Notify,
    /// Whether a confirm is overdue.
    pub(super) overdue: AtomicBool,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place among those in flight; free again when dropped.
struct Place {
    gauges: Arc<Gauges>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauges.messages.fetch_sub(1, Ordering::Relaxed);
        self.gauges.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub(super) struct Request {
    pub(super) manner: Manner,
    pub(super) payload: Bytes,
    pub(super) caller: Caller,
}

pub(super) enum Manner {
    Alone(Target, Box<BasicProperties>),
    /// Together with others of the same target, if there are any. The id is the message's.
    InCompany(Target, Uuid),
}

/// Someone who waits for a confirm.
pub(super) struct Caller {
    pub(super) since: Instant,
    pub(super) done: Option<oneshot::Sender<Result<(), Refusal>>>,
    _place: Place,
}

impl Caller {
    pub(super) fn answer(&mut self, answer: Result<(), Refusal>) {
        if let Some(done) = self.done.take() {
            // Nobody may be left to hear it.
            drop(done.send(answer));
        }
    }
}

impl Publisher {
    /// Starts the task; it ends with the line.
    pub(super) fn start(line: Line) -> Publisher {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gauges = Arc::new(Gauges::default());
        supervise::spawn_part(
            "RabbitMQ publisher",
            feed(receiver, line.clone(), gauges.clone()),
        );
        Publisher {
            requests,
            line,
            gauges,
        }
    }

    /// Until the first channel is open, or the time is up.
    pub(super) async fn opened(&self, at_most: Duration) {
        let opened = async {
            while !self.gauges.open.load(Ordering::Acquire) {
                self.gauges.changed.notified().await;
            }
        };
        let _ = timeout(at_most, opened).await;
    }

    /// Why nothing should be published now.
    pub(super) fn obstacle(&self) -> Option<String> {
        let gauges = &self.gauges;
        match self.line.now() {
            Err(why) => return Some(why),
            Ok(live) if live.is_blocked() => {
                return Some("RabbitMQ has run out of memory or disk".to_owned());
            }
            Ok(_) => {}
        }
        if !gauges.open.load(Ordering::Acquire) {
            Some("the channel is being opened".to_owned())
        } else if gauges.overdue.load(Ordering::Acquire) {
            Some(format!(
                "RabbitMQ has confirmed nothing for {} s",
                CONFIRM_LIMIT.as_secs()
            ))
        } else {
            let (messages, bytes) = (
                gauges.messages.load(Ordering::Relaxed),
                gauges.bytes.load(Ordering::Relaxed),
            );
            let full = messages >= IN_FLIGHT_MAX || bytes >= BYTES_IN_FLIGHT_MAX;
            full.then(|| format!("{messages} messages of {bytes} bytes wait for their confirm"))
        }
    }

    /// Publishes, persistent and mandatory, and returns when it is confirmed.
    pub(super) async fn publish(
        &self,
        target: Target,
        properties: BasicProperties,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        self.ask(Manner::Alone(target, Box::new(properties)), payload)
            .await
    }

    /// The same, under load as a part of one message with others that are published in this way. There is one target
    /// for all of them.
    pub(super) async fn publish_in_company(
        &self,
        target: Target,
        id: Uuid,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        self.ask(Manner::InCompany(target, id), payload).await
    }

    async fn ask(&self, manner: Manner, payload: Bytes) -> Result<(), Refusal> {
        if let Some(why) = self.obstacle() {
            return Err(Refusal::Unavailable(why));
        }
        let bytes = payload.len();
        self.gauges.messages.fetch_add(1, Ordering::Relaxed);
        self.gauges.bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = Place {
            gauges: self.gauges.clone(),
            bytes,
        };
        let (done, answer) = oneshot::channel();
        let closed = || Refusal::Unavailable("it is closed".to_owned());
        let request = Request {
            manner,
            payload,
            caller: Caller {
                since: Instant::now(),
                done: Some(done),
                _place: place,
            },
        };
        self.requests.send(request).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Feeds one confirm channel after the other.
async fn feed(mut requests: mpsc::UnboundedReceiver<Request>, mut line: Line, gauges: Arc<Gauges>) {
    let mut reopening = false;
    loop {
        let live = tokio::select! {
            live = line.live() => live,
            request = requests.recv() => {
                // Sent just before the connection was lost.
                let Some(mut request) = request else { return };
                request.caller.answer(Err(Refusal::Unavailable("the connection is lost".to_owned())));
                continue;
            }
        };
        let Some(live) = live else { return };
        if reopening {
            // The channel died and the connection did not: the exchange may be gone.
            tokio::time::sleep(LOOK_EVERY).await;
            live.redeclare_later();
        }
        match open_channel(&live).await {
            Ok(channel) => {
                gauges.open.store(true, Ordering::Relaxed);
                gauges.changed.notify_one();
                Flight::new(channel, gauges.clone())
                    .run(&live, &mut requests)
                    .await;
                gauges.overdue.store(false, Ordering::Relaxed);
            }
            Err(why) => {
                tracing::warn!(why, "no channel to publish on");
                live.give_up();
            }
        }
        if requests.is_closed() && requests.is_empty() {
            return;
        }
        reopening = line.now().is_ok_and(|now| now.epoch == live.epoch);
    }
}

async fn open_channel(live: &Live) -> Result<Channel, String> {
    let channel = live.channel().await?;
    match timeout(
        STEP_LIMIT,
        channel.confirm_select(ConfirmSelectOptions::default()),
    )
    .await
    {
        Ok(Ok(())) => Ok(channel),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no confirms within {} s", STEP_LIMIT.as_secs())),
    }
}
