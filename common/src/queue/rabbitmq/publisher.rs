//! Publishing: many callers, one confirm channel, one task that feeds it.
//!
//! One task, because the client library numbers a message in one step and queues its frames in another: two that publish
//! on the same channel at the same time can be confirmed for each other. It polls the confirms itself, so that a
//! returned message is found for exactly the publish it belongs to: see `docs/decisions/our-own-amqp-supervisor.md`.

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    RETRY_AFTER, STEP_LIMIT,
    connection::{Line, Live},
};
use crate::queue::QueueError;

/// The most messages that wait for their confirm, and their bytes: 64 MiB. The broker confirms some 25,000 a second,
/// so that this is more than half a second's worth.
pub(super) const IN_FLIGHT_MAX: usize = 16_384;
pub(super) const BYTES_IN_FLIGHT_MAX: usize = 64 << 20;

/// How long one message may wait for its confirm.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(5);

/// A broker that is alive and yet confirms nothing for this long has lost the confirm: the connection is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// How exactly the two are kept.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) exchange: &'static str,
    pub(super) routing_key: &'static str,
}

/// Why a message was not confirmed.
#[derive(Debug)]
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
struct Gauges {
    /// Whether there is a confirm channel.
    open: AtomicBool,
    changed: Notify,
    /// Whether a confirm is overdue.
    overdue: AtomicBool,
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

struct Request {
    target: Target,
    properties: BasicProperties,
    payload: Bytes,
    place: Place,
    done: oneshot::Sender<Result<(), Refusal>>,
}

impl Publisher {
    /// Starts the task; it ends with the line.
    pub(super) fn start(line: Line) -> Publisher {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gauges = Arc::new(Gauges::default());
        tokio::spawn(feed(receiver, line.clone(), gauges.clone()));
        Publisher {
            requests,
            line,
            gauges,
        }
    }

    /// Until the first channel is open, or the time is up.
    pub(super) async fn opened(&self, at_most: Duration) {
        let opened = async {
            while !self.gauges.open.load(Ordering::Relaxed) {
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
        if !gauges.open.load(Ordering::Relaxed) {
            Some("the channel is being opened".to_owned())
        } else if gauges.overdue.load(Ordering::Relaxed) {
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
            target,
            properties: properties.with_delivery_mode(2),
            payload,
            place,
            done,
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
                let Some(request) = request else { return };
                drop(request.done.send(Err(Refusal::Unavailable("the connection is lost".to_owned()))));
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
                gauges.open.store(false, Ordering::Relaxed);
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

/// The messages that are on their way over one channel.
struct Flight {
    channel: Arc<Channel>,
    gauges: Arc<Gauges>,
    next: u64,
    entries: BTreeMap<u64, Entry>,
    woken: Arc<Woken>,
    decided: Vec<(u64, lapin::Result<Confirmation>)>,
    /// Numbers of messages that the broker has returned and not confirmed yet: it does both, the return first.
    returned: HashSet<u64>,
}

struct Entry {
    confirmed: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
    waker: Waker,
    since: Instant,
    done: Option<oneshot::Sender<Result<(), Refusal>>>,
    _place: Place,
}

/// Which messages have news, in the order the news came.
#[derive(Default)]
struct Woken {
    numbers: Mutex<Vec<u64>>,
    any: Notify,
}

impl Woken {
    fn take(&self) -> Vec<u64> {
        std::mem::take(
            &mut *self
                .numbers
                .lock()
                .expect("nothing panics while holding it"),
        )
    }
}

struct News {
    number: u64,
    woken: Arc<Woken>,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken
            .numbers
            .lock()
            .expect("nothing panics while holding it")
            .push(self.number);
        self.woken.any.notify_one();
    }
}

impl Flight {
    fn new(channel: Channel, gauges: Arc<Gauges>) -> Flight {
        Flight {
            channel: Arc::new(channel),
            gauges,
            next: 1,
            entries: BTreeMap::new(),
            woken: Arc::default(),
            decided: Vec::new(),
            returned: HashSet::new(),
        }
    }

    /// Until the channel or the connection is lost, or nobody can ask any more.
    async fn run(mut self, live: &Live, requests: &mut mpsc::UnboundedReceiver<Request>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Vec::new();
        loop {
            let woken = self.woken.clone();
            tokio::select! {
                () = live.lost() => break,
                () = woken.any.notified() => {}
                count = requests.recv_many(&mut asked, 512) => if count == 0 { break },
                _ = look.tick() => {
                    if !self.keep_time(live) || !self.channel.status().connected() {
                        break;
                    }
                }
            }
            for request in asked.drain(..) {
                self.begin(request);
            }
            if !self.hear(live) {
                break;
            }
        }
        for entry in self.entries.values_mut() {
            entry.answer(Err(Refusal::Unavailable(
                "the connection was lost before the confirm".to_owned(),
            )));
        }
    }

    fn begin(&mut self, request: Request) {
        let number = self.next;
        self.next += 1;
        let Request {
            target,
            properties,
            payload,
            place,
            done,
        } = request;
        // The broker gives it back with a returned message: names the attempt, where the message id names the message.
        let properties = properties.with_correlation_id(number.to_string().into());
        let channel = self.channel.clone();
        let confirmed = async move {
            let options = BasicPublishOptions {
                mandatory: true,
                immediate: false,
            };
            let (exchange, routing_key) = (target.exchange.into(), target.routing_key.into());
            channel
                .basic_publish(exchange, routing_key, options, &payload, properties)
                .await?
                .await
        };
        let mut entry = Entry {
            confirmed: Box::pin(confirmed),
            waker: Waker::from(Arc::new(News {
                number,
                woken: self.woken.clone(),
            })),
            since: Instant::now(),
            done: Some(done),
            _place: place,
        };
        // The first poll numbers it and queues its frames, here and now, before the next one is begun.
        if let Poll::Ready(outcome) = entry.poll() {
            self.decided.push((number, outcome));
        }
        self.entries.insert(number, entry);
    }

    /// Polls all that have news, until none have, and notes which are decided.
    fn poll_woken(&mut self) {
        loop {
            let numbers = self.woken.take();
            if numbers.is_empty() {
                return;
            }
            for number in numbers {
                let Some(entry) = self.entries.get_mut(&number) else {
                    continue;
                };
                if let Poll::Ready(outcome) = entry.poll() {
                    self.decided.push((number, outcome));
                }
            }
        }
    }

    /// Answers all whose outcome is known. False if the channel is lost.
    fn hear(&mut self, live: &Live) -> bool {
        self.poll_woken();
        let mut decided = std::mem::take(&mut self.decided);
        // The library gives a returned message to whichever message it confirms next. So first all returned ones are
        // noted, and only then is anyone answered. It is complete: the one that carries the return was decided before
        // the one that it belongs to, and all that had news have been polled since.
        for (_, outcome) in &mut decided {
            let Ok(confirmation) = outcome else { continue };
            let (Confirmation::Ack(message) | Confirmation::Nack(message)) = confirmation else {
                continue;
            };
            let Some(message) = message.take() else {
                continue;
            };
            let number = message
                .properties
                .correlation_id()
                .as_ref()
                .and_then(|id| id.as_str().parse().ok());
            self.returned.extend::<Option<u64>>(number);
        }
        let mut lost = false;
        for (number, outcome) in decided {
            let Some(mut entry) = self.entries.remove(&number) else {
                continue;
            };
            let answer = match outcome {
                _ if self.returned.remove(&number) => {
                    metrics::counter!("chinwag_queue_returned_total").increment(1);
                    live.redeclare_later();
                    Err(Refusal::Returned)
                }
                Ok(Confirmation::Ack(_)) => {
                    metrics::histogram!("chinwag_queue_confirm_seconds")
                        .record(entry.since.elapsed().as_secs_f64());
                    Ok(())
                }
                Ok(_) => {
                    metrics::counter!("chinwag_queue_nacks_total").increment(1);
                    Err(Refusal::Unavailable(
                        "RabbitMQ refused the message".to_owned(),
                    ))
                }
                Err(error) => {
                    lost = true;
                    Err(Refusal::Unavailable(error.to_string()))
                }
            };
            entry.answer(answer);
        }
        !lost || self.channel.status().connected()
    }

    /// Answers those whose time is up. False if the connection is to be given up.
    fn keep_time(&mut self, live: &Live) -> bool {
        let oldest = self
            .entries
            .values()
            .next()
            .map(|entry| entry.since.elapsed());
        let overdue = oldest.is_some_and(|age| age >= CONFIRM_LIMIT);
        self.gauges.overdue.store(overdue, Ordering::Relaxed);
        for entry in self
            .entries
            .values_mut()
            .take_while(|entry| entry.since.elapsed() >= CONFIRM_LIMIT)
        {
            let why = format!("no confirm within {} s", CONFIRM_LIMIT.as_secs());
            entry.answer(Err(Refusal::Unavailable(why)));
        }
        if oldest.is_some_and(|age| age >= GIVE_UP_AFTER) && !live.is_blocked() {
            live.give_up();
            return false;
        }
        true
    }
}

impl Entry {
    fn poll(&mut self) -> Poll<lapin::Result<Confirmation>> {
        self.confirmed
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }

    fn answer(&mut self, answer: Result<(), Refusal>) {
        if let Some(done) = self.done.take() {
            // Nobody may be left to hear it.
            drop(done.send(answer));
        }
    }
}
