//! The table of the embedded queue: every SQL statement of it, and no decisions.

use std::{path::Path, str::FromStr, time::Duration};

use common::queue::{DeadLetter, QueueName};
use sqlx::{
    Connection, QueryBuilder, Row as _, Sqlite, SqliteConnection, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use uuid::Uuid;

use super::ledger::{Row, Wanted};

/// Rows per statement when many are inserted: few different texts, so that each stays prepared.
const INSERT_SIZES: [usize; 3] = [128, 16, 1];

/// `position` orders; it is never given twice, so that no two rows of the queue ever share one.
const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS messages (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id BLOB NOT NULL,
        payload BLOB NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0
    )",
    "CREATE INDEX IF NOT EXISTS messages_of_queue ON messages (queue, position)",
    "CREATE TABLE IF NOT EXISTS dead_letters (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id BLOB NOT NULL,
        payload BLOB NOT NULL,
        reason TEXT NOT NULL,
        died_at_ms INTEGER NOT NULL
    )",
    // Every position below `next` was handed out since the queue was opened.
    "CREATE TABLE IF NOT EXISTS handed_out (queue TEXT PRIMARY KEY, next INTEGER NOT NULL)",
];

/// The version of the schema, in the file's header.
const SCHEMA_VERSION: i64 = 1;

/// Whether a commit must survive a power cut, or only the end of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing is written to the disk itself before it is convenient; what this process said is kept all the same if
    /// it is killed.
    Process,
    /// On disk when the commit returns.
    Power,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: u64,
    /// Of payloads.
    pub(super) bytes: u64,
}

/// One connection, the only one.
pub(super) struct Table {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    durability: Durability,
    /// Whether the log may hold what is in the main file no more.
    has_remains: bool,
}

/// What is in the table when it is opened.
pub(super) struct Opened {
    pub(super) table: Table,
    pub(super) size: Size,
    /// The highest position of each queue.
    pub(super) tails: Vec<(QueueName, i64)>,
}

/// The change that is being made.
pub(super) struct Change<'table>(Transaction<'table, Sqlite>);

/// A look at the file of a process that uses it.
pub(super) struct Look(SqliteConnection);

impl Look {
    pub(super) async fn at(file: &Path) -> Result<Look, sqlx::Error> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(file)
            .pragma("query_only", "on")
            .busy_timeout(Duration::from_secs(5));
        Ok(Look(SqliteConnection::connect_with(&options).await?))
    }

    /// The highest position in a queue; 0 if there is none.
    pub(super) async fn last(&mut self, queue: QueueName) -> Result<i64, sqlx::Error> {
        let last = "SELECT COALESCE(MAX(position), 0) FROM messages WHERE queue = ?";
        let last = sqlx::query_scalar(last).bind(queue.as_str());
        last.fetch_one(&mut self.0).await
    }

    /// How many messages a queue has up to a position.
    pub(super) async fn count_until(
        &mut self,
        queue: QueueName,
        position: i64,
    ) -> Result<i64, sqlx::Error> {
        let count = "SELECT COUNT(*) FROM messages WHERE queue = ? AND position <= ?";
        let count = sqlx::query_scalar(count)
            .bind(queue.as_str())
            .bind(position);
        count.fetch_one(&mut self.0).await
    }
}

impl Table {
    /// Opens the file. What was in a consumer's hands when it was last used counts as delivered once more.
    pub(super) async fn open(file: &Path) -> Result<Opened, sqlx::Error> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What is settled is overwritten with zeros: it may be the only copy of a text that is to be gone.
            .pragma("secure_delete", "on")
            // Only for an operator who looks in with another program.
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(64);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut connection)
            .await?;
        if version > SCHEMA_VERSION {
            let why = format!(
                "{} is of version {version}, made by a newer chinwag",
                file.display()
            );
            return Err(sqlx::Error::Configuration(why.into()));
        }
        let mut opening = connection.begin_with("BEGIN IMMEDIATE").await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut *opening).await?;
        }
        sqlx::query("PRAGMA user_version = 1")
            .execute(&mut *opening)
            .await?;
        sqlx::query(
            "UPDATE messages SET attempts = attempts + 1
             WHERE position < (SELECT next FROM handed_out WHERE handed_out.queue = messages.queue)",
        )
        .execute(&mut *opening)
        .await?;
        sqlx::query("DELETE FROM handed_out")
            .execute(&mut *opening)
            .await?;
        opening.commit().await?;

        let mut tails = Vec::new();
        let mut size = Size::default();
        for queue in QueueName::ALL {
            let row = sqlx::query(
                "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0), COALESCE(MAX(position), 0) FROM messages WHERE queue = ?",
            )
            .bind(queue.as_str())
            .fetch_one(&mut connection)
            .await?;
            size.rows += row.get::<i64, _>(0).unsigned_abs();
            size.bytes += row.get::<i64, _>(1).unsigned_abs();
            tails.push((queue, row.get(2)));
        }
        let table = Table {
            options,
            connection,
            durability: Durability::Power,
            has_remains: true,
        };
        Ok(Opened { table, size, tails })
    }

    /// A new connection. After a failed write (a full disk, say) SQLite has already rolled back by itself, of which the
    /// library does not know: it would refuse every later transaction on the old connection.
    pub(super) async fn reconnect(&mut self) -> Result<(), sqlx::Error> {
        self.connection = SqliteConnection::connect_with(&self.options).await?;
        self.durability = Durability::Power;
        Ok(())
    }

    /// Begins a change. Dropped without a commit, it never was.
    pub(super) async fn change(
        &mut self,
        durability: Durability,
    ) -> Result<Change<'_>, sqlx::Error> {
        self.has_remains = true;
        if self.durability != durability {
            let pragma = match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            };
            sqlx::query(pragma).execute(&mut self.connection).await?;
            self.durability = durability;
        }
        self.connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map(Change)
    }

    /// The first dead letters of a queue.
    pub(super) async fn dead_letters(
        &mut self,
        queue: QueueName,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, reason, died_at_ms, payload FROM dead_letters WHERE queue = ? ORDER BY position LIMIT ?",
        )
        .bind(queue.as_str())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await?;
        rows.into_iter()
            .map(|row| dead_letter(queue, &row))
            .collect()
    }

    /// How many messages are in a queue.
    pub(super) async fn rows(&mut self, queue: QueueName) -> Result<u64, sqlx::Error> {
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages WHERE queue = ?")
            .bind(queue.as_str())
            .fetch_one(&mut self.connection)
            .await?;
        Ok(rows.unsigned_abs())
    }

    /// How many dead letters a queue has.
    pub(super) async fn count_dead_letters(
        &mut self,
        queue: QueueName,
    ) -> Result<usize, sqlx::Error> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM dead_letters WHERE queue = ?")
            .bind(queue.as_str())
            .fetch_one(&mut self.connection)
            .await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Empties the log, which holds rows as they were before they were deleted until it is written anew.
    pub(super) async fn clear_remains(&mut self) -> Result<(), sqlx::Error> {
        if !self.has_remains {
            return Ok(());
        }
        let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut self.connection)
            .await?;
        self.has_remains = busy != 0;
        Ok(())
    }

    /// How many messages each queue has that are not settled, and how many dead letters; a sign that the file can be read.
    pub(super) async fn count_waiting(
        &mut self,
    ) -> Result<Vec<(QueueName, u32, u32)>, sqlx::Error> {
        let mut lengths = Vec::with_capacity(QueueName::ALL.len());
        for queue in QueueName::ALL {
            let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages WHERE queue = ?")
                .bind(queue.as_str())
                .fetch_one(&mut self.connection)
                .await?;
            let dead = self.count_dead_letters(queue).await?;
            let whole = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            lengths.push((queue, whole(waiting.unsigned_abs()), whole(dead as u64)));
        }
        Ok(lengths)
    }

    /// Puts everything into the main file and closes it.
    pub(super) async fn close(mut self) -> Result<(), sqlx::Error> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut self.connection)
            .await?;
        self.connection.close().await
    }
}

impl Change<'_> {
    /// Appends messages; returns the last one's position.
    pub(super) async fn append(
        &mut self,
        messages: &[(QueueName, Uuid, &[u8])],
    ) -> Result<i64, sqlx::Error> {
        let mut rest = messages;
        let mut last = 0;
        while !rest.is_empty() {
            let fitting = INSERT_SIZES.into_iter().find(|size| *size <= rest.len());
            let (now, later) = rest.split_at(fitting.unwrap_or(1));
            rest = later;
            let mut insert =
                QueryBuilder::<Sqlite>::new("INSERT INTO messages (queue, id, payload) ");
            insert.push_values(now, |mut row, (queue, id, payload)| {
                row.push_bind(queue.as_str())
                    .push_bind(*id)
                    .push_bind(payload.to_vec());
            });
            last = insert
                .build()
                .execute(&mut *self.0)
                .await?
                .last_insert_rowid();
        }
        Ok(last)
    }

    /// Forgets messages.
    pub(super) async fn remove(&mut self, positions: &[i64]) -> Result<(), sqlx::Error> {
        self.of_positions(
            "DELETE FROM messages WHERE position IN (SELECT value FROM json_each(?))",
            positions,
        )
        .await
    }

    /// Counts one more attempt at each.
    pub(super) async fn count_attempt(&mut self, positions: &[i64]) -> Result<(), sqlx::Error> {
        let sql = "UPDATE messages SET attempts = attempts + 1 WHERE position IN (SELECT value FROM json_each(?))";
        self.of_positions(sql, positions).await
    }

    async fn of_positions(
        &mut self,
        sql: &'static str,
        positions: &[i64],
    ) -> Result<(), sqlx::Error> {
        if positions.is_empty() {
            return Ok(());
        }
        sqlx::query(sql)
            .bind(json(positions))
            .execute(&mut *self.0)
            .await
            .map(drop)
    }

    /// Moves messages to the dead letters.
    pub(super) async fn bury(
        &mut self,
        positions: &[i64],
        reason: &str,
        died_at_ms: u64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO dead_letters (queue, id, payload, reason, died_at_ms)
             SELECT queue, id, payload, ?, ? FROM messages
             WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position",
        )
        .bind(reason)
        .bind(died_at_ms.cast_signed())
        .bind(json(positions))
        .execute(&mut *self.0)
        .await?;
        self.remove(positions).await
    }

    /// Moves those that were tried more than `limit` times to the dead letters, each with how often it was. Returns
    /// what went.
    pub(super) async fn bury_exhausted(
        &mut self,
        limit: u32,
        died_at_ms: u64,
    ) -> Result<Size, sqlx::Error> {
        let gone = sqlx::query(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM messages WHERE attempts > ?",
        )
        .bind(limit)
        .fetch_one(&mut *self.0)
        .await?;
        let gone = Size {
            rows: gone.get::<i64, _>(0).unsigned_abs(),
            bytes: gone.get::<i64, _>(1).unsigned_abs(),
        };
        if gone.rows > 0 {
            sqlx::query(
                "INSERT INTO dead_letters (queue, id, payload, reason, died_at_ms)
                 SELECT queue, id, payload, 'delivered ' || attempts || ' times without being settled', ? FROM messages
                 WHERE attempts > ? ORDER BY position",
            )
            .bind(died_at_ms.cast_signed())
            .bind(limit)
            .execute(&mut *self.0)
            .await?;
            sqlx::query("DELETE FROM messages WHERE attempts > ?")
                .bind(limit)
                .execute(&mut *self.0)
                .await?;
        }
        Ok(gone)
    }

    /// The rows that there is room for, oldest first; and notes that they were handed out.
    pub(super) async fn take(&mut self, wanted: &Wanted) -> Result<Vec<Row>, sqlx::Error> {
        let mut rows = Vec::new();
        if !wanted.again.is_empty() {
            let sql = "SELECT position, payload, attempts FROM messages
                 WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position";
            rows = sqlx::query(sql)
                .bind(json(&wanted.again))
                .fetch_all(&mut *self.0)
                .await?;
        }
        if wanted.fresh > 0 {
            let sql = "SELECT position, payload, attempts FROM messages
                 WHERE queue = ? AND position >= ? ORDER BY position LIMIT ?";
            let fresh = sqlx::query(sql)
                .bind(wanted.queue.as_str())
                .bind(wanted.from)
                .bind(i64::try_from(wanted.fresh).unwrap_or(i64::MAX))
                .fetch_all(&mut *self.0)
                .await?;
            if let Some(last) = fresh.last() {
                sqlx::query(
                    "INSERT INTO handed_out (queue, next) VALUES (?, ?)
                     ON CONFLICT (queue) DO UPDATE SET next = excluded.next",
                )
                .bind(wanted.queue.as_str())
                .bind(last.get::<i64, _>(0) + 1)
                .execute(&mut *self.0)
                .await?;
            }
            rows.extend(fresh);
        }
        let row = |row: SqliteRow| Row {
            position: row.get(0),
            payload: row.get(1),
            attempts: row.get(2),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Puts dead letters back at the end of their queue: those with these ids, or all. Returns how many rows and bytes
    /// and the last position.
    pub(super) async fn replay(
        &mut self,
        queue: QueueName,
        ids: &[Uuid],
    ) -> Result<(Size, i64), sqlx::Error> {
        let letters = self.find_letters(queue, ids).await?;
        let mut back = Size::default();
        for (_, bytes) in &letters {
            back.rows += 1;
            back.bytes += bytes;
        }
        let positions: Vec<i64> = letters.into_iter().map(|(position, _)| position).collect();
        let inserted = sqlx::query(
            "INSERT INTO messages (queue, id, payload) SELECT queue, id, payload FROM dead_letters
             WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position",
        )
        .bind(json(&positions))
        .execute(&mut *self.0)
        .await?;
        self.forget_letters(&positions).await?;
        let tail = if back.rows > 0 {
            inserted.last_insert_rowid()
        } else {
            0
        };
        Ok((back, tail))
    }

    /// Forgets dead letters: those with these ids, or all. Returns how many.
    pub(super) async fn discard(
        &mut self,
        queue: QueueName,
        ids: &[Uuid],
    ) -> Result<usize, sqlx::Error> {
        let letters = self.find_letters(queue, ids).await?;
        let positions: Vec<i64> = letters.into_iter().map(|(position, _)| position).collect();
        self.forget_letters(&positions).await?;
        Ok(positions.len())
    }

    /// Gives a dead letter another payload, or takes it away. Returns how many there were of this very one.
    pub(super) async fn revise(
        &mut self,
        letter: &DeadLetter,
        payload: Option<&[u8]>,
    ) -> Result<usize, sqlx::Error> {
        let sql = match payload {
            Some(_) => {
                "UPDATE dead_letters SET payload = ?4 WHERE queue = ?1 AND id = ?2 AND payload = ?3"
            }
            None => "DELETE FROM dead_letters WHERE queue = ?1 AND id = ?2 AND payload = ?3",
        };
        let mut query = sqlx::query(sql)
            .bind(letter.queue.as_str())
            .bind(letter.id)
            .bind(letter.payload.to_vec());
        if let Some(payload) = payload {
            query = query.bind(payload.to_vec());
        }
        let revised = query.execute(&mut *self.0).await?.rows_affected();
        Ok(usize::try_from(revised).unwrap_or(usize::MAX))
    }

    /// Positions and payload sizes.
    async fn find_letters(
        &mut self,
        queue: QueueName,
        ids: &[Uuid],
    ) -> Result<Vec<(i64, u64)>, sqlx::Error> {
        let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
        let rows = sqlx::query(
            "SELECT position, LENGTH(payload) FROM dead_letters
             WHERE queue = ?1 AND (json_array_length(?2) = 0 OR lower(hex(id)) IN (SELECT value FROM json_each(?2)))",
        )
        .bind(queue.as_str())
        .bind(serde_json::to_string(&ids).expect("text is JSON"))
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.get(0), row.get::<i64, _>(1).unsigned_abs()))
            .collect())
    }

    async fn forget_letters(&mut self, positions: &[i64]) -> Result<(), sqlx::Error> {
        self.of_positions(
            "DELETE FROM dead_letters WHERE position IN (SELECT value FROM json_each(?))",
            positions,
        )
        .await
    }

    /// Makes it so.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}

/// A list as SQLite takes one in a parameter.
fn json(positions: &[i64]) -> String {
    serde_json::to_string(positions).expect("numbers are JSON")
}

fn dead_letter(queue: QueueName, row: &SqliteRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: row.try_get(0)?,
        queue,
        reason: row.try_get(1)?,
        died_at_ms: row.try_get::<i64, _>(2)?.unsigned_abs(),
        payload: row.try_get::<Vec<u8>, _>(3)?.into(),
    })
}
