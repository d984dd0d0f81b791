//! The embedded engines with a network in front of them that can fail: it loses what is shown, or does not answer.
//! Everything else is the engines' own.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    envelope::Envelope,
    live::{
        AppendRequest, Appended, Live, LiveError, LiveEvent, Signal, Subscriber, Tail, Unsettled,
        turns::{Draft, DraftOutcome, DraftSnapshot, TurnMode, TurnRequest, TurnStatus, Turns},
    },
    store::{
        Accounts, Messages, Room, RoomChanges, Rooms, Session, Store, StoreError, WriteError,
        Written,
    },
    wire::{Message, Seq},
};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

/// The live engine behind a network.
pub struct FaultyLive {
    inner: Arc<dyn Live>,
    /// Nothing answers.
    pub is_away: AtomicBool,
    /// Messages that are shown get lost, without a word.
    pub loses_messages: Arc<AtomicBool>,
    /// And signals.
    pub loses_signals: Arc<AtomicBool>,
    /// Subscriptions that were asked for.
    pub subscriptions: Arc<AtomicUsize>,
    /// Reads of streams.
    pub tails: AtomicUsize,
    /// Milliseconds before a stream is read.
    pub tails_take: AtomicU64,
    /// Reads of drafts.
    pub draft_reads: AtomicUsize,
    /// Set: the next step hangs until it is let go, and then fails, while the engine is well again.
    pub hanging: std::sync::Mutex<Option<Arc<Hanging>>>,
    lines: std::sync::Mutex<Vec<mpsc::Sender<LiveEvent>>>,
}

/// A step that hangs.
#[derive(Default)]
pub struct Hanging {
    pub hangs: Notify,
    pub goes: Notify,
}

impl FaultyLive {
    pub fn new(inner: Arc<dyn Live>) -> Arc<FaultyLive> {
        Arc::new(FaultyLive {
            inner,
            is_away: AtomicBool::new(false),
            loses_messages: Arc::default(),
            loses_signals: Arc::default(),
            subscriptions: Arc::default(),
            tails: AtomicUsize::new(0),
            tails_take: AtomicU64::new(0),
            draft_reads: AtomicUsize::new(0),
            hanging: std::sync::Mutex::default(),
            lines: std::sync::Mutex::default(),
        })
    }

    /// Tells every edge something out of turn, as the engine does after a break.
    pub async fn tells(&self, event: LiveEvent) {
        let lines = self.lines.lock().unwrap().clone();
        for line in lines {
            line.send(event.clone()).await.unwrap();
        }
    }

    fn up(&self) -> Result<(), LiveError> {
        if self.is_away.load(SeqCst) {
            return Err(cut_off());
        }
        Ok(())
    }
}

fn cut_off() -> LiveError {
    LiveError {
        what: "anything",
        source: "cut off".into(),
    }
}

#[async_trait]
impl Turns for FaultyLive {
    async fn request_turn(
        &self,
        place: &TurnRequest,
        wish: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError> {
        self.up()?;
        self.inner.request_turn(place, wish, keep).await
    }

    async fn release_turn(&self, place: &TurnRequest, for_good: bool) -> Result<(), LiveError> {
        self.up()?;
        self.inner.release_turn(place, for_good).await
    }

    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError> {
        self.up()?;
        self.inner.draft(draft).await
    }

    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError> {
        self.up()?;
        self.draft_reads.fetch_add(1, SeqCst);
        self.inner.draft_snapshot(room).await
    }
}

#[async_trait]
impl Live for FaultyLive {
    async fn append_all(
        &self,
        room: &str,
        offers: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        self.up()?;
        let hanging = self.hanging.lock().unwrap().take();
        if let Some(hanging) = hanging {
            hanging.hangs.notify_one();
            hanging.goes.notified().await;
            return Err(cut_off());
        }
        self.inner.append_all(room, offers, floor).await
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        self.up()?;
        self.tails.fetch_add(1, SeqCst);
        let takes = self.tails_take.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(takes)).await;
        self.inner.tail(room, after, limit).await
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        self.up()?;
        self.inner.find(room, id).await
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        self.up()?;
        self.inner.signal(signal).await
    }

    async fn announce(
        &self,
        process: &str,
        room: &str,
        users: &[String],
    ) -> Result<Vec<String>, LiveError> {
        self.up()?;
        self.inner.announce(process, room, users).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Unsettled>, LiveError> {
        self.up()?;
        self.inner.unsettled(limit).await
    }

    async fn settled(&self, room: &Unsettled) -> Result<(), LiveError> {
        self.up()?;
        self.inner.settled(room).await
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        let (inner, mut events) = self.inner.subscriber(capacity);
        let (line, receiver) = mpsc::channel(capacity);
        self.lines.lock().unwrap().push(line.clone());
        let loses = Arc::clone(&self.loses_messages);
        let loses_signals = Arc::clone(&self.loses_signals);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let is_lost = match event {
                    LiveEvent::Message { .. } => loses.load(SeqCst),
                    LiveEvent::Signal { .. } => loses_signals.load(SeqCst),
                    _ => false,
                };
                if !is_lost && line.send(event).await.is_err() {
                    return;
                }
            }
        });
        let subscriptions = Arc::clone(&self.subscriptions);
        (
            Arc::new(Counting {
                inner,
                subscriptions,
            }),
            receiver,
        )
    }

    async fn ping(&self) -> Result<(), LiveError> {
        self.up()?;
        self.inner.ping().await
    }
}

struct Counting {
    inner: Arc<dyn Subscriber>,
    subscriptions: Arc<AtomicUsize>,
}

#[async_trait]
impl Subscriber for Counting {
    async fn subscribe(&self, room: &str) -> Result<(), LiveError> {
        self.subscriptions.fetch_add(1, SeqCst);
        self.inner.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &str) {
        self.inner.unsubscribe(room).await;
    }
}

/// The store behind a network.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    /// Nothing answers.
    pub is_away: AtomicBool,
    /// Questions for messages after a place.
    pub resumes: AtomicUsize,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore {
            inner,
            is_away: AtomicBool::new(false),
            resumes: AtomicUsize::new(0),
        })
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.is_away.load(SeqCst) {
            return Err(StoreError::Unavailable("cut off".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.up()?;
        self.inner.ping().await
    }
}

#[async_trait]
impl Accounts for FaultyStore {
    async fn create_user(&self, name: &str, password_hash: &str) -> Result<(), StoreError> {
        self.up()?;
        self.inner.create_user(name, password_hash).await
    }

    async fn password_hash(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.up()?;
        self.inner.password_hash(name).await
    }

    async fn create_session(
        &self,
        session: &Session,
        token_hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        self.up()?;
        self.inner.create_session(session, token_hash).await
    }

    async fn session(
        &self,
        token_hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<Session>, StoreError> {
        self.up()?;
        self.inner.session(token_hash, now_ms).await
    }

    async fn sessions(&self, user: &str, now_ms: u64) -> Result<Vec<Session>, StoreError> {
        self.up()?;
        self.inner.sessions(user, now_ms).await
    }

    async fn end_session(&self, user: &str, session: Uuid) -> Result<bool, StoreError> {
        self.up()?;
        self.inner.end_session(user, session).await
    }

    async fn live_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
    ) -> Result<HashSet<Uuid>, StoreError> {
        self.up()?;
        self.inner.live_sessions(sessions, now_ms).await
    }

    async fn touch_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Result<(), StoreError> {
        self.up()?;
        self.inner
            .touch_sessions(sessions, now_ms, expires_at_ms)
            .await
    }

    async fn sweep_sessions(&self, now_ms: u64) -> Result<u64, StoreError> {
        self.up()?;
        self.inner.sweep_sessions(now_ms).await
    }
}

#[async_trait]
impl Rooms for FaultyStore {
    async fn create_room(&self, room: &Room) -> Result<(), StoreError> {
        self.up()?;
        self.inner.create_room(room).await
    }

    async fn room(&self, name: &str) -> Result<Option<Room>, StoreError> {
        self.up()?;
        self.inner.room(name).await
    }

    async fn room_seen_by(&self, name: &str, user: &str) -> Result<Option<Room>, StoreError> {
        self.up()?;
        self.inner.room_seen_by(name, user).await
    }

    async fn rooms_seen_by(&self, user: &str) -> Result<Vec<Room>, StoreError> {
        self.up()?;
        self.inner.rooms_seen_by(user).await
    }

    async fn change_room(
        &self,
        name: &str,
        changes: &RoomChanges,
    ) -> Result<Option<Room>, StoreError> {
        self.up()?;
        self.inner.change_room(name, changes).await
    }

    async fn add_member(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        self.up()?;
        self.inner.add_member(room, user).await
    }

    async fn remove_member(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        self.up()?;
        self.inner.remove_member(room, user).await
    }

    async fn members(&self, room: &str) -> Result<Vec<String>, StoreError> {
        self.up()?;
        self.inner.members(room).await
    }
}

#[async_trait]
impl Messages for FaultyStore {
    async fn write(&self, batch: &[Envelope]) -> Result<Written, WriteError> {
        self.up()
            .map_err(|error| WriteError::Unavailable(error.to_string()))?;
        self.inner.write(batch).await
    }

    async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.up()?;
        self.resumes.fetch_add(1, SeqCst);
        self.inner.after(room, after, limit).await
    }

    async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.up()?;
        self.inner.before(room, before, limit).await
    }

    async fn latest(&self, room: &str) -> Result<Seq, StoreError> {
        self.up()?;
        self.inner.latest(room).await
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, StoreError> {
        self.up()?;
        self.inner.find(room, id).await
    }

    async fn existing(&self, room: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        self.up()?;
        self.inner.existing(room, ids).await
    }
}
