//! The worker's own pace: at most so many calls, and so many tokens, a minute. It is a limit of this process; the
//! quota is the project's, so that each worker beyond the first adds its own share until one pace is kept by all.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::Mutex;

const MINUTE: Duration = Duration::from_secs(60);
/// What may be spent at once, as a share of the minute's quota: one in so many.
const BURST_SHARE: u32 = 5;

/// Lets calls pass at their pace.
pub struct Pace {
    calls: Option<DefaultDirectRateLimiter>,
    tokens: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
    clock: DefaultClock,
    /// Who waits here goes first.
    turn: Mutex<()>,
}

impl Pace {
    /// A pace of so many calls and so many tokens a minute; none is no limit.
    pub fn new(calls: Option<NonZeroU32>, tokens: Option<NonZeroU32>) -> Pace {
        let tokens = tokens.map(|tokens| {
            let quota = quota(tokens);
            (RateLimiter::direct(quota), quota.burst_size())
        });
        Pace {
            calls: calls.map(|calls| RateLimiter::direct(quota(calls))),
            tokens,
            clock: DefaultClock::default(),
            turn: Mutex::new(()),
        }
    }

    /// Waits until a call with about so many input tokens is within the pace. First come, first served. Safe to
    /// cancel: what was not waited for to its end costs nothing, but for a call whose tokens were still waited for.
    pub async fn wait(&self, tokens: usize) {
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
            // A prompt larger than what may be spent at once waits for all of that.
            let tokens = u32::try_from(tokens)
                .unwrap_or(u32::MAX)
                .clamp(1, burst.get());
            let tokens = NonZeroU32::new(tokens).unwrap_or(NonZeroU32::MIN);
            while let Ok(Err(not_until)) = limiter.check_n(tokens) {
                tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
            }
        }
    }
}

/// A quota of which no minute, wherever it begins, sees more than `a_minute`: what may be spent at once is taken off
/// what comes back within the minute, since the two add up.
fn quota(a_minute: NonZeroU32) -> Quota {
    let burst = (a_minute.get() / BURST_SHARE).max(1);
    let comes_back = a_minute.get() - burst + 1;
    // A hundredth more, for what the network does to distances in time.
    let interval = MINUTE.mul_f64(1.01) / comes_back;
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
        fn no_minute_sees_more_than_its_quota(a_minute in 1..200u32) {
            let clock = FakeRelativeClock::default();
            let limiter = RateLimiter::direct_with_clock(quota(NonZeroU32::new(a_minute).unwrap()), clock.clone());
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
                prop_assert!(within <= a_minute as usize, "{within} of {a_minute} from {begin:?}");
            }
            prop_assert!(passed.len() >= (2 * a_minute as usize).saturating_sub(a_minute as usize / 5 + 2), "{} are too few", passed.len());
        }
    }
}
