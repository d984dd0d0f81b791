//! A time in which messages are not kept: whoever is told to come again is told to wait the longer, the longer it lasts, and
//! not all of them the same; and the log has a line when it begins, one each minute, and one when it is over, however many
//! messages were refused.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{PostError, PostResult};

/// Whoever is refused waits for this part of the time for which nothing has been kept: a quarter.
const PART: u32 = 4;

/// The longest wait, but for its jitter. Who waits for longer than the outage lasts waits for nothing.
const LONGEST: Duration = Duration::from_secs(15);

/// A wait is up to this many times as long, by chance, so that not all come back at once.
const JITTER: f64 = 1.5;

/// After a refusal, what is kept within this time does not say that it is over: some are kept and some are not.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// Between two lines of the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What this process knows of it.
#[derive(Default)]
pub(super) struct Outage {
    /// Looked at for each message that is kept.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The first refusal since something was kept.
    nothing_kept_since: Option<Instant>,
    refusals: Option<Refusals>,
}

#[derive(Clone, Copy)]
struct Refusals {
    first: Instant,
    last: Instant,
    count: u64,
    told: Instant,
}

impl Outage {
    /// What a sender is told: what became of the message, and if it has to be sent again, when that makes sense.
    pub(super) fn told(&self, outcome: PostResult) -> PostResult {
        if outcome.is_ok() && self.is_on.load(Ordering::Relaxed) {
            self.kept(Instant::now());
        }
        outcome.map_err(|error| self.told_why(error))
    }

    /// The same for what was refused.
    pub(super) fn told_why(&self, error: PostError) -> PostError {
        let PostError::Unavailable { why, retry_after } = error else {
            return error;
        };
        let wait = self.refused(&why, retry_after, Instant::now());
        PostError::Unavailable {
            why,
            retry_after: wait.mul_f64(rand::random_range(1.0..JITTER)),
        }
    }

    /// How long to wait at least.
    fn refused(&self, why: &str, least: Duration, now: Instant) -> Duration {
        let mut state = self.state.lock();
        self.is_on.store(true, Ordering::Relaxed);
        let since = *state.nothing_kept_since.get_or_insert(now);
        match &mut state.refusals {
            Some(refusals) => {
                refusals.last = now;
                refusals.count += 1;
                if now.duration_since(refusals.told) >= TOLD_EVERY {
                    refusals.told = now;
                    let refused = refusals.count;
                    tracing::warn!(why, refused, "messages are still not kept");
                }
            }
            first => {
                *first = Some(Refusals {
                    first: now,
                    last: now,
                    count: 1,
                    told: now,
                });
                tracing::warn!(
                    why,
                    "a message is not kept yet; how many are is said when that is over"
                );
            }
        }
        drop(state);
        let wait = now.duration_since(since) / PART;
        wait.clamp(least, LONGEST.max(least))
    }

    fn kept(&self, now: Instant) {
        let mut state = self.state.lock();
        state.nothing_kept_since = None;
        let Some(refusals) = state.refusals else {
            return;
        };
        if now.duration_since(refusals.last) < OVER_AFTER {
            return;
        }
        state.refusals = None;
        self.is_on.store(false, Ordering::Relaxed);
        drop(state);
        let Refusals {
            first, last, count, ..
        } = refusals;
        let seconds = last.duration_since(first).as_secs_f64();
        tracing::info!(refused = count, seconds, "messages are kept again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_grows_while_nothing_is_kept() {
        let (outage, begun) = (Outage::default(), Instant::now());
        let refused_at = |seconds| outage.refused("an alarm", SECOND, begun + seconds * SECOND);
        let waits = [0, 2, 8, 20, 40, 600].map(refused_at);
        assert_eq!(waits.map(|wait| wait.as_secs()), [1, 1, 2, 5, 10, 15]);
        // Some messages are kept again, and this one is not.
        outage.kept(begun + 601 * SECOND);
        assert_eq!(refused_at(602), SECOND);
        assert!(outage.is_on.load(Ordering::Relaxed));
        outage.kept(begun + 608 * SECOND);
        assert!(!outage.is_on.load(Ordering::Relaxed));
    }

    #[test]
    fn not_all_are_told_the_same() {
        let outage = Outage::default();
        let mut waits = std::collections::HashSet::new();
        for _ in 0..100 {
            let refusal = PostError::Unavailable {
                why: "an alarm".into(),
                retry_after: SECOND,
            };
            let PostError::Unavailable { retry_after, .. } = outage.told_why(refusal) else {
                panic!("it is refused");
            };
            assert!((SECOND..SECOND.mul_f64(JITTER)).contains(&retry_after));
            waits.insert(retry_after.as_millis());
        }
        assert!(waits.len() > 50, "{waits:?}");
    }
}
