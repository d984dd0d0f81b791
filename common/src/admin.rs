//! What an operator asks every process: is it alive, is it ready, what does it count. On `ADMIN_LISTEN`.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

pub use crate::readiness::{Engines, Readiness};
use crate::{startup, supervise};

/// Between two times that the metrics are tidied.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

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
        let obstacles = readiness.obstacles();
        (status(&obstacles), word(&obstacles))
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// With `?verbose` how each engine is, also while the process is ready.
async fn readyz(
    State(readiness): State<Readiness>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let obstacles = readiness.obstacles();
    let asks_all = query.is_some_and(|query| {
        query
            .split('&')
            .any(|word| word.split('=').next() == Some("verbose"))
    });
    let lines = if asks_all {
        let mut lines = vec![word(&obstacles).trim_end().to_owned()];
        lines.extend(readiness.details());
        lines
    } else if obstacles.is_empty() {
        vec!["ready".to_owned()]
    } else {
        obstacles.clone()
    };
    (status(&obstacles), lines.join("\n") + "\n")
}

fn status(obstacles: &[String]) -> StatusCode {
    if obstacles.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn word(obstacles: &[String]) -> &'static str {
    if obstacles.is_empty() {
        "ready\n"
    } else {
        "not ready\n"
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
