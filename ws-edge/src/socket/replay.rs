//! What a socket that comes back to a room, or was too slow in it, has missed. From the ring if it is there, else from
//! the stream, read once for all who wait for it.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use axum::extract::ws::Utf8Bytes;
use common::{
    timeline::{RESUME_MAX_MESSAGES, TimelineError},
    wire::{Seq, now_seq},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use super::{
    feed::{Feed, Heard, Phase, Read},
    hub::Hub,
    past_reads::PastReadTurn,
    ring::Cursor,
    room::Room,
};
use crate::answers::{AnswerMemory, Answers};

/// The most bytes that are held for one socket beside the ring; what goes on after that is read when these are sent.
pub(super) const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// How long one who knows a later message than the room waits for the room to read what it missed.
const AHEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How often, and after which pause, the past is read again while it lacks what the room has seen.
const LOST_ATTEMPTS: u32 = 10;
const LOST_PAUSE: Duration = Duration::from_millis(300);

/// Where a socket goes on in a room.
pub(super) struct Replay {
    /// The latest `seq` when this was made up.
    pub(super) latest: Seq,
    /// False if more was missed than is sent.
    pub(super) complete: bool,
    /// What comes first.
    pub(super) backlog: Backlog,
    /// Where it goes on in the ring.
    pub(super) cursor: Cursor,
}

/// What one socket is sent before it goes on in the ring: the reply that is being written as far as it has come, under the
/// place 0, and messages.
pub(super) struct Backlog {
    frames: VecDeque<(Seq, Utf8Bytes)>,
    /// The place behind which its messages begin.
    after: Seq,
    /// The ring's when it was made up.
    erasures: u64,
}

impl Backlog {
    fn of_draft(feed: &Feed, after: Seq) -> Backlog {
        Backlog {
            frames: draft_snapshot(feed),
            after,
            erasures: feed.ring.erasures(),
        }
    }

    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, frame)| frame.len()).sum()
    }

    pub(super) fn front(&self) -> Option<&Utf8Bytes> {
        self.frames.front().map(|(_, frame)| frame)
    }

    pub(super) fn pop(&mut self) -> Option<Utf8Bytes> {
        let (seq, frame) = self.frames.pop_front()?;
        self.after = self.after.max(seq);
        Some(frame)
    }

    /// Drops what may have the text of something that was deleted since it was made up. Returns from where it is to be read
    /// again, if there were messages in it: a draft goes with what was deleted.
    pub(super) fn drop_erased(&mut self, feed: &Feed) -> Option<Seq> {
        if self.erasures == feed.ring.erasures() {
            return None;
        }
        let has_messages = self.frames.iter().any(|(seq, _)| *seq > 0);
        self.frames.clear();
        has_messages.then_some(self.after)
    }
}

/// The most replays of one socket that are read, or not sent yet, at a time: a client that joins a thousand rooms and
/// reads nothing holds what a handful of them missed.
const OF_ONE_SOCKET: usize = 16;

/// A backlog up to this size needs no slot: the reply that is being written, as a rule.
const SMALL_BYTES: usize = 16 * 1024;

/// The replays of one socket.
#[derive(Clone)]
pub(super) struct Replays {
    pub(super) user: Arc<str>,
    address: IpAddr,
    slots: Arc<Semaphore>,
}

/// The right to have one, until its backlog was sent.
pub(super) struct ReplaySlot {
    _socket: OwnedSemaphorePermit,
    _memory: AnswerMemory,
}

impl Replays {
    pub(super) fn new(user: Arc<str>, address: IpAddr) -> Replays {
        let slots = Arc::new(Semaphore::new(OF_ONE_SOCKET));
        Replays {
            user,
            address,
            slots,
        }
    }

    /// Waits for one.
    pub(super) async fn slot(&self, answers: &Answers) -> ReplaySlot {
        let socket = Arc::clone(&self.slots).acquire_owned().await;
        let socket = socket.expect("never closed");
        let memory = answers.memory_for_replay(&self.user, self.address, BACKLOG_BYTES_MAX);
        ReplaySlot {
            _socket: socket,
            _memory: memory.await,
        }
    }
}

impl Replay {
    /// Whether so much of it waits beside the ring that it keeps its slot.
    pub(super) fn is_large(&self) -> bool {
        self.backlog.bytes() > SMALL_BYTES
    }
}

impl Hub {
    /// Where a socket goes on that has everything up to `after`; without it, one that wants only what comes from now
    /// on. `is_new` is one that joins: what it has missed is sent up to a limit, wherever it is found.
    ///
    /// # Errors
    /// [`TimelineError`] if the past cannot be read just now.
    pub(super) async fn replay(
        self: &Arc<Self>,
        room: &Arc<Room>,
        user: &Arc<str>,
        after: Option<Seq>,
        is_new: bool,
    ) -> Result<Replay, TimelineError> {
        let Some(after) = after else {
            return Ok(live_only(room, true));
        };
        if is_new && after > room.feed().ring.last() {
            // Another edge was ahead of this one, or the client is mistaken: only the stream can tell.
            let has_looked = self.look_again(room).await;
            let is_ahead = has_looked && after > room.feed().ring.last() && after <= now_seq();
            if is_ahead && !self.is_kept(room, user, after).await {
                // The engines came back out of a backup, as a rule: what the client has is not the room's past any more.
                return Ok(live_only(room, false));
            }
        }
        if let Some(replay) = from_ring(room, after, is_new) {
            return Ok(replay);
        }
        // Before the room's own lock, for which others wait who have their turn.
        let turn = self.reads.turn(user).await;
        let _alone = room.reading_back.lock().await;
        if let Some(replay) = from_ring(room, after, is_new) {
            return Ok(replay);
        }
        let read = self.read_back(room, &turn, after, is_new).await?;
        let mut feed = room.feed_mut();
        if !read.complete {
            feed.note_too_old(Some(after));
            drop(feed);
            return Ok(live_only(room, false));
        }
        // Only what joins the ring without a hole may be put in front of it.
        let joins = read.latest >= feed.ring.floor();
        if !joins
            || !feed
                .ring
                .prepend(after, read.frames.clone(), Instant::now())
        {
            return Ok(beside_ring(&feed, after, read));
        }
        Ok(Replay {
            latest: feed.ring.last(),
            complete: true,
            backlog: Backlog::of_draft(&feed, after),
            cursor: feed.ring.cursor_after(after),
        })
    }

    /// Reads a room's past; all of it for one who comes from elsewhere, or where the server behind the room was replaced
    /// lately. What this room has seen and the engines do not have just now (the stream came back empty,
    /// and the database is a moment behind) is waited for, for a while.
    async fn read_back(
        &self,
        room: &Room,
        turn: &PastReadTurn,
        after: Seq,
        is_new: bool,
    ) -> Result<Read, TimelineError> {
        let is_whole = is_new || room.feed().is_reconciling();
        let mut attempts = 0;
        loop {
            let permit = self.reads.permit().await;
            let resume = if is_whole {
                self.timeline.resume_whole(&room.name, after).await
            } else {
                self.timeline.resume(&room.name, after).await
            };
            let resume = resume?;
            self.reads.charge(turn, resume.bytes_read);
            let read = self.as_shown(resume).await;
            drop(permit);
            attempts += 1;
            if !read.complete
                || read.latest >= room.feed().ring.floor()
                || attempts >= LOST_ATTEMPTS
            {
                return Ok(read);
            }
            sleep(LOST_PAUSE).await;
        }
    }

    /// Whether the database knows a place that the stream has no word of, or a later one: a stream that came back empty is ahead
    /// of nobody. It may be a moment behind, and is asked for a while; what it cannot tell is taken for known.
    async fn is_kept(&self, room: &Room, user: &Arc<str>, place: Seq) -> bool {
        for attempt in 0..LOST_ATTEMPTS {
            if attempt > 0 {
                sleep(LOST_PAUSE).await;
            }
            let turn = self.reads.turn(user).await;
            let permit = self.reads.permit().await;
            let kept = self.timeline.kept_until(&room.name).await;
            drop((permit, turn));
            if kept.is_none_or(|kept| kept >= place) || room.feed().ring.last() >= place {
                return true;
            }
        }
        false
    }

    /// Has the room read what it may have missed, and waits for that, for a while. Whether it has read all by then.
    async fn look_again(self: &Arc<Self>, room: &Arc<Room>) -> bool {
        if room.feed_mut().gap(false, Instant::now()) == Heard::Missing {
            self.fill(Arc::clone(room));
        }
        let filled = room.until(|phase| phase != Phase::Filling);
        timeout(AHEAD_PATIENCE, filled).await.is_ok()
    }
}

impl Room {
    /// Waits until the feed is in a phase that `is_awaited`.
    pub(super) async fn until(&self, is_awaited: impl Fn(Phase) -> bool) -> Phase {
        loop {
            let changed = self.phase_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let phase = self.feed().phase;
            if is_awaited(phase) {
                return phase;
            }
            changed.await;
        }
    }
}

pub(super) fn live_only(room: &Room, complete: bool) -> Replay {
    let feed = room.feed();
    Replay {
        latest: feed.ring.last(),
        complete,
        backlog: Backlog::of_draft(&feed, feed.ring.last()),
        cursor: feed.ring.cursor_at_end(),
    }
}

fn from_ring(room: &Room, after: Seq, is_new: bool) -> Option<Replay> {
    let feed = room.feed();
    let ring = &feed.ring;
    let (complete, cursor) = if is_new && feed.lacks(after) {
        (false, ring.cursor_at_end())
    } else if after >= ring.last() {
        (true, ring.cursor_at_end())
    } else if feed.is_too_old(after) {
        (false, ring.cursor_at_end())
    } else if after < ring.floor() {
        return None;
    } else if is_new && ring.has_more_than(RESUME_MAX_MESSAGES, after) {
        (false, ring.cursor_at_end())
    } else {
        (true, ring.cursor_after(after))
    };
    Some(Replay {
        latest: ring.last(),
        complete,
        backlog: Backlog::of_draft(&feed, cursor.last),
        cursor,
    })
}

/// Comes before the messages: one of them may be its end. What is in the ring by now is in it, and the cursor passes
/// over that.
fn draft_snapshot(feed: &Feed) -> VecDeque<(Seq, Utf8Bytes)> {
    let draft = feed.draft_snapshot(Instant::now());
    draft.map(|frame| (0, frame)).into_iter().collect()
}

/// A bounded first part of what was read; the rest is read when it was sent.
pub(super) fn beside_ring(feed: &Feed, after: Seq, mut read: Read) -> Replay {
    let ring = &feed.ring;
    ring.without_deleted(&mut read.frames);
    let latest = read.latest.max(ring.last());
    let all = read.frames.len();
    let mut bytes = 0;
    let within = |(_, frame): &(Seq, Utf8Bytes)| {
        let fits = bytes == 0 || bytes + frame.len() <= BACKLOG_BYTES_MAX;
        bytes += frame.len();
        fits
    };
    let messages: Vec<_> = read.frames.into_iter().take_while(within).collect();
    let last = match messages.last() {
        Some((seq, _)) if messages.len() < all => *seq,
        _ => read.latest.max(ring.floor()),
    };
    let mut backlog = Backlog::of_draft(feed, after);
    backlog.frames.extend(messages);
    Replay {
        latest,
        complete: true,
        backlog,
        cursor: ring.cursor_after(last),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_client_that_reads_nothing_holds_a_handful_of_replays_and_its_user_some_more() {
        let answers = Answers::new();
        let taken = |replays: &Replays| replays.slot(&answers).now_or_never();
        let address = "192.0.2.1".parse().unwrap();
        let mut held = Vec::new();
        for _ in 0..100 {
            let replays = Replays::new("eve".into(), address);
            let slots: Vec<_> = std::iter::from_fn(|| taken(&replays)).collect();
            assert!(slots.len() <= OF_ONE_SOCKET);
            held.extend(slots);
        }
        assert_eq!(held.len() * BACKLOG_BYTES_MAX, 64 * 1024 * 1024);
        assert!(taken(&Replays::new("ada".into(), address)).is_some());
        held.pop();
        assert!(taken(&Replays::new("eve".into(), address)).is_some());
    }
}
