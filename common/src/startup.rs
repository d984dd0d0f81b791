//! Starting and stopping, the same for every process: wait for what is not there yet and say so; stop when told to.

use std::{fmt::Display, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    live::redis::RedisLive,
    queue::rabbitmq::RabbitQueue,
    settings::{LiveSettings, QueueSettings, StoreSettings},
    store::mysql::MySqlStore,
};

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

/// Connects to the three engines, whichever comes first. `None` if `stop` came before all were there.
pub async fn connect(
    live: &LiveSettings,
    queue: &QueueSettings,
    store: &StoreSettings,
    stop: &CancellationToken,
) -> Option<(Arc<RedisLive>, Arc<RabbitQueue>, Arc<MySqlStore>)> {
    let live = wait_for("Redis", stop, async || RedisLive::connect(live).await);
    let queue = wait_for("RabbitMQ", stop, async || RabbitQueue::connect(queue).await);
    let store = wait_for("the database", stop, async || {
        MySqlStore::connect(store).await
    });
    // Boxed, since it is large, and part of every caller.
    let all = Box::pin(async { tokio::join!(live, queue, store) });
    let (live, queue, store) = all.await;
    Some((live?, queue?, store?))
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
