//! Starts a persister, or does one of an operator's jobs: `migrate`, `dead-letters`, `repair`, `usage`, `accounts`, `invites`,
//! `rooms`, `export`, `import`.

use std::{error::Error, time::Duration};

use clap::Parser;
use common::{
    admin::{self, Engines, Readiness},
    posting::{PostError, all_acked_is_written},
    queue::QueueName,
    settings::{self, ProcessSettings, refuse_bad},
    startup::{finish_within, stop_on_signal},
    supervise::{self, Exit},
    telemetry::{self, PrometheusHandle, TelemetrySettings},
};
use engines::chosen::{self, LiveSettings, QueueSettings, StoreSettings, connect_to_persist};
use persister::{
    PersisterSettings,
    accounts::{self, AccountsCommand, InvitesCommand},
    archive::{self, ExportArguments, ImportArguments},
    dead_letters, repair,
    rooms::{self, RoomsCommand},
    usage::UsageArguments,
};
use tokio_util::sync::CancellationToken;

/// Writes what the queue holds to the database, each message exactly once.
#[derive(Parser)]
#[command(version = env!("CHINWAG_VERSION"), after_help = JOBS)]
struct Service {
    #[command(flatten)]
    queue: QueueSettings,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    persister: PersisterSettings,
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

const JOBS: &str = "Jobs: `persister migrate`, `persister dead-letters`, `persister repair`, `persister usage`, \
     `persister accounts`, `persister invites`, `persister rooms`, `persister export` and `persister import`; each has a --help of its own.";

/// An operator's jobs. Without one, `persister` persists.
#[derive(Parser)]
#[command(version = env!("CHINWAG_VERSION"))]
enum Job {
    /// Makes the database's schema, or brings it up to this program's version.
    Migrate {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
    },
    /// Looks at messages that could not be handled, puts them back or drops them.
    DeadLetters {
        #[command(flatten)]
        queue: QueueSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(subcommand)]
        command: dead_letters::Command,
    },
    /// Compares all that was said lately with the database, and hands what is missing there to the queue again.
    Repair {
        #[command(flatten)]
        live: LiveSettings,
        #[command(flatten)]
        queue: QueueSettings,
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
    },
    /// Sums what was asked of the models, by whom, where and when, and about what it cost.
    Usage {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(flatten)]
        usage: UsageArguments,
    },
    /// Lists accounts, invites people, disables, resets, deletes, makes administrators; while all runs.
    Accounts {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(subcommand)]
        command: AccountsCommand,
    },
    /// Lists, makes and withdraws invitations to the server; while all runs.
    Invites {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(subcommand)]
        command: InvitesCommand,
    },
    /// Lists rooms, shows one, deletes one, hands one over; while all runs.
    Rooms {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(subcommand)]
        command: RoomsCommand,
    },
    /// Writes all that lasts into one file; also while all runs: what was acked before is in it.
    Export {
        #[command(flatten)]
        queue: QueueSettings,
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(flatten)]
        export: ExportArguments,
        /// How long to wait for the persisters, if they are behind: seconds, or as in `10m`.
        #[arg(long, value_parser = settings::seconds, default_value = "10m")]
        wait: Duration,
    },
    /// Puts into the database what `export` has written, there or by `chinwag`; again is no fault.
    Import {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        telemetry: TelemetrySettings,
        #[command(flatten)]
        import: ImportArguments,
    },
}

#[tokio::main]
async fn main() -> Exit {
    if let Some(
        "migrate" | "dead-letters" | "repair" | "usage" | "accounts" | "invites" | "rooms"
        | "export" | "import",
    ) = std::env::args().nth(1).as_deref()
    {
        return work(settings::parse()).await.into();
    }
    let service: Service = settings::parse();
    refuse_bad::<Service>([service.queue.check(), service.store.check()]);
    let metrics = telemetry::init(&service.telemetry);
    supervise::process(async |stop| serve(service, metrics, stop).await).await
}

async fn serve(
    service: Service,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let (readiness, admin_stop) = (Readiness::until(&stop), CancellationToken::new());
    let admin = service.process.admin_listen;
    admin::serve(admin, readiness.clone(), metrics, admin_stop.clone()).await?;

    let connected = connect_to_persist(&service.queue, &service.store, &stop);
    if let Some((queue, store)) = connected.await {
        readiness.started(Engines {
            live: None,
            queue: Some(queue.clone()),
            store: Some(store.clone()),
        });
        let persisting = persister::run(queue.clone(), store, &service.persister, stop.clone());
        let persisting = supervise::watch("persister", &stop, persisting);
        let drain = service.process.drain_seconds;
        let done = finish_within(&stop, drain, persisting, queue.close()).await;
        done.transpose()?;
    }
    admin_stop.cancel();
    Ok(())
}

async fn work(job: Job) -> Result<(), Box<dyn Error>> {
    refuse_bad::<Job>(match &job {
        Job::Migrate { store, .. }
        | Job::Usage { store, .. }
        | Job::Accounts { store, .. }
        | Job::Invites { store, .. }
        | Job::Rooms { store, .. }
        | Job::Import { store, .. } => vec![store.check()],
        Job::Export { queue, store, .. } => vec![queue.check(), store.check()],
        Job::DeadLetters { queue, .. } => vec![queue.check()],
        Job::Repair {
            live, queue, store, ..
        } => vec![live.check(), queue.check(), store.check()],
    });
    match job {
        Job::Migrate { store, telemetry } => {
            telemetry::init(&telemetry);
            let stop = CancellationToken::new();
            stop_on_signal(&stop)?;
            let migrated = chosen::migrate(&store, &stop).await;
            migrated.ok_or("stopped before the database was there")?;
            println!("the schema is as this program needs it");
        }
        Job::DeadLetters {
            queue,
            telemetry,
            command,
        } => {
            telemetry::init(&telemetry);
            let queue = chosen::queue(&queue).await?;
            let letters = queue.dead_letters();
            dead_letters::run(&*letters, command, &mut std::io::stdout().lock()).await?;
            queue.close().await;
        }
        Job::Repair {
            live,
            queue,
            store,
            telemetry,
        } => {
            telemetry::init(&telemetry);
            let stop = CancellationToken::new();
            stop_on_signal(&stop)?;
            let connected = chosen::connect(&live, &queue, &store, &stop).await;
            let (live, queue, store) = connected.ok_or("stopped before all engines were there")?;
            let mut out = std::io::stdout();
            let repairing = repair::run(live, queue.clone(), store, &mut out);
            let done = stop.run_until_cancelled(repairing).await;
            queue.close().await;
            done.ok_or("stopped before all rooms were compared")??;
        }
        Job::Usage {
            store,
            telemetry,
            usage,
        } => {
            telemetry::init(&telemetry);
            let sums = chosen::usage(&store, &usage.asked()).await?;
            usage.write(&sums, &mut std::io::stdout().lock())?;
        }
        Job::Accounts {
            store,
            telemetry,
            command,
        } => {
            telemetry::init(&telemetry);
            let store = chosen::store(&store).await?;
            accounts::run(&*store, command, &mut std::io::stdout()).await?;
        }
        Job::Invites {
            store,
            telemetry,
            command,
        } => {
            telemetry::init(&telemetry);
            let store = chosen::store(&store).await?;
            accounts::run_invites(&*store, command, &mut std::io::stdout()).await?;
        }
        Job::Rooms {
            store,
            telemetry,
            command,
        } => {
            telemetry::init(&telemetry);
            let store = chosen::store(&store).await?;
            rooms::run(&*store, command, &mut std::io::stdout()).await?;
        }
        Job::Export {
            queue,
            store,
            telemetry,
            export,
            wait,
        } => {
            telemetry::init(&telemetry);
            wait_for_persisters(&queue, &store, wait).await?;
            let archives = chosen::archives(&store).await?;
            archive::export(&*archives, &export, &mut std::io::stdout()).await?;
        }
        Job::Import {
            store,
            telemetry,
            import,
        } => {
            telemetry::init(&telemetry);
            let archives = chosen::archives(&store).await?;
            archive::import(&*archives, &import, &mut std::io::stdout()).await?;
        }
    }
    Ok(())
}

/// Waits until what was acked until now is in the database. What cannot be written at all is told: it is in no archive.
async fn wait_for_persisters(
    queue: &QueueSettings,
    store: &StoreSettings,
    patience: Duration,
) -> Result<(), Box<dyn Error>> {
    let (queue, store) = (chosen::queue(queue).await?, chosen::store(store).await?);
    let told =
        |error: &PostError| eprintln!("waiting until what was acked is in the database: {error}");
    all_acked_is_written(&queue, &store, patience, told).await?;
    let dead = queue.dead_letters().count(QueueName::Persist).await?;
    if dead > 0 {
        eprintln!(
            "{dead} messages are dead letters, and not in the archive: see `persister dead-letters`"
        );
    }
    queue.close().await;
    Ok(())
}
