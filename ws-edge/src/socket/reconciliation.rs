//! What the readers of a room have, held against the stream and the database after the server behind it was replaced.
//!
//! A replica that takes over may lack what the old master had last, and a server that is restarted its last second. That
//! was shown to some, acked, and is in the database or on its way there; others never saw it, and no link tells them: the
//! next message follows on what the new server knows. As long as processes learn of a failover one after the other,
//! both servers even take messages at the same time. So for a while it is written down which places the readers were
//! shown, and looked whether there are others.
//!
//! No I/O here, and no clock: time is passed in.

use std::{collections::HashSet, time::Duration};

use common::wire::Seq;
use tokio::time::Instant;

use super::ring::Ring;

/// How long nothing is shown of a room after its server was replaced. What went to the old one last reaches the database
/// meanwhile, and so everybody in its order.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// How far back the new stream is compared with what was shown: for longer than one process may hear the old server while
/// others write to the new one. Sentinels turn an old master into a replica after some eight seconds.
const LOOK_BACK: Duration = Duration::from_secs(20);

/// How long after a replacement somebody may still write to the old server, clocks that differ included. What is shown
/// later is not compared.
const OPEN_FOR: Duration = Duration::from_secs(15);

/// The first look at the database after the one with which the room goes on. Each pause is twice as long as the one
/// before, so what comes late is found after about twice the time that it was late.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long it is looked: the longest that a message is expected to lie in a queue that nobody empties.
const LOOK_FOR: Duration = Duration::from_secs(600);

/// The most places that are written down for one room; with more, those that come later are not compared.
const PLACES_MAX: usize = 20_000;

/// What is known of one room.
pub(super) struct Reconciliation {
    /// When the server was replaced last.
    since: Instant,
    /// After this place it is known what was shown.
    back: Seq,
    /// The last place that was shown before. What the database has after it and was not shown is missing.
    after: Seq,
    /// The last place that was shown by the server before this one.
    last_before: Seq,
    /// The places that were shown, after `back` and up to `until`.
    shown: HashSet<Seq>,
    /// The last place that is compared, once that is settled.
    until: Option<Seq>,
    /// The new stream was held against what was shown.
    is_stream_compared: bool,
    pause: Duration,
    next_look: Instant,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// The first place between those that the readers have: they cannot be shown what is there in its order any more.
    pub(super) late: Option<Seq>,
    /// Something follows on the last that they have.
    pub(super) is_ahead: bool,
}

impl Reconciliation {
    /// The server was replaced just now.
    pub(super) fn begin(ring: &Ring, now: Instant) -> Reconciliation {
        let look_back = LOOK_BACK.as_micros() as Seq;
        let back = ring.last().saturating_sub(look_back).max(ring.floor());
        Reconciliation {
            since: now,
            back,
            after: ring.last(),
            last_before: ring.last(),
            shown: ring.places_after(back).collect(),
            until: None,
            is_stream_compared: false,
            pause: FIRST_LOOK,
            next_look: now + SETTLE + FIRST_LOOK,
        }
    }

    /// It was replaced once more. False if too late to go on with this one: it does not know what was shown lately.
    pub(super) fn begin_again(&mut self, ring: &Ring, now: Instant) -> bool {
        if self.until.is_some() {
            return false;
        }
        self.since = now;
        self.last_before = ring.last();
        self.is_stream_compared = false;
        self.pause = FIRST_LOOK;
        self.next_look = now + SETTLE + FIRST_LOOK;
        true
    }

    /// Until when nothing is shown.
    pub(super) fn settles_at(&self) -> Instant {
        self.since + SETTLE
    }

    /// The stretch of the new stream that is still to be compared: after a place and up to another.
    pub(super) fn stream_to_compare(&self) -> Option<(Seq, Seq)> {
        (!self.is_stream_compared).then_some((self.back, self.last_before))
    }

    /// A message is shown.
    pub(super) fn shown(&mut self, seq: Seq) {
        if self.until.is_none() {
            self.shown.insert(seq);
        }
    }

    /// All of that stretch was compared.
    pub(super) fn stream_compared(&mut self) {
        self.is_stream_compared = true;
    }

    /// There are messages in these places, ascending, of which the readers should have those up to `last`. Each is found
    /// missing once.
    pub(super) fn compare(&mut self, places: &[Seq], last: Seq) -> Compared {
        let mut compared = Compared::default();
        for &place in places {
            if place <= self.back || self.until.is_some_and(|until| place > until) {
                continue;
            }
            if place > last {
                compared.is_ahead = true;
            } else if self.shown.insert(place) {
                compared.late.get_or_insert(place);
            }
        }
        compared
    }

    /// The stretch of the database that is to be looked at now, after a place and up to another. `last` is the last
    /// place that was shown.
    pub(super) fn look(&mut self, last: Seq, now: Instant) -> Option<(Seq, Seq)> {
        if now < self.next_look {
            return None;
        }
        if now.duration_since(self.since) >= OPEN_FOR || self.shown.len() >= PLACES_MAX {
            self.until.get_or_insert(last);
        }
        self.pause *= 2;
        self.next_look = now + self.pause;
        Some((self.after, self.until.unwrap_or(Seq::MAX)))
    }

    /// Whether it need not be looked any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= LOOK_FOR
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A place, in µs: so many milliseconds after the first.
    fn at(millis: u64) -> Seq {
        1_000_000_000 + millis * 1_000
    }

    fn ring(places: &[Seq]) -> Ring {
        let mut ring = Ring::new(Arc::default());
        ring.restart(at(0));
        for &place in places {
            ring.push_message(place, "text".into(), Instant::now());
        }
        ring
    }

    #[test]
    fn what_was_never_shown_is_found_once_and_what_follows_is_not_late() {
        let ring = ring(&[at(1), at(2)]);
        let mut known = Reconciliation::begin(&ring, Instant::now());
        known.shown(at(5));
        let stored = [at(2), at(3), at(4), at(5), at(6)];
        let found = Compared {
            late: Some(at(3)),
            is_ahead: true,
        };
        assert_eq!(known.compare(&stored, at(5)), found);
        assert_eq!(known.compare(&stored[..4], at(5)), Compared::default());
    }

    #[test]
    fn what_the_new_server_had_before_the_readers_moved_to_it_is_found_in_its_stream() {
        let ring = ring(&[at(1), at(10), at(20)]);
        let mut known = Reconciliation::begin(&ring, Instant::now());
        assert_eq!(known.stream_to_compare(), Some((at(0), at(20))));
        let found = known.compare(&[at(1), at(15)], at(20));
        assert_eq!(found.late, Some(at(15)));
        known.stream_compared();
        assert_eq!(known.stream_to_compare(), None);
    }

    #[test]
    fn only_what_is_not_long_past_is_compared() {
        let ring = ring(&[at(1), at(30_000)]);
        let known = Reconciliation::begin(&ring, Instant::now());
        assert_eq!(known.stream_to_compare(), Some((at(10_000), at(30_000))));
    }

    #[test]
    fn looks_come_ever_later_and_what_is_shown_long_after_is_not_compared() {
        let (ring, start) = (ring(&[at(1)]), Instant::now());
        let mut known = Reconciliation::begin(&ring, start);
        assert_eq!(known.look(at(1), start), None);
        let mut now = start;
        let mut looks = Vec::new();
        while !known.is_over(now) {
            if let Some(stretch) = known.look(at(1) + looks.len() as Seq, now) {
                looks.push((now.duration_since(start).as_secs(), stretch));
            }
            now += Duration::from_secs(1);
        }
        let seconds: Vec<u64> = looks.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert!(
            looks[..3]
                .iter()
                .all(|(_, stretch)| *stretch == (at(1), Seq::MAX))
        );
        // The place that was the last when it was settled.
        assert!(
            looks[3..]
                .iter()
                .all(|(_, stretch)| *stretch == (at(1), at(1) + 3))
        );
        known.shown(at(40));
        assert_eq!(known.compare(&[at(30)], at(40)), Compared::default());
        assert!(
            !known.begin_again(&ring, now),
            "it does not know what was shown lately"
        );
    }

    #[test]
    fn a_second_failover_is_compared_with_all_that_was_shown_since_before_the_first() {
        let (mut ring, start) = (ring(&[at(1)]), Instant::now());
        let mut known = Reconciliation::begin(&ring, start);
        known.stream_compared();
        known.shown(at(50));
        ring.push_message(at(50), "text".into(), start);
        assert!(known.begin_again(&ring, start + Duration::from_secs(5)));
        assert_eq!(known.stream_to_compare(), Some((at(0), at(50))));
        assert_eq!(
            known.compare(&[at(1), at(20), at(50)], at(50)).late,
            Some(at(20))
        );
    }
}
