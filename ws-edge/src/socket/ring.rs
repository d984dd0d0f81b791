//! A room's recent frames, once per process, however many sockets read them. A socket has no queue of its own but a
//! [`Cursor`] into this ring, so a slow reader costs nothing but its cursor; one that falls off is caught up from the
//! stream.
//!
//! No I/O here, and no clock: time is passed in.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use common::wire::{Kind, Message, Seq};
use tokio::time::Instant;
use uuid::Uuid;

/// The most frames kept of one room.
pub(super) const FRAMES_MAX: usize = 16_384;

/// The most bytes kept of one room, while all rooms together are within [`ALL_BYTES_MAX`].
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most bytes kept of one room while they are not.
const BYTES_MAX_WHEN_TIGHT: usize = 128 * 1024;

/// Beyond this many bytes in all rooms of the process together, each keeps less.
const ALL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a frame is kept: longer than a client takes to come back after its connection broke.
const AGE_MAX: Duration = Duration::from_secs(60);

/// What one frame costs beside its text: the entry here and the shared allocation's head.
const OVERHEAD_BYTES: usize = 96;

/// How the frames begin that are looked at here.
pub(super) const DELETED: &str = r#"{"type":"deleted""#;
const DRAFT: &str = r#"{"type":"draft""#;

/// A room's recent frames, in order. Holds every message after `floor` up to `last`.
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The position of the first entry. Positions only grow, but for what is put in front by [`Ring::prepend`].
    first: u64,
    /// Positions below were dropped or put in front: a cursor down there is found by `seq`.
    firm: u64,
    bytes: usize,
    floor: Seq,
    last: Seq,
    /// What was deleted lately: a read that began before may still bring its text.
    deleted: VecDeque<(Uuid, Instant)>,
    all_bytes: Arc<AtomicUsize>,
}

struct Entry {
    /// A message's `seq`; a signal has that of the message before it.
    seq: Seq,
    is_signal: bool,
    since: Instant,
    /// Empty where it is not to be shown any more.
    frame: Utf8Bytes,
}

/// How far one socket has read in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    position: u64,
    /// The last message it was given, or that it had before.
    pub(super) last: Seq,
    /// Signals from before it joined are none of its business.
    signals_from: u64,
}

/// What a socket finds at its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Everything there is.
    All,
    /// As much as was asked for; there is more.
    Part,
    /// Nothing: what comes next was dropped already.
    Behind,
    /// Nothing: what it has already lacks a message whose place has passed.
    Lacking,
}

/// How much may be taken at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Budget {
    /// Takes a frame out of the budget; the first of a batch always fits.
    pub(super) fn spend(&mut self, bytes: usize, is_first: bool) -> bool {
        if self.frames == 0 || (bytes > self.bytes && !is_first) {
            return false;
        }
        self.frames -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

impl Ring {
    /// An empty one. `all_bytes` counts what all rings of the process hold.
    pub(super) fn new(all_bytes: Arc<AtomicUsize>) -> Ring {
        Ring {
            entries: VecDeque::new(),
            // Room for everything that is ever put in front.
            first: 1 << 40,
            firm: 1 << 40,
            bytes: 0,
            floor: 0,
            last: 0,
            deleted: VecDeque::new(),
            all_bytes,
        }
    }

    /// The latest message that is known of.
    pub(super) fn last(&self) -> Seq {
        self.last
    }

    /// Every message after this one, up to the latest, is here.
    pub(super) fn floor(&self) -> Seq {
        self.floor
    }

    /// The places of the messages here that come after one.
    pub(super) fn places_after(&self, after: Seq) -> impl Iterator<Item = Seq> {
        let from = self.entries.partition_point(|entry| entry.seq <= after);
        let messages = self.entries.range(from..).filter(|entry| !entry.is_signal);
        messages.map(|entry| entry.seq)
    }

    /// Forgets everything: from now on the ring holds what comes after `last`.
    pub(super) fn restart(&mut self, last: Seq) {
        while self.drop_first() {}
        self.floor = last;
        self.last = last;
    }

    /// Knows of a latest message without having it, because there is none between it and the last that is here.
    pub(super) fn nothing_until(&mut self, latest: Seq) {
        self.last = self.last.max(latest);
    }

    /// The next message. One that is not after the last is dropped.
    pub(super) fn push_message(&mut self, seq: Seq, frame: Utf8Bytes, now: Instant) {
        if seq > self.last {
            self.last = seq;
            if frame.starts_with(DELETED) {
                self.delete(&frame, now);
            }
            self.push(false, frame, now);
        }
    }

    /// What a deletion deletes has no text here any more, nor have its edits; and no draft is shown that may quote it.
    fn delete(&mut self, event: &Utf8Bytes, now: Instant) {
        let event = Message::from_frame(event.as_bytes()).ok();
        let Some(of) = event.and_then(|event| event.of) else {
            return;
        };
        self.deleted.push_back((of, now));
        if self.deleted.len() > FRAMES_MAX {
            self.deleted.pop_front();
        }
        let needle = of.to_string();
        for entry in &mut self.entries {
            let shorter = if entry.is_signal {
                let is_draft = entry.frame.starts_with(DRAFT);
                is_draft.then(|| Utf8Bytes::from_static(""))
            } else {
                without_text(&entry.frame, of, &needle)
            };
            if let Some(shorter) = shorter {
                // That it is deleted may be a longer word than what it said.
                let (before, now) = (cost(&entry.frame), cost(&shorter));
                self.bytes = self.bytes + now - before;
                self.all_bytes.fetch_add(now, Ordering::Relaxed);
                self.all_bytes.fetch_sub(before, Ordering::Relaxed);
                entry.frame = shorter;
            }
        }
    }

    /// Frames that were read, without the text of what was deleted since.
    pub(super) fn without_deleted(&self, frames: &mut [(Seq, Utf8Bytes)]) {
        for (of, _) in &self.deleted {
            let needle = of.to_string();
            for (_, frame) in &mut *frames {
                if let Some(shorter) = without_text(frame, *of, &needle) {
                    *frame = shorter;
                }
            }
        }
    }

    /// A signal.
    pub(super) fn push_signal(&mut self, frame: Utf8Bytes, now: Instant) {
        self.push(true, frame, now);
    }

    fn push(&mut self, is_signal: bool, frame: Utf8Bytes, now: Instant) {
        self.count_in(&frame);
        let seq = self.last;
        self.entries.push_back(Entry {
            seq,
            is_signal,
            since: now,
            frame,
        });
        let is_tight = self.all_bytes.load(Ordering::Relaxed) > ALL_BYTES_MAX;
        let bytes_max = if is_tight {
            BYTES_MAX_WHEN_TIGHT
        } else {
            BYTES_MAX
        };
        // The newest stays, however large it is: whoever waits for it is waiting now.
        while self.entries.len() > 1 && (self.entries.len() > FRAMES_MAX || self.bytes > bytes_max)
        {
            self.drop_first();
        }
    }

    /// Puts messages in front that reach from `after` to the floor, so that all who come back at once are served from
    /// here. False, and nothing done, if they would not fit comfortably.
    pub(super) fn prepend(
        &mut self,
        after: Seq,
        mut older: Vec<(Seq, Utf8Bytes)>,
        now: Instant,
    ) -> bool {
        older.retain(|(seq, _)| *seq <= self.floor);
        self.without_deleted(&mut older);
        let bytes: usize = older.iter().map(|(_, frame)| cost(frame)).sum();
        let is_tight = self.all_bytes.load(Ordering::Relaxed) + bytes > ALL_BYTES_MAX;
        let fits = self.entries.len() + older.len() <= FRAMES_MAX / 2
            && self.bytes + bytes <= BYTES_MAX / 2;
        if is_tight || !fits {
            return false;
        }
        for (seq, frame) in older.into_iter().rev() {
            self.count_in(&frame);
            self.entries.push_front(Entry {
                seq,
                is_signal: false,
                since: now,
                frame,
            });
            self.first -= 1;
        }
        self.floor = after;
        true
    }

    /// Drops what is too old for anyone to come back for. Cursors are not asked.
    pub(super) fn drop_old(&mut self, now: Instant) {
        while self
            .entries
            .front()
            .is_some_and(|entry| now.duration_since(entry.since) > AGE_MAX)
        {
            self.drop_first();
        }
        let is_old = |(_, at): &mut (Uuid, Instant)| now.duration_since(*at) > AGE_MAX;
        while self.deleted.pop_front_if(is_old).is_some() {}
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    fn drop_first(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= cost(&entry.frame);
        self.all_bytes
            .fetch_sub(cost(&entry.frame), Ordering::Relaxed);
        self.first += 1;
        self.firm = self.firm.max(self.first);
        if !entry.is_signal {
            self.floor = entry.seq;
        }
        true
    }

    fn count_in(&mut self, frame: &Utf8Bytes) {
        self.bytes += cost(frame);
        self.all_bytes.fetch_add(cost(frame), Ordering::Relaxed);
    }

    /// A cursor for one who has everything.
    pub(super) fn cursor_at_end(&self) -> Cursor {
        let end = self.end();
        Cursor {
            position: end,
            last: self.last,
            signals_from: end,
        }
    }

    /// A cursor for one who has everything up to `after`.
    pub(super) fn cursor_after(&self, after: Seq) -> Cursor {
        Cursor {
            position: 0,
            last: after,
            signals_from: self.end(),
        }
    }

    /// Whether more than `limit` messages here come after a `seq`.
    pub(super) fn has_more_than(&self, limit: usize, after: Seq) -> bool {
        let from = self.entries.partition_point(|entry| entry.seq <= after);
        let messages = self.entries.range(from..).filter(|entry| !entry.is_signal);
        messages.take(limit + 1).count() > limit
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Gives a reader what comes next and moves its cursor.
    pub(super) fn take(
        &self,
        cursor: &mut Cursor,
        budget: &mut Budget,
        batch: &mut Vec<Utf8Bytes>,
    ) -> Taken {
        if cursor.last < self.floor {
            return Taken::Behind;
        }
        let mut index = if cursor.position >= self.firm {
            usize::try_from(cursor.position - self.first).expect("a position of this ring")
        } else {
            self.entries
                .partition_point(|entry| entry.seq <= cursor.last)
        };
        while let Some(entry) = self.entries.get(index) {
            let position = self.first + index as u64;
            let is_news = if entry.is_signal {
                position >= cursor.signals_from
            } else {
                entry.seq > cursor.last
            };
            if is_news && !entry.frame.is_empty() {
                if !budget.spend(entry.frame.len(), batch.is_empty()) {
                    cursor.position = position;
                    return Taken::Part;
                }
                batch.push(entry.frame.clone());
                cursor.last = entry.seq;
            }
            index += 1;
        }
        cursor.position = self.end();
        Taken::All
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The frame without its text, if it is this message's, or an edit's of it, and has one.
fn without_text(frame: &Utf8Bytes, of: Uuid, needle: &str) -> Option<Utf8Bytes> {
    if !frame.contains(needle) {
        return None;
    }
    let mut message = Message::from_frame(frame.as_bytes()).ok()?;
    let is_edit = message.kind == Kind::Edited && message.of == Some(of);
    if message.message.is_empty() || !is_edit && message.id != of {
        return None;
    }
    message.message.clear();
    message.deleted = !is_edit;
    Some(message.frame().into())
}

fn cost(frame: &Utf8Bytes) -> usize {
    frame.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use common::wire::NewMessage;

    use super::*;

    const PLENTY: Budget = Budget {
        frames: 1_000_000,
        bytes: 1 << 30,
    };

    fn ring(messages: std::ops::RangeInclusive<Seq>) -> Ring {
        let mut ring = Ring::new(Arc::default());
        ring.restart(messages.start() - 1);
        for seq in messages {
            ring.push_message(seq, frame(seq), Instant::now());
        }
        ring
    }

    fn frame(seq: Seq) -> Utf8Bytes {
        seq.to_string().into()
    }

    fn read(ring: &Ring, cursor: &mut Cursor) -> (Taken, Vec<String>) {
        let mut batch = Vec::new();
        let taken = ring.take(cursor, &mut { PLENTY }, &mut batch);
        (taken, batch.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_reader_gets_each_frame_once_and_in_order() {
        let mut ring = ring(1..=3);
        let mut cursor = ring.cursor_after(1);
        assert_eq!(
            read(&ring, &mut cursor),
            (Taken::All, vec!["2".into(), "3".into()])
        );
        ring.push_signal("typing".into(), Instant::now());
        ring.push_message(3, frame(3), Instant::now());
        ring.push_message(4, frame(4), Instant::now());
        assert_eq!(
            read(&ring, &mut cursor),
            (Taken::All, vec!["typing".into(), "4".into()])
        );
        assert_eq!(read(&ring, &mut cursor), (Taken::All, vec![]));
    }

    #[test]
    fn a_budget_cuts_a_batch_and_nothing_is_lost() {
        let ring = ring(1..=10);
        let mut cursor = ring.cursor_after(0);
        let mut seen = Vec::new();
        loop {
            let taken = ring.take(
                &mut cursor,
                &mut Budget {
                    frames: 3,
                    bytes: 100,
                },
                &mut seen,
            );
            if taken == Taken::All {
                break;
            }
        }
        let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
        assert_eq!(
            seen,
            (1..=10).map(|seq: Seq| seq.to_string()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_frame_larger_than_the_budget_still_goes() {
        let mut ring = ring(1..=1);
        ring.push_message(2, "x".repeat(1_000).into(), Instant::now());
        let mut cursor = ring.cursor_after(1);
        let mut batch = Vec::new();
        assert_eq!(
            ring.take(
                &mut cursor,
                &mut Budget {
                    frames: 9,
                    bytes: 10
                },
                &mut batch
            ),
            Taken::All
        );
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn who_falls_off_the_ring_is_told_so_unless_only_signals_were_missed() {
        let mut ring = ring(1..=1);
        let mut slow = ring.cursor_after(0);
        let mut current = ring.cursor_at_end();
        for _ in 0..FRAMES_MAX + 5 {
            ring.push_signal("typing".into(), Instant::now());
        }
        assert_eq!(read(&ring, &mut slow).0, Taken::Behind);
        let (taken, batch) = read(&ring, &mut current);
        assert_eq!(
            (taken, batch.len()),
            (Taken::All, 0),
            "signals that were dropped are passed over with the rest"
        );
        ring.push_message(2, frame(2), Instant::now());
        assert_eq!(read(&ring, &mut current).1, ["2"]);
    }

    #[test]
    fn what_is_put_in_front_serves_those_who_come_back_and_disturbs_nobody() {
        let mut ring = ring(10..=12);
        let mut current = ring.cursor_at_end();
        assert!(ring.prepend(
            4,
            (5..=11).map(|seq| (seq, frame(seq))).collect(),
            Instant::now()
        ));
        assert_eq!(ring.floor(), 4);
        let mut back = ring.cursor_after(6);
        assert_eq!(read(&ring, &mut back).1, ["7", "8", "9", "10", "11", "12"]);
        ring.push_message(13, frame(13), Instant::now());
        assert_eq!(read(&ring, &mut current).1, ["13"]);
        assert_eq!(read(&ring, &mut back).1, ["13"]);
        assert!(ring.has_more_than(2, 10) && !ring.has_more_than(3, 10));
    }

    #[test]
    fn what_is_deleted_has_no_text_here_whether_it_came_before_or_is_read_late() {
        let of = Uuid::from_u128(7);
        let message = |seq, id: u128, kind: Kind, text: &str| {
            let new = NewMessage {
                room: "lobby".into(),
                id: Uuid::from_u128(id),
                sender: "ada".into(),
                kind,
                message: text.into(),
                reply_to: None,
                of: kind.is_change().then_some(of),
                grounding: Default::default(),
            };
            new.at(seq, seq - 1)
        };
        let said = [
            message(1, 7, Kind::User, "secret"),
            message(2, 8, Kind::User, &format!("not {of}")),
            message(3, 9, Kind::Edited, "the secret"),
        ];
        let event = message(4, 10, Kind::Deleted, "");
        let all = Arc::new(AtomicUsize::new(0));
        let mut ring = Ring::new(Arc::clone(&all));
        let now = Instant::now();
        for message in &said {
            ring.push_message(message.seq, message.frame().into(), now);
        }
        ring.push_signal(r#"{"type":"draft","text":"They said secret"}"#.into(), now);
        ring.push_signal("typing".into(), now);
        let mut reader = Cursor {
            signals_from: 0,
            ..ring.cursor_after(0)
        };
        ring.push_message(4, event.frame().into(), now);
        let (taken, frames) = read(&ring, &mut reader);
        assert_eq!((taken, frames.len()), (Taken::All, 5));
        assert!(!frames.concat().contains("secret"), "{frames:?}");
        let gone = Message::from_frame(frames[0].as_bytes()).unwrap();
        assert!(gone.deleted && gone.message.is_empty() && gone.seq == 1);
        assert_eq!(frames[1], said[1].frame());

        let mut late: Vec<_> = said
            .iter()
            .map(|message| (message.seq, message.frame().into()))
            .collect();
        ring.without_deleted(&mut late);
        let late: Vec<String> = late.iter().map(|(_, frame)| frame.to_string()).collect();
        assert_eq!(late, frames[..3]);
        ring.drop_old(now + AGE_MAX + Duration::from_secs(1));
        assert!(ring.deleted.is_empty());
        ring.drop_old(now + AGE_MAX * 2);
        assert_eq!((ring.bytes, all.load(Ordering::Relaxed)), (0, 0));
        drop(ring);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let all = Arc::new(AtomicUsize::new(0));
        let mut ring = Ring::new(Arc::clone(&all));
        let start = Instant::now();
        for seq in 1..=3_000 {
            ring.push_message(seq, "x".repeat(10_000).into(), start);
        }
        assert!(all.load(Ordering::Relaxed) <= BYTES_MAX);
        all.fetch_add(ALL_BYTES_MAX, Ordering::Relaxed);
        ring.push_message(3_001, frame(3_001), start);
        assert!(
            all.fetch_sub(ALL_BYTES_MAX, Ordering::Relaxed) - ALL_BYTES_MAX <= BYTES_MAX_WHEN_TIGHT
        );
        ring.drop_old(start + AGE_MAX + Duration::from_secs(1));
        assert_eq!((all.load(Ordering::Relaxed), ring.floor()), (0, 3_001));
    }

    proptest::proptest! {
        /// Whatever is pushed, dropped and put in front: each reader sees an unbroken run, or is told that it is behind.
        #[test]
        fn no_reader_misses_a_message_in_silence(steps in proptest::collection::vec((0u8..6, 0usize..5), 1..300)) {
            let mut ring = Ring::new(Arc::default());
            let mut next = 100;
            ring.restart(next);
            let mut readers: Vec<Cursor> = Vec::new();
            let now = Instant::now();
            for (step, which) in steps {
                match step {
                    0 | 1 => { next += 1; ring.push_message(next, frame(next), now); }
                    2 => ring.push_signal("s".into(), now),
                    3 => { ring.drop_first(); }
                    4 => {
                        let after = ring.floor().saturating_sub(3).max(100);
                        let older = (after + 1..=ring.floor()).map(|seq| (seq, frame(seq))).collect();
                        ring.prepend(after, older, now);
                    }
                    _ if readers.len() < 5 => readers.push(ring.cursor_after(ring.floor())),
                    _ => {
                        let cursor = &mut readers[which];
                        let before = cursor.last;
                        let mut batch = Vec::new();
                        let taken = ring.take(cursor, &mut Budget { frames: 4, bytes: 1_000 }, &mut batch);
                        let seqs: Vec<Seq> = batch.iter().filter_map(|frame| frame.parse().ok()).collect();
                        let expected: Vec<Seq> = (before + 1..=cursor.last).collect();
                        proptest::prop_assert_eq!(seqs, expected);
                        if taken == Taken::All { proptest::prop_assert_eq!(cursor.last, next); }
                        if taken == Taken::Behind { *cursor = ring.cursor_after(ring.floor()); }
                    }
                }
            }
        }
    }
}
