//! Starting and stopping, the same for every process: wait for what is not there yet and say so; stop when told to, and
//! in time.

use std::{fmt::Display, io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    retry::{Retry, RetryPolicy, Retryable, retry},
    supervise,
};

/// When it is tried again to reach an engine.
const REACH_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(200), Duration::from_secs(5));

/// What of the time for draining is kept for closing the connections, so that engines have what was settled last; half of
/// it at most.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// How much of the time for draining what is under way may take; the rest is for closing.
pub fn working_time(drain: Duration) -> Duration {
    drain - CLOSING_TIME.min(drain / 2)
}

/// Works until `work` ends, which it does some time after `stop`, and then closes. Both are dropped where they stand rather
/// than that all of it takes longer than `drain` from `stop` on; `work` gets its [`working_time`] of that. `None` if it
/// did not come to its end.
pub async fn finish_within<T>(
    stop: &CancellationToken,
    drain: Duration,
    work: impl Future<Output = T>,
    close: impl Future<Output = ()>,
) -> Option<T> {
    let mut told = None;
    let out_of_time = async {
        stop.cancelled().await;
        let now = *told.insert(Instant::now());
        sleep_until(now + working_time(drain)).await;
    };
    let done = tokio::select! {
        biased;
        done = work => Some(done),
        () = out_of_time => None,
    };
    let end = told.unwrap_or_else(Instant::now) + drain;
    let closed = timeout_at(end, close).await;
    if done.is_none() || closed.is_err() {
        tracing::warn!("out of time to drain; what is in hand is delivered again");
    }
    done
}

/// Tries until it works, backing off, saying what it waits for. `None` if `stop` came first.
pub async fn wait_for<T, E: Display>(
    what: &str,
    stop: &CancellationToken,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> Option<T> {
    let attempt = || async { attempt().await.map_err(NotYet) };
    let told = |NotYet(error): &NotYet<E>, again_in| {
        tracing::warn!(%error, ?again_in, "waiting for {what}");
    };
    let reached = stop.run_until_cancelled(retry(REACH_AGAIN, attempt, told));
    reached.await?.ok()
}

/// Whatever keeps an engine from being reached, an operator may be mending it.
struct NotYet<E>(E);

impl<E> Retryable for NotYet<E> {
    fn retry(&self) -> Retry {
        Retry::Again
    }
}

/// Listens on the address that a setting names.
///
/// # Errors
/// That of the system, with the setting and the address.
pub async fn listen(setting: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| {
        let why = format!("{setting}: cannot listen on {address}: {error}");
        io::Error::new(error.kind(), why)
    })
}

/// Has the token cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn stop_on_signal(stop: &CancellationToken) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let cancel = stop.clone();
    supervise::spawn("signals", stop, async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
        cancel.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(20);

    /// Not `sleep` itself, whose time begins when it is called.
    async fn takes(time: Duration) {
        sleep(time).await;
    }

    /// Told to stop after an hour. Returns what came of the work, and how long all of it took from then on.
    async fn stopped(
        work: impl Future<Output = ()>,
        close: impl Future<Output = ()>,
    ) -> (Option<()>, Duration) {
        let (stop, hour) = (CancellationToken::new(), Duration::from_secs(3_600));
        let began = Instant::now();
        let signal = async {
            sleep(hour).await;
            stop.cancel();
        };
        let work = async {
            stop.cancelled().await;
            work.await;
        };
        let ((), done) = tokio::join!(signal, finish_within(&stop, DRAIN, work, close));
        (done, began.elapsed() - hour)
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told_with_its_setting() {
        let first = listen("LISTEN", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.local_addr().unwrap();
        let why = listen("LISTEN", address).await.unwrap_err().to_string();
        let wanted = format!("LISTEN: cannot listen on {address}: Address already in use");
        assert!(why.starts_with(&wanted), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_done_in_time_waits_for_nothing() {
        let (work, close) = (Duration::from_secs(5), Duration::from_secs(2));
        let (done, took) = stopped(takes(work), takes(close)).await;
        assert_eq!(done, Some(()));
        assert!(took >= work + close && took < work + close + Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_it_takes_no_longer_than_the_time_for_draining() {
        let tick = Duration::from_millis(100);
        let work = Duration::from_secs(17);
        let (done, took) = stopped(takes(work), pending()).await;
        assert_eq!(done, Some(()));
        assert!(took >= DRAIN && took < DRAIN + tick, "{took:?}");
        // What hangs leaves time to close.
        let (done, took) = stopped(pending(), async {}).await;
        assert!(done.is_none() && took < DRAIN, "{took:?}");
        assert!(took >= working_time(DRAIN), "{took:?}");
    }
}
