//! A quota as Gemini keeps one for each model: requests and input tokens per minute. Counted here so that a test can tell
//! whether a whole fleet of workers stayed within what its project was given.
//!
//! Pure: the time comes in from outside, as the time since the Unix epoch.

use std::collections::VecDeque;
use std::time::Duration;

/// The limits of one model; one that is `None` is not kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// `rpm=`: requests per window.
    pub requests: Option<u64>,
    /// `tpm=`: input tokens per window.
    pub tokens: Option<u64>,
    /// `window=`: how long a "minute" is; 60 s unless a test has no minute to spare. What counts is the last one, seen
    /// from now.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests: None,
            tokens: None,
            window: Duration::from_secs(60),
        }
    }
}

/// A call that the quota refuses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refusal {
    /// The limit that it would have gone over.
    pub limit: u64,
    /// Whether that is the one of tokens.
    pub is_of_tokens: bool,
    /// After how long the same call would be taken.
    pub retry: Duration,
}

/// What was used of one model's quota.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// When each accepted call of the window came, and its input tokens.
    calls: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Takes a call of that many input tokens.
    ///
    /// # Errors
    /// The limit that it would go over; a refused call uses nothing up.
    pub(crate) fn take(
        &mut self,
        limits: Limits,
        now: Duration,
        tokens: u64,
    ) -> Result<(), Refusal> {
        // A call exactly one window old has left it.
        while self
            .calls
            .front()
            .is_some_and(|(at, _)| *at + limits.window <= now)
        {
            self.calls.pop_front();
        }
        let refusal = |limit, is_of_tokens, must_leave: usize| {
            let last = must_leave
                .checked_sub(1)
                .and_then(|last| self.calls.get(last));
            Refusal {
                limit,
                is_of_tokens,
                retry: last.map_or(limits.window, |(at, _)| (*at + limits.window) - now),
            }
        };
        let calls = self.calls.len();
        if let Some(limit) = limits.requests
            && calls as u64 >= limit
        {
            let too_many = calls as u64 - limit + 1;
            return Err(refusal(
                limit,
                false,
                usize::try_from(too_many).unwrap_or(calls),
            ));
        }
        if let Some(limit) = limits.tokens {
            let mut used: u64 = self.calls.iter().map(|(_, tokens)| tokens).sum();
            let mut must_leave = 0;
            while used + tokens > limit && must_leave < calls {
                used -= self.calls[must_leave].1;
                must_leave += 1;
            }
            if used + tokens > limit || must_leave > 0 {
                return Err(refusal(limit, true, must_leave));
            }
        }
        self.calls.push_back((now, tokens));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_place_is_free_when_the_oldest_call_leaves_the_window() {
        let mut meter = Meter::default();
        let limits = Limits {
            requests: Some(2),
            ..Limits::default()
        };
        meter.take(limits, at(0), 10).unwrap();
        meter.take(limits, at(20), 10).unwrap();
        let refusal = meter.take(limits, at(50), 10).unwrap_err();
        assert_eq!((refusal.limit, refusal.retry), (2, Duration::from_secs(10)));
        // A refused call used nothing up.
        meter.take(limits, at(50) + refusal.retry, 10).unwrap();
        assert_eq!(
            meter.take(limits, at(61), 10).unwrap_err().retry,
            Duration::from_secs(19)
        );
    }

    #[test]
    fn tokens_wait_for_as_many_calls_as_must_leave() {
        let mut meter = Meter::default();
        let limits = Limits {
            tokens: Some(100),
            ..Limits::default()
        };
        for second in [0, 10, 20] {
            meter.take(limits, at(second), 30).unwrap();
        }
        let refusal = meter.take(limits, at(30), 60).unwrap_err();
        // 90 used: the first two calls must leave, the second does so at 70.
        assert_eq!(
            (refusal.limit, refusal.is_of_tokens, refusal.retry),
            (100, true, Duration::from_secs(40))
        );
        meter.take(limits, at(70), 60).unwrap();
        // More than the whole quota never fits; a minute is the most that can be said.
        assert!(meter.take(limits, at(200), 101).unwrap_err().retry <= limits.window);
    }
}
