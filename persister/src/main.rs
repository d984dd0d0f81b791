//! Starts a persister, or does one of an operator's jobs: `migrate`, `dead-letters`, `repair`, `usage`,
//! `accounts`, `invites`.

use std::error::Error;

use clap::Parser;
use common::{
    admin::{self, Engines, Readiness},
    settings::{self, ProcessSettings, refuse_bad},
    startup::{finish_within, stop_on_signal},
    supervise::{self, Exit},
    telemetry::{self, PrometheusHandle, TelemetrySettings},
};
use engines::chosen::{self, LiveSettings, QueueSettings, StoreSettings, connect_to_persist};
use persister::{
    PersisterSettings,
    accounts::{self, AccountsCommand, InvitesCommand},
    dead_letters, repair,
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
     `persister accounts` and `persister invites`; each has a --help of its own.";

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
}

#[tokio::main]
async fn main() -> Exit {
    if let Some("migrate" | "dead-letters" | "repair" | "usage" | "accounts" | "invites") =
        std::env::args().nth(1).as_deref()
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
        | Job::Invites { store, .. } => vec![store.check()],
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
    }
    Ok(())
}
