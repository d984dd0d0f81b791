//! Lines of the log that an outage or a flood would write for each message, call or connection: said once in a while,
//! with how many there were meanwhile, so that the one that tells the cause can be found, and the disk is not filled by
//! whoever makes us complain.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two lines about the same, where nothing better is known.
const USUALLY_EVERY: Duration = Duration::from_secs(10);

/// When one kind of line was last said, and how many were left out since.
pub struct Seldom {
    every: Duration,
    said: Mutex<Option<Said>>,
}

struct Said {
    at: Instant,
    left_out: u64,
}

impl Seldom {
    /// At most one line in 10 s.
    pub const fn usually() -> Seldom {
        Seldom::every(USUALLY_EVERY)
    }

    /// At most one line in this time.
    pub const fn every(every: Duration) -> Seldom {
        Seldom {
            every,
            said: Mutex::new(None),
        }
    }

    /// Whether this one is said; then with how many were left out since the last that was. One that is not is counted.
    pub fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock();
        if let Some(said) = &mut *said
            && now.saturating_duration_since(said.at) < self.every
        {
            said.left_out += 1;
            return None;
        }
        let before = said.replace(Said {
            at: now,
            left_out: 0,
        });
        Some(before.map_or(0, |said| said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_line_and_the_next_one_says_how_many_there_were() {
        let (seldom, now) = (Seldom::every(Duration::from_secs(10)), Instant::now());
        let said = |after: u64| seldom.is_due_at(now + Duration::from_secs(after));
        assert_eq!(said(0), Some(0));
        let lines = (0..1_000).filter(|n| said(n / 101).is_some());
        assert_eq!(lines.count(), 0);
        assert_eq!(said(10), Some(1_000));
        assert_eq!(said(30), Some(0));
    }
}
