//! A room's past as one timeline: the database, and the stream's tail for what is not there yet. History, resume and the
//! bot's context read it; read repair falls out of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::{
    live::{Change, Live, LiveError, Looker, Tail, Unsettled},
    posting::{PostError, Poster},
    retry::{Retry, Retryable},
    store::{Store, StoreError, may_be_gone},
    wire::{Kind, Message, Seq, now_seq},
};

/// The most messages a client that comes back is sent over its socket; one that missed more loads the history.
pub const RESUME_MAX_MESSAGES: usize = 1_000;

/// What a message takes beside its text where it is read: its ids, names, keys.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// The most messages in one page of history.
pub const PAGE_MAX_MESSAGES: usize = 200;

/// What the stream has had for this long and the database has not is handed to `persist` again.
pub const REPAIR_AFTER: Duration = Duration::from_secs(30);

/// How long a look at a room waits for a word of the persisters: see `posting/progress.rs`.
const NOTE_PATIENCE: Duration = Duration::from_secs(2);

/// How much of a stream is compared with the database at a time.
const REPAIR_READ_MESSAGES: usize = 1_000;

/// How much is read at a time where only the places count.
const PLACES_READ_MESSAGES: usize = 500;

/// The most rooms of which one process remembers how far it has compared them.
const COMPARED_MAX_ROOMS: usize = 20_000;

/// The most messages that one process remembers to have missed; beyond them only their `seq`s count.
const MISSED_MAX: usize = 20_000;

/// How long it remembers them: it has handed them over long before.
const MISSED_KEPT: Duration = Duration::from_secs(600);

/// How long the database may take to tell whether there is more than the stream has, where that reaches back.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// For how long nobody waits for the database in this way after it has taken longer.
const STORE_LATE_FOR: Duration = Duration::from_secs(5);

/// The most pages of history at once for which much of a stream is read, because the database is behind.
pub const LONG_READS_AT_ONCE: usize = 4;

/// How long another such page waits for its turn.
const LONG_READ_PATIENCE: Duration = Duration::from_secs(2);

/// How much is read at a time for them.
const LONG_READ_MESSAGES: usize = 500;

/// Reads rooms' pasts.
#[derive(Clone)]
pub struct Timeline {
    live: Arc<dyn Live>,
    store: Arc<dyn Store>,
    poster: Poster,
    long_reads: Arc<Semaphore>,
    /// Until when the database counts as late, where the stream may do without it.
    store_late_until: Arc<Mutex<Option<Instant>>>,
    /// When this process first missed a message in the database, by its own clock, which nobody sets.
    missed_since: Arc<Mutex<HashMap<Uuid, Instant>>>,
    /// By room, the round of comparing and the `seq` up to which the database was seen to have all that the stream had.
    compared: Arc<Mutex<HashMap<String, (u64, Seq)>>>,
    /// What this process is called where it looks at rooms for all, and the rooms that it has not looked at yet.
    process: Arc<str>,
    to_look_at: Arc<Mutex<HashSet<String>>>,
}

/// What came of comparing a room's stream with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether nothing in the stream is missing, so that the room needs no second look.
    pub is_whole: bool,
    /// Messages that were missing, with those that are merely on their way.
    pub missing: usize,
    /// Those of them that were handed to `persist` again.
    pub handed_over: usize,
    /// Whether others would have been, if the persisters were not behind.
    pub waits: bool,
}

/// A piece of a room's past that reaches from a `seq` up to now, or as far as the limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// In order, without a gap if `complete`.
    pub messages: Vec<Message>,
    /// False if there is more than the limit between the `seq` and now; `messages` is empty then.
    pub complete: bool,
    /// The latest `seq` in the room.
    pub latest: Seq,
    /// How much was read for it from the engines, also where it is not sent. In bytes, about.
    pub bytes_read: usize,
}

/// What becomes of a resume while the database does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WithoutStore {
    Fails,
    StreamIfLinked,
    StreamAsItIs,
}

impl WithoutStore {
    fn of(reaches_back: bool) -> WithoutStore {
        if reaches_back {
            WithoutStore::StreamIfLinked
        } else {
            WithoutStore::Fails
        }
    }
}

/// Why a past cannot be read just now.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The store is away, and the stream alone does not have it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The live engine is away, and what is not in the database yet would be missing.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// Messages between the newest in the store and the oldest in the stream are still in the queue: the store lags.
    #[error("the store lags behind: some messages of this room are still on their way to it")]
    Behind,
    /// What was compared was compared with two servers.
    #[error("another database server answers than a moment ago")]
    OtherServer,
}

impl Retryable for TimelineError {
    fn retry(&self) -> Retry {
        match self {
            TimelineError::Store(error) => error.retry(),
            TimelineError::Live(error) => error.retry(),
            TimelineError::Behind | TimelineError::OtherServer => Retry::Again,
        }
    }
}

impl Timeline {
    /// One for this process.
    pub fn new(live: Arc<dyn Live>, store: Arc<dyn Store>, poster: Poster) -> Timeline {
        Timeline {
            live,
            store,
            poster,
            long_reads: Arc::new(Semaphore::new(LONG_READS_AT_ONCE)),
            store_late_until: Arc::default(),
            missed_since: Arc::default(),
            compared: Arc::default(),
            process: Uuid::now_v7().simple().to_string().into(),
            to_look_at: Arc::default(),
        }
    }

    fn compared(&self) -> MutexGuard<'_, HashMap<String, (u64, Seq)>> {
        self.compared.lock()
    }

    /// Everything after a `seq`, up to now, of which this process has heard what was before it: what it was not shown.
    /// While the stream reaches back to it, the database is not asked; from 0 on it is, and may be away.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn resume(&self, room: &str, after: Seq) -> Result<Resume, TimelineError> {
        let mut tail = self.live.tail(room, after, RESUME_MAX_MESSAGES + 1).await?;
        self.leave_out_gone(room, &mut tail).await;
        if tail.reaches_back && after > 0 {
            let bytes_read = bytes_of(&tail.messages);
            return Ok(within_limit(tail.messages, tail.latest, bytes_read));
        }
        let without = WithoutStore::of(tail.reaches_back);
        self.resume_from_both(room, after, without).await
    }

    /// Everything after a `seq`, up to now, whoever knows it from whichever server: what a client that comes back has
    /// missed. The database is asked also where the stream reaches back: the stream of a server that has taken over from
    /// another lacks what only that one had, and looks whole all the same. While the database does not answer, a stream
    /// that reaches back has to do.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn resume_whole(&self, room: &str, after: Seq) -> Result<Resume, TimelineError> {
        let without = WithoutStore::of(self.live.tail(room, after, 1).await?.reaches_back);
        self.resume_from_both(room, after, without).await
    }

    /// As [`Timeline::resume_whole`], for readers who look on: while the database does not answer, they are shown what the
    /// stream has, which need not follow on what they have. Whoever asks looks again later for what that lacks.
    ///
    /// # Errors
    /// [`TimelineError`] if the live engine is away.
    pub async fn resume_for_now(&self, room: &str, after: Seq) -> Result<Resume, TimelineError> {
        self.resume_from_both(room, after, WithoutStore::StreamAsItIs)
            .await
    }

    async fn resume_from_both(
        &self,
        room: &str,
        after: Seq,
        without: WithoutStore,
    ) -> Result<Resume, TimelineError> {
        let most = RESUME_MAX_MESSAGES + 1;
        let kept = self.store.after(room, after, most);
        let kept = match without {
            WithoutStore::Fails => Some(kept.await?),
            // What the stream takes for a room's beginning need not be one: it may have been said when the database was
            // away and could not tell what was before it.
            WithoutStore::StreamIfLinked | WithoutStore::StreamAsItIs => self.soon(kept).await,
        };
        // After that: of what was said since, the database may have the last and lack the first.
        let mut tail = self.live.tail(room, after, most).await?;
        let gone = self.leave_out_gone(room, &mut tail).await;
        let bytes_read = bytes_of(kept.as_deref().unwrap_or_default()) + bytes_of(&tail.messages);
        let Some(kept) = kept else {
            if !tail.reaches_back && without != WithoutStore::StreamAsItIs {
                return Err(TimelineError::Behind);
            }
            return Ok(within_limit(tail.messages, tail.latest, bytes_read));
        };
        let latest = match tail.latest {
            0 => self.latest_of_cold(room, after, &kept).await?,
            latest => latest.max(newest(&kept, 0)),
        };
        let hole = refuse_hole(&kept, &tail, after.max(gone));
        let resume = within_limit(
            without_deleted(merge(kept, tail.messages)),
            latest,
            bytes_read,
        );
        // Where there is too much to be sent, it does not matter what is missing in it.
        if resume.complete {
            hole?;
        }
        Ok(resume)
    }

    /// Up to which place a room's past is gone by age, for whoever has something of it that is as old as `oldest`: the stream may
    /// have it still. While the database is away that is not known, and what is told is 0: it goes from the stream by itself.
    async fn gone_until(&self, room: &str, oldest: Seq) -> Seq {
        if !may_be_gone(oldest) {
            return 0;
        }
        let gone = self.soon(self.store.gone_until(room)).await;
        gone.unwrap_or_default()
    }

    /// Leaves out what is gone by age, and says up to which place that is, as far as it matters here.
    async fn leave_out_gone(&self, room: &str, tail: &mut Tail) -> Seq {
        let Some(first) = tail.messages.first() else {
            return 0;
        };
        // What is before the first may be gone as well, and nobody is to wait for it.
        let oldest = if first.prev > 0 {
            first.prev
        } else {
            first.seq
        };
        let gone = self.gone_until(room, oldest).await;
        tail.messages.retain(|message| message.seq > gone);
        gone
    }

    /// What the database answers soon. Once it has been late, others do not wait for it as well.
    async fn soon<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let late_until = *self.store_late_until.lock();
        if late_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let Ok(answer) = timeout(STORE_PATIENCE, answer).await else {
            *self.store_late_until.lock() = Some(Instant::now() + STORE_LATE_FOR);
            return None;
        };
        answer.ok()
    }

    /// The places of the messages that a room's stream has after a `seq` and up to another.
    ///
    /// # Errors
    /// [`TimelineError::Live`].
    pub async fn places_in_stream(
        &self,
        room: &str,
        after: Seq,
        until: Seq,
    ) -> Result<Vec<Seq>, TimelineError> {
        let mut places = Vec::new();
        let mut last = after;
        while last < until {
            let tail = self.live.tail(room, last, PLACES_READ_MESSAGES).await?;
            let count = tail.messages.len();
            last = newest(&tail.messages, last);
            places.extend(tail.messages.iter().map(|message| message.seq));
            if count < PLACES_READ_MESSAGES {
                break;
            }
        }
        places.retain(|place| *place <= until);
        Ok(places)
    }

    /// The places of the messages that the database has after a `seq` and up to another.
    ///
    /// # Errors
    /// [`TimelineError::Store`].
    pub async fn places_in_store(
        &self,
        room: &str,
        after: Seq,
        until: Seq,
    ) -> Result<Vec<Seq>, TimelineError> {
        let mut places = Vec::new();
        let mut last = after;
        while last < until {
            let kept = self.store.after(room, last, PLACES_READ_MESSAGES).await?;
            last = newest(&kept, last);
            places.extend(kept.iter().map(|message| message.seq));
            if kept.len() < PLACES_READ_MESSAGES {
                break;
            }
        }
        places.retain(|place| *place <= until);
        Ok(places)
    }

    /// The latest `seq` in a room that the live engine knows nothing of, whose messages after a `seq` are `kept`, as
    /// far as one more than the limit.
    async fn latest_of_cold(
        &self,
        room: &str,
        after: Seq,
        kept: &[Message],
    ) -> Result<Seq, StoreError> {
        if kept.is_empty() {
            // What comes at this moment is not among `kept`, so it does not count yet.
            Ok(self.store.latest(room).await?.min(after))
        } else if kept.len() > RESUME_MAX_MESSAGES {
            Ok(self.store.latest(room).await?)
        } else {
            Ok(newest(kept, after))
        }
    }

    /// One message by its id, in its newest state, or an event.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, TimelineError> {
        let mut found = match self.live.find(room, id).await? {
            Some(shown) if shown.seq > self.gone_until(room, shown.seq).await => Some(shown),
            Some(_) => return Ok(None),
            None => self.store.find(room, id).await?,
        };
        // After that: what has changed it by now is either in what was found, or in the stream.
        self.to_newest_state(room, found.as_mut_slice()).await?;
        Ok(found)
    }

    /// Brings messages to the state that they have by what the stream knows, and the database perhaps not yet.
    async fn to_newest_state(&self, room: &str, messages: &mut [Message]) -> Result<(), LiveError> {
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let changes = self.live.changes(room, &ids).await?;
        let mut by_id: HashMap<Uuid, Change> = changes
            .into_iter()
            .map(|change| (change.of, change))
            .collect();
        for message in messages {
            if let Some(change) = by_id.remove(&message.id) {
                change.apply(message);
            }
        }
        Ok(())
    }

    /// The latest `seq` in a room.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn latest(&self, room: &str) -> Result<Seq, TimelineError> {
        let tail = self.live.tail(room, Seq::MAX, 1).await?;
        if tail.latest > 0 {
            Ok(tail.latest)
        } else {
            Ok(self.store.latest(room).await?)
        }
    }

    /// The latest `seq` of a room that the database has; `None` while it does not answer.
    pub async fn kept_until(&self, room: &str) -> Option<Seq> {
        self.soon(self.store.latest(room)).await
    }

    /// A page of history: the last `limit` messages before a `seq`, in their newest state.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away, or if something of the page is in neither.
    pub async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, TimelineError> {
        let is_latest = before == Seq::MAX;
        match self.page_before(room, before, limit, !is_latest).await {
            // What the database has last may be an event, which is in no page.
            Err(TimelineError::Behind) if is_latest => {
                self.page_before(room, before, limit, true).await
            }
            page => page,
        }
    }

    async fn page_before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
        asks_latest: bool,
    ) -> Result<Vec<Message>, TimelineError> {
        // What is written to the database meanwhile must not be taken for something that is in `kept`: asked first.
        let stored_until = match asks_latest {
            true => self.store.latest(room).await?,
            false => 0,
        };
        let kept = self.store.before(room, before, limit).await?;
        let stored_until = stored_until.max(newest(&kept, 0));
        // The stream may have messages in this page's range that the database lacks, also between two that it has.
        let oldest = if kept.len() < limit {
            0
        } else {
            kept.first().map_or(0, |message| message.seq - 1)
        };
        let stream = self.stream_before(room, oldest, before, limit).await?;
        let (whole_since, mut shown, events) = stream;
        let oldest = match shown.first() {
            Some(first) if whole_since == 0 => first.seq,
            Some(_) => whole_since,
            None => Seq::MAX,
        };
        let gone = self.gone_until(room, oldest).await;
        shown.retain(|message| message.seq > gone);
        let stored_until = stored_until.max(gone);
        let all = [&*shown, &*events].concat();
        self.repair_missing(room, &kept, &all).await;
        let mut page = merge(kept, shown);
        page.drain(..page.len().saturating_sub(limit));
        let is_streams =
            page.len() == limit && page.first().is_some_and(|first| first.seq > whole_since);
        if !is_streams && stored_until < whole_since.min(before.saturating_sub(1)) {
            return Err(TimelineError::Behind);
        }
        self.to_newest_state(room, &mut page).await?;
        Ok(page)
    }

    /// The last `limit` messages of a room's stream between two `seq`s, and the one after which, up to the second
    /// one, the stream lacks none; and the events that were read with them.
    async fn stream_before(
        &self,
        room: &str,
        after: Seq,
        before: Seq,
        limit: usize,
    ) -> Result<(Seq, Vec<Message>, Vec<Message>), TimelineError> {
        let (mut messages, mut events) = (Vec::new(), Vec::new());
        let (mut whole_since, mut last) = (0, after);
        // As much as a page needs while the database is not behind.
        let mut count = limit + PAGE_MAX_MESSAGES;
        let mut permit = None;
        let mut is_linked = false;
        loop {
            let tail = self.live.tail(room, last, count).await?;
            if !tail.reaches_back {
                // What was read so far does not link up: the stream was trimmed meanwhile.
                messages.clear();
                is_linked = false;
            }
            if !is_linked {
                whole_since = tail.messages.first().map_or(0, |first| first.prev);
            }
            is_linked = true;
            let was_full = tail.messages.len() >= count;
            last = newest(&tail.messages, last);
            let wanted = tail.messages.into_iter();
            let wanted = wanted.filter(|message| message.seq < before);
            let (changes, said) = wanted.partition::<Vec<_>, _>(|message| message.kind.is_change());
            messages.extend(said);
            events.extend(changes);
            events.drain(..events.len().saturating_sub(limit + PAGE_MAX_MESSAGES));
            let surplus = messages.len().saturating_sub(limit);
            if let Some(dropped) = messages.drain(..surplus).next_back() {
                whole_since = dropped.seq;
            }
            if !was_full || last >= before {
                return Ok((whole_since, messages, events));
            }
            if permit.is_none() {
                let turn = timeout(LONG_READ_PATIENCE, self.long_reads.acquire()).await;
                permit = Some(turn.map_err(|_| TimelineError::Behind)?);
            }
            count = LONG_READ_MESSAGES;
        }
    }

    /// A page of history: the first `limit` messages after a `seq`, in their newest state.
    ///
    /// # Errors
    /// As [`Timeline::before`].
    pub async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, TimelineError> {
        let (mut page, mut last) = (Vec::<Message>::new(), after);
        let mut count = limit;
        loop {
            let piece = self.piece_after(room, last, count).await?;
            let was_full = piece.len() >= count;
            // Somebody may have edited one message all day.
            count = LONG_READ_MESSAGES;
            last = newest(&piece, last);
            for mut message in piece.into_iter().filter(|one| !one.kind.is_change()) {
                if let Some(before) = page.last() {
                    message.prev = before.seq;
                }
                page.push(message);
            }
            if !was_full || page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        self.to_newest_state(room, &mut page).await?;
        Ok(page)
    }

    /// What comes first after a `seq`, messages and events, at most `limit`.
    async fn piece_after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, TimelineError> {
        let kept = self.store.after(room, after, limit).await?;
        let mut tail = self.live.tail(room, after, limit).await?;
        let gone = self.leave_out_gone(room, &mut tail).await;
        if kept.len() < limit {
            refuse_hole(&kept, &tail, after.max(gone))?;
        }
        let mut tail = tail.messages;
        if kept.len() == limit {
            tail.retain(|message| message.seq < newest(&kept, after));
        }
        self.repair_missing(room, &kept, &tail).await;
        let mut piece = merge(kept, tail);
        piece.truncate(limit);
        Ok(piece)
    }

    /// Rooms to be compared by [`Timeline::repair`], and the server that they are to be compared with.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine is away.
    pub async fn unsettled(
        &self,
        limit: usize,
    ) -> Result<(Arc<str>, Vec<Unsettled>), TimelineError> {
        let listed = async {
            let server = self.store.server().await?;
            let rooms = self.live.unsettled(limit, &server).await?;
            Ok((server, rooms))
        };
        self.noting_outages(listed).await
    }

    /// As [`Timeline::unsettled`], for a process that looks at rooms for all: those that no other process looks at. What it does
    /// not [`repair`](Timeline::repair) before it asks again is left to the others.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine is away.
    pub async fn take_unsettled(
        &self,
        limit: usize,
    ) -> Result<(Arc<str>, Vec<Unsettled>), TimelineError> {
        let taken = async {
            let server = self.store.server().await?;
            let failed = std::mem::take(&mut *self.to_look_at.lock());
            let looker = Looker {
                process: self.process.to_string(),
                failed: failed.into_iter().collect(),
            };
            let rooms = self.live.take_unsettled(limit, &server, &looker).await?;
            let names = rooms.iter().map(|room| room.room.clone());
            self.to_look_at.lock().extend(names);
            Ok((server, rooms))
        };
        self.noting_outages(taken).await
    }

    /// Compares a room's stream with the database, from where this process was sure of it the last time in this round, and
    /// hands what is missing to `persist` again; settles the room if nothing is.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine is away, or the database is on another server by now.
    pub async fn repair(
        &self,
        room: &Unsettled,
        server: &str,
    ) -> Result<Comparison, TimelineError> {
        let compared = self.noting_outages(self.compare(room, server)).await?;
        self.to_look_at.lock().remove(&room.room);
        if compared.is_whole {
            self.live.settled(room).await?;
        }
        Ok(compared)
    }

    /// What a persister has in hand when the database comes back is written a while later than what others have.
    async fn noting_outages<T>(
        &self,
        call: impl Future<Output = Result<T, TimelineError>>,
    ) -> Result<T, TimelineError> {
        let outcome = call.await;
        if let Err(TimelineError::Store(_)) = outcome {
            self.poster.distrust_progress().await;
        }
        outcome
    }

    async fn compare(&self, room: &Unsettled, server: &str) -> Result<Comparison, TimelineError> {
        let Unsettled { room, round, .. } = room;
        let mut last = match self.compared().get(room) {
            Some((in_round, until)) if in_round == round => *until,
            _ => 0,
        };
        let mut compared = Comparison {
            is_whole: true,
            missing: 0,
            handed_over: 0,
            waits: false,
        };
        let mut latest = None;
        loop {
            let mut tail = self.live.tail(room, last, REPAIR_READ_MESSAGES).await?;
            let read = tail.messages.len();
            last = newest(&tail.messages, last);
            self.leave_out_gone(room, &mut tail).await;
            // What the stream dropped since the last read was not seen.
            compared.is_whole &= latest.is_none() || tail.reaches_back;
            // What comes after the first look makes a version of its own.
            let latest = *latest.get_or_insert(tail.latest);
            let ids: Vec<Uuid> = tail.messages.iter().map(|message| message.id).collect();
            let looked_up = self.store.look_up(room, &ids).await?;
            if *looked_up.server != *server {
                return Err(TimelineError::OtherServer);
            }
            let is_there = |message: &&Message| looked_up.existing.contains(&message.id);
            if compared.is_whole
                && let Some(sure) = tail.messages.iter().take_while(is_there).last()
            {
                self.remember_compared(room, *round, sure.seq);
            }
            let missing: Vec<&Message> = tail
                .messages
                .iter()
                .filter(|message| !is_there(message))
                .collect();
            compared.missing += missing.len();
            let handed = self.hand_over(room, &missing, *round, NOTE_PATIENCE).await;
            compared.handed_over += handed.unwrap_or(0);
            compared.waits |= handed.is_none();
            compared.is_whole &= missing.is_empty();
            if read < REPAIR_READ_MESSAGES || last >= latest {
                return Ok(compared);
            }
        }
    }

    /// Forgetting only costs a longer look, so one room too many makes all of them forgotten.
    fn remember_compared(&self, room: &str, round: u64, until: Seq) {
        let mut compared = self.compared();
        if compared.len() >= COMPARED_MAX_ROOMS && !compared.contains_key(room) {
            compared.clear();
        }
        compared.insert(room.to_owned(), (round, until));
    }

    async fn repair_missing(&self, room: &str, kept: &[Message], tail: &[Message]) {
        let kept: HashSet<Uuid> = kept.iter().map(|message| message.id).collect();
        let unseen: Vec<Uuid> = tail
            .iter()
            .map(|message| message.id)
            .filter(|id| !kept.contains(id))
            .collect();
        if unseen.is_empty() {
            return;
        }
        let Ok(existing) = self.store.existing(room, &unseen).await else {
            return;
        };
        let is_missing =
            |message: &&Message| !kept.contains(&message.id) && !existing.contains(&message.id);
        let missing: Vec<&Message> = tail.iter().filter(is_missing).collect();
        // Whoever reads does not wait for it.
        self.hand_over(room, &missing, 0, Duration::ZERO).await;
    }

    /// Hands over those of the missing that are lost: old enough to be late, and missing still when the persisters have come
    /// further than that. Returns how many; none if it must wait.
    async fn hand_over(
        &self,
        room: &str,
        missing: &[&Message],
        round: u64,
        patience: Duration,
    ) -> Option<usize> {
        let now = Instant::now();
        let since = self.missed_since(missing, now);
        let late = missing.iter().copied().zip(since);
        let late = late.filter(|(_, since)| now.duration_since(*since) >= REPAIR_AFTER);
        let (late, since): (Vec<&Message>, Vec<Instant>) = late.unzip();
        let Some(newest) = since.into_iter().max() else {
            return Some(0);
        };
        let handing = async {
            // Whatever is as old as that was published by now, unless nobody lives who would.
            let published = newest + REPAIR_AFTER;
            self.poster.all_is_written(published, patience).await?;
            let ids: Vec<Uuid> = late.iter().map(|message| message.id).collect();
            let existing = self.store.existing(room, &ids).await?;
            let lost = late
                .into_iter()
                .filter(|message| !existing.contains(&message.id));
            let lost: Vec<&Message> = lost.collect();
            self.poster.repair(room, &lost, round).await
        };
        let handed: Result<usize, PostError> = handing.await;
        if let Err(error) = &handed {
            tracing::debug!(room, %error, "a repair must wait");
        }
        handed.ok()
    }
}

impl Timeline {
    /// Since when each of these has been in the stream, at the latest. Its `seq` says so, but is of a clock that may have
    /// been ahead, or was put back since; that this process has missed it for so long is true whatever clocks say.
    fn missed_since(&self, missing: &[&Message], now: Instant) -> Vec<Instant> {
        let present = now_seq();
        let mut seen = self.missed_since.lock();
        if seen.len() + missing.len() > MISSED_MAX {
            seen.retain(|_, since| now.duration_since(*since) < MISSED_KEPT);
        }
        let mut since = |message: &&Message| {
            let age = Duration::from_micros(present.saturating_sub(message.seq));
            // As old as that is as old as can be.
            let by_seq = now.checked_sub(age.min(MISSED_KEPT)).unwrap_or(now);
            if age >= REPAIR_AFTER || seen.len() >= MISSED_MAX {
                return by_seq;
            }
            by_seq.min(*seen.entry(message.id).or_insert(now))
        };
        missing.iter().map(&mut since).collect()
    }
}

/// The last one's `seq`; where there is none, the one after which they were looked for.
fn newest(messages: &[Message], after: Seq) -> Seq {
    messages.last().map_or(after, |message| message.seq)
}

/// A page that silently left out what is still in the queue would break the promise of no gap: better none for a while.
fn refuse_hole(kept: &[Message], tail: &Tail, after: Seq) -> Result<(), TimelineError> {
    let newest_kept = newest(kept, after);
    match tail.messages.first() {
        Some(first) if !tail.reaches_back && first.prev > newest_kept => Err(TimelineError::Behind),
        _ => Ok(()),
    }
}

fn within_limit(messages: Vec<Message>, latest: Seq, bytes_read: usize) -> Resume {
    let complete = messages.len() <= RESUME_MAX_MESSAGES;
    Resume {
        messages: if complete { messages } else { Vec::new() },
        complete,
        latest,
        bytes_read,
    }
}

fn bytes_of(messages: &[Message]) -> usize {
    let text = |message: &Message| {
        message.message.len() + message.grounding.bytes() + MESSAGE_OVERHEAD_BYTES
    };
    messages.iter().map(text).sum()
}

/// Two ascending pieces of one room as one: each id once (under the database's `seq`, if the two differ), each `prev`
/// the place before it.
fn merge(kept: Vec<Message>, stream: Vec<Message>) -> Vec<Message> {
    let ids: HashSet<Uuid> = kept.iter().map(|message| message.id).collect();
    let first_prev = match (kept.first(), stream.first()) {
        (Some(kept), Some(stream)) if stream.seq < kept.seq => stream.prev,
        (Some(kept), _) => kept.prev,
        (None, Some(stream)) => stream.prev,
        (None, None) => 0,
    };
    let mut all = kept;
    all.extend(
        stream
            .into_iter()
            .filter(|message| !ids.contains(&message.id)),
    );
    all.sort_by_key(|message| message.seq);
    let mut prev = first_prev;
    for message in &mut all {
        message.prev = prev;
        prev = message.seq;
    }
    all
}

/// What is deleted has no text, whichever of the two has not heard of it yet: neither the message nor its edits.
fn without_deleted(mut messages: Vec<Message>) -> Vec<Message> {
    let deletions = messages.iter().filter(|one| one.kind == Kind::Deleted);
    let deleted: HashSet<Uuid> = deletions.filter_map(|event| event.of).collect();
    if deleted.is_empty() {
        return messages;
    }
    for message in &mut messages {
        if deleted.contains(&message.id) {
            message.erase();
        } else if message.of.is_some_and(|of| deleted.contains(&of)) {
            message.take_text();
        }
    }
    messages
}
