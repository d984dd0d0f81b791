//! A line in the log for each log-in that failed, which an operator's tools can count by address; not more of them than
//! somebody can read, whoever tries passwords.

use std::{net::IpAddr, time::Duration};

use common::repeated_lines::EACH_LINE;
use parking_lot::Mutex;
use tokio::time::Instant;

/// So many lines within [`WINDOW`]; how many more there were is told by the first line of a later one.
const LINES_MAX: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// What was told lately.
#[derive(Default)]
pub(super) struct FailedLogIns {
    window: Mutex<Option<Window>>,
}

struct Window {
    began: Instant,
    failed: u32,
}

impl FailedLogIns {
    /// A log-in failed.
    pub(super) fn tell(&self, user: &str, address: IpAddr) {
        metrics::counter!("chinwag_log_ins_failed_total").increment(1);
        let (is_told, left_out) = self.count(Instant::now());
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "so many more log-ins failed than there were lines for"
            );
        }
        if is_told {
            tracing::warn!(name: EACH_LINE, %address, user, "a log-in failed");
        }
    }

    /// Whether one more is told, and how many of an earlier window were not.
    fn count(&self, now: Instant) -> (bool, u32) {
        let mut window = self.window.lock();
        let is_over = |window: &mut Window| now - window.began >= WINDOW;
        let earlier = window.take_if(is_over);
        let left_out = earlier.map_or(0, |window| window.failed.saturating_sub(LINES_MAX));
        let window = window.get_or_insert(Window {
            began: now,
            failed: 0,
        });
        window.failed += 1;
        (window.failed <= LINES_MAX, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_them_is_told_in_few_lines_and_none_is_forgotten() {
        let (told, now) = (FailedLogIns::default(), Instant::now());
        let lines = (0..200).filter(|_| told.count(now).0).count();
        assert_eq!(lines as u32, LINES_MAX);
        assert_eq!(told.count(now + WINDOW), (true, 150));
        assert_eq!(told.count(now + 3 * WINDOW), (true, 0));
    }
}
