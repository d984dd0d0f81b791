//! The embedded side of the store: one SQLite file in the data folder, for one process.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    migrate::Migrator,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Store, StoreError,
    call::{ACQUIRE_LIMIT, reading},
    failure::Failure,
    schema,
};

// The statements are written once and compiled for each side, with that side's types: see
// `docs/decisions/store-two-sides.md`.
#[path = "statements/accounts.rs"]
mod accounts;
#[path = "statements/messages.rs"]
mod messages;
#[path = "statements/rooms.rs"]
mod rooms;
#[path = "statements/usage.rs"]
mod usage;

use SqliteConnection as Connection;
use SqliteStore as ThisStore;

/// Where this side's SQL is not the other's.
mod dialect {
    use crate::store::batch::BySize;

    /// Takes the write lock at once: a transaction that reads first and finds the file changed when it wants to write
    /// could only begin anew.
    pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
    /// Leaves a row that is there as it is.
    pub(super) const IF_ABSENT: &str = " ON CONFLICT DO NOTHING";
    pub(super) const SWEEP_SESSIONS: &str = "DELETE FROM sessions WHERE token_hash IN \
         (SELECT token_hash FROM sessions WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT 2000)";
    /// One place in the index `messages_id` for each pair. (With `IN`, SQLite reads the whole index.)
    pub(super) static STORED_MESSAGES: BySize = BySize::new(
        "SELECT room, id FROM messages WHERE ",
        "(id = ? AND room = ?)",
        " OR ",
        "",
    );
}

/// The file in the data folder.
const FILE: &str = "store.db";

/// Connections that read, beside the one that writes. SQLite runs each in a thread of its own.
const READERS: u32 = 4;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// A SQLite file: one connection writes, a few read.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens `store.db` in this folder, both made if absent, and brings its schema to this program's version. Every
    /// commit is on the disk when it is answered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file cannot be opened, or was written by a newer program.
    pub async fn open(folder: &Path) -> Result<Arc<SqliteStore>, StoreError> {
        let file = folder.join(FILE);
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", folder.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(ACQUIRE_LIMIT);
        let pool = |connections, options| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_LIMIT)
                .test_before_acquire(false)
                .max_lifetime(None)
                .idle_timeout(None)
                .connect_with(options)
        };
        let opened = async {
            let writer = pool(1, options.clone()).await?;
            MIGRATIONS.run(&writer).await?;
            let readers = pool(READERS, options.pragma("query_only", "on")).await?;
            Ok(SqliteStore { writer, readers })
        };
        let store = opened.await.map_err(|error| {
            let why = schema::why(error, &MIGRATIONS);
            StoreError::Unavailable(format!("{}: {why}", file.display()))
        })?;
        Ok(Arc::new(store))
    }

    async fn reader(&self) -> Result<Lease, Failure> {
        Ok(Lease(self.readers.acquire().await?))
    }

    async fn writer(&self) -> Result<Lease, Failure> {
        Ok(Lease(self.writer.acquire().await?))
    }
}

/// A connection on loan. The pool takes it back however its call ends.
struct Lease(PoolConnection<Sqlite>);

impl Lease {
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }

    fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        outcome
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let applied = reading!(self, |connection| {
            let versions = sqlx::query_as("SELECT version, success FROM _sqlx_migrations");
            Ok(versions.fetch_all(connection).await?)
        });
        schema::check(&applied.await?, &MIGRATIONS).map_err(StoreError::Unavailable)
    }
}
