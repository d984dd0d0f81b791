//! Quotas as Gemini keeps them, per model: requests and input tokens per minute, requests per day. Counted here so that
//! a test can tell whether a whole fleet of workers stayed within what its project was given.
//!
//! Pure: the time comes in from outside, as the time since the Unix epoch.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a model's quota is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// No quota is kept.
    Unlimited,
    /// These limits are.
    Limited(Limits),
}

/// The limits of one model; one that is `None` is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `rpm=`: requests per window.
    pub requests_per_minute: Option<u32>,
    /// `tpm=`: input tokens per window.
    pub tokens_per_minute: Option<u64>,
    /// `rpd=`: requests per day, by UTC.
    pub requests_per_day: Option<u32>,
    /// `window=`: how long a "minute" is; 60 s unless a test has no minute to spare.
    pub window: Duration,
    /// Whether the window slides or begins anew.
    pub kind: WindowKind,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_per_minute: None,
            tokens_per_minute: None,
            requests_per_day: None,
            window: MINUTE,
            kind: WindowKind::Sliding,
        }
    }
}

/// How a window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// What counts is the last minute, seen from now: the stricter of the two.
    Sliding,
    /// `fixed`: what counts is the minute on the clock.
    Fixed,
}

/// Which limit a call would have gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Requests per minute.
    RequestsPerMinute,
    /// Input tokens per minute.
    TokensPerMinute,
    /// Requests per day.
    RequestsPerDay,
}

/// A call that the quota refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The limit it would have gone over.
    pub exceeded: Exceeded,
    /// How large that limit is.
    pub limit: u64,
    /// After how long the same call would be taken.
    pub retry: Duration,
}

/// What one model's quota has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Calls that were within the quota.
    pub accepted: u64,
    /// Calls that were refused because they were not: how often the quota was exceeded.
    pub refused: u64,
    /// Of these, by requests per minute.
    pub refused_by_requests_per_minute: u64,
    /// Of these, by input tokens per minute.
    pub refused_by_tokens_per_minute: u64,
    /// Of these, by requests per day.
    pub refused_by_requests_per_day: u64,
    /// Input tokens of the calls that were accepted.
    pub input_tokens: u64,
    /// Most requests accepted within one window.
    pub peak_requests: u64,
    /// Most input tokens accepted within one window.
    pub peak_tokens: u64,
}

/// One model's quota and what was used of it.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    /// When each accepted call of the running window came, and its input tokens.
    window: VecDeque<(Duration, u64)>,
    window_tokens: u64,
    day: u64,
    day_requests: u32,
    usage: Usage,
}

impl Meter {
    /// A meter that has seen nothing.
    pub fn new(limits: Limits) -> Meter {
        Meter {
            limits,
            window: VecDeque::new(),
            window_tokens: 0,
            day: 0,
            day_requests: 0,
            usage: Usage::default(),
        }
    }

    /// Changes the limits; what was used stays used.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What it has seen.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes a call of that many input tokens, or refuses it; a refused call uses nothing up.
    ///
    /// # Errors
    /// The first limit the call would go over, the day's before the minute's: waiting does not help against that one.
    pub fn take(&mut self, now: Duration, tokens: u64) -> Result<(), Refusal> {
        self.forget_before(now);
        if let Some(refusal) = self.refusal(now, tokens) {
            self.usage.refused += 1;
            match refusal.exceeded {
                Exceeded::RequestsPerMinute => self.usage.refused_by_requests_per_minute += 1,
                Exceeded::TokensPerMinute => self.usage.refused_by_tokens_per_minute += 1,
                Exceeded::RequestsPerDay => self.usage.refused_by_requests_per_day += 1,
            }
            return Err(refusal);
        }
        self.window.push_back((now, tokens));
        self.window_tokens += tokens;
        self.day_requests += 1;
        self.usage.accepted += 1;
        self.usage.input_tokens += tokens;
        self.usage.peak_requests = self.usage.peak_requests.max(self.window.len() as u64);
        self.usage.peak_tokens = self.usage.peak_tokens.max(self.window_tokens);
        Ok(())
    }

    fn refusal(&self, now: Duration, tokens: u64) -> Option<Refusal> {
        if let Some(limit) = self.limits.requests_per_day
            && self.day_requests >= limit
        {
            let retry = DAY - remainder(now, DAY);
            return Some(Refusal {
                exceeded: Exceeded::RequestsPerDay,
                limit: limit.into(),
                retry,
            });
        }
        if let Some(limit) = self.limits.requests_per_minute
            && self.window.len() >= limit as usize
        {
            let too_many = self.window.len() - limit as usize + 1;
            let retry = self.until_gone(now, too_many);
            return Some(Refusal {
                exceeded: Exceeded::RequestsPerMinute,
                limit: limit.into(),
                retry,
            });
        }
        if let Some(limit) = self.limits.tokens_per_minute
            && self.window_tokens + tokens > limit
        {
            let mut left = self.window_tokens;
            let leaving = self.window.iter().take_while(|(_, used)| {
                let stays_too_much = left + tokens > limit;
                left -= used;
                stays_too_much
            });
            let retry = self.until_gone(now, leaving.count());
            return Some(Refusal {
                exceeded: Exceeded::TokensPerMinute,
                limit,
                retry,
            });
        }
        None
    }

    /// How long until the oldest so many calls of the window have left it.
    fn until_gone(&self, now: Duration, calls: usize) -> Duration {
        let whole = self.limits.window;
        match (
            self.limits.kind,
            calls.checked_sub(1).and_then(|last| self.window.get(last)),
        ) {
            (WindowKind::Sliding, Some((at, _))) => (*at + whole).saturating_sub(now),
            (WindowKind::Sliding, None) => whole,
            (WindowKind::Fixed, _) => whole - remainder(now, whole),
        }
    }

    fn forget_before(&mut self, now: Duration) {
        let begin = match self.limits.kind {
            // A call exactly one window old has left it.
            WindowKind::Sliding => now.saturating_sub(self.limits.window) + Duration::from_nanos(1),
            WindowKind::Fixed => now - remainder(now, self.limits.window),
        };
        while let Some((at, tokens)) = self.window.front()
            && *at < begin
        {
            self.window_tokens -= tokens;
            self.window.pop_front();
        }
        let day = now.as_secs() / DAY.as_secs();
        if day != self.day {
            (self.day, self.day_requests) = (day, 0);
        }
    }
}

fn remainder(now: Duration, of: Duration) -> Duration {
    // Both fit: the epoch's nanoseconds need 61 bits, and a window is not zero (the grammar refuses that).
    let nanos = now.as_nanos() % of.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + seconds)
    }

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    #[test]
    fn a_sliding_minute_frees_a_place_when_its_oldest_call_leaves() {
        let mut meter = Meter::new(limits(|l| l.requests_per_minute = Some(2)));
        meter.take(at(0), 10).unwrap();
        meter.take(at(20), 10).unwrap();
        let refusal = meter.take(at(50), 10).unwrap_err();
        assert_eq!(refusal.exceeded, Exceeded::RequestsPerMinute);
        assert_eq!((refusal.limit, refusal.retry), (2, Duration::from_secs(10)));
        meter.take(at(50) + refusal.retry, 10).unwrap();
        assert_eq!(
            meter.take(at(61), 10).unwrap_err().retry,
            Duration::from_secs(19)
        );
        let usage = meter.usage();
        assert_eq!(
            (
                usage.accepted,
                usage.refused,
                usage.refused_by_requests_per_minute
            ),
            (3, 2, 2)
        );
        assert_eq!((usage.peak_requests, usage.input_tokens), (2, 30));
    }

    #[test]
    fn a_fixed_minute_frees_all_places_at_once() {
        // 1,800,000,000 is a whole number of minutes.
        let mut meter = Meter::new(limits(|l| {
            l.requests_per_minute = Some(2);
            l.kind = WindowKind::Fixed;
        }));
        meter.take(at(50), 1).unwrap();
        meter.take(at(55), 1).unwrap();
        assert_eq!(
            meter.take(at(58), 1).unwrap_err().retry,
            Duration::from_secs(2)
        );
        meter.take(at(60), 1).unwrap();
        meter.take(at(60), 1).unwrap();
        assert!(meter.take(at(60), 1).is_err());
    }

    #[test]
    fn tokens_wait_for_as_many_calls_as_must_leave() {
        let mut meter = Meter::new(limits(|l| l.tokens_per_minute = Some(100)));
        meter.take(at(0), 30).unwrap();
        meter.take(at(10), 30).unwrap();
        meter.take(at(20), 30).unwrap();
        let refusal = meter.take(at(30), 60).unwrap_err();
        assert_eq!(
            (refusal.exceeded, refusal.limit),
            (Exceeded::TokensPerMinute, 100)
        );
        // 90 used: the first two calls must leave, the second does so at 70.
        assert_eq!(refusal.retry, Duration::from_secs(40));
        meter.take(at(70), 60).unwrap();
        // More than the whole quota never fits; a minute is the most that can be said.
        assert!(meter.take(at(200), 101).unwrap_err().retry <= MINUTE);
    }

    #[test]
    fn a_day_is_refused_before_a_minute_and_ends_at_midnight() {
        let mut meter = Meter::new(limits(|l| {
            l.requests_per_day = Some(1);
            l.requests_per_minute = Some(1);
        }));
        meter.take(at(0), 1).unwrap();
        let refusal = meter.take(at(1), 1).unwrap_err();
        assert_eq!(refusal.exceeded, Exceeded::RequestsPerDay);
        assert!(refusal.retry > MINUTE && refusal.retry <= DAY);
        meter.take(at(1) + refusal.retry, 1).unwrap();
    }

    #[test]
    fn refused_calls_use_nothing_up_and_new_limits_keep_what_was_used() {
        let mut meter = Meter::new(limits(|l| l.requests_per_minute = Some(1)));
        meter.take(at(0), 1).unwrap();
        for second in 1..60 {
            assert!(meter.take(at(second), 1).is_err());
        }
        meter.take(at(60), 1).unwrap();
        meter.set_limits(limits(|l| l.requests_per_minute = Some(2)));
        meter.take(at(61), 1).unwrap();
        assert!(meter.take(at(62), 1).is_err());
    }
}
