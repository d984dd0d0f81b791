//! Which engine stands behind which seam of the services: the one file that says so. Another one is a folder beside this
//! file, and its line here. The services know settings as those of a seam, and an engine as the promise that it keeps.

use std::sync::Arc;

use common::{
    live::Live,
    queue::{Queue, QueueError},
    quota::{Quota, QuotaLimits, budgets::Budgets},
    startup::wait_for,
    store::{
        Store, StoreError,
        archive::Archives,
        usage::{UsageAsked, UsageSum},
    },
};
use tokio_util::sync::CancellationToken;

use crate::dangers;
pub use crate::rabbitmq::{RabbitQueue as QueueEngine, RabbitSettings as QueueSettings};
pub use crate::redis::{
    RedisLive as LiveEngine, RedisQuota as QuotaEngine, RedisSettings as LiveSettings,
};
pub use crate::sql::{MySqlSettings as StoreSettings, MySqlStore as StoreEngine};

/// The engines of a process that uses all of them but the quota.
pub type Connected = (Arc<dyn Live>, Arc<dyn Queue>, Arc<dyn Store>);

/// Connects to what posts and reads messages, whichever comes first. `None` if `stop` came before all were there.
pub async fn connect(
    live: &LiveSettings,
    queue: &QueueSettings,
    store: &StoreSettings,
    stop: &CancellationToken,
) -> Option<Connected> {
    let (live, queue, store) = all(live, queue, store, stop).await?;
    Some((live, queue, store))
}

/// Connects to what an edge needs, whichever comes first: the engines, and what was used of the models. `None` if `stop` came
/// before all were there.
pub async fn connect_with_budgets(
    live: &LiveSettings,
    queue: &QueueSettings,
    store: &StoreSettings,
    stop: &CancellationToken,
) -> Option<(Connected, Arc<dyn Budgets>)> {
    let (live, queue, store) = all(live, queue, store, stop).await?;
    let budgets = QuotaEngine::new(&live, QuotaLimits::default());
    Some(((live, queue, store), budgets))
}

/// Connects to what a worker needs: the same, and the quota with these limits of each model.
pub async fn connect_with_quota(
    live: &LiveSettings,
    queue: &QueueSettings,
    store: &StoreSettings,
    limits: QuotaLimits,
    stop: &CancellationToken,
) -> Option<(Connected, Arc<dyn Quota>)> {
    let (live, queue, store) = all(live, queue, store, stop).await?;
    let quota = QuotaEngine::new(&live, limits);
    Some(((live, queue, store), quota))
}

async fn all(
    live: &LiveSettings,
    queue: &QueueSettings,
    store: &StoreSettings,
    stop: &CancellationToken,
) -> Option<(Arc<LiveEngine>, Arc<QueueEngine>, Arc<StoreEngine>)> {
    let live = wait_for(LiveEngine::NAME, stop, async || {
        LiveEngine::connect(live).await
    });
    let queue = wait_for(QueueEngine::NAME, stop, async || {
        QueueEngine::connect(queue).await
    });
    let store = wait_for(StoreEngine::NAME, stop, async || {
        StoreEngine::connect(store).await
    });
    // Boxed, since it is large, and part of every caller.
    let all = Box::pin(async { tokio::join!(live, queue, store) });
    let (live, queue, store) = all.await;
    let (live, queue, store) = (live?, queue?, store?);
    let looking = async { tokio::join!(live.dangers(), store.dangers()) };
    let (of_live, of_store) = Box::pin(looking).await;
    dangers::say(of_live.into_iter().chain(of_store));
    Some((live, queue, store))
}

/// Connects to what a persister needs. `None` if `stop` came before both were there.
pub async fn connect_to_persist(
    queue: &QueueSettings,
    store: &StoreSettings,
    stop: &CancellationToken,
) -> Option<(Arc<dyn Queue>, Arc<dyn Store>)> {
    let store = wait_for(StoreEngine::NAME, stop, async || {
        StoreEngine::connect(store).await
    });
    let store = store.await?;
    dangers::say(store.dangers().await);
    let queue = wait_for(QueueEngine::NAME, stop, async || {
        QueueEngine::connect(queue).await
    });
    Some((queue.await?, store))
}

/// Connects to the queue, in one attempt.
///
/// # Errors
/// [`QueueError::Unavailable`] if it is not there.
pub async fn queue(settings: &QueueSettings) -> Result<Arc<dyn Queue>, QueueError> {
    Ok(QueueEngine::connect(settings).await?)
}

/// Connects to the store, in one attempt.
///
/// # Errors
/// [`StoreError::Unavailable`] if it is not there, or has another schema.
pub async fn store(settings: &StoreSettings) -> Result<Arc<dyn Store>, StoreError> {
    Ok(StoreEngine::connect(settings).await?)
}

/// Makes the database's schema, or brings it up to this program's version, when the database is there. `None` if `stop`
/// came before that.
pub async fn migrate(settings: &StoreSettings, stop: &CancellationToken) -> Option<()> {
    wait_for(StoreEngine::NAME, stop, async || {
        StoreEngine::migrate(settings).await
    })
    .await
}

/// Sums over the log of replies, by a process that only asks for that.
///
/// # Errors
/// [`StoreError::Unavailable`] if the database is not there.
pub async fn usage(
    settings: &StoreSettings,
    asked: &UsageAsked,
) -> Result<Vec<UsageSum>, StoreError> {
    StoreEngine::connect(settings).await?.usage(asked).await
}

/// Connects to the store, in one attempt, to make an archive of it or to take one.
///
/// # Errors
/// [`StoreError::Unavailable`] if it is not there, or has another schema.
pub async fn archives(settings: &StoreSettings) -> Result<Arc<dyn Archives>, StoreError> {
    Ok(StoreEngine::connect(settings).await?)
}
