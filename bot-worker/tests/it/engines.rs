//! The three engines in memory: small sides of the seams that can be asked what happened to them and told to be away.
//! What the real ones promise is tested with them; here it is what the worker makes of the promises.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    envelope::Envelope,
    live::{
        Appended, Control, Live, LiveError, LiveEvent, Offer, Part, Signal, Subscriber, Tail,
        Unsettled,
        turns::{Draft, DraftSoFar, Drafted, Line, Place, Standing, TURN_LEASE, Turns, Wish},
    },
    queue::{
        Consumer, DeadLetters, Delivery, Queue, QueueError, QueueName, Receipt, Route, Verdict,
    },
    store::{
        Accounts, BotPolicy, Messages, Room, Rooms, Session, Store, StoreError, WriteError, Written,
    },
    wire::{Message, Seq, now_seq},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use uuid::Uuid;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// The live engine.
#[derive(Default)]
pub struct FakeLive {
    pub rooms: Mutex<HashMap<String, Vec<Message>>>,
    pub signals: Mutex<Vec<Signal>>,
    pub away: AtomicBool,
    lines: Mutex<HashMap<String, Line>>,
    signal_takes: Mutex<Duration>,
    listeners: Mutex<Vec<mpsc::Sender<LiveEvent>>>,
    changed: Notify,
}

impl FakeLive {
    fn here(&self) -> Result<(), LiveError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(LiveError {
                what: "a call",
                source: "away".into(),
            });
        }
        Ok(())
    }

    pub fn messages(&self, room: &str) -> Vec<Message> {
        locked(&self.rooms).get(room).cloned().unwrap_or_default()
    }

    pub fn signals_take(&self, time: Duration) {
        *locked(&self.signal_takes) = time;
    }

    pub async fn control(&self, control: Control) {
        let listeners = locked(&self.listeners).clone();
        for listener in listeners {
            listener
                .send(LiveEvent::Control(control.clone()))
                .await
                .unwrap();
        }
    }

    /// Waits until something here is as wanted.
    pub async fn until<T>(&self, what: &str, wanted: impl Fn(&FakeLive) -> Option<T>) -> T {
        let seen = async {
            loop {
                let changed = self.changed.notified();
                if let Some(seen) = wanted(self) {
                    return seen;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), seen).await {
            Ok(seen) => seen,
            Err(_) => panic!("never: {what}; rooms {:?}", locked(&self.rooms)),
        }
    }

    pub async fn reply_to(&self, room: &str, request: Uuid) -> Message {
        self.until("a reply", |live| {
            live.messages(room)
                .into_iter()
                .find(|message| message.reply_to == Some(request))
        })
        .await
    }
}

impl FakeLive {
    fn append_one(&self, room: &str, offer: &Offer, floor: Option<Seq>) -> Appended {
        let Offer { message: new, part } = offer;
        let mut rooms = locked(&self.rooms);
        if !rooms.contains_key(room) && floor.is_none() {
            return Appended::Cold;
        }
        let stream = rooms.entry(room.to_owned()).or_default();
        if let Some(known) = stream.iter().find(|message| message.id == new.id) {
            return Appended::Known(known.clone());
        }
        let mut lines = locked(&self.lines);
        let line = lines.entry(room.to_owned()).or_default();
        if let Part::Answers(fence) = *part {
            if !line.admits(new.id, fence) {
                return Appended::Fenced;
            }
            line.posted(new.id);
        }
        drop(lines);
        let prev = stream
            .last()
            .map_or(floor.unwrap_or(0), |message| message.seq);
        let message = new.clone().at(now_seq().max(prev + 1), prev);
        stream.push(message.clone());
        drop(rooms);
        self.changed.notify_waiters();
        Appended::New(message)
    }
}

#[async_trait]
impl Live for FakeLive {
    async fn append_all(
        &self,
        room: &str,
        offers: &[Offer],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        self.here()?;
        Ok(offers
            .iter()
            .map(|offer| self.append_one(room, offer, floor))
            .collect())
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        self.here()?;
        let all = self.messages(room);
        let latest = all.last().map_or(0, |message| message.seq);
        let messages = all
            .into_iter()
            .filter(|message| message.seq > after)
            .take(limit)
            .collect();
        Ok(Tail {
            messages,
            reaches_back: true,
            latest,
        })
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        self.here()?;
        Ok(self
            .messages(room)
            .into_iter()
            .find(|message| message.id == id))
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        self.here()?;
        let takes = *locked(&self.signal_takes);
        tokio::time::sleep(takes).await;
        locked(&self.signals).push(signal.clone());
        self.changed.notify_waiters();
        Ok(())
    }

    async fn announce(&self, _: &str, _: &str, users: &[String]) -> Result<Vec<String>, LiveError> {
        Ok(users.to_vec())
    }

    async fn unsettled(&self, _: usize) -> Result<Vec<Unsettled>, LiveError> {
        Ok(Vec::new())
    }

    async fn settled(&self, _: &Unsettled) -> Result<(), LiveError> {
        Ok(())
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        let (sender, receiver) = mpsc::channel(capacity);
        locked(&self.listeners).push(sender);
        (Arc::new(NoRooms), receiver)
    }

    async fn ping(&self) -> Result<(), LiveError> {
        self.here()
    }
}

#[async_trait]
impl Turns for FakeLive {
    async fn line_up(
        &self,
        place: &Place,
        wish: Wish,
        keep: Duration,
    ) -> Result<Standing, LiveError> {
        self.here()?;
        if self.find(&place.room, place.reply).await?.is_some() {
            return Ok(Standing::Answered);
        }
        let mut lines = locked(&self.lines);
        let line = lines.entry(place.room.clone()).or_default();
        Ok(line.line_up(place, wish, TURN_LEASE, keep, Instant::now()))
    }

    async fn leave(&self, place: &Place, for_good: bool) -> Result<(), LiveError> {
        self.here()?;
        let mut lines = locked(&self.lines);
        lines
            .entry(place.room.clone())
            .or_default()
            .leave(place, for_good);
        Ok(())
    }

    async fn draft(&self, draft: &Draft) -> Result<Drafted, LiveError> {
        self.here()?;
        let takes = *locked(&self.signal_takes);
        tokio::time::sleep(takes).await;
        let drafted = locked(&self.lines)
            .entry(draft.room.clone())
            .or_default()
            .draft(draft, Instant::now());
        if drafted == Drafted::Shown {
            locked(&self.signals).push(Signal::Room {
                room: draft.room.clone(),
                frame: draft.frame().into(),
            });
            self.changed.notify_waiters();
        }
        Ok(drafted)
    }

    async fn draft_so_far(&self, room: &str) -> Result<Option<DraftSoFar>, LiveError> {
        self.here()?;
        let mut lines = locked(&self.lines);
        Ok(lines
            .get_mut(room)
            .and_then(|line| line.draft_so_far(Instant::now())))
    }
}

struct NoRooms;

#[async_trait]
impl Subscriber for NoRooms {
    async fn subscribe(&self, _: &str) -> Result<(), LiveError> {
        Ok(())
    }

    async fn unsubscribe(&self, _: &str) {}
}

/// The queue; clones are the same one.
#[derive(Clone, Default)]
pub struct FakeQueue(Arc<QueueInside>);

#[derive(Default)]
struct QueueInside {
    state: Mutex<QueueState>,
    away: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Delivery>,
    taken: HashSet<Receipt>,
    settled: Vec<Verdict>,
    persisted: Vec<Envelope>,
    tags: u64,
    closed: bool,
}

impl FakeQueue {
    /// Puts a request into `bot.requests`, as if delivered for the `attempt`th time.
    pub fn deliver(&self, payload: Bytes, attempt: u32) {
        let mut state = locked(&self.0.state);
        state.tags += 1;
        let receipt = Receipt::new(1, state.tags);
        state.waiting.push_back(Delivery {
            payload,
            attempt,
            receipt,
        });
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// What `persist` was given.
    pub fn persisted(&self) -> Vec<Envelope> {
        locked(&self.0.state).persisted.clone()
    }

    /// How deliveries were settled, in that order.
    pub fn settled(&self) -> Vec<Verdict> {
        locked(&self.0.state).settled.clone()
    }

    pub async fn settled_when(&self, count: usize) -> Vec<Verdict> {
        let seen = async {
            loop {
                let changed = self.0.changed.notified();
                let settled = self.settled();
                if settled.len() >= count {
                    return settled;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), seen).await {
            Ok(settled) => settled,
            Err(_) => panic!("not {count} settled, but {:?}", self.settled()),
        }
    }

    pub fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    fn here(&self) -> Result<(), QueueError> {
        if self.0.away.load(Ordering::SeqCst) {
            return Err(QueueError::Unavailable {
                why: "away".into(),
                retry_after: Duration::from_millis(50),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for FakeQueue {
    async fn publish(&self, _: Route, _: Uuid, payload: Bytes) -> Result<(), QueueError> {
        self.here()?;
        let envelope = Envelope::read(&payload).unwrap();
        locked(&self.0.state).persisted.push(envelope);
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, queue: QueueName, _: u16) -> Arc<dyn Consumer> {
        assert_eq!(queue, QueueName::BotRequests);
        Arc::new(FakeConsumer(self.clone()))
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        panic!("no operator here")
    }

    fn ready(&self) -> Result<(), QueueError> {
        self.here()
    }

    async fn ping(&self) -> Result<(), QueueError> {
        self.here()
    }
}

struct FakeConsumer(FakeQueue);

#[async_trait]
impl Consumer for FakeConsumer {
    async fn next(&self) -> Option<Delivery> {
        loop {
            let changed = self.0.0.changed.notified();
            {
                let mut state = locked(&self.0.0.state);
                if state.closed {
                    return None;
                }
                if let Some(delivery) = state.waiting.pop_front() {
                    state.taken.insert(delivery.receipt);
                    return Some(delivery);
                }
            }
            changed.await;
        }
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        let mut state = locked(&self.0.0.state);
        for receipt in receipts {
            if state.taken.remove(&receipt) {
                state.settled.push(verdict.clone());
            }
        }
        drop(state);
        self.0.0.changed.notify_waiters();
        Ok(())
    }

    async fn close(&self) {
        locked(&self.0.0.state).closed = true;
        self.0.0.changed.notify_waiters();
    }
}

/// The store: rooms and messages only.
#[derive(Default)]
pub struct FakeStore {
    pub rooms: Mutex<Vec<Room>>,
    pub messages: Mutex<Vec<Message>>,
    pub away: AtomicBool,
}

impl FakeStore {
    pub fn add_room(&self, name: &str, persona: &str) {
        let room = Room {
            name: name.into(),
            private: false,
            bot: BotPolicy::Always,
            persona: persona.into(),
            owner: "ada".into(),
        };
        locked(&self.rooms).push(room);
    }

    fn here(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            Err(not_here())
        } else {
            Ok(())
        }
    }

    fn of(&self, room: &str) -> Vec<Message> {
        locked(&self.messages)
            .iter()
            .filter(|message| message.room == room)
            .cloned()
            .collect()
    }
}

fn not_here<E: From<StoreError>>() -> E {
    StoreError::Unavailable("away".into()).into()
}

#[async_trait]
impl Store for FakeStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.here()
    }
}

#[async_trait]
impl Messages for FakeStore {
    async fn write(&self, _: &[Envelope]) -> Result<Written, WriteError> {
        Err(WriteError::Unavailable("the worker writes nothing".into()))
    }

    async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.here()?;
        Ok(self
            .of(room)
            .into_iter()
            .filter(|message| message.seq > after)
            .take(limit)
            .collect())
    }

    async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.here()?;
        let mut all = self.of(room);
        all.retain(|message| message.seq < before);
        all.drain(..all.len().saturating_sub(limit));
        Ok(all)
    }

    async fn latest(&self, room: &str) -> Result<Seq, StoreError> {
        self.here()?;
        Ok(self.of(room).last().map_or(0, |message| message.seq))
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, StoreError> {
        self.here()?;
        Ok(self.of(room).into_iter().find(|message| message.id == id))
    }

    async fn existing(&self, room: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        self.here()?;
        Ok(self
            .of(room)
            .into_iter()
            .map(|message| message.id)
            .filter(|id| ids.contains(id))
            .collect())
    }
}

#[async_trait]
impl Rooms for FakeStore {
    async fn create_room(&self, _: &Room) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn room(&self, name: &str) -> Result<Option<Room>, StoreError> {
        self.here()?;
        Ok(locked(&self.rooms)
            .iter()
            .find(|room| room.name == name)
            .cloned())
    }

    async fn room_seen_by(&self, _: &str, _: &str) -> Result<Option<Room>, StoreError> {
        Err(not_here())
    }

    async fn rooms_seen_by(&self, _: &str) -> Result<Vec<Room>, StoreError> {
        Err(not_here())
    }

    async fn update_room(&self, _: &Room) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn add_member(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn remove_member(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn members(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Err(not_here())
    }
}

#[async_trait]
impl Accounts for FakeStore {
    async fn create_user(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn password_hash(&self, _: &str) -> Result<Option<String>, StoreError> {
        Err(not_here())
    }

    async fn create_session(&self, _: &Session, _: &[u8; 32]) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn session(&self, _: &[u8; 32], _: u64) -> Result<Option<Session>, StoreError> {
        Err(not_here())
    }

    async fn sessions(&self, _: &str, _: u64) -> Result<Vec<Session>, StoreError> {
        Err(not_here())
    }

    async fn end_session(&self, _: &str, _: Uuid) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn live_sessions(&self, _: &[Uuid], _: u64) -> Result<HashSet<Uuid>, StoreError> {
        Err(not_here())
    }

    async fn touch_sessions(&self, _: &[Uuid], _: u64, _: u64) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn sweep_sessions(&self, _: u64) -> Result<u64, StoreError> {
        Err(not_here())
    }
}
