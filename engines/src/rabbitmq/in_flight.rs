//! What is on its way over one confirm channel: begun one after the other, polled together, answered when the broker
//! has said what became of it.
//!
//! The gauges come before the answers: who is told that nothing is confirmed finds
//! [`Queue::ready`](common::queue::Queue::ready) of the same mind.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::queue::Route;
use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    connection::Session,
    group,
    partitions::routing_key,
    request::{
        Batching, CONFIRM_CHECK_EVERY, CONFIRM_LIMIT, Caller, GIVE_UP_AFTER, Gauges, PROBE,
        PublishError, Request, STALLED_AFTER, Target, properties,
    },
    topology::EXCHANGE,
};

/// The most messages of what may travel together that wait for their confirm; what is asked for meanwhile leaves
/// together. More of them only where so many payloads wait that they make messages of a good size. Measured, see
/// `docs/decisions/grouped-publishing.md`.
const GROUPS_IN_FLIGHT: usize = 1;
const GROUPS_IN_FLIGHT_MAX: usize = 4;
const MANY_WAIT: usize = 32;

/// The messages that are on their way over one channel.
pub(super) struct InFlight {
    channel: Arc<Channel>,
    gauges: Arc<Gauges>,
    next: u64,
    entries: BTreeMap<u64, Entry>,
    /// What may travel together and has not left yet, and how many messages of such are among the entries.
    waiting: VecDeque<Request>,
    groups: usize,
    woken: Arc<Woken>,
    decided: Vec<(u64, lapin::Result<Confirmation>)>,
    /// Numbers of messages that the broker has returned and not confirmed yet: it does both, the return first.
    returned: HashSet<u64>,
    /// How long the first confirm may take.
    first_limit: Duration,
    /// When the latest of those that are confirmed was begun.
    confirmed: Option<Instant>,
}

struct Entry {
    confirmed: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
    waker: Waker,
    since: Instant,
    is_group: bool,
    callers: Vec<Caller>,
}

/// Which messages are to be polled, in the order they were woken.
#[derive(Default)]
struct Woken {
    numbers: Mutex<Vec<u64>>,
    any: Notify,
}

impl Woken {
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.numbers.lock())
    }
}

struct ConfirmWaker {
    number: u64,
    woken: Arc<Woken>,
}

impl Wake for ConfirmWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.numbers.lock().push(self.number);
        self.woken.any.notify_one();
    }
}

impl InFlight {
    pub(super) fn new(channel: Channel, gauges: Arc<Gauges>) -> InFlight {
        InFlight {
            channel: Arc::new(channel),
            gauges,
            next: 1,
            entries: BTreeMap::new(),
            waiting: VecDeque::new(),
            groups: 0,
            woken: Arc::default(),
            decided: Vec::new(),
            returned: HashSet::new(),
            first_limit: GIVE_UP_AFTER,
            confirmed: None,
        }
    }

    /// From now on it can be used.
    pub(super) fn open(&self) {
        if !self.gauges.open.swap(true, Ordering::AcqRel) {
            self.gauges.changed.notify_one();
        }
    }

    /// Publishes one message to every queue of a partition. It can be used when that is confirmed, and is given up if that takes
    /// longer than this.
    pub(super) fn begin_probe(&mut self, partition: usize, limit: Duration) {
        self.first_limit = limit;
        let target = Target {
            exchange: EXCHANGE,
            routing_key: routing_key(Route::PersistAndAsk, partition),
        };
        let properties = properties(Uuid::now_v7(), PROBE);
        self.begin(target, properties, Bytes::new(), Vec::new(), false);
    }

    /// Until the channel or the connection is lost, or nobody can ask any more. Whether anything was confirmed.
    pub(super) async fn run(
        mut self,
        session: &Session,
        requests: &mut mpsc::UnboundedReceiver<Request>,
    ) -> bool {
        let mut check = interval(CONFIRM_CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Vec::new();
        loop {
            let woken = self.woken.clone();
            tokio::select! {
                () = session.lost() => break,
                () = woken.any.notified() => {}
                count = requests.recv_many(&mut asked, 512) => if count == 0 { break },
                _ = check.tick() => {
                    if !self.fail_overdue(session) || !self.channel.status().connected() {
                        break;
                    }
                }
            }
            for request in asked.drain(..) {
                match request.batching {
                    Batching::Alone(target, properties) => {
                        let callers = vec![request.caller];
                        self.begin(target, *properties, request.payload, callers, false);
                    }
                    Batching::Grouped(..) => self.waiting.push_back(request),
                }
            }
            if !self.go_on(session) {
                break;
            }
        }
        self.gauges.open.store(false, Ordering::Release);
        for caller in self.callers() {
            caller.answer(Err(PublishError::Unavailable(
                "the connection was lost before the confirm".to_owned(),
            )));
        }
        self.confirmed.is_some()
    }

    fn callers(&mut self) -> impl Iterator<Item = &mut Caller> {
        let begun = self.entries.values_mut();
        let waiting = self.waiting.iter_mut();
        begun
            .flat_map(|entry| &mut entry.callers)
            .chain(waiting.map(|request| &mut request.caller))
    }

    /// Lets leave what may, and answers all whose outcome is known. False if the channel is lost.
    fn go_on(&mut self, session: &Session) -> bool {
        loop {
            while self.may_leave() && self.begin_group() {}
            if !self.answer_decided(session) {
                return false;
            }
            if self.waiting.is_empty() || !self.may_leave() {
                return true;
            }
        }
    }

    /// Whether what waits may leave now.
    fn may_leave(&self) -> bool {
        let most = if self.waiting.len() < MANY_WAIT {
            GROUPS_IN_FLIGHT
        } else {
            GROUPS_IN_FLIGHT_MAX
        };
        self.groups < most
    }

    /// Begins one message of what waits. False if nothing does.
    fn begin_group(&mut self) -> bool {
        let Some(Batching::Grouped(target, id)) = self.waiting.front().map(|first| &first.batching)
        else {
            return false;
        };
        let (target, id) = (*target, *id);
        let payloads = || self.waiting.iter().map(|request| &request.payload[..]);
        let count = group::how_many(payloads());
        let (content_type, body) = if count == 1 {
            (group::ALONE, self.waiting[0].payload.clone())
        } else {
            (group::TOGETHER, group::join(payloads().take(count)))
        };
        let callers = self.waiting.drain(..count).map(|request| request.caller);
        let callers = callers.collect();
        metrics::histogram!("chinwag_queue_group_messages").record(count as f64);
        self.begin(target, properties(id, content_type), body, callers, true);
        self.groups += 1;
        true
    }

    fn begin(
        &mut self,
        target: Target,
        properties: BasicProperties,
        body: Bytes,
        callers: Vec<Caller>,
        is_group: bool,
    ) {
        let number = self.next;
        self.next += 1;
        // The broker gives it back with a returned message: names the attempt, where the message id names the message.
        let properties = properties
            .with_delivery_mode(2)
            .with_correlation_id(number.to_string().into());
        let channel = self.channel.clone();
        let confirmed = async move {
            let options = BasicPublishOptions {
                mandatory: true,
                immediate: false,
            };
            let (exchange, routing_key) = (target.exchange.into(), target.routing_key.into());
            channel
                .basic_publish(exchange, routing_key, options, &body, properties)
                .await?
                .await
        };
        let mut entry = Entry {
            confirmed: Box::pin(confirmed),
            waker: Waker::from(Arc::new(ConfirmWaker {
                number,
                woken: self.woken.clone(),
            })),
            since: Instant::now(),
            is_group,
            callers,
        };
        // The first poll numbers it and queues its frames, here and now, before the next one is begun.
        if let Poll::Ready(outcome) = entry.poll() {
            self.decided.push((number, outcome));
        }
        self.entries.insert(number, entry);
    }

    /// Polls all that were woken, until none were, and notes which are decided.
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
    fn answer_decided(&mut self, session: &Session) -> bool {
        self.poll_woken();
        let mut decided = std::mem::take(&mut self.decided);
        // The library gives a returned message to whichever message it confirms next. So first all returned ones are
        // noted, and only then is anyone answered. It is complete: the one that carries the return was decided before
        // the one that it belongs to, and all that were woken have been polled since.
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
        let lost = decided.iter().any(|(_, outcome)| outcome.is_err())
            && !self.channel.status().connected();
        if lost {
            self.gauges.open.store(false, Ordering::Release);
        }
        for (number, outcome) in decided {
            let Some(mut entry) = self.entries.remove(&number) else {
                continue;
            };
            self.groups -= usize::from(entry.is_group);
            if outcome.is_ok() {
                self.confirmed = self.confirmed.max(Some(entry.since));
                self.gauges.stalled.store(false, Ordering::Release);
                self.open();
            }
            let answer = match outcome {
                _ if self.returned.remove(&number) => {
                    metrics::counter!("chinwag_queue_returned_total").increment(1);
                    session.redeclare_later();
                    Err(PublishError::Returned)
                }
                Ok(Confirmation::Ack(_)) => {
                    metrics::histogram!("chinwag_queue_confirm_seconds")
                        .record(entry.asked().elapsed().as_secs_f64());
                    Ok(())
                }
                Ok(_) => {
                    metrics::counter!("chinwag_queue_nacks_total").increment(1);
                    Err(PublishError::Unavailable(
                        "RabbitMQ refused the message".to_owned(),
                    ))
                }
                Err(error) => Err(PublishError::Unavailable(error.to_string())),
            };
            for caller in &mut entry.callers {
                caller.answer(answer.clone());
            }
        }
        !lost
    }

    /// Answers those whose time is up. False if the connection is to be given up.
    fn fail_overdue(&mut self, session: &Session) -> bool {
        let now = Instant::now();
        let is_late = |since: Instant| now.duration_since(since) >= STALLED_AFTER;
        let oldest = self.entries.values().next();
        let oldest = oldest.map(|entry| now.duration_since(entry.since));
        let limit = self.confirmed.map_or(self.first_limit, |_| GIVE_UP_AFTER);
        let give_up = oldest.is_some_and(|age| age >= limit) && !session.is_blocked();
        // What was begun later and is confirmed shows that the broker goes on. A single confirm that is missing does
        // not keep anybody else.
        let none_ever = give_up && self.confirmed.is_none();
        let begun = self.entries.values().map(|entry| entry.since);
        let latest_late = begun.filter(|since| none_ever || is_late(*since)).max();
        if latest_late.is_some() && latest_late > self.confirmed {
            self.gauges.stalled.store(true, Ordering::Release);
        }
        let is_up = |caller: &&mut Caller| now.duration_since(caller.since) >= CONFIRM_LIMIT;
        for caller in self.callers().filter(is_up) {
            let why = format!("no confirm within {} s", CONFIRM_LIMIT.as_secs());
            caller.answer(Err(PublishError::Unavailable(why)));
        }
        // What has not left yet need not leave any more, and what is late keeps nobody from leaving.
        self.waiting.retain(|request| request.caller.done.is_some());
        for entry in self.entries.values_mut() {
            if is_late(entry.since) && std::mem::take(&mut entry.is_group) {
                self.groups -= 1;
            }
        }
        if give_up {
            session.give_up(format!("no confirm within {:.1} s", limit.as_secs_f32()));
        }
        !give_up
    }
}

impl Entry {
    fn poll(&mut self) -> Poll<lapin::Result<Confirmation>> {
        self.confirmed
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }

    /// When the first of its callers asked for it.
    fn asked(&self) -> Instant {
        self.callers.first().map_or(self.since, |first| first.since)
    }
}
