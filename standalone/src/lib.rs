//! All of Chinwag in one process, with nothing else installed: edge, worker and persister on the embedded sides of the
//! seams. The services cannot tell the difference. (Beside `main`, so that a test can start it and end its tasks.)

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bot_worker::WorkerSettings;
use clap::Parser;
use common::{
    admin::{self, Readiness},
    queue::Queue,
    secret_token::{invite_path, new_token},
    settings::{ProcessSettings, refuse_bad},
    startup,
    store::{Invite, Store, StoreError, THE_SERVER},
    supervise,
    telemetry::{PrometheusHandle, TelemetrySettings},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, EmbeddedQuota, SqliteStore};
use persister::PersisterSettings;
use practice_model::PracticeModel;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
use ws_edge::{Edge, EdgeSettings};

/// Chinwag in one process. It needs no engines and never reads their URLs; everything is kept in the data folder.
#[derive(Parser)]
#[command(name = "chinwag", version = env!("CHINWAG_VERSION"), after_help = JOBS)]
pub struct Settings {
    /// The folder that keeps everything. One process at a time may use it.
    #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
    data_dir: PathBuf,
    /// Megabytes of its disk that stay free: while there are fewer, what people send is refused. 0 for none.
    #[arg(long, env = "DISK_FREE_MIN_MB", default_value = "200")]
    disk_free_min_mb: u32,
    #[command(flatten)]
    edge: EdgeSettings,
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    persister: PersisterSettings,
    #[command(flatten)]
    process: ProcessSettings,
    /// How it logs.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// How often it is said that the start waits for the database.
const WAIT_TOLD_EVERY: Duration = Duration::from_secs(5);

/// How long an export waits for a process that runs in the same folder to write what it has acked.
const WAIT_FOR_ANOTHER: Duration = Duration::from_secs(600);

const JOBS: &str = "Jobs: `chinwag usage`, `chinwag accounts`, `chinwag invites`, `chinwag rooms`, `chinwag export` and \
     `chinwag import`; each has a --help of its own.";

/// How long the first administrator may take to open the link that the start prints.
const FIRST_LINK_HOLDS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Runs all of it until `stop`, and drains then.
///
/// # Errors
/// If something is not there that it cannot begin without: an address, the data folder, the models' settings.
pub async fn serve(
    mut settings: Settings,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let readiness = Readiness::until(&stop);
    let (persister_stop, worker_stop, admin_stop) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let admin = settings.process.admin_listen;
    admin::serve(admin, readiness.clone(), metrics, admin_stop.clone()).await?;

    ws_edge::raise_open_files(settings.edge.sockets_max);
    // Half of the time is the edge's, the other half the worker's and the persister's.
    let drain_half = settings.process.drain_seconds / 2;
    settings.worker.drain_time = drain_half.mul_f32(0.9);

    if settings.worker.lacks_key() {
        let mut practice = practice_model(&mut settings.worker).await?;
        // As long as anybody may ask it, so until all else has ended.
        let practising = async move { practice.ended().await };
        supervise::spawn("practice model", &admin_stop, practising);
    }
    refuse_bad::<Settings>([settings.worker.check(), settings.edge.check()]);
    bot_worker::check_model(&settings.worker)?;
    let keep_free_bytes = u64::from(settings.disk_free_min_mb) * 1_000_000;
    let queue = EmbeddedQueue::open(&settings.data_dir, keep_free_bytes).await?;
    let store = SqliteStore::open(&settings.data_dir).await?;
    let live = EmbeddedLive::new();

    let behind = TaskTracker::new();
    let persisting = {
        let (queue, store, stop) = (queue.clone(), store.clone(), persister_stop.clone());
        async move { persister::run(queue, store, &settings.persister, stop).await }
    };
    behind.spawn(supervise::watch("persister", &persister_stop, persisting));
    let mut served = Ok(());
    let is_stored = stop.run_until_cancelled(all_is_stored(&queue)).await;
    if is_stored.is_some() {
        let listener = startup::listen("LISTEN", settings.edge.listen).await?;
        let base_path = &settings.edge.base_path;
        let url = format!("http://{}{base_path}", listener.local_addr()?);
        println!("Chinwag is at {url}");
        invite_first_administrator(&*store, &url).await?;
        let quota = EmbeddedQuota::new(settings.worker.limits());
        let edge = Edge::new(
            live.clone(),
            queue.clone(),
            store.clone(),
            settings.edge,
            readiness,
        )
        .with_budgets(quota.clone());
        let (worker, queue) = (settings.worker, queue.clone());
        let working = bot_worker::run(live, queue, store, quota, worker, worker_stop.clone());
        behind.spawn(supervise::watch("bot worker", &worker_stop, working));
        served = ws_edge::run(edge, listener, drain_half, stop).await;
    }

    // What people were told is on disk by now; the rest is delivered again at the next start.
    worker_stop.cancel();
    persister_stop.cancel();
    behind.close();
    if timeout(drain_half, behind.wait()).await.is_err() {
        tracing::warn!(
            "out of time to drain; what is in hand is delivered again at the next start"
        );
    }
    queue.close().await;
    admin_stop.cancel();
    Ok(served?)
}

/// On a server without accounts, whoever reads what this process prints may become its administrator, and nobody else by
/// being the first: the link is worth something until there is one.
async fn invite_first_administrator(store: &dyn Store, url: &str) -> Result<(), StoreError> {
    if store.has_accounts().await? {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let invite = Invite {
        id: Uuid::now_v7(),
        made_by: THE_SERVER.to_owned(),
        admin: true,
        room: None,
        uses: 1,
        used: 0,
        made_at_ms: ms(now),
        expires_at_ms: ms(now + FIRST_LINK_HOLDS),
    };
    let token = new_token();
    store.make_invite(&invite, &token.hash).await?;
    let path = invite_path(&token.token);
    println!(
        "Nobody has an account yet. Whoever opens this link first becomes the administrator: {url}{path}"
    );
    Ok(())
}

/// Waits until what an earlier process acked is in the database. This process's memory has nothing of it, so until then
/// nobody could be told all that was said in a room, nor whether a question is answered already.
async fn all_is_stored(queue: &EmbeddedQueue) {
    let mut left = queue.left_over();
    if *left.borrow() == 0 {
        return;
    }
    loop {
        let messages = *left.borrow();
        tracing::info!(
            messages,
            "an earlier process left messages in the queue: they are written to the database before anybody is let in"
        );
        let settled = left.wait_for(|messages| *messages == 0);
        // An error of the inner kind says that the queue is closed, and nothing more will be settled.
        if timeout(WAIT_TOLD_EVERY, settled).await.is_ok() {
            return;
        }
    }
}

/// Waits until what was acked in this folder is in its database. A process that runs there writes it; where none does, this one does.
///
/// # Errors
/// If the folder cannot be used, or what lies in its queue cannot be written.
pub async fn all_acked_is_written(data_dir: &Path) -> Result<(), Box<dyn Error>> {
    if !data_dir.join("store.db").exists() {
        let folder = data_dir.display();
        return Err(format!("{folder} is no folder of Chinwag's (DATA_DIR)").into());
    }
    if let Some(running) = EmbeddedQueue::of_another_process(data_dir).await? {
        running.is_persisted(WAIT_FOR_ANOTHER).await?;
        return Ok(());
    }
    let (queue, store) = (
        EmbeddedQueue::open(data_dir, 0).await?,
        SqliteStore::open(data_dir).await?,
    );
    let stop = CancellationToken::new();
    let settings = PersisterSettings::EMPTYING;
    let persisting = persister::run(queue.clone(), store, &settings, stop.clone());
    let emptied = async {
        all_is_stored(&queue).await;
        stop.cancel();
    };
    let (persisted, ()) = tokio::join!(persisting, emptied);
    queue.close().await;
    Ok(persisted?)
}

/// Without a key for Google and another server named, the bot asks a practice model in this process. The worker knows
/// nothing of it: it only gets another base URL.
async fn practice_model(worker: &mut WorkerSettings) -> io::Result<PracticeModel> {
    let model = PracticeModel::start(([127, 0, 0, 1], 0).into()).await?;
    worker.gemini_api_key = Some("practice".into());
    worker.gemini_base_url = model.base_url().parse().map_err(io::Error::other)?;
    tracing::info!("no GEMINI_API_KEY: a practice model answers");
    Ok(model)
}
