//! How often a socket may do something, and when too often is too much. Time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Bad frames within [`ABUSE_WINDOW`] that close a socket.
pub(super) const BAD_FRAMES_MAX: u32 = 100;

/// Refusals for being too fast within [`ABUSE_WINDOW`] that close a socket. More than of bad frames, since a client may
/// have sent all of them before it heard of the first.
pub(super) const LIMITED_FRAMES_MAX: u32 = 2_000;

/// The time within which they count.
const ABUSE_WINDOW: Duration = Duration::from_secs(60);

/// So many a second in the long run, so many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Bucket {
        Bucket {
            per_second: per_second.max(1).into(),
            most: burst.max(1).into(),
            left: burst.max(1).into(),
            at: now,
        }
    }

    /// Takes one, or says when there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.most);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second))
        }
    }
}

/// Counts what no well-meaning client does often.
#[derive(Debug)]
pub(super) struct Abuse {
    since: Instant,
    bad: u32,
    limited: u32,
}

impl Abuse {
    /// Nothing counted yet.
    pub(super) fn new(now: Instant) -> Abuse {
        Abuse {
            since: now,
            bad: 0,
            limited: 0,
        }
    }

    /// One more bad frame. True if that is too many.
    pub(super) fn bad(&mut self, now: Instant) -> bool {
        self.turn(now);
        self.bad += 1;
        self.bad >= BAD_FRAMES_MAX
    }

    /// One more refused for being too fast. True if that is too many.
    pub(super) fn limited(&mut self, now: Instant) -> bool {
        self.turn(now);
        self.limited += 1;
        self.limited >= LIMITED_FRAMES_MAX
    }

    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) > ABUSE_WINDOW {
            *self = Abuse::new(now);
        }
    }
}
