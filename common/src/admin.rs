//! What an operator asks every process: is it alive, is it ready, what does it count. On `ADMIN_LISTEN`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{live::Live, queue::Queue, startup, store::Store, supervise};

/// How long one engine may take to answer before it counts as gone.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// How long an answer to `/readyz` holds. Anybody may ask on `LISTEN`, and every look is a question to each engine.
const READY_HOLDS: Duration = Duration::from_secs(1);

/// Between two times that the metrics are tidied.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Whether a process is ready: what is behind it, as far as it is connected yet, and whether it drains.
#[derive(Clone, Default)]
pub struct Readiness {
    inner: Arc<ReadinessInner>,
}

#[derive(Default)]
struct ReadinessInner {
    draining: CancellationToken,
    engines: parking_lot::Mutex<Option<Engines>>,
    /// What the last look at the engines found, and when; whoever looks holds it, and the others wait for that.
    looked: tokio::sync::Mutex<Option<(Instant, Vec<String>)>>,
}

/// The engines behind a process, as far as it uses them.
#[derive(Clone, Default)]
pub struct Engines {
    /// The live engine.
    pub live: Option<Arc<dyn Live>>,
    /// The queue.
    pub queue: Option<Arc<dyn Queue>>,
    /// The store.
    pub store: Option<Arc<dyn Store>>,
}

impl Readiness {
    /// That of a process which drains once this is cancelled.
    pub fn until(stop: &CancellationToken) -> Readiness {
        let draining = stop.child_token();
        let inner = ReadinessInner {
            draining,
            ..ReadinessInner::default()
        };
        Readiness {
            inner: Arc::new(inner),
        }
    }

    /// From now on the process is ready while these answer.
    pub fn started(&self, engines: Engines) {
        *self.inner.engines.lock() = Some(engines);
    }

    /// From now on the process is not ready: it drains.
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// What keeps the process from being ready; empty if it is.
    pub async fn obstacles(&self) -> Vec<String> {
        if self.inner.draining.is_cancelled() {
            return vec!["draining".into()];
        }
        let engines = self.inner.engines.lock().clone();
        let Some(engines) = engines else {
            return vec!["starting".into()];
        };
        let mut looked = self.inner.looked.lock().await;
        if let Some((at, obstacles)) = &*looked
            && at.elapsed() < READY_HOLDS
        {
            return obstacles.clone();
        }
        let obstacles = engines.obstacles().await;
        *looked = Some((Instant::now(), obstacles.clone()));
        obstacles
    }
}

impl Engines {
    async fn obstacles(self) -> Vec<String> {
        let Engines { live, queue, store } = self;
        let live = async {
            match live {
                Some(live) => in_time("live", live.ping()).await,
                None => None,
            }
        };
        let queue = async {
            match queue {
                Some(queue) => in_time("queue", queue.ping()).await,
                None => None,
            }
        };
        let store = async {
            match store {
                Some(store) => in_time("store", store.ping()).await,
                None => None,
            }
        };
        let (live, queue, store) = tokio::join!(live, queue, store);
        [live, queue, store].into_iter().flatten().collect()
    }
}

async fn in_time<E: std::fmt::Display>(
    name: &str,
    check: impl Future<Output = Result<(), E>>,
) -> Option<String> {
    match tokio::time::timeout(CHECK_TIME, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{name}: {error}")),
        Err(_) => Some(format!(
            "{name}: no answer within {} s",
            CHECK_TIME.as_secs()
        )),
    }
}

/// `/healthz` and `/readyz`.
pub fn health_routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

/// The same for anybody who can reach the edge: whether it is ready, and nothing of what is behind it.
pub fn public_health_routes(readiness: Readiness) -> Router {
    let ready = async |State(readiness): State<Readiness>| {
        let (status, _) = readyz(State(readiness)).await;
        let word = if status.is_success() {
            "ready\n"
        } else {
            "not ready\n"
        };
        (status, word)
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let obstacles = readiness.obstacles().await;
    if obstacles.is_empty() {
        (StatusCode::OK, "ready\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, obstacles.join("\n") + "\n")
    }
}

/// Serves health and metrics until `stop`; without an address, nothing.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    listen: Option<SocketAddr>,
    readiness: Readiness,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let Some(listen) = listen else { return Ok(()) };
    let listener = startup::listen("ADMIN_LISTEN", listen).await?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    let render = metrics.clone();
    let routes =
        health_routes(readiness).route("/metrics", get(move || async move { render.render() }));
    let upkeep = stop.clone();
    supervise::spawn("metrics upkeep", &stop, async move {
        // Without it the histograms' raw samples pile up.
        while upkeep
            .run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY))
            .await
            .is_some()
        {
            metrics.run_upkeep();
        }
    });
    let serving =
        axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    supervise::spawn("admin server", &stop, serving.into_future());
    Ok(())
}
