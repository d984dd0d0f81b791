//! Connections to MySQL, kept for the next call.
//!
//! The driver's own pool asks the server about a connection each time it comes back, which doubles the ways to the
//! server and has no end when the server is frozen, and it keeps one whose call was cut off in the middle of an answer.
//! Here one that did not come to a good end is closed at once, and one is only asked when it has rested.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sqlx::{Connection as _, MySqlConnection, Row as _, mysql::MySqlConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{failure::Failure, limits::ACQUIRE_LIMIT};

/// Set on every connection, whatever the server's defaults. Strict: what does not fit is an error, never cut. With
/// read committed, far fewer gaps are locked, so writers rarely meet. A lock wait, for a row or a table, ends before our own
/// limit does: the server does not notice that nobody waits any more, and keeps the connection for as long.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
     innodb_lock_wait_timeout = 2, lock_wait_timeout = 2, autocommit = 1; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// What a server calls itself. MySQL makes a `server_uuid` of its own at its first start. MariaDB has none: there it is all
/// that tells one server from another, of which `server_id` alone must differ between a primary and its replicas.
/// (`server_uid`, in newer versions, is made of a network card's address and the port, which two containers may share.)
/// And the most bytes that it takes in one statement.
const NAMES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('server_uuid', 'server_id', 'server_uid', 'hostname', 'port', 'max_allowed_packet')";

/// A connection that has rested for longer is asked whether it still lives before it is used.
const UNASKED: Duration = Duration::from_secs(1);

/// Up to so many connections.
pub(super) struct Connections {
    options: MySqlConnectOptions,
    permits: Arc<Semaphore>,
    resting: Arc<Mutex<Rested>>,
    /// What the server said last of the most bytes in one statement.
    packet_bytes: AtomicUsize,
}

#[derive(Default)]
struct Rested {
    connections: Vec<Resting>,
    /// Grows when no connection that was made before is to be used again.
    generation: u64,
}

struct Resting {
    connection: NamedConnection,
    since: Instant,
}

/// A connection, and the server that it leads to.
struct NamedConnection {
    connection: MySqlConnection,
    server: Arc<str>,
    generation: u64,
}

/// A connection on loan. Unless it comes to its [`end`](Lease::end), it is closed.
pub(super) struct Lease {
    connection: NamedConnection,
    resting: Arc<Mutex<Rested>>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(options: MySqlConnectOptions, most: u32) -> Connections {
        let permits = Arc::new(Semaphore::new(most.max(1) as usize));
        Connections {
            options,
            permits,
            resting: Arc::default(),
            packet_bytes: AtomicUsize::new(usize::MAX),
        }
    }

    /// The most bytes that the server takes in one statement, as it said to the newest connection.
    pub(super) fn packet_bytes(&self) -> usize {
        self.packet_bytes.load(Ordering::Relaxed)
    }

    /// Takes a connection that rests, or makes one, or waits for one, for [`ACQUIRE_LIMIT`].
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let leasing = async {
            let permit = self.permits.clone().acquire_owned().await;
            let _permit = permit.expect("nothing closes the semaphore");
            let connection = match self.rested().await {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            Ok(Lease {
                connection,
                resting: self.resting.clone(),
                _permit,
            })
        };
        match tokio::time::timeout(ACQUIRE_LIMIT, leasing).await {
            Ok(leased) => leased,
            Err(_) => Err(Failure::Away(format!(
                "no connection within {ACQUIRE_LIMIT:?}"
            ))),
        }
    }

    async fn connect(&self) -> Result<NamedConnection, Failure> {
        let generation = self.resting.lock().generation;
        // Nothing of a row has been sent yet, so nothing of this is a row's fault.
        let away = |error: sqlx::Error| match Failure::from(error) {
            Failure::Unexplained(why) => Failure::Away(why),
            failure => failure,
        };
        let mut connection = connect(&self.options).await.map_err(away)?;
        let names = sqlx::raw_sql(NAMES).fetch_all(&mut connection);
        let names = names.await.map_err(away)?;
        let mut own = None;
        let mut all = Vec::new();
        for row in names {
            let (variable, value): (String, String) =
                (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
            match &*variable {
                "server_uuid" => own = Some(value),
                "max_allowed_packet" => {
                    let bytes = value.parse().unwrap_or(usize::MAX);
                    self.packet_bytes.store(bytes, Ordering::Relaxed);
                }
                _ => all.push(format!("{variable}={value}")),
            }
        }
        all.sort_unstable();
        Ok(NamedConnection {
            connection,
            server: own.unwrap_or_else(|| all.join(" ")).into(),
            generation,
        })
    }

    async fn rested(&self) -> Option<NamedConnection> {
        loop {
            let last = self.resting.lock().connections.pop();
            let Resting {
                mut connection,
                since,
            } = last?;
            if since.elapsed() < UNASKED || connection.connection.ping().await.is_ok() {
                return Some(connection);
            }
        }
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection.connection
    }

    /// The server that it leads to.
    pub(super) fn server(&self) -> Arc<str> {
        Arc::clone(&self.connection.server)
    }

    /// Puts the connection to rest, unless the outcome says that something is wrong with it or its server.
    pub(super) fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let mut resting = self.resting.lock();
        match &outcome {
            Err(Failure::Away(_) | Failure::Unexplained(_)) => (),
            // The others lead to the same server, and what is asked there may be of yesterday.
            Err(Failure::ReadOnly(_)) => {
                resting.generation += 1;
                resting.connections.clear();
            }
            _ if self.connection.generation < resting.generation => (),
            _ => resting.connections.push(Resting {
                connection: self.connection,
                since: Instant::now(),
            }),
        }
        drop(resting);
        outcome
    }
}

/// A new connection, set up as every one here.
pub(super) async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    sqlx::raw_sql(SESSION).execute(&mut connection).await?;
    Ok(connection)
}
