//! Opening the SQLite file, and its schema.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use common::store::{Store, StoreError};
use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    migrate::Migrator,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Connection, dialect::ENGINE, looks};
use crate::sql::{
    call::{call, reading},
    failure::Failure,
    limits::ACQUIRE_LIMIT,
    schema,
    writes::Writes,
};

/// The file in the data folder.
const FILE: &str = "store.db";

/// Connections that read, beside the one that writes. SQLite runs each in a thread of its own.
const READERS: u32 = 4;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// A SQLite file: one connection writes, a few read.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    pub(super) writes: Writes,
    /// Whether the log may hold a text that is in the main file no more.
    has_remains: AtomicBool,
}

impl SqliteStore {
    /// Opens `store.db` in this folder, both made if absent, and brings its schema to this program's version. Every
    /// commit is on the disk when it is answered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file cannot be opened, or was written by a newer program.
    pub async fn open(folder: &Path) -> Result<Arc<SqliteStore>, StoreError> {
        let file = folder.join(FILE);
        std::fs::create_dir_all(folder).map_err(|error| {
            StoreError::Unavailable(format!("{ENGINE}: {}: {error}", folder.display()))
        })?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What is deleted is overwritten with zeros, not only given free.
            .pragma("secure_delete", "on")
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
            Ok(SqliteStore {
                writer,
                readers,
                writes: Writes::default(),
                // An earlier process may have left some.
                has_remains: AtomicBool::new(true),
            })
        };
        let store = opened.await.map_err(|error| {
            let why = schema::why(error, &MIGRATIONS);
            StoreError::Unavailable(format!("{ENGINE}: {}: {why}", file.display()))
        })?;
        looks::fill_in(store.writer().await?.connection(), store.takes()).await?;
        Ok(Arc::new(store))
    }

    /// The version of the schema that this program needs.
    pub(super) fn schema_version() -> i64 {
        schema::newest(&MIGRATIONS)
    }

    /// The most bytes that the engine takes in one statement.
    pub(super) fn takes(&self) -> usize {
        usize::MAX
    }

    /// Something is deleted: the log holds it as it was.
    pub(super) fn note_remains(&self) {
        self.has_remains.store(true, Ordering::Release);
    }

    pub(super) async fn reader(&self) -> Result<Lease, Failure> {
        Ok(Lease(self.readers.acquire().await?))
    }

    pub(super) async fn writer(&self) -> Result<Lease, Failure> {
        Ok(Lease(self.writer.acquire().await?))
    }
}

/// A connection on loan. The pool takes it back, unless its call ended in a way that may have left it in the middle of
/// something.
pub(super) struct Lease(PoolConnection<Sqlite>);

impl Lease {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }

    /// The file is always the same one.
    pub(super) fn server(&self) -> Arc<str> {
        FILE.into()
    }

    pub(super) fn end<T>(mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        // SQLite takes a transaction back by itself where the disk is full, and the client library does not know: it would
        // begin none on this connection any more.
        if let Err(Failure::Away(_) | Failure::Unexplained(_)) = &outcome {
            self.0.close_on_drop();
        }
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
        schema::check(&applied.await?, &MIGRATIONS).map_err(StoreError::Unavailable)?;
        self.check_writes().await?;
        self.writes.check()
    }

    async fn server(&self) -> Result<Arc<str>, StoreError> {
        let server = reading!(self, |_connection, server| { Ok(server) });
        Ok(server.await?)
    }

    async fn takes_rows(&self, bytes: usize) -> Result<(), StoreError> {
        Ok(self.check_rows(bytes).await?)
    }

    /// Empties the log, unless somebody reads from it at this moment: then the next call does.
    async fn clear_remains(&self) -> Result<(), StoreError> {
        if !self.has_remains.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let cleared = call!(self.writer(), |db| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy: i64 = sqlx::query_scalar(checkpoint).fetch_one(db).await?;
            Ok(busy == 0)
        });
        let cleared = cleared.await;
        if !matches!(cleared, Ok(true)) {
            self.note_remains();
        }
        cleared?;
        Ok(())
    }
}
