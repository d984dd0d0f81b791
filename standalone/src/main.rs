//! The binary `chinwag`: all of it in one process, or an operator's job beside that.

use std::{error::Error, io, path::PathBuf};

use clap::Parser;
use common::{
    settings,
    supervise::{self, Exit},
    telemetry,
};
use engines::embedded::SqliteStore;
use mimalloc::MiMalloc;
use persister::{
    accounts::{self, AccountsCommand, InvitesCommand},
    archive::{self, ExportArguments, ImportArguments},
    rooms::{self, RoomsCommand},
    usage::UsageArguments,
};
use standalone::{Settings, all_acked_is_written, serve};

/// An operator's job, beside a `chinwag` that runs.
#[derive(Parser)]
#[command(name = "chinwag", version = env!("CHINWAG_VERSION"))]
enum Job {
    /// Sums what was asked of the models, by whom, where and when, and about what it cost.
    Usage {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(flatten)]
        usage: UsageArguments,
    },
    /// Lists accounts, invites people, disables, resets, deletes, makes administrators.
    Accounts {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(subcommand)]
        command: AccountsCommand,
    },
    /// Lists, makes and withdraws invitations to the server.
    Invites {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(subcommand)]
        command: InvitesCommand,
    },
    /// Lists rooms, shows one, deletes one, hands one over.
    Rooms {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(subcommand)]
        command: RoomsCommand,
    },
    /// Writes all that lasts into one file; also while `chinwag` runs: what was acked before is in it.
    Export {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(flatten)]
        export: ExportArguments,
    },
    /// Puts into the folder what `export` has written, there or by `persister`; again is no fault.
    Import {
        /// The folder that keeps everything.
        #[arg(long, env = "DATA_DIR", default_value = "chinwag-data")]
        data_dir: PathBuf,
        #[command(flatten)]
        import: ImportArguments,
    },
}

/// See `docs/decisions/allocator.md`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> Exit {
    if let Some("usage" | "accounts" | "invites" | "rooms" | "export" | "import") =
        std::env::args().nth(1).as_deref()
    {
        return work(settings::parse()).await.into();
    }
    let settings: Settings = settings::parse();
    let metrics = telemetry::init(&settings.telemetry);
    supervise::process(async |stop| serve(settings, metrics, stop).await).await
}

async fn work(job: Job) -> Result<(), Box<dyn Error>> {
    match job {
        Job::Usage { data_dir, usage } => {
            let store = SqliteStore::open(&data_dir).await?;
            let sums = store.usage(&usage.asked()).await?;
            usage.write(&sums, &mut io::stdout().lock())?;
        }
        Job::Accounts { data_dir, command } => {
            let store = SqliteStore::open(&data_dir).await?;
            accounts::run(&*store, command, &mut io::stdout()).await?;
        }
        Job::Invites { data_dir, command } => {
            let store = SqliteStore::open(&data_dir).await?;
            accounts::run_invites(&*store, command, &mut io::stdout()).await?;
        }
        Job::Rooms { data_dir, command } => {
            let store = SqliteStore::open(&data_dir).await?;
            rooms::run(&*store, command, &mut io::stdout()).await?;
        }
        Job::Export { data_dir, export } => {
            all_acked_is_written(&data_dir).await?;
            let store = SqliteStore::open(&data_dir).await?;
            archive::export(&*store, &export, &mut io::stdout()).await?;
        }
        Job::Import { data_dir, import } => {
            let store = SqliteStore::open(&data_dir).await?;
            archive::import(&*store, &import, &mut io::stdout()).await?;
        }
    }
    Ok(())
}
