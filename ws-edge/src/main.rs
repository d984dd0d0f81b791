//! The edge as a process: its settings, what it connects to, and how it stops.

use std::error::Error;

use clap::Parser;
use common::{
    admin::{self, Readiness},
    settings::{self, ProcessSettings, refuse_bad},
    startup,
    supervise::{self, Exit},
    telemetry::{self, PrometheusHandle, TelemetrySettings},
};
use engines::chosen::{LiveSettings, QueueSettings, StoreSettings, connect_with_budgets};
use mimalloc::MiMalloc;
use tokio_util::sync::CancellationToken;
use ws_edge::{Edge, EdgeSettings};

/// Chinwag's edge: HTTP, sessions, the page, and WebSockets.
#[derive(Parser)]
#[command(name = "ws-edge", version = env!("CHINWAG_VERSION"))]
struct Settings {
    #[command(flatten)]
    edge: EdgeSettings,
    #[command(flatten)]
    live: LiveSettings,
    #[command(flatten)]
    queue: QueueSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

/// See `docs/decisions/allocator.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> Exit {
    let settings: Settings = settings::parse();
    refuse_bad::<Settings>([
        settings.live.check(),
        settings.queue.check(),
        settings.store.check(),
        settings.edge.check(),
    ]);
    let metrics = telemetry::init(&settings.telemetry);
    supervise::process(async |stop| serve(settings, metrics, stop).await).await
}

async fn serve(
    settings: Settings,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let readiness = Readiness::until(&stop);
    // Not by `stop`: health is asked for, and told, until the very end.
    let ended = CancellationToken::new();
    let admin = settings.process.admin_listen;
    admin::serve(admin, readiness.clone(), metrics, ended).await?;
    ws_edge::raise_open_files(settings.edge.sockets_max);

    // Told to stop before everything was there: that is an orderly end too.
    let Settings {
        live, queue, store, ..
    } = &settings;
    let connected = connect_with_budgets(live, queue, store, &stop).await;
    let Some(((live, queue, store), budgets)) = connected else {
        return Ok(());
    };

    let listener = startup::listen("LISTEN", settings.edge.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let edge = Edge::new(live, queue, store, settings.edge, readiness).with_budgets(budgets);
    ws_edge::run(edge, listener, settings.process.drain_seconds, stop).await?;
    Ok(())
}
