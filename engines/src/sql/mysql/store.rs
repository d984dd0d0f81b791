//! Connecting to MySQL or MariaDB, and its schema.

use std::sync::Arc;

use async_trait::async_trait;
use common::store::{Store, StoreError};
use sqlx::{
    Connection as _, MySqlConnection,
    migrate::{Migrate, MigrateError, Migrator},
    mysql::{MySqlConnectOptions, MySqlDatabaseError},
};

use super::{Connection, dialect::ENGINE, looks};
use crate::sql::{
    call::reading,
    connections::{Connections, Lease, connect},
    failure::Failure,
    limits::CALL_LIMIT,
    schema,
    settings::MySqlSettings,
    writes::Writes,
};

/// The longest that [`MySqlStore::migrate`] waits for another that migrates, in seconds.
const MIGRATE_WAIT_SECONDS: i64 = 60;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");

const ER_BAD_DB: u16 = 1049;
const ER_NO_SUCH_TABLE: u16 = 1146;

/// MySQL or MariaDB behind a few connections.
pub struct MySqlStore {
    connections: Connections,
    pub(super) writes: Writes,
}

impl MySqlStore {
    /// Its name, for people.
    pub const NAME: &'static str = "the database";

    /// Connects. Does not change the schema.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server does not answer within some seconds, does not let us in, or if the
    /// schema is not the one this program was built with.
    pub async fn connect(settings: &MySqlSettings) -> Result<Arc<MySqlStore>, StoreError> {
        let options = settings.options().map_err(StoreError::Unavailable)?;
        let connections = Connections::new(options, settings.database_connections);
        let store = MySqlStore {
            connections,
            writes: Writes::default(),
        };
        store.ping().await?;
        Ok(Arc::new(store))
    }

    /// Brings the schema to this program's version; makes the database if there is none and the user may. Any number
    /// of processes may do so at once: one does, the others wait for it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is wrong: the server is away, the user may not, another migration takes
    /// longer than a minute, or the schema is a newer program's.
    pub async fn migrate(settings: &MySqlSettings) -> Result<(), StoreError> {
        let options = settings.options().map_err(StoreError::Unavailable)?;
        let connecting = tokio::time::timeout(CALL_LIMIT, connect_or_create(&options));
        let connected = match connecting.await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::Away(format!("no answer within {CALL_LIMIT:?}"))),
        };
        let mut connection = connected.map_err(|failure| failure.of(ENGINE))?;
        migrate_locked(&mut connection).await
    }

    /// The version of the schema that this program needs.
    pub(super) fn schema_version() -> i64 {
        schema::newest(&MIGRATIONS)
    }

    /// The most bytes that the server takes in one statement (`max_allowed_packet`).
    pub(super) fn takes(&self) -> usize {
        self.connections.packet_bytes()
    }

    /// What its files still hold is the server's business.
    pub(super) fn note_remains(&self) {}

    pub(super) async fn reader(&self) -> Result<Lease, Failure> {
        self.connections.lease().await
    }

    pub(super) async fn writer(&self) -> Result<Lease, Failure> {
        self.reader().await
    }
}

#[async_trait]
impl Store for MySqlStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let applied = reading!(self, |connection| {
            let versions = sqlx::query_as("SELECT version, success FROM _sqlx_migrations");
            match versions.fetch_all(connection).await {
                Err(error) if number(&error) == Some(ER_NO_SUCH_TABLE) => Ok(Vec::new()),
                versions => Ok(versions?),
            }
        });
        schema::check(&applied.await?, &MIGRATIONS).map_err(StoreError::Unavailable)?;
        self.check_writes().await?;
        self.writes.check()
    }

    async fn server(&self) -> Result<Arc<str>, StoreError> {
        let server = reading!(self, |connection, server| {
            // A connection that rested may lead nowhere by now.
            connection.ping().await?;
            Ok(server)
        });
        Ok(server.await?)
    }

    async fn takes_rows(&self, bytes: usize) -> Result<(), StoreError> {
        Ok(self.check_rows(bytes).await?)
    }
}

async fn connect_or_create(options: &MySqlConnectOptions) -> Result<MySqlConnection, Failure> {
    match connect(options).await {
        Err(error) if number(&error) == Some(ER_BAD_DB) => (),
        connected => return Ok(connected?),
    }
    let name = options
        .get_database()
        .unwrap_or_default()
        .replace('`', "``");
    let create =
        format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    let mut connection = connect(&options.clone().database("")).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(connect(options).await?)
}

/// What a statement that fills in looks may take, before the server was asked for its limit: the least that any has by default.
const LOOKS_BYTES: usize = 1024 * 1024;

/// The migrator's own lock is none on MariaDB: it asks to wait for ever with a time limit of -1, which MariaDB refuses
/// with a warning only.
async fn migrate_locked(connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let lock = "SELECT GET_LOCK(CONCAT('chinwag ', LEFT(SHA2(DATABASE(), 256), 40)), ?)";
    let locked: Option<i64> = sqlx::query_scalar(lock)
        .bind(MIGRATE_WAIT_SECONDS)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| Failure::from(error).of(ENGINE))?;
    if locked != Some(1) {
        return Err(StoreError::Unavailable(
            "another process is migrating the schema".to_owned(),
        ));
    }
    // The connection ends with this call, and the lock with the connection.
    let migrated = async {
        // A table is changed when all that use it have ended, and others have to wait for less.
        let patiently = sqlx::query("SET SESSION lock_wait_timeout = DEFAULT");
        patiently.execute(&mut *connection).await?;
        connection
            .ensure_migrations_table("_sqlx_migrations")
            .await?;
        // What was cut off is begun anew; each migration may run twice.
        let unfinished = sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE");
        unfinished.execute(&mut *connection).await?;
        // Not `run`: its future cannot be shown to be `Send` with a borrowed connection.
        MIGRATIONS.run_direct(None, &mut *connection, false).await
    };
    let migrated: Result<(), MigrateError> = migrated.await;
    migrated.map_err(|error| StoreError::Unavailable(schema::why(error, &MIGRATIONS)))?;
    Ok(looks::fill_in(connection, LOOKS_BYTES).await?)
}

/// The server's number for an error, if the server said it.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}
