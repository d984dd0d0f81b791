//! One home for trying again: how long to wait is data, the loop is one function, and the error says whether another
//! attempt makes sense.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long to wait between attempts: `first`, then twice as long each time, `longest` at most; each time between half of
/// that and all of it, by chance, so that many processes do not come back all at once.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    first: Duration,
    longest: Duration,
    within: Option<Duration>,
    attempts: Option<usize>,
}

impl RetryPolicy {
    /// For ever.
    pub const fn new(first: Duration, longest: Duration) -> RetryPolicy {
        RetryPolicy {
            first,
            longest,
            within: None,
            attempts: None,
        }
    }

    /// No further attempt begins later than this after the first one began.
    pub const fn within(mut self, time: Duration) -> RetryPolicy {
        self.within = Some(time);
        self
    }

    /// At most so many attempts.
    pub const fn attempts(mut self, attempts: usize) -> RetryPolicy {
        self.attempts = Some(attempts);
        self
    }

    /// The pauses alone, without an end, for a loop that alternates between what works and what does not: a connection
    /// that is kept up, say.
    pub fn back_off(self) -> BackOff {
        BackOff {
            pauses: self.pauses(),
            policy: self,
        }
    }

    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .build()
    }
}

/// The pauses of a [`RetryPolicy`], one after the other.
#[derive(Debug)]
pub struct BackOff {
    policy: RetryPolicy,
    pauses: ExponentialBackoff,
}

impl BackOff {
    /// How long to wait now.
    pub fn next_pause(&mut self) -> Duration {
        self.next_longest().mul_f64(rand::random_range(0.5..1.0))
    }

    /// How long to wait now at most: for who leaves more of it to chance than half.
    pub fn next_longest(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.policy.longest)
    }

    /// Something worked: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.pauses = self.policy.pauses();
    }

    /// Waits for the next pause.
    pub async fn wait(&mut self) {
        sleep(self.next_pause()).await;
    }
}

/// What an error says about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may work; when, is for the policy to say.
    Again,
    /// It may work, and not before this time has passed.
    After(Duration),
    /// It will never work.
    Never,
}

/// An error that says whether another attempt makes sense. Decided by its kind, never by its text.
pub trait Retryable {
    /// What it says.
    fn retry(&self) -> Retry;
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GaveUp<E> {
    /// It was time to stop, while the last attempt had failed.
    Stopped(E),
    /// The error of the last attempt: it will never work, or the policy allows no further one.
    Failed(E),
}

impl<E> GaveUp<E> {
    /// The error of the last attempt.
    pub fn into_error(self) -> E {
        match self {
            GaveUp::Stopped(error) | GaveUp::Failed(error) => error,
        }
    }
}

/// Tries until it works, or as long as the error and the policy allow. `told` hears of each failure that is followed by
/// another attempt, and of the pause before that.
///
/// # Errors
/// That of the last attempt.
pub async fn retry<T, E: Retryable, F: Future<Output = Result<T, E>>>(
    policy: RetryPolicy,
    attempt: impl FnMut() -> F,
    told: impl FnMut(&E, Duration),
) -> Result<T, E> {
    let never = CancellationToken::new();
    retry_until(&never, policy, attempt, told)
        .await
        .map_err(GaveUp::into_error)
}

/// As [`retry`], until `stop`. That ends a pause; an attempt that is under way comes to its end.
///
/// # Errors
/// [`GaveUp`], with the error of the last attempt.
pub async fn retry_until<T, E: Retryable, F: Future<Output = Result<T, E>>>(
    stop: &CancellationToken,
    policy: RetryPolicy,
    mut attempt: impl FnMut() -> F,
    mut told: impl FnMut(&E, Duration),
) -> Result<T, GaveUp<E>> {
    let mut back_off = policy.back_off();
    let began = Instant::now();
    for made in 1.. {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let pause = match error.retry() {
            Retry::Never => return Err(GaveUp::Failed(error)),
            Retry::Again => back_off.next_pause(),
            Retry::After(least) => back_off.next_pause().max(least),
        };
        let is_last = policy.attempts.is_some_and(|most| made >= most)
            || policy
                .within
                .is_some_and(|time| began.elapsed() + pause > time);
        if is_last {
            return Err(GaveUp::Failed(error));
        }
        told(&error, pause);
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return Err(GaveUp::Stopped(error));
        }
    }
    unreachable!("attempts are counted without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = RetryPolicy::new(FIRST, LONGEST);

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Refused(Retry);

    impl Retryable for Refused {
        fn retry(&self) -> Retry {
            self.0
        }
    }

    /// Fails so often, as it is told to; returns what came of it, how many attempts there were, and the pauses.
    async fn tried(
        policy: RetryPolicy,
        failures: usize,
        what: Retry,
    ) -> (Result<&'static str, Refused>, usize, Vec<Duration>) {
        let (mut attempts, mut pauses) = (0, Vec::new());
        let attempt = || {
            attempts += 1;
            let works = attempts > failures;
            async move {
                if works {
                    Ok("done")
                } else {
                    Err(Refused(what))
                }
            }
        };
        let done = retry(policy, attempt, |_, pause| pauses.push(pause)).await;
        (done, attempts, pauses)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_works_with_pauses_that_grow_to_the_longest() {
        let began = Instant::now();
        let (done, attempts, pauses) = tried(POLICY, 8, Retry::Again).await;
        assert_eq!((done, attempts), (Ok("done"), 9));
        let mut whole = FIRST;
        for pause in &pauses {
            assert!(*pause >= whole / 2 && *pause <= whole, "{pauses:?}");
            whole = (whole * 2).min(LONGEST);
        }
        let waited: Duration = pauses.iter().sum();
        assert!(began.elapsed() >= waited && began.elapsed() < waited + FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_decides() {
        let never = tried(POLICY, 1, Retry::Never).await;
        assert_eq!(never, (Err(Refused(Retry::Never)), 1, vec![]));
        let least = LONGEST * 3;
        let (done, _, pauses) = tried(POLICY, 2, Retry::After(least)).await;
        assert_eq!((done, pauses), (Ok("done"), vec![least, least]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_ends_it() {
        let (done, attempts, pauses) = tried(POLICY.attempts(3), 9, Retry::Again).await;
        assert_eq!(
            (done, attempts, pauses.len()),
            (Err(Refused(Retry::Again)), 3, 2)
        );
        let began = Instant::now();
        let (done, ..) = tried(POLICY.within(LONGEST * 5), 99, Retry::Again).await;
        assert!(done.is_err() && began.elapsed() <= LONGEST * 5);
        assert!(began.elapsed() > LONGEST * 3, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_a_pause_and_not_an_attempt() {
        let stop = CancellationToken::new();
        let (mut attempts, ending) = (0, stop.clone());
        let attempt = || {
            attempts += 1;
            let ends = (attempts == 2).then(|| ending.clone());
            async move {
                if let Some(ending) = ends {
                    ending.cancel();
                    sleep(LONGEST).await;
                }
                Err::<(), _>(Refused(Retry::Again))
            }
        };
        let began = Instant::now();
        let ended = retry_until(&stop, POLICY, attempt, |_, _| ()).await;
        assert_eq!(ended, Err(GaveUp::Stopped(Refused(Retry::Again))));
        assert_eq!(attempts, 2);
        assert!(began.elapsed() >= LONGEST && began.elapsed() < LONGEST + FIRST * 2);
    }

    #[test]
    fn what_worked_begins_the_pauses_anew() {
        let mut back_off = POLICY.back_off();
        for _ in 0..6 {
            back_off.next_pause();
        }
        assert!(back_off.next_pause() >= LONGEST / 2);
        back_off.reset();
        assert!(back_off.next_pause() <= FIRST);
    }
}
