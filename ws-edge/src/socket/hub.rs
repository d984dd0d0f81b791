//! The rooms on this edge. One subscription per room and process, however many sockets read it; one task that takes what
//! the live engine shows and puts it into the rooms; and a task of its own for each room that is catching up, so that
//! none waits for another.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use common::{
    live::{Live, LiveError, LiveEvent, Subscriber, turns::DraftSnapshot},
    retry::{Retry, RetryPolicy, Retryable},
    store::DeletedAccounts,
    timeline::{Resume, Timeline, TimelineError},
    wire::Seq,
};
use futures_util::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    draft_state::Piece,
    feed::{Feed, Heard, Phase, Read, Reading},
    inbox::Inbox,
    meters::Meters,
    past_reads::{PastReadTurn, PastReads},
    replay::Replay,
    room::{Membership, Room},
    wake_schedule::WakeSchedule,
};
use crate::lost_deletions::LostDeletions;

/// The most events taken from the live engine before the sockets are woken.
const EVENTS_AT_ONCE: usize = 256;

/// How long a room without sockets stays subscribed, so that those who reconnect find it as it was.
const GRACE: Duration = Duration::from_secs(30);

/// How often rooms are looked through for what is too old.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long after a replaced server a room that is opened may have been opened with less than there is.
const REPLACED_LATELY: Duration = Duration::from_secs(15);

/// How often it is looked which rooms are due to be compared with the database; how many are at once, and how long one may
/// take.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_AT_ONCE: usize = 8;
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How long after a message whose place has passed the readers are told: one often comes with others.
const TELL_AFTER: Duration = Duration::from_millis(500);

/// When it is tried again to read what a room misses.
const FILL_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(3));

/// The rooms on this edge.
pub(super) struct Hub {
    pub(super) live: Arc<dyn Live>,
    pub(super) timeline: Timeline,
    lost_deletions: Arc<LostDeletions>,
    deleted_accounts: Arc<DeletedAccounts>,
    subscriber: Arc<dyn Subscriber>,
    /// This process's name, unique among all that run.
    pub(super) process: String,
    rooms: RwLock<HashMap<Arc<str>, Arc<Room>>>,
    /// What all rooms' rings hold.
    ring_bytes: Arc<AtomicUsize>,
    pub(super) reads: PastReads,
    /// Rooms whose presence is to be announced.
    pub(super) to_announce: Mutex<Vec<Arc<Room>>>,
    pub(super) announce: Notify,
    /// When a server of the live engine was replaced last, as far as this process has heard.
    replaced_at: Mutex<Option<Instant>>,
    replaced: Notify,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) meters: Arc<Meters>,
}

/// Why a room cannot be entered just now.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnterError {
    /// It was not subscribed.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// Its past cannot be read.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// Somebody else tried to open it at the same moment, and failed.
    #[error("the room could not be opened")]
    NotOpened,
}

impl Retryable for EnterError {
    fn retry(&self) -> Retry {
        match self {
            EnterError::Live(error) => error.retry(),
            EnterError::Timeline(error) => error.retry(),
            EnterError::NotOpened => Retry::Again,
        }
    }
}

/// What a room misses.
struct Missing {
    resume: Resume,
    /// The places of the stretch of the stream that is compared.
    places: Vec<Seq>,
    draft: Option<DraftSnapshot>,
}

impl Hub {
    pub(super) fn new(
        live: Arc<dyn Live>,
        subscriber: Arc<dyn Subscriber>,
        timeline: Timeline,
        lost_deletions: Arc<LostDeletions>,
        deleted_accounts: Arc<DeletedAccounts>,
        meters: Arc<Meters>,
    ) -> Hub {
        Hub {
            live,
            lost_deletions,
            deleted_accounts,
            timeline,
            subscriber,
            process: Uuid::new_v4().to_string(),
            rooms: RwLock::default(),
            ring_bytes: Arc::default(),
            reads: PastReads::new(),
            to_announce: Mutex::default(),
            announce: Notify::new(),
            replaced_at: Mutex::default(),
            replaced: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            meters,
        }
    }

    /// Every room on this edge.
    pub(super) fn rooms(&self) -> Vec<Arc<Room>> {
        self.rooms.read().values().map(Arc::clone).collect()
    }

    /// A room, if it is on this edge.
    pub(super) fn room(&self, name: &str) -> Option<Arc<Room>> {
        self.rooms.read().get(name).map(Arc::clone)
    }

    /// Lets a socket into a room, which is opened if it is not open yet. From the answer on it misses nothing.
    ///
    /// # Errors
    /// [`EnterError`]; it is not in the room then.
    pub(super) async fn enter(
        self: &Arc<Self>,
        name: &str,
        user: &Arc<str>,
        sub: u32,
        inbox: &Arc<Inbox>,
        after: Option<Seq>,
    ) -> Result<(Membership, Replay), EnterError> {
        let membership = loop {
            let room = self.open(name, user, after).await?;
            if let Some(membership) = room.enter(user, sub, inbox) {
                break membership;
            }
            // It is being given up: wait until that is done.
            room.until(|phase| phase == Phase::Closed).await;
        };
        let replay = self.replay(membership.room(), user, after, true).await?;
        Ok((membership, replay))
    }

    /// An open room. Everyone who asks for it at the same time waits for the one who opens it.
    async fn open(
        self: &Arc<Self>,
        name: &str,
        user: &Arc<str>,
        after: Option<Seq>,
    ) -> Result<Arc<Room>, EnterError> {
        let room = match self.room(name) {
            Some(room) => room,
            // Waited for before the room is there: others who come to it meanwhile wait for the engines only.
            None => self.begin_opening(name, self.reads.turn(user).await, after),
        };
        let was_open = room.feed().phase != Phase::Opening;
        match room.until(|phase| phase != Phase::Opening).await {
            Phase::Closed if !was_open => Err(EnterError::NotOpened),
            _ => Ok(room),
        }
    }

    fn begin_opening(
        self: &Arc<Self>,
        name: &str,
        turn: PastReadTurn,
        after: Option<Seq>,
    ) -> Arc<Room> {
        let mut rooms = self.rooms.write();
        if let Some(room) = rooms.get(name) {
            return Arc::clone(room);
        }
        let name: Arc<str> = name.into();
        let room = Arc::new(Room::new(
            Arc::clone(&name),
            Feed::new(Arc::clone(&self.ring_bytes)),
        ));
        rooms.insert(name, Arc::clone(&room));
        // A task of its own: whoever asked first may go away while others wait.
        self.spawn(Arc::clone(self).opening(Arc::clone(&room), turn, after));
        room
    }

    async fn opening(self: Arc<Self>, room: Arc<Room>, turn: PastReadTurn, after: Option<Seq>) {
        let subscribed = self.subscribe(&room, &turn, after).await;
        drop(turn);
        match subscribed {
            Ok((read, draft)) => {
                let after = after.filter(|_| !read.frames.is_empty() || !read.complete);
                let now = Instant::now();
                let mut feed = room.feed_mut();
                let must_fill = feed.opened(after, read, now);
                // What it was opened with may lack what the one before had last.
                if self.was_replaced_lately(now) {
                    feed.server_replaced(now);
                    self.replaced.notify_one();
                }
                feed.drafted(&room.name, draft, now);
                drop(feed);
                if must_fill {
                    self.fill(Arc::clone(&room));
                }
                room.phase_changed.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(room = %room.name, %error, "a room cannot be opened");
                room.members().closed = true;
                self.close_room(&room).await;
            }
        }
    }

    /// Subscribes first and asks for the latest `seq` then, so that nothing falls between the two.
    async fn subscribe(
        &self,
        room: &Room,
        turn: &PastReadTurn,
        after: Option<Seq>,
    ) -> Result<(Read, Option<DraftSnapshot>), EnterError> {
        self.subscriber.subscribe(&room.name).await?;
        let _permit = self.reads.permit().await;
        // At once, since whoever joins may speak already, and wants to hear it.
        let read = self.read_first(room, turn, after);
        let (read, draft) = tokio::join!(read, self.live.draft_snapshot(&room.name));
        Ok((read?, draft?))
    }

    async fn read_first(
        &self,
        room: &Room,
        turn: &PastReadTurn,
        after: Option<Seq>,
    ) -> Result<Read, EnterError> {
        if let Some(after) = after
            && let Ok(resume) = self.timeline.resume_whole(&room.name, after).await
        {
            self.reads.charge(turn, resume.bytes_read);
            if resume.latest >= after && resume.latest > 0 {
                return Ok(self.as_shown(resume).await);
            }
        }
        let latest = self.timeline.latest(&room.name).await?;
        Ok(Read {
            frames: Vec::new(),
            complete: true,
            latest,
        })
    }

    /// What was read of a room's past, as it is shown: whoever is gone has no name any more.
    pub(super) async fn as_shown(&self, mut resume: Resume) -> Read {
        let messages = &mut resume.messages;
        self.deleted_accounts.rename_soon(messages).await;
        Read::from(resume)
    }

    /// Ends a room's subscription. Only when that is done may it be opened again.
    async fn close_room(&self, room: &Room) {
        self.subscriber.unsubscribe(&room.name).await;
        self.rooms.write().remove(&room.name);
        let mut feed = room.feed_mut();
        feed.phase = Phase::Closed;
        let last = feed.ring.last();
        feed.ring.restart(last);
        drop(feed);
        room.phase_changed.notify_waiters();
    }

    /// Reads what a room misses, in a task of its own, until it has it.
    pub(super) fn fill(self: &Arc<Self>, room: Arc<Room>) {
        let this = Arc::clone(self);
        self.spawn(async move {
            let mut back_off = FILL_AGAIN.back_off();
            loop {
                let settles_at = room.feed().settles_at();
                if let Some(settles_at) = settles_at {
                    sleep_until(settles_at).await;
                }
                let permit = this.reads.permit().await;
                let reading = room.feed_mut().begin_read();
                let read = this.what_is_missing(&room, reading).await;
                drop(permit);
                match read {
                    Ok(Missing { resume, places, draft }) => {
                        this.meters.gap_fills.increment(1);
                        let now = Instant::now();
                        let mut feed = room.feed_mut();
                        let caught_up = feed.caught_up(reading, Read::from(resume), &places, now);
                        feed.drafted(&room.name, draft, now);
                        drop(feed);
                        room.wake_all();
                        if caught_up.lacking {
                            this.is_lacking(&room);
                        }
                        if caught_up.strays {
                            tracing::warn!(room = %room.name, "a message was heard that the room's stream does not have");
                            this.replaced.notify_one();
                        }
                        if !caught_up.again {
                            break;
                        }
                        back_off.reset();
                    }
                    Err(error) => {
                        let pause = back_off.next_pause();
                        tracing::warn!(room = %room.name, %error, again_in = ?pause, "what a room misses cannot be read");
                        sleep(pause).await;
                    }
                }
            }
            room.phase_changed.notify_waiters();
        });
    }

    async fn what_is_missing(
        &self,
        room: &Room,
        reading: Reading,
    ) -> Result<Missing, TimelineError> {
        let places = match reading.places {
            Some((after, until)) => {
                self.timeline
                    .places_in_stream(&room.name, after, until)
                    .await?
            }
            None => Vec::new(),
        };
        let resume = if reading.is_whole {
            self.timeline
                .resume_for_now(&room.name, reading.after)
                .await?
        } else {
            self.timeline.resume(&room.name, reading.after).await?
        };
        let draft = self.live.draft_snapshot(&room.name).await?;
        Ok(Missing {
            resume,
            places,
            draft,
        })
    }

    /// The readers of a room lack a message whose place has passed. They are told once for all that come in a row.
    fn is_lacking(&self, room: &Arc<Room>) {
        if room.is_telling.swap(true, Ordering::AcqRel) {
            return;
        }
        let (room, reloads) = (Arc::clone(room), self.meters.reloads.clone());
        self.spawn(async move {
            sleep(TELL_AFTER).await;
            room.is_telling.store(false, Ordering::Release);
            tracing::warn!(room = %room.name, "what was shown lacks a message: its readers are to load the history");
            reloads.increment(1);
            room.tell_lacking();
        });
    }

    /// A server of the live engine was replaced.
    fn server_replaced(&self, now: Instant) {
        *self.replaced_at.lock() = Some(now);
        self.replaced.notify_one();
    }

    fn was_replaced_lately(&self, now: Instant) -> bool {
        let at = *self.replaced_at.lock();
        at.is_some_and(|at| now.duration_since(at) < REPLACED_LATELY)
    }

    /// Holds what the readers have against the database, in every room whose server was replaced, as often as each room
    /// wants it. Who is not here needs no look: whoever comes is sent what the database has.
    pub(super) async fn reconcile(self: Arc<Self>) {
        loop {
            self.replaced.notified().await;
            loop {
                sleep(LOOK_EVERY).await;
                let now = Instant::now();
                let rooms: Vec<_> = self
                    .rooms()
                    .into_iter()
                    .filter(|room| room.feed().is_reconciling())
                    .collect();
                if rooms.is_empty() {
                    break;
                }
                let due = rooms.into_iter().filter_map(|room| {
                    let stretch = room.feed_mut().look(now)?;
                    let is_empty = room.members().is_empty();
                    (!is_empty).then_some((room, stretch))
                });
                let looks = futures_util::stream::iter(due);
                looks
                    .for_each_concurrent(LOOKS_AT_ONCE, |(room, stretch)| self.look(room, stretch))
                    .await;
            }
        }
    }

    async fn look(self: &Arc<Self>, room: Arc<Room>, (after, until): (Seq, Seq)) {
        let places = self.timeline.places_in_store(&room.name, after, until);
        let places = match timeout(LOOK_LIMIT, places).await {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => {
                return tracing::debug!(room = %room.name, %error, "what is shown cannot be compared");
            }
            Err(_) => {
                return tracing::debug!(room = %room.name, "what is shown cannot be compared in time");
            }
        };
        let mut feed = room.feed_mut();
        let compared = feed.compare(&places);
        let heard = if compared.is_ahead {
            feed.read_on()
        } else {
            Heard::Nothing
        };
        drop(feed);
        if compared.late.is_some() {
            self.is_lacking(&room);
        }
        if heard == Heard::Missing {
            self.fill(room);
        }
    }

    /// Starts a task that ends with the hub.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let stop = self.stop.clone();
        let task = self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
        task.abort_handle()
    }

    /// Puts what the live engine shows into the rooms, and tells each room's sockets once for all of it. Hands on what
    /// concerns the whole process. Ends with the line.
    pub(super) async fn hear(
        self: &Arc<Self>,
        mut events: mpsc::Receiver<LiveEvent>,
        control: impl Fn(LiveEvent),
    ) {
        let mut taken = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut schedule = WakeSchedule::default();
        loop {
            let receiving = events.recv_many(&mut taken, EVENTS_AT_ONCE);
            let is_over = match schedule.due() {
                None => receiving.await == 0,
                Some(due) => timeout_at(due, receiving).await == Ok(0),
            };
            if is_over {
                return;
            }
            let now = Instant::now();
            for event in taken.drain(..) {
                if let LiveEvent::Gap {
                    is_another: true, ..
                }
                | LiveEvent::ControlGap { is_another: true } = event
                {
                    self.server_replaced(now);
                    self.lost_deletions.server_replaced(now);
                }
                let name = match &event {
                    LiveEvent::Message { room, .. }
                    | LiveEvent::Signal { room, .. }
                    | LiveEvent::Gap { room, .. } => room,
                    LiveEvent::Control(_) | LiveEvent::ControlGap { .. } => {
                        control(event);
                        continue;
                    }
                };
                let Some(room) = schedule.latest(name).or_else(|| self.room(name)) else {
                    continue;
                };
                match put(&room, event, now) {
                    Heard::Nothing => {}
                    Heard::Missing => self.fill(room),
                    Heard::Late => self.is_lacking(&room),
                    Heard::News => schedule.add(room),
                }
            }
            schedule.wake(now);
            // A burst must not keep the sockets from writing.
            tokio::task::yield_now().await;
        }
    }

    /// Drops what is too old, and gives up rooms that nobody is in any more.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            sleep(SWEEP_EVERY).await;
            self.reads.upkeep();
            let now = Instant::now();
            for room in self.rooms() {
                room.feed_mut().ring.drop_old(now);
                if self.may_give_up(&room, now) {
                    let this = Arc::clone(&self);
                    self.spawn(async move { this.close_room(&room).await });
                }
            }
        }
    }

    fn may_give_up(&self, room: &Room, now: Instant) -> bool {
        let mut members = room.members();
        let is_left = members
            .empty_since
            .is_some_and(|since| now.duration_since(since) > GRACE);
        let may = is_left
            && !members.closed
            && !members.is_announced
            && room.feed().phase == Phase::Steady;
        members.closed |= may;
        may
    }
}

fn put(room: &Room, event: LiveEvent, now: Instant) -> Heard {
    match event {
        LiveEvent::Message {
            seq, prev, frame, ..
        } => match text(room, frame) {
            Some(frame) => room.feed_mut().message(seq, prev, frame, now),
            None => Heard::Nothing,
        },
        LiveEvent::Signal { frame, .. } => match text(room, frame) {
            Some(frame) => match Piece::read(&frame) {
                Some(piece) => room.feed_mut().draft(&room.name, piece, now),
                None => room.feed_mut().signal(frame, now),
            },
            None => Heard::Nothing,
        },
        LiveEvent::Gap { is_another, .. } => room.feed_mut().gap(is_another, now),
        LiveEvent::Control(_) | LiveEvent::ControlGap { .. } => Heard::Nothing,
    }
}

/// A frame as text, looked at once per process and not for each who reads it.
fn text(room: &Room, frame: Bytes) -> Option<Utf8Bytes> {
    let text = Utf8Bytes::try_from(frame).ok();
    if text.is_none() {
        tracing::warn!(room = %room.name, "a frame that is not text was shown; it is dropped");
    }
    text
}
