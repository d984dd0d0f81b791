//! The live seam inside one process: what Redis does for many, as tables behind one lock. Nothing is awaited and
//! nothing is encoded while it is held.
//!
//! Nothing of it outlives the process, and nothing has to: a room that is not known is cold, and the store knows it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    envelope::reply_id,
    live::{
        AppendRequest, Appended, BotRole, Change, Control, Live, LiveError, LiveEvent, LiveTimings,
        Looker, PRESENCE_MAX_USERS, REMEMBERED_IDS_MAX, REMEMBERED_IDS_MIN_AGE,
        REMEMBERED_IDS_PER_ROOM, STREAM_MAX_MESSAGES, STREAM_MESSAGES, STREAM_MIN_AGE, Signal,
        Subscriber, Tail, Unsettled,
        turns::{Draft, DraftOutcome, DraftSnapshot, TurnMode, TurnRequest, TurnStatus, Turns},
    },
    readiness::Health,
    wire::{Kind, Message, Seq, ServerFrame, now_seq},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use super::turns::TurnQueue;
use crate::outlet::{Outlet, Topic};

/// A room in which nothing was said for this long, to which nobody is subscribed and in which everything is settled is
/// forgotten.
const ROOM_IDLE: Duration = Duration::from_secs(60 * 60);

/// A silent room to which nobody is subscribed is forgotten after this, settled or not.
const ROOM_IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often it is seen which rooms can be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The live seam of a process that is all there is.
pub struct EmbeddedLive {
    shared: Arc<Shared>,
}

struct Shared {
    timings: LiveTimings,
    room_idle: Duration,
    state: Mutex<State>,
    subscriptions: AtomicU64,
}

struct State {
    rooms: HashMap<Arc<str>, Room>,
    /// The round of comparing, and what it compares with.
    round: u64,
    compared_with: String,
    outlets: HashMap<SubscriptionNumber, Arc<Outlet>>,
    swept: Instant,
}

type SubscriptionNumber = u64;

struct Room {
    name: Arc<str>,
    ids: HashMap<Uuid, Seq>,
    /// The ids by their seqs, to know which are the oldest.
    seqs: VecDeque<(Seq, Uuid)>,
    stream: VecDeque<Arc<Message>>,
    /// By a message's id the place of its newest edit, or of its deletion, and whether it is that.
    changes: HashMap<Uuid, (Seq, bool)>,
    /// The latest seq; `None` while the room is cold.
    last: Option<Seq>,
    /// The latest seq when the room was last settled, and in which round that was.
    settled: Option<(Seq, u64)>,
    /// It was erased.
    is_gone: bool,
    bot: TurnQueue,
    present: HashMap<String, Present>,
    shown: Vec<String>,
    outlets: HashMap<SubscriptionNumber, Arc<Outlet>>,
    touched: Instant,
}

struct Present {
    until: Instant,
    users: Vec<String>,
}

impl EmbeddedLive {
    /// Empty.
    pub fn new() -> Arc<EmbeddedLive> {
        EmbeddedLive::with(LiveTimings::default(), ROOM_IDLE)
    }

    /// As [`EmbeddedLive::new`], with other timings than the default, and another time after which a room in which
    /// nothing happens is forgotten.
    pub fn with(timings: LiveTimings, room_idle: Duration) -> Arc<EmbeddedLive> {
        let state = State {
            rooms: HashMap::new(),
            round: 0,
            compared_with: String::new(),
            outlets: HashMap::new(),
            swept: Instant::now(),
        };
        Arc::new(EmbeddedLive {
            shared: Arc::new(Shared {
                timings,
                room_idle,
                state: Mutex::new(state),
                subscriptions: AtomicU64::new(0),
            }),
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.swept.elapsed() >= SWEEP_EVERY.min(self.room_idle) {
            state.sweep(self.room_idle);
        }
        state
    }
}

impl State {
    fn room(&mut self, name: &str) -> &mut Room {
        if !self.rooms.contains_key(name) {
            let name: Arc<str> = name.into();
            self.rooms.insert(Arc::clone(&name), Room::new(name));
        }
        self.rooms.get_mut(name).expect("it is there by now")
    }

    fn append(&mut self, room: &str, request: &AppendRequest, floor: Option<Seq>) -> Appended {
        let AppendRequest {
            message,
            part,
            tail,
            ..
        } = request;
        let known = self.rooms.get(room);
        if let Some(known) = known.and_then(|room| room.known(message.id, &message.sender)) {
            return known;
        }
        if let BotRole::Reply(fence) = *part
            && !known.is_some_and(|room| room.bot.admits(message.id, fence))
        {
            return Appended::Fenced;
        }
        if let Some(of) = message.of
            && known.is_some_and(|room| room.is_deleted(of))
        {
            return Appended::Gone;
        }
        let last = match (known.and_then(|room| room.last), floor) {
            (None, None) => return Appended::Cold,
            (last, floor) => last.max(floor).unwrap_or_default(),
        };
        let room = self.room(room);
        let message = Arc::new(message.clone().at(now_seq().max(last + 1), last));
        room.keep(Arc::clone(&message));
        match *part {
            BotRole::None => {}
            BotRole::Request(reply) => room.bot.reserve(reply, message.seq),
            BotRole::Reply(_) => room.bot.posted(message.id),
        }
        if let Some(of) = message.of {
            room.change(&message, of);
        }
        if !room.outlets.is_empty() {
            let event = LiveEvent::Message {
                room: Arc::clone(&room.name),
                seq: message.seq,
                prev: message.prev,
                frame: message.frame_around(tail).into(),
            };
            room.broadcast(&event);
        }
        Appended::New(Message::clone(&message))
    }

    fn sweep(&mut self, idle: Duration) {
        let (now, round) = (Instant::now(), self.round);
        self.swept = now;
        self.outlets.retain(|_, outlet| !outlet.is_closed());
        self.rooms.retain(|_, room| {
            room.outlets.retain(|_, outlet| !outlet.is_closed());
            room.present.retain(|_, present| present.until > now);
            let silent = now.duration_since(room.touched);
            !(room.outlets.is_empty()
                && room.present.is_empty()
                && (silent >= ROOM_IDLE_MAX || silent >= idle && room.is_settled(round)))
        });
    }
}

impl Room {
    fn new(name: Arc<str>) -> Room {
        Room {
            name,
            ids: HashMap::new(),
            seqs: VecDeque::new(),
            stream: VecDeque::new(),
            changes: HashMap::new(),
            last: None,
            settled: None,
            is_gone: false,
            bot: TurnQueue::default(),
            present: HashMap::new(),
            shown: Vec::new(),
            outlets: HashMap::new(),
            touched: Instant::now(),
        }
    }

    fn is_settled(&self, round: u64) -> bool {
        self.last.map(|last| (last, round)) == self.settled
    }

    fn at(&self, seq: Seq) -> Option<&Arc<Message>> {
        let at = self.stream.partition_point(|message| message.seq < seq);
        self.stream.get(at).filter(|message| message.seq == seq)
    }

    fn known(&self, id: Uuid, sender: &str) -> Option<Appended> {
        let seq = *self.ids.get(&id)?;
        Some(match self.at(seq) {
            Some(message) if message.sender != sender => Appended::Taken,
            Some(message) => Appended::Known(Message::clone(message)),
            None => Appended::KnownOnly(seq),
        })
    }

    fn is_deleted(&self, id: Uuid) -> bool {
        self.changes
            .get(&id)
            .is_some_and(|(_, is_deleted)| *is_deleted)
    }

    /// What a deletion does to what it deletes.
    fn take_text(&mut self, of: Uuid) {
        // Any answer may have been told the text.
        self.bot.interrupt_all();
        for entry in &mut self.stream {
            let is_edit = entry.kind == Kind::Edited && entry.of == Some(of);
            if entry.id == of || is_edit {
                let mut without_text = Message::clone(entry);
                without_text.erase();
                without_text.deleted = !is_edit;
                *entry = Arc::new(without_text);
            }
        }
    }

    /// Whether there is a text of this message here, or of an edit of it.
    fn has_text_of(&self, id: Uuid) -> bool {
        let is_of = |entry: &Arc<Message>| {
            entry.id == id || entry.kind == Kind::Edited && entry.of == Some(id)
        };
        self.stream.iter().any(is_of)
    }

    /// What an edit or a deletion does beside taking its place.
    fn change(&mut self, event: &Message, of: Uuid) {
        let is_deletion = event.kind == Kind::Deleted;
        self.changes.insert(of, (event.seq, is_deletion));
        if is_deletion {
            self.take_text(of);
        } else {
            self.bot.interrupt(reply_id(&event.room, of), of);
        }
        if self.changes.len() >= 2 * self.stream.len() + STREAM_MESSAGES {
            // Those that changed before the oldest that the stream has are told by the database.
            let oldest = self.stream.front().map_or(0, |oldest| oldest.seq);
            self.changes.retain(|_, (seq, _)| *seq >= oldest);
        }
    }

    fn keep(&mut self, message: Arc<Message>) {
        let (id, seq) = (message.id, message.seq);
        self.stream.push_back(message);
        self.ids.insert(id, seq);
        self.seqs.push_back((seq, id));
        self.last = Some(seq);
        self.touched = Instant::now();
        let old = seq.saturating_sub(STREAM_MIN_AGE.as_micros() as Seq);
        while self.stream.len() > STREAM_MAX_MESSAGES
            || self.stream.len() > STREAM_MESSAGES
                && self.stream.front().is_some_and(|first| first.seq < old)
        {
            self.stream.pop_front();
        }
        let old = seq.saturating_sub(REMEMBERED_IDS_MIN_AGE.as_micros() as Seq);
        while let Some((at, id)) = self.seqs.front().copied()
            && (self.seqs.len() > REMEMBERED_IDS_MAX
                || self.seqs.len() > REMEMBERED_IDS_PER_ROOM && at < old)
        {
            self.seqs.pop_front();
            self.ids.remove(&id);
        }
    }

    fn may_have_forgotten(&self, request: &AppendRequest) -> bool {
        let oldest = self.seqs.front().map(|(seq, _)| *seq);
        let is_older = request
            .made
            .zip(oldest)
            .is_some_and(|(made, oldest)| made < oldest);
        is_older && !self.ids.contains_key(&request.message.id)
    }

    fn broadcast(&mut self, event: &LiveEvent) {
        let topic = Topic::Room(Arc::clone(&self.name));
        self.outlets.retain(|_, outlet| {
            outlet.offer(&topic, event.clone());
            !outlet.is_closed()
        });
    }
}

#[async_trait]
impl Live for EmbeddedLive {
    async fn append_all(
        &self,
        room: &str,
        requests: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        let mut state = self.shared.state();
        if state.rooms.get(room).is_some_and(|room| room.is_gone) {
            return Ok(vec![Appended::RoomGone; requests.len()]);
        }
        // An id that was made before the oldest that is remembered may have been used before that as well.
        if floor.is_none()
            && let Some(known) = state.rooms.get(room)
            && requests
                .iter()
                .any(|request| known.may_have_forgotten(request))
        {
            return Ok(vec![Appended::Cold; requests.len()]);
        }
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let answer = state.append(room, request, floor);
            if answer == Appended::Cold {
                return Ok(vec![answer; requests.len()]);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        let (found, latest) = {
            let state = self.shared.state();
            let Some(room) = state.rooms.get(room) else {
                return Ok(Tail::default());
            };
            let from = room.stream.partition_point(|message| message.seq <= after);
            let found: Vec<Arc<Message>> = room.stream.range(from..).take(limit).cloned().collect();
            (found, room.last.unwrap_or_default())
        };
        let messages = found
            .iter()
            .map(|message| Message::clone(message))
            .collect();
        Ok(Tail::new(after, messages, latest))
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        let state = self.shared.state();
        let found = state.rooms.get(room).and_then(|room| {
            let seq = *room.ids.get(&id)?;
            room.at(seq).cloned()
        });
        drop(state);
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn changes(&self, room: &str, ids: &[Uuid]) -> Result<Vec<Change>, LiveError> {
        let state = self.shared.state();
        let Some(room) = state.rooms.get(room) else {
            return Ok(Vec::new());
        };
        let change = |of: &Uuid| {
            let (seq, is_deleted) = *room.changes.get(of)?;
            let text = match is_deleted {
                true => None,
                // One that the stream has dropped is told by the database.
                false => Some(room.at(seq)?.message.clone()),
            };
            Some(Change { of: *of, seq, text })
        };
        Ok(ids.iter().filter_map(change).collect())
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        let mut state = self.shared.state();
        match signal {
            Signal::Room { room, frame } => {
                if let Some(room) = state.rooms.get_mut(room.as_str()) {
                    let event = LiveEvent::Signal {
                        room: Arc::clone(&room.name),
                        frame: frame.clone(),
                    };
                    room.broadcast(&event);
                }
            }
            Signal::Control(control) => {
                let control: &Control = control;
                state.outlets.retain(|_, outlet| {
                    outlet.offer(&Topic::Control, LiveEvent::Control(control.clone()));
                    !outlet.is_closed()
                });
            }
        }
        Ok(())
    }

    async fn announce(
        &self,
        process: &str,
        room: &str,
        users: &[String],
    ) -> Result<Vec<String>, LiveError> {
        let now = Instant::now();
        let mut state = self.shared.state();
        if users.is_empty() && !state.rooms.contains_key(room) {
            return Ok(Vec::new());
        }
        let room = state.room(room);
        if users.is_empty() {
            room.present.remove(process);
        } else {
            let present = Present {
                until: now + self.shared.timings.presence_ttl,
                users: users[..users.len().min(PRESENCE_MAX_USERS)].to_vec(),
            };
            room.present.insert(process.to_owned(), present);
        }
        room.present.retain(|_, present| present.until > now);
        let all: BTreeSet<&String> = room
            .present
            .values()
            .flat_map(|present| &present.users)
            .collect();
        let all: Vec<String> = all.into_iter().take(PRESENCE_MAX_USERS).cloned().collect();
        if all != room.shown {
            room.shown.clone_from(&all);
            let presence = ServerFrame::Presence {
                room: room.name.to_string(),
                users: all.clone(),
            };
            let event = LiveEvent::Signal {
                room: Arc::clone(&room.name),
                frame: presence.frame().into(),
            };
            room.broadcast(&event);
        }
        Ok(all)
    }

    async fn unsettled(&self, limit: usize, server: &str) -> Result<Vec<Unsettled>, LiveError> {
        let mut state = self.shared.state();
        if state.compared_with != server {
            state.round += 1;
            server.clone_into(&mut state.compared_with);
        }
        let round = state.round;
        let rooms = state.rooms.values();
        let unsettled = rooms.filter(|room| !room.is_settled(round));
        let mut unsettled: Vec<Unsettled> = unsettled
            .filter_map(|room| {
                Some(Unsettled {
                    room: room.name.to_string(),
                    version: room.last?,
                    round,
                })
            })
            .collect();
        drop(state);
        unsettled.sort_by_key(|room| room.version);
        unsettled.truncate(limit);
        Ok(unsettled)
    }

    /// One process is all there are.
    async fn take_unsettled(
        &self,
        limit: usize,
        server: &str,
        _: &Looker,
    ) -> Result<Vec<Unsettled>, LiveError> {
        self.unsettled(limit, server).await
    }

    async fn settled(&self, room: &Unsettled) -> Result<(), LiveError> {
        let mut state = self.shared.state();
        if state.round == room.round
            && let Some(known) = state.rooms.get_mut(room.room.as_str())
            && known.last == Some(room.version)
        {
            known.settled = Some((room.version, room.round));
        }
        Ok(())
    }

    async fn compare_anew(&self) -> Result<(), LiveError> {
        self.shared.state().compared_with.clear();
        Ok(())
    }

    async fn erase(&self, room: &str) -> Result<(), LiveError> {
        let mut state = self.shared.state();
        let room = state.room(room);
        let outlets = std::mem::take(&mut room.outlets);
        *room = Room {
            is_gone: true,
            outlets,
            ..Room::new(Arc::clone(&room.name))
        };
        Ok(())
    }

    async fn forget_until(&self, room: &str, until: Seq) -> Result<(), LiveError> {
        let mut state = self.shared.state();
        if let Some(room) = state.rooms.get_mut(room) {
            room.stream.retain(|message| message.seq > until);
            room.changes.retain(|_, (seq, _)| *seq > until);
        }
        Ok(())
    }

    async fn scrub(&self, room: &str, deleted: &[(Uuid, Seq)]) -> Result<usize, LiveError> {
        let mut state = self.shared.state();
        let Some(room) = state.rooms.get_mut(room) else {
            return Ok(0);
        };
        let mut scrubbed = 0;
        for (of, seq) in deleted {
            if !room.is_deleted(*of) && room.has_text_of(*of) {
                room.changes.insert(*of, (*seq, true));
                room.take_text(*of);
                scrubbed += 1;
            }
        }
        Ok(scrubbed)
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        let (outlet, events) = Outlet::open(capacity);
        let number = self.shared.subscriptions.fetch_add(1, Ordering::Relaxed);
        self.shared
            .state()
            .outlets
            .insert(number, Arc::clone(&outlet));
        let subscription = EmbeddedSubscription {
            shared: Arc::downgrade(&self.shared),
            number,
            outlet,
        };
        (Arc::new(subscription), events)
    }

    async fn ping(&self) -> Result<Health, LiveError> {
        Ok(Health::Well)
    }
}

#[async_trait]
impl Turns for EmbeddedLive {
    async fn request_turn(
        &self,
        request: &TurnRequest,
        mode: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError> {
        let mut state = self.shared.state();
        let room = state.room(&request.room);
        if room.is_gone || room.ids.contains_key(&request.reply) {
            return Ok(TurnStatus::Answered);
        }
        let lease = self.shared.timings.turn_lease;
        Ok(room
            .bot
            .request_turn(request, mode, lease, keep, Instant::now()))
    }

    async fn release_turn(&self, request: &TurnRequest, for_good: bool) -> Result<(), LiveError> {
        let mut state = self.shared.state();
        if let Some(room) = state.rooms.get_mut(request.room.as_str()) {
            room.bot.release_turn(request, for_good);
        }
        Ok(())
    }

    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError> {
        let frame = draft.frame();
        let mut state = self.shared.state();
        let Some(room) = state.rooms.get_mut(draft.room.as_str()) else {
            return Ok(DraftOutcome::Fenced);
        };
        let drafted = room.bot.draft(draft, Instant::now());
        if drafted == DraftOutcome::Shown {
            let event = LiveEvent::Signal {
                room: Arc::clone(&room.name),
                frame: frame.into(),
            };
            room.broadcast(&event);
        }
        Ok(drafted)
    }

    async fn requests_before(&self, room: &str, reply: Uuid) -> Result<Option<usize>, LiveError> {
        let state = self.shared.state();
        let room = state.rooms.get(room);
        Ok(room.and_then(|room| room.bot.requests_before(reply)))
    }

    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError> {
        let mut state = self.shared.state();
        let room = state.rooms.get_mut(room);
        Ok(room.and_then(|room| room.bot.draft_snapshot(Instant::now())))
    }
}

struct EmbeddedSubscription {
    shared: Weak<Shared>,
    number: SubscriptionNumber,
    outlet: Arc<Outlet>,
}

#[async_trait]
impl Subscriber for EmbeddedSubscription {
    async fn subscribe(&self, room: &str) -> Result<(), LiveError> {
        let closed = || LiveError {
            what: "subscribing to a room",
            source: "the subscription is closed".into(),
        };
        let shared = self.shared.upgrade().ok_or_else(closed)?;
        if self.outlet.is_closed() {
            return Err(closed());
        }
        let mut state = shared.state();
        let room = state.room(room);
        room.outlets.insert(self.number, Arc::clone(&self.outlet));
        Ok(())
    }

    async fn unsubscribe(&self, room: &str) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.state();
        if let Some(room) = state.rooms.get_mut(room) {
            room.outlets.remove(&self.number);
            self.outlet.forget(&Topic::Room(Arc::clone(&room.name)));
        }
    }
}
