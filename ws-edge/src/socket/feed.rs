//! The link of a room's messages: what comes in is put into the ring without a gap, and where one shows, it is read
//! from the stream first, while what comes meanwhile waits.
//!
//! No I/O here: whoever owns a feed does the reading that it asks for.

use std::sync::{Arc, atomic::AtomicUsize};

use axum::extract::ws::Utf8Bytes;
use common::{
    live::turns::DraftSnapshot,
    timeline::Resume,
    wire::{Message, Seq},
};
use tokio::time::Instant;

use super::{
    draft_state::{DraftState, Next, Piece},
    reconciliation::{Compared, Reconciliation},
    ring::Ring,
};

/// The most messages that wait while a gap is read. Beyond it they are dropped: the stream has them, and is read again.
const PENDING_MAX: usize = 1_024;

/// How a feed stands with its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is being subscribed, and the latest `seq` asked for.
    Opening,
    /// Every message is in the ring as soon as it comes.
    Steady,
    /// Messages are missing and being read.
    Filling,
    /// It could not be opened, or is no longer subscribed. It stays so; open another.
    Closed,
}

/// What to do after something came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Nothing,
    /// There is something for the readers.
    News,
    /// Start reading what is missing (see [`Feed::begin_read`]).
    Missing,
    /// Something came whose place has passed: what the readers have lacks it (see [`Feed::lacks`]).
    Late,
}

/// One room's frames, gapless.
pub(super) struct Feed {
    pub(super) phase: Phase,
    pub(super) ring: Ring,
    draft: DraftState,
    /// Messages that came while something before them was missing, in the order in which they came.
    pending: Vec<Pending>,
    /// How many have waited so far.
    heard: u64,
    /// Something happened since the read began that it may not have seen.
    read_again: bool,
    /// More than the limit is known to follow after this `seq` and all before it.
    too_old: Seq,
    /// The server behind the room was replaced lately.
    reconciliation: Option<Reconciliation>,
    /// Whoever has a place in this stretch, its end left out, and comes back with it may lack a message before it.
    lacking: Option<(Seq, Seq)>,
}

struct Pending {
    /// The how many-th that has waited.
    number: u64,
    seq: Seq,
    prev: Seq,
    frame: Utf8Bytes,
}

/// What a read will cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Read everything after this `seq`.
    pub(super) after: Seq,
    /// How many had waited when it began: it brings those of them that the engines have.
    heard: u64,
    /// Read it from the database as well as from the stream, while that answers; what the readers have is compared later.
    pub(super) is_whole: bool,
    /// A stretch of the stream whose places are to be read as well: after one and up to another.
    pub(super) places: Option<(Seq, Seq)>,
}

/// What a read of the stream brought, as frames.
pub(super) struct Read {
    pub(super) frames: Vec<(Seq, Utf8Bytes)>,
    pub(super) complete: bool,
    pub(super) latest: Seq,
}

/// How a room stands after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CaughtUp {
    /// Another read must follow.
    pub(super) again: bool,
    /// What the readers have lacks something whose place has passed.
    pub(super) lacking: bool,
    /// Something was heard that the engines do not have: what is shown is held against them from now on.
    pub(super) strays: bool,
}

impl From<Resume> for Read {
    fn from(resume: Resume) -> Read {
        let frame = |message: Message| (message.seq, Utf8Bytes::from(message.frame()));
        Read {
            frames: resume.messages.into_iter().map(frame).collect(),
            complete: resume.complete,
            latest: resume.latest,
        }
    }
}

impl Feed {
    pub(super) fn new(all_bytes: Arc<AtomicUsize>) -> Feed {
        Feed {
            phase: Phase::Opening,
            ring: Ring::new(all_bytes),
            draft: DraftState::unknown(),
            pending: Vec::new(),
            heard: 0,
            read_again: false,
            too_old: 0,
            reconciliation: None,
            lacking: None,
        }
    }

    /// A message came.
    pub(super) fn message(&mut self, seq: Seq, prev: Seq, frame: Utf8Bytes, now: Instant) -> Heard {
        match self.phase {
            Phase::Closed => Heard::Nothing,
            Phase::Opening | Phase::Filling => {
                self.keep_pending(seq, prev, frame);
                Heard::Nothing
            }
            Phase::Steady if seq <= self.ring.last() => {
                // What was read included it; its draft may have been read before.
                self.draft.message(&frame);
                match self.compare(&[seq]).late {
                    Some(_) => Heard::Late,
                    None => Heard::Nothing,
                }
            }
            // Something before it is missing, or it follows on less than was shown: a server that took over knows less, or
            // one that was taken over from has thawed and does what it was asked long ago. The stream tells which.
            Phase::Steady if prev != self.ring.last() => {
                self.keep_pending(seq, prev, frame);
                self.phase = Phase::Filling;
                Heard::Missing
            }
            Phase::Steady => {
                self.push_message(seq, frame, now);
                Heard::News
            }
        }
    }

    fn push_message(&mut self, seq: Seq, frame: Utf8Bytes, now: Instant) {
        self.draft.message(&frame);
        if let Some(reconciliation) = &mut self.reconciliation
            && seq > self.ring.last()
        {
            reconciliation.shown(seq);
        }
        self.ring.push_message(seq, frame, now);
    }

    fn keep_pending(&mut self, seq: Seq, prev: Seq, frame: Utf8Bytes) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.clear();
            self.read_again = true;
        }
        self.heard += 1;
        self.pending.push(Pending {
            number: self.heard,
            seq,
            prev,
            frame,
        });
    }

    /// A signal came. It is not part of the line of messages, so it never waits.
    pub(super) fn signal(&mut self, frame: Utf8Bytes, now: Instant) -> Heard {
        match self.phase {
            Phase::Closed | Phase::Opening => Heard::Nothing,
            Phase::Steady | Phase::Filling => {
                self.ring.push_signal(frame, now);
                Heard::News
            }
        }
    }

    /// A piece of a reply that is being written came. With a hole before it, it is read as what was missed is.
    pub(super) fn draft(&mut self, room: &str, piece: Piece, now: Instant) -> Heard {
        if self.phase == Phase::Closed {
            return Heard::Nothing;
        }
        match self.draft.hear(room, piece, now) {
            Next::Nothing => Heard::Nothing,
            Next::Show(frame) => {
                self.ring.push_signal(frame, now);
                Heard::News
            }
            Next::Hole => self.look_again(),
        }
    }

    /// The draft so far was read, after the messages. Shown to all, since some may have missed a piece of it.
    pub(super) fn drafted(&mut self, room: &str, read: Option<DraftSnapshot>, now: Instant) {
        // What was read is older than what was missed since.
        if self.read_again {
            return;
        }
        if let Some(frame) = self.draft.read(room, read, now) {
            self.ring.push_signal(frame, now);
        }
    }

    /// The reply that is being written, as far as it has come, for one who reads from the end of the ring on.
    pub(super) fn draft_snapshot(&self, now: Instant) -> Option<Utf8Bytes> {
        self.draft.current(now)
    }

    /// Messages and signals may have been missed; `is_another` if the server behind the room was replaced.
    pub(super) fn gap(&mut self, is_another: bool, now: Instant) -> Heard {
        if is_another {
            self.server_replaced(now);
        }
        if self.phase != Phase::Closed {
            self.draft = DraftState::unknown();
        }
        self.look_again()
    }

    /// The server behind the room was replaced: what is shown is held against what the engines have, for a while. A room
    /// that is being opened has shown nothing yet; whoever opens it says so once it is open.
    pub(super) fn server_replaced(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closed | Phase::Opening) {
            return;
        }
        let goes_on = self
            .reconciliation
            .as_mut()
            .is_some_and(|known| known.begin_again(&self.ring, now));
        if !goes_on {
            self.reconciliation = Some(Reconciliation::begin(&self.ring, now));
        }
    }

    /// Whether what is shown is being held against what the engines have.
    pub(super) fn is_reconciling(&self) -> bool {
        self.reconciliation.is_some()
    }

    /// Until when nothing that is read may be shown.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.reconciliation.as_ref().map(Reconciliation::settles_at)
    }

    /// The stretch of the database that is to be looked at now, if any is (see [`Feed::compare`]).
    pub(super) fn look(&mut self, now: Instant) -> Option<(Seq, Seq)> {
        if self.phase != Phase::Steady {
            return None;
        }
        let last = self.ring.last();
        let reconciliation = self.reconciliation.as_mut()?;
        if reconciliation.is_over(now) {
            self.reconciliation = None;
            self.lacking = None;
            return None;
        }
        reconciliation.look(last, now)
    }

    /// The engines have messages in these places, ascending. What follows on the last that is here is read as what was
    /// missed is. What has its place before that cannot be shown in its order any more: the ring forgets what it has, so
    /// that whoever comes back is served by the engines, and [`Feed::lacks`] who has to load the history.
    pub(super) fn compare(&mut self, places: &[Seq]) -> Compared {
        let last = self.ring.last();
        let reconciliation = self.reconciliation.as_mut();
        let compared =
            reconciliation.map_or_else(Compared::default, |known| known.compare(places, last));
        if let Some(late) = compared.late {
            let first = self.lacking.map_or(late, |(first, _)| first.min(late));
            self.lacking = Some((first, last));
            self.ring.restart(last);
        }
        compared
    }

    /// Reads on from the last message, because the engines have something that follows on it.
    pub(super) fn read_on(&mut self) -> Heard {
        self.look_again()
    }

    /// Whether whoever has everything up to this place may lack something before it all the same.
    pub(super) fn lacks(&self, after: Seq) -> bool {
        self.lacking
            .is_some_and(|(first, last)| (first..last).contains(&after))
    }

    fn look_again(&mut self) -> Heard {
        match self.phase {
            Phase::Closed => Heard::Nothing,
            Phase::Opening | Phase::Filling => {
                self.read_again = true;
                Heard::Nothing
            }
            Phase::Steady => {
                self.phase = Phase::Filling;
                Heard::Missing
            }
        }
    }

    /// It is subscribed, and `read` says how the room stands: everything after `after`, or, if that is not complete or
    /// nothing was asked for, the latest `seq`. True if something must be read before it is steady.
    pub(super) fn opened(&mut self, after: Option<Seq>, read: Read, now: Instant) -> bool {
        let reading = Reading {
            after: 0,
            heard: 0,
            is_whole: false,
            places: None,
        };
        let reaches_back = after.filter(|after| read.complete && *after <= read.latest);
        self.ring.restart(reaches_back.unwrap_or(read.latest));
        self.note_too_old(after.filter(|_| !read.complete));
        self.phase = Phase::Filling;
        let read = Read {
            complete: true,
            ..read
        };
        self.caught_up(reading, read, &[], now).again
    }

    /// A read begins.
    pub(super) fn begin_read(&mut self) -> Reading {
        self.read_again = false;
        let reconciliation = self.reconciliation.as_ref();
        let follows_on_less = |pending: &Pending| {
            let last = self.ring.last();
            pending.prev < last && last < pending.seq
        };
        Reading {
            after: self.ring.last(),
            heard: self.heard,
            is_whole: reconciliation.is_some() || self.pending.iter().any(follows_on_less),
            places: reconciliation.and_then(Reconciliation::stream_to_compare),
        }
    }

    /// A read is done; `places` are those of the stretch of the stream that was to be compared.
    pub(super) fn caught_up(
        &mut self,
        reading: Reading,
        read: Read,
        places: &[Seq],
        now: Instant,
    ) -> CaughtUp {
        let mut lacking = self.compare(places).late.is_some();
        // What was read before the server was replaced again says nothing about the next one.
        if reading.places.is_some()
            && !self.read_again
            && let Some(reconciliation) = &mut self.reconciliation
        {
            reconciliation.stream_compared();
        }
        let mut strays = false;
        let again = self.take_read(reading, read, &mut lacking, &mut strays, now);
        if strays {
            // Looked for from now on, however long ago the last server was replaced.
            self.server_replaced(now);
        }
        CaughtUp {
            again,
            lacking,
            strays,
        }
    }

    fn take_read(
        &mut self,
        reading: Reading,
        read: Read,
        lacking: &mut bool,
        strays: &mut bool,
        now: Instant,
    ) -> bool {
        if read.complete {
            for (seq, frame) in read.frames {
                self.push_message(seq, frame, now);
            }
            self.ring.nothing_until(read.latest);
        } else {
            // More is missing than a client is sent: each is told so when its turn comes.
            self.note_too_old(Some(reading.after));
            self.ring.restart(read.latest.max(self.ring.last()));
        }
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        while let Some(next) = pending.next() {
            let last = self.ring.last();
            let is_known = next.seq <= last;
            if !is_known && next.number <= reading.heard {
                // It was heard of before the read, which did not bring it: the stream of the server that is asked does not
                // have it. If it was appended at all, another server did that, and it is in the database or will be.
                *strays = true;
                continue;
            }
            if !is_known && next.prev != last {
                self.pending = std::iter::once(next).chain(pending).collect();
                return true;
            }
            *lacking |= self.compare(&[next.seq]).late.is_some();
            self.push_message(next.seq, next.frame, now);
        }
        if self.read_again {
            return true;
        }
        self.phase = Phase::Steady;
        false
    }

    /// More than the limit follows after this `seq`.
    pub(super) fn note_too_old(&mut self, after: Option<Seq>) {
        self.too_old = self.too_old.max(after.unwrap_or(0));
    }

    /// Whether more than the limit is known to follow after this `seq`.
    pub(super) fn is_too_old(&self, after: Seq) -> bool {
        self.too_old > 0 && after <= self.too_old
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            reconciliation::SETTLE,
            ring::{Budget, Taken},
        },
        *,
    };

    fn frame(seq: Seq) -> Utf8Bytes {
        seq.to_string().into()
    }

    fn read(from: Seq, to: Seq) -> Read {
        let frames = (from..=to).map(|seq| (seq, frame(seq))).collect();
        Read {
            frames,
            complete: true,
            latest: to,
        }
    }

    fn nothing_but(latest: Seq) -> Read {
        Read {
            frames: Vec::new(),
            complete: true,
            latest,
        }
    }

    fn open_at(latest: Seq) -> Feed {
        let mut feed = Feed::new(Arc::default());
        assert!(!feed.opened(None, nothing_but(latest), Instant::now()));
        feed
    }

    fn caught_up(feed: &mut Feed, reading: Reading, read: Read) -> bool {
        let caught_up = feed.caught_up(reading, read, &[], Instant::now());
        assert!(!caught_up.lacking);
        caught_up.again
    }

    fn hear(feed: &mut Feed, seq: Seq, prev: Seq) -> Heard {
        feed.message(seq, prev, frame(seq), Instant::now())
    }

    fn all(feed: &Feed, after: Seq) -> Vec<Seq> {
        let mut batch = Vec::new();
        let mut cursor = feed.ring.cursor_after(after);
        let taken = feed.ring.take(
            &mut cursor,
            &mut Budget {
                frames: 10_000,
                bytes: 1 << 30,
            },
            &mut batch,
        );
        assert_eq!(taken, Taken::All);
        batch
            .iter()
            .map(|frame| frame.parse().expect("a number"))
            .collect()
    }

    #[test]
    fn linked_messages_go_on_and_known_ones_are_dropped() {
        let mut feed = open_at(5);
        assert_eq!(hear(&mut feed, 6, 5), Heard::News);
        assert_eq!(hear(&mut feed, 6, 5), Heard::Nothing);
        assert_eq!(hear(&mut feed, 4, 3), Heard::Nothing);
        assert_eq!(hear(&mut feed, 9, 6), Heard::News);
        assert_eq!(all(&feed, 5), [6, 9]);
    }

    #[test]
    fn a_missing_link_is_read_first_and_what_came_meanwhile_follows() {
        let mut feed = open_at(5);
        assert_eq!(hear(&mut feed, 8, 7), Heard::Missing);
        assert_eq!(hear(&mut feed, 9, 8), Heard::Nothing);
        let reading = feed.begin_read();
        assert_eq!(reading.after, 5);
        assert_eq!(hear(&mut feed, 10, 9), Heard::Nothing);
        assert!(!caught_up(&mut feed, reading, read(6, 9)));
        assert_eq!(
            (feed.phase, all(&feed, 5)),
            (Phase::Steady, vec![6, 7, 8, 9, 10])
        );
    }

    #[test]
    fn a_second_gap_while_reading_is_read_as_well() {
        let mut feed = open_at(5);
        assert_eq!(feed.gap(false, Instant::now()), Heard::Missing);
        let reading = feed.begin_read();
        assert_eq!(feed.gap(false, Instant::now()), Heard::Nothing);
        assert_eq!(hear(&mut feed, 9, 8), Heard::Nothing);
        assert!(
            caught_up(&mut feed, reading, read(6, 6)),
            "7 and 8 are still missing"
        );
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, read(7, 9)));
        assert_eq!(all(&feed, 5), [6, 7, 8, 9]);
    }

    #[test]
    fn what_nobody_has_any_more_does_not_stop_the_room_and_is_looked_for_in_the_database() {
        let mut feed = open_at(5);
        assert_eq!(hear(&mut feed, 8, 7), Heard::Missing);
        let (reading, now) = (feed.begin_read(), Instant::now());
        let after = feed.caught_up(reading, nothing_but(5), &[], now);
        assert!(after.strays && !after.again && !after.lacking);
        assert_eq!((feed.phase, all(&feed, 5)), (Phase::Steady, vec![]));
        let (after, _) = feed.look(now + 2 * SETTLE).expect("it is looked for");
        assert_eq!(after, 5);
        assert!(feed.compare(&[7, 8]).is_ahead);
        assert_eq!(feed.read_on(), Heard::Missing);
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, read(7, 8)));
        assert_eq!(all(&feed, 5), [7, 8]);
    }

    #[test]
    fn it_is_looked_for_however_long_ago_a_server_was_replaced() {
        let mut feed = open_at(5);
        let now = Instant::now();
        feed.server_replaced(now);
        let long_after = now + Duration::from_secs(60);
        let (_, until) = feed.look(long_after).expect("it is compared still");
        assert_eq!(until, 5);
        assert_eq!(hear(&mut feed, 9, 7), Heard::Missing);
        let reading = feed.begin_read();
        let after = feed.caught_up(reading, nothing_but(5), &[], long_after);
        assert!(after.strays);
        let looked = feed.look(long_after + 2 * SETTLE);
        let (_, until) = looked.expect("it is looked for");
        assert!(until >= 9, "{until}");
    }

    /// As a master says that thaws when another has taken over from it, and does what it was asked before it froze.
    #[test]
    fn what_follows_on_less_than_was_shown_is_shown_only_if_the_stream_has_it() {
        let mut feed = open_at(5);
        assert_eq!(hear(&mut feed, 6, 5), Heard::News);
        assert_eq!(hear(&mut feed, 9, 5), Heard::Missing);
        let reading = feed.begin_read();
        assert!(reading.is_whole, "the database may have it as well");
        // It had been asked for more than one, and the servers' clocks need not agree.
        assert_eq!(hear(&mut feed, 10, 9), Heard::Nothing);
        assert_eq!(hear(&mut feed, 7, 6), Heard::Nothing);
        assert!(caught_up(&mut feed, reading, nothing_but(6)));
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, read(7, 7)));
        assert_eq!((feed.phase, all(&feed, 5)), (Phase::Steady, vec![6, 7]));
        // And as a server says that has taken over and knows less.
        assert_eq!(hear(&mut feed, 12, 6), Heard::Missing);
        let reading = feed.begin_read();
        assert_eq!(hear(&mut feed, 13, 12), Heard::Nothing);
        assert!(!caught_up(&mut feed, reading, read(12, 12)));
        assert_eq!(all(&feed, 5), [6, 7, 12, 13]);
    }

    /// What comes while it is read may be in no read yet.
    #[test]
    fn what_follows_on_less_and_came_after_the_read_began_is_read_again() {
        let mut feed = open_at(6);
        assert_eq!(feed.gap(false, Instant::now()), Heard::Missing);
        let reading = feed.begin_read();
        assert_eq!(hear(&mut feed, 9, 5), Heard::Nothing);
        assert!(caught_up(&mut feed, reading, read(7, 7)));
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, nothing_but(7)));
        assert_eq!(all(&feed, 6), [7]);
    }

    #[test]
    fn more_messages_than_may_wait_are_read_from_the_stream_instead() {
        let mut feed = open_at(5);
        assert_eq!(hear(&mut feed, 8, 7), Heard::Missing);
        let reading = feed.begin_read();
        let until = 9 + 3 * PENDING_MAX as Seq;
        for seq in 9..=until {
            hear(&mut feed, seq, seq - 1);
        }
        assert!(feed.pending.len() <= PENDING_MAX);
        assert!(caught_up(&mut feed, reading, read(6, 8)));
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, read(9, until)));
        assert_eq!(all(&feed, 5), (6..=until).collect::<Vec<_>>());
    }

    #[test]
    fn a_gap_too_long_to_be_sent_is_remembered_as_such() {
        let mut feed = open_at(5);
        feed.gap(false, Instant::now());
        let reading = feed.begin_read();
        let missed = Read {
            frames: Vec::new(),
            complete: false,
            latest: 5_000,
        };
        assert!(!caught_up(&mut feed, reading, missed));
        assert!(feed.is_too_old(5) && feed.is_too_old(3) && !feed.is_too_old(6));
        assert_eq!((feed.ring.floor(), feed.ring.last()), (5_000, 5_000));
        assert_eq!(hear(&mut feed, 5_001, 5_000), Heard::News);
    }

    #[test]
    fn what_came_while_it_opened_is_not_lost() {
        let mut feed = Feed::new(Arc::default());
        assert_eq!(hear(&mut feed, 7, 6), Heard::Nothing);
        assert!(
            feed.opened(None, nothing_but(5), Instant::now()),
            "6 is missing"
        );
        let reading = feed.begin_read();
        assert!(!caught_up(&mut feed, reading, read(6, 7)));
        assert_eq!(all(&feed, 5), [6, 7]);
    }

    #[test]
    fn one_who_comes_back_to_a_silent_room_fills_the_ring_for_the_others() {
        let mut feed = Feed::new(Arc::default());
        assert!(!feed.opened(Some(3), read(4, 8), Instant::now()));
        assert_eq!((feed.ring.floor(), feed.ring.last()), (3, 8));
        assert_eq!(all(&feed, 6), [7, 8]);
    }

    fn replaced(feed: &mut Feed) -> Reading {
        assert_eq!(feed.gap(true, Instant::now()), Heard::Missing);
        feed.begin_read()
    }

    #[test]
    fn after_the_server_was_replaced_both_engines_are_read_and_the_stream_is_compared() {
        let mut feed = open_at(5);
        hear(&mut feed, 6, 5);
        let reading = replaced(&mut feed);
        assert!(reading.is_whole);
        assert_eq!((reading.after, reading.places), (6, Some((5, 6))));
        let caught_up = feed.caught_up(reading, read(7, 8), &[6], Instant::now());
        assert!(!caught_up.again && !caught_up.lacking);
        assert_eq!(all(&feed, 5), [6, 7, 8]);
        let reading = replaced(&mut feed);
        assert_eq!(
            reading.places,
            Some((5, 8)),
            "each server's stream is compared"
        );
    }

    #[test]
    fn what_has_its_place_between_those_shown_is_told_wherever_it_is_found() {
        let late = |find: fn(&mut Feed) -> bool| {
            let mut feed = open_at(5);
            hear(&mut feed, 6, 5);
            hear(&mut feed, 9, 6);
            assert!(find(&mut feed));
            assert!(feed.lacks(8) && !feed.lacks(6) && !feed.lacks(9));
            assert_eq!(
                (feed.ring.floor(), feed.ring.last()),
                (9, 9),
                "who comes back is served by the engines"
            );
            assert_eq!(feed.phase, Phase::Steady);
            assert_eq!(hear(&mut feed, 10, 9), Heard::News);
        };
        // In the new stream, to which others wrote first.
        late(|feed| {
            let reading = replaced(feed);
            feed.caught_up(reading, nothing_but(9), &[6, 8, 9], Instant::now())
                .lacking
        });
        // Live, since the new server's clock is behind.
        late(|feed| {
            let reading = replaced(feed);
            assert!(!caught_up(feed, reading, nothing_but(9)));
            hear(feed, 8, 6) == Heard::Late && hear(feed, 8, 6) == Heard::Nothing
        });
        // The same while it is being read what is missing.
        late(|feed| {
            let reading = replaced(feed);
            hear(feed, 8, 6);
            feed.caught_up(reading, nothing_but(9), &[], Instant::now())
                .lacking
        });
    }

    #[test]
    fn a_comparison_that_a_second_failover_has_outrun_is_made_again() {
        let mut feed = open_at(5);
        let reading = replaced(&mut feed);
        assert_eq!(feed.gap(true, Instant::now()), Heard::Nothing);
        assert!(
            feed.caught_up(reading, nothing_but(5), &[], Instant::now())
                .again
        );
        assert!(feed.begin_read().places.is_some());
    }
}
