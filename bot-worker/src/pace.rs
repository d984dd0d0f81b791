//! The worker's own pace: its share of the calls and tokens that the fleet may have a minute. It counts along while the
//! fleet's quota is asked for each call, and is kept while that cannot be asked.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::Mutex;

const MINUTE: Duration = Duration::from_secs(60);
/// What may be spent at once, as a share of the minute's quota: one in so many.
const BURST_SHARE: f64 = 5.0;

/// Lets calls pass at their pace.
pub(crate) struct Pace {
    calls: Option<DefaultDirectRateLimiter>,
    tokens: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
    clock: DefaultClock,
    /// Who waits here goes first.
    turn: Mutex<()>,
}

impl Pace {
    /// The pace of one of so many workers that share these calls and tokens a minute; none is no limit.
    pub(crate) fn new(
        calls: Option<NonZeroU32>,
        tokens: Option<NonZeroU32>,
        workers: usize,
    ) -> Pace {
        let tokens = tokens.map(|tokens| {
            let quota = quota(tokens, workers);
            (RateLimiter::direct(quota), quota.burst_size())
        });
        Pace {
            calls: calls.map(|calls| RateLimiter::direct(quota(calls, workers))),
            tokens,
            clock: DefaultClock::default(),
            turn: Mutex::new(()),
        }
    }

    /// Waits until a call with about so many input tokens is within the pace. First come, first served. Safe to
    /// cancel: what was not waited for to its end costs nothing, but for a call whose tokens were still waited for.
    pub(crate) async fn wait(&self, tokens: u32) {
        if self.calls.is_none() && self.tokens.is_none() {
            return;
        }
        let _turn = self.turn.lock().await;
        if let Some(calls) = &self.calls {
            while let Err(not_until) = calls.check() {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
        }
        if let Some((limiter, burst)) = &self.tokens {
            let tokens = at_once(tokens, *burst);
            while let Ok(Err(not_until)) = limiter.check_n(tokens) {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
        }
    }

    /// Counts a call that went out without waiting here.
    pub(crate) fn count(&self, tokens: u32) {
        // Where it is more than the pace has room for, there is none left, and that is all that can be counted.
        if let Some(calls) = &self.calls {
            drop(calls.check());
        }
        if let Some((limiter, burst)) = &self.tokens {
            drop(limiter.check_n(at_once(tokens, *burst)));
        }
    }
}

/// A prompt larger than what may be spent at once counts as all of that.
fn at_once(tokens: u32, burst: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(tokens.clamp(1, burst.get())).unwrap_or(NonZeroU32::MIN)
}

/// One of so many workers' share of a quota of which no minute, wherever it begins, sees more than `a_minute`: what may be spent
/// at once is taken off what comes back within the minute, since the two add up.
fn quota(a_minute: NonZeroU32, workers: usize) -> Quota {
    let share = f64::from(a_minute.get()) / workers.max(1) as f64;
    // Half a call is none in some minutes; less than one call a minute is one now and then.
    let share = if share < 1.0 { share } else { share.floor() };
    let burst = ((share / BURST_SHARE) as u32).max(1);
    // A share of less than one call a minute has only that one at once.
    let comes_back = (share - f64::from(burst) + 1.0).clamp(share.min(1.0), share.max(1.0));
    // A hundredth more, for what the network does to distances in time.
    let interval = MINUTE.mul_f64(1.01 / comes_back);
    Quota::with_period(interval)
        .unwrap_or(Quota::per_minute(NonZeroU32::MIN))
        .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_minute_sees_more_than_its_quota(a_minute in 1..200u32, workers in 1..9u32) {
            let clock = FakeRelativeClock::default();
            let limiter = RateLimiter::direct_with_clock(quota(NonZeroU32::new(a_minute).unwrap(), workers as usize), clock.clone());
            let share = (a_minute as usize / workers as usize).max(1);
            let step = Duration::from_millis(50);
            let (mut passed, mut at) = (Vec::new(), Duration::ZERO);
            while at < 3 * MINUTE {
                while limiter.check().is_ok() {
                    passed.push(at);
                }
                clock.advance(step);
                at += step;
            }
            for (first, begin) in passed.iter().enumerate() {
                let within = passed[first..].iter().take_while(|time| **time < *begin + MINUTE).count();
                prop_assert!(within <= share, "{within} of {share} from {begin:?}");
            }
            prop_assert!(passed.len() >= (2 * share).saturating_sub(share / 5 + 2), "{} are too few", passed.len());
        }
    }
}
