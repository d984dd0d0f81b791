//! Whether a request can be served in time, from how things have lately gone. Pure: times are passed in.
//!
//! A request that waits until its deadline and is refused then has cost its asker a minute, and a call that is begun with
//! too little time left costs a slot as well. So whoever cannot be served is told at once, and when to ask again. Where a
//! choice is to be made, those are told first who have most waiting already.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::turns::RoomPlace;

/// How many of the latest times are looked at, and how old they may be: a model that was slow gets another chance.
const SAMPLES_MAX: usize = 50;
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);
/// With fewer than so many, nothing is known.
const SAMPLES_MIN: usize = 4;
/// So many may one person always have waiting in a room.
const OWN_WAITING_MIN: usize = 2;

/// How long something took lately.
#[derive(Debug, Default)]
pub(crate) struct RecentTimes {
    samples: Mutex<VecDeque<(Instant, Duration)>>,
}

impl RecentTimes {
    /// It took so long, as was seen at `now`.
    pub(crate) fn add(&self, took: Duration, now: Instant) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((now, took));
    }

    /// What half of them stayed below.
    pub(crate) fn median(&self, now: Instant) -> Option<Duration> {
        self.quantile(0.5, now)
    }

    /// What nearly all of them stayed below.
    pub(crate) fn at_most(&self, now: Instant) -> Option<Duration> {
        self.quantile(0.9, now)
    }

    fn quantile(&self, part: f64, now: Instant) -> Option<Duration> {
        let samples = self.samples.lock();
        let fresh = samples
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= SAMPLE_AGE_MAX);
        let mut times: Vec<Duration> = fresh.map(|(_, took)| *took).collect();
        drop(samples);
        times.sort_unstable();
        let index = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        (times.len() >= SAMPLES_MIN).then(|| times[index])
    }
}

/// When a request that waits for its room's turn should give up, and ask again after so long.
///
/// `each` is how long one request of a room's queue has lately taken, `call` how long the call alone. One person may have
/// no more waiting than leaves a share for everybody who asks in the room, and for one more.
pub(crate) fn too_many_in_room(
    place: RoomPlace,
    each: Duration,
    call: Duration,
    left: Duration,
) -> Option<Duration> {
    let RoomPlace {
        before,
        own_before,
        users,
    } = place;
    if before == 0 || each.is_zero() {
        return None;
    }
    let waits = times(each, before);
    let fit = left.saturating_sub(call).as_secs_f64() / each.as_secs_f64();
    let share = (fit / (users + 1) as f64) as usize;
    let is_too_late = waits + call > left;
    let has_share = own_before >= share.max(OWN_WAITING_MIN);
    (is_too_late || has_share).then_some(waits)
}

/// When a request that has the turn, and waits for a slot of any worker behind `before` others, should give up, and ask
/// again after so long: `slots` calls are made at a time, and each takes `call`.
pub(crate) fn too_many_for_slots(
    before: usize,
    slots: usize,
    call: Duration,
    left: Duration,
) -> Option<Duration> {
    let waits = times(call, before) / u32::try_from(slots).unwrap_or(u32::MAX).max(1);
    (before > 0 && waits + call > left).then_some(waits)
}

fn times(each: Duration, count: usize) -> Duration {
    each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn place(before: usize, own_before: usize, users: usize) -> RoomPlace {
        RoomPlace {
            before,
            own_before,
            users,
        }
    }

    #[test]
    fn times_are_known_from_a_few_and_forgotten_after_a_while() {
        let (times, now) = (RecentTimes::default(), Instant::now());
        for seconds in 1..=3 {
            times.add(seconds * SECOND, now);
        }
        assert_eq!(times.median(now), None, "three are too few");
        for seconds in 4..=10 {
            times.add(seconds * SECOND, now);
        }
        assert_eq!(times.median(now), Some(6 * SECOND));
        assert_eq!(times.at_most(now), Some(10 * SECOND));
        assert_eq!(times.median(now + 2 * MINUTE), None);
        for _ in 0..2 * SAMPLES_MAX {
            times.add(SECOND, now);
        }
        assert_eq!(times.at_most(now), Some(SECOND));
    }

    #[test]
    fn whoever_stands_too_far_behind_in_a_room_is_told_when_to_ask_again() {
        let told = |place, left| too_many_in_room(place, 2 * SECOND, SECOND, left);
        assert_eq!(
            told(place(0, 0, 1), SECOND),
            None,
            "the first has its chance"
        );
        assert_eq!(told(place(10, 0, 5), MINUTE), None);
        assert_eq!(told(place(29, 0, 5), MINUTE), None);
        assert_eq!(told(place(30, 0, 5), MINUTE), Some(MINUTE));
        assert_eq!(told(place(10, 0, 5), 20 * SECOND), Some(20 * SECOND));
    }

    #[test]
    fn one_person_leaves_a_share_for_the_others_and_for_one_more() {
        let told = |place| too_many_in_room(place, 2 * SECOND, SECOND, MINUTE).is_some();
        assert!(!told(place(13, 13, 1)) && told(place(14, 14, 1)));
        assert!(!told(place(16, 8, 2)) && told(place(16, 9, 2)));
        assert!(!told(place(20, 1, 40)), "two at least");
    }

    #[test]
    fn whoever_stands_too_far_behind_for_a_slot_is_told_too() {
        let told = |before, left| too_many_for_slots(before, 4, 2 * SECOND, left);
        assert_eq!(told(0, SECOND), None);
        assert_eq!(told(100, MINUTE), None);
        assert_eq!(told(120, MINUTE), Some(MINUTE));
    }
}
