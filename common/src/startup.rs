//! Starting and stopping, the same for every process: wait for what is not there yet and say so; stop when told to.

use std::{fmt::Display, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Between two attempts to reach an engine: the first and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Tries until it works, backing off, saying what it waits for. `None` if `stop` came first.
pub async fn wait_for<T, E: Display>(
    what: &str,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Option<T> {
    let mut pause = RETRY_FIRST;
    loop {
        match stop.run_until_cancelled(attempt()).await? {
            Ok(reached) => return Some(reached),
            Err(error) => tracing::warn!(%error, again_in = ?pause, "waiting for {what}"),
        }
        stop.run_until_cancelled(tokio::time::sleep(
            pause.mul_f64(rand::random_range(0.5..1.0)),
        ))
        .await?;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
        cancel.cancel();
    });
    Ok(stop)
}
