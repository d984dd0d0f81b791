//! A circuit breaker: a model that keeps failing is passed over for a while, then tried with one call. Pure: the time
//! is passed in.

use std::time::{Duration, Instant};

/// So many failures in a row, each at most [`WINDOW`] after the one before, open the circuit.
pub(crate) const FAILURES_TO_OPEN: u32 = 5;
/// Failures further apart than this are no row.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// How long the circuit stays open the first time; twice as long after each probe that fails.
pub(crate) const OPEN_FIRST: Duration = Duration::from_secs(2);
/// The longest it stays open at a time.
pub(crate) const OPEN_LONGEST: Duration = Duration::from_secs(15);
/// A probe that has brought no verdict after this long was lost; another may go.
pub(crate) const PROBE_LOST_AFTER: Duration = Duration::from_secs(30);
/// While a probe is under way, how soon to look again.
const PROBE_LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The state of one model's circuit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Calls pass.
    #[default]
    Closed,
    /// Calls pass, though some have failed.
    Failing {
        /// How many in a row.
        failures: u32,
        /// The last of them.
        last: Instant,
    },
    /// No call passes.
    Open {
        /// Until then; after that, one.
        until: Instant,
        /// For how long this time.
        pause: Duration,
    },
    /// One call is under way that will tell.
    HalfOpen {
        /// Since when.
        since: Instant,
        /// For how long the circuit was open before.
        pause: Duration,
    },
}

impl Breaker {
    /// How long no call may pass from `now` on, as far as is known; none if one may.
    pub(crate) fn barred_for(&self, now: Instant) -> Option<Duration> {
        let left = match *self {
            Breaker::Closed | Breaker::Failing { .. } => return None,
            Breaker::Open { until, .. } => until.saturating_duration_since(now),
            Breaker::HalfOpen { since, .. } => {
                let lost_in = (since + PROBE_LOST_AFTER).saturating_duration_since(now);
                lost_in.min(PROBE_LOOK_AGAIN)
            }
        };
        (!left.is_zero()).then_some(left)
    }

    /// Lets a call pass, if one may. It has to be followed by one of the three verdicts.
    pub(crate) fn let_pass(&mut self, now: Instant) -> bool {
        if self.barred_for(now).is_some() {
            return false;
        }
        if let Breaker::Open { pause, .. } | Breaker::HalfOpen { pause, .. } = *self {
            *self = Breaker::HalfOpen { since: now, pause };
        }
        true
    }

    /// A call went well.
    pub(crate) fn succeeded(&mut self) {
        *self = Breaker::Closed;
    }

    /// A call failed in a way that the next one may as well.
    pub(crate) fn failed(&mut self, now: Instant) {
        *self = match *self {
            Breaker::Closed => Breaker::Failing {
                failures: 1,
                last: now,
            },
            Breaker::Failing { last, .. } if now.saturating_duration_since(last) > WINDOW => {
                Breaker::Failing {
                    failures: 1,
                    last: now,
                }
            }
            Breaker::Failing { failures, .. } if failures + 1 < FAILURES_TO_OPEN => {
                Breaker::Failing {
                    failures: failures + 1,
                    last: now,
                }
            }
            Breaker::Failing { .. } => Breaker::Open {
                until: now + OPEN_FIRST,
                pause: OPEN_FIRST,
            },
            Breaker::HalfOpen { pause, .. } => {
                let pause = (pause * 2).min(OPEN_LONGEST);
                Breaker::Open {
                    until: now + pause,
                    pause,
                }
            }
            // Calls that began before it opened say nothing new.
            Breaker::Open { until, pause } => Breaker::Open { until, pause },
        };
    }

    /// Opens it, or leaves it open, whatever came before: there is reason enough.
    pub(crate) fn open(&mut self, now: Instant) {
        match self {
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => self.failed(now),
            Breaker::Closed | Breaker::Failing { .. } => {
                *self = Breaker::Open {
                    until: now + OPEN_FIRST,
                    pause: OPEN_FIRST,
                };
            }
        }
    }

    /// A call ended without saying anything about the model: it was stopped, or its time was up.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if let Breaker::HalfOpen { pause, .. } = *self {
            *self = Breaker::Open { until: now, pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.let_pass(now));
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_good_probe() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert_eq!(breaker.barred_for(start), Some(OPEN_FIRST));
        assert!(!breaker.let_pass(start + OPEN_FIRST / 2));
        let probe_at = start + OPEN_FIRST;
        assert!(breaker.let_pass(probe_at));
        assert!(!breaker.let_pass(probe_at), "one probe only");
        breaker.succeeded();
        assert_eq!(breaker, Breaker::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut pause = OPEN_FIRST;
        for _ in 0..6 {
            now += pause;
            assert!(breaker.let_pass(now));
            breaker.failed(now);
            pause = (pause * 2).min(OPEN_LONGEST);
            assert_eq!(breaker.barred_for(now), Some(pause));
        }
    }

    #[test]
    fn a_probe_that_is_lost_or_abandoned_makes_room_for_another() {
        let start = Instant::now();
        let probe_at = start + OPEN_FIRST;
        let mut breaker = opened(start);
        assert!(breaker.let_pass(probe_at));
        breaker.abandoned(probe_at);
        assert!(breaker.let_pass(probe_at));
        assert!(breaker.let_pass(probe_at + PROBE_LOST_AFTER));
    }

    #[test]
    fn successes_and_long_pauses_between_failures_keep_it_closed() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 * FAILURES_TO_OPEN {
            now += WINDOW + Duration::from_secs(1);
            breaker.failed(now);
        }
        assert!(breaker.let_pass(now));
        for _ in 0..FAILURES_TO_OPEN - 2 {
            breaker.failed(now);
        }
        breaker.succeeded();
        breaker.failed(now);
        assert!(breaker.let_pass(now));
    }

    proptest! {
        #[test]
        fn whatever_happens_a_call_passes_again_some_time(steps in proptest::collection::vec((0..4u8, 0..40u64), 0..60)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            for (step, seconds) in steps {
                now += Duration::from_secs(seconds);
                match step {
                    0 => drop(breaker.let_pass(now)),
                    1 => breaker.failed(now),
                    2 => breaker.succeeded(),
                    _ => breaker.abandoned(now),
                }
                let longest = OPEN_LONGEST.max(PROBE_LOST_AFTER);
                prop_assert!(breaker.barred_for(now).is_none_or(|left| left <= longest));
                prop_assert!(breaker.clone().let_pass(now + longest));
            }
        }
    }
}
