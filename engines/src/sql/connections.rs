//! Connections to MySQL, kept for the next call.
//!
//! The driver's own pool asks the server about a connection each time it comes back, which doubles the ways to the
//! server and has no end when the server is frozen, and it keeps one whose call was cut off in the middle of an answer.
//! Here one that did not come to a good end is closed at once, and one is only asked when it has rested.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sqlx::{Connection as _, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{failure::Failure, limits::ACQUIRE_LIMIT};

/// Set on every connection, whatever the server's defaults. Strict: what does not fit is an error, never cut. With
/// read committed, far fewer gaps are locked, so writers rarely meet. A lock wait ends before our own limit does.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
     innodb_lock_wait_timeout = 2, autocommit = 1; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A connection that has rested for longer is asked whether it still lives before it is used.
const UNASKED: Duration = Duration::from_secs(1);

/// Up to so many connections.
pub(super) struct Connections {
    options: MySqlConnectOptions,
    permits: Arc<Semaphore>,
    resting: Arc<Mutex<Vec<Resting>>>,
}

struct Resting {
    connection: MySqlConnection,
    since: Instant,
}

/// A connection on loan. Unless it comes to its [`end`](Lease::end), it is closed.
pub(super) struct Lease {
    connection: MySqlConnection,
    resting: Arc<Mutex<Vec<Resting>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(options: MySqlConnectOptions, most: u32) -> Connections {
        let permits = Arc::new(Semaphore::new(most.max(1) as usize));
        Connections {
            options,
            permits,
            resting: Arc::default(),
        }
    }

    /// Takes a connection that rests, or makes one, or waits for one, for [`ACQUIRE_LIMIT`].
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let leasing = async {
            let permit = self.permits.clone().acquire_owned().await;
            let _permit = permit.expect("nothing closes the semaphore");
            let connection = match self.rested().await {
                Some(connection) => connection,
                None => connect(&self.options).await?,
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

    async fn rested(&self) -> Option<MySqlConnection> {
        loop {
            let last = self.resting.lock().pop();
            let Resting {
                mut connection,
                since,
            } = last?;
            if since.elapsed() < UNASKED || connection.ping().await.is_ok() {
                return Some(connection);
            }
        }
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }

    /// Puts the connection to rest, unless the outcome says that something is wrong with it or its server.
    pub(super) fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if !matches!(outcome, Err(Failure::Away(_))) {
            let resting = Resting {
                connection: self.connection,
                since: Instant::now(),
            };
            self.resting.lock().push(resting);
        }
        outcome
    }
}

/// A new connection, set up as every one here.
pub(super) async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    sqlx::raw_sql(SESSION).execute(&mut connection).await?;
    Ok(connection)
}
