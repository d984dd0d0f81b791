//! What is said once in a while, however often there is reason to: whoever calls can make us say it, and an operator
//! needs to hear it again some day.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When something was last said.
pub(crate) struct Seldom {
    every: Duration,
    said_at: Mutex<Option<Instant>>,
}

impl Seldom {
    /// At most once in this time.
    pub(crate) fn every(every: Duration) -> Seldom {
        let said_at = Mutex::default();
        Seldom { every, said_at }
    }

    /// Whether it is to be said now; then it was.
    pub(crate) fn is_due(&self) -> bool {
        let mut said_at = self.said_at.lock();
        let is_due = said_at.is_none_or(|at| at.elapsed() >= self.every);
        if is_due {
            *said_at = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_and_again_when_its_time_has_come() {
        let seldom = Seldom::every(Duration::from_secs(10));
        let said = (0..1_000).filter(|_| seldom.is_due());
        assert_eq!(said.count(), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(seldom.is_due() && !seldom.is_due());
    }
}
