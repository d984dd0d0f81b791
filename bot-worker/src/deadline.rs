//! Until when a request must have its reply. Pure: the times are passed in, so that every case is a test.

use std::time::Duration;

use common::wire::Seq;

/// The most that is kept back from the deadline for posting the reply.
const RESERVE_MAX: Duration = Duration::from_secs(2);

/// The times that a request's deadline follows from, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When the request was posted, its `seq`, or when it was asked for again.
    pub posted: Seq,
    /// Since when there has been a worker, this one or, as far as it can know, others before it.
    pub began: Seq,
    /// When this request came to this worker.
    pub received: Seq,
    /// The delivery's attempt; 1 is the first.
    pub attempt: u32,
}

/// How long from its receipt a request has until its reply must be in the room.
///
/// The promise is a reply within the deadline *while a worker runs*, so the clock starts when the request was posted
/// or, if this worker cannot know that one ran then, as late as is honest:
/// - Posted while a worker ran: from its posting, whoever had it in between. A fleet that is restarted one by one gives
///   nobody a second deadline.
/// - Posted before, and nobody had it yet: it waited because no worker was there. From its receipt.
/// - Posted before, but another worker had it: from when there was one again. A worker has run ever since, and a request
///   must not get a whole new deadline each time another worker dies of it.
///
/// Never more than a whole deadline, should the engine's clock be ahead of this machine's. Nothing, if it is over: however
/// little a request that comes too late were given, in a flood each batch of them would wait that long for the one
/// before it, and the last for ever.
pub(crate) fn time_left(times: Times, deadline: Duration) -> Duration {
    let Times {
        posted,
        began,
        received,
        attempt,
    } = times;
    let from = if posted >= began {
        posted
    } else if attempt > 1 {
        began
    } else {
        received
    };
    let gone = Duration::from_micros(received.saturating_sub(from));
    deadline.saturating_sub(gone)
}

/// What of a deadline is kept back for posting: the model is stopped that much earlier.
pub(crate) fn reserve(deadline: Duration) -> Duration {
    (deadline / 10).min(RESERVE_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Times in seconds.
    fn left(posted: u64, began: u64, received: u64, attempt: u32) -> u64 {
        let [posted, began, received] = [posted, began, received].map(|time| time * 1_000_000);
        time_left(
            Times {
                posted,
                began,
                received,
                attempt,
            },
            MINUTE,
        )
        .as_secs()
    }

    #[test]
    fn a_request_posted_while_a_worker_runs_counts_from_its_posting() {
        assert_eq!(left(100, 50, 100, 1), 60);
        assert_eq!(left(100, 50, 120, 1), 40);
    }

    #[test]
    fn so_it_does_when_another_worker_died_of_it() {
        assert_eq!(left(100, 50, 130, 2), 30);
    }

    #[test]
    fn one_that_waited_for_any_worker_gets_a_whole_deadline() {
        assert_eq!(left(100, 1_000, 1_001, 1), 60);
        assert_eq!(left(100, 1_000, 1_500, 1), 60);
    }

    #[test]
    fn one_that_another_worker_had_before_there_was_none_counts_from_when_there_was_one_again() {
        assert_eq!(left(100, 1_000, 1_001, 2), 59);
        assert_eq!(left(100, 1_000, 1_050, 2), 10);
    }

    #[test]
    fn whoever_comes_too_late_gets_nothing_and_clocks_that_disagree_do_no_harm() {
        assert_eq!(left(100, 50, 160, 1), 0);
        assert_eq!(left(100, 50, 400, 1), 0);
        assert_eq!(left(100, 1_000, 1_090, 2), 0);
        assert_eq!(left(500, 50, 400, 1), 60);
        assert_eq!(left(900, 950, 400, 2), 60);
    }

    proptest! {
        #[test]
        fn it_is_never_beyond_the_deadline_and_whole_where_nobody_had_it_before(
            posted in any::<u64>(), began in any::<u64>(), received in any::<u64>(), attempt in 1..9u32, seconds in 1..100u64,
        ) {
            let deadline = Duration::from_secs(seconds);
            let left = time_left(Times { posted, began, received, attempt }, deadline);
            prop_assert!(left <= deadline);
            prop_assert!(reserve(deadline) < deadline);
            if posted < began && attempt == 1 {
                prop_assert_eq!(left, deadline);
            }
        }
    }
}
