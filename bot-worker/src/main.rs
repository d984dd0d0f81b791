//! Starts a bot worker.

use std::error::Error;

use bot_worker::WorkerSettings;
use clap::Parser;
use common::{
    admin::{self, Engines, Readiness},
    settings::{self, ProcessSettings, refuse_bad},
    startup::{finish_within, working_time},
    supervise::{self, Exit},
    telemetry::{self, PrometheusHandle, TelemetrySettings},
};
use engines::chosen::{LiveSettings, QueueSettings, StoreSettings, connect_with_quota};
use tokio_util::sync::CancellationToken;

/// Takes questions to the bot, asks the model, and posts exactly one reply to each.
#[derive(Parser)]
#[command(version = env!("CHINWAG_VERSION"))]
struct Settings {
    #[command(flatten)]
    worker: WorkerSettings,
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

#[tokio::main]
async fn main() -> Exit {
    let mut settings: Settings = settings::parse();
    refuse_bad::<Settings>([
        settings.worker.check(),
        settings.live.check(),
        settings.queue.check(),
        settings.store.check(),
    ]);
    // A little less than it may take, so that it comes to its own end.
    settings.worker.drain_time = working_time(settings.process.drain_seconds).mul_f64(0.95);
    let metrics = telemetry::init(&settings.telemetry);
    supervise::process(async |stop| serve(settings, metrics, stop).await).await
}

async fn serve(
    settings: Settings,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    bot_worker::check_model(&settings.worker)?;
    let (readiness, admin_stop) = (Readiness::until(&stop), CancellationToken::new());
    let admin = settings.process.admin_listen;
    admin::serve(admin, readiness.clone(), metrics, admin_stop.clone()).await?;

    let limits = settings.worker.limits();
    let connected = connect_with_quota(
        &settings.live,
        &settings.queue,
        &settings.store,
        limits,
        &stop,
    );
    if let Some(((live, queue, store), quota)) = connected.await {
        readiness.started(Engines {
            live: Some(live.clone()),
            queue: Some(queue.clone()),
            store: Some(store.clone()),
        });
        let (worker, drain) = (settings.worker, settings.process.drain_seconds);
        let working = bot_worker::run(live, queue.clone(), store, quota, worker, stop.clone());
        let working = supervise::watch("bot worker", &stop, working);
        let done = finish_within(&stop, drain, working, queue.close()).await;
        done.transpose()?;
    }
    admin_stop.cancel();
    Ok(())
}
