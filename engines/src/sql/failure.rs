//! What can go wrong with a statement, in the terms of who has to do something about it. Both engines' error codes are
//! sorted here, once.

use common::store::{StoreError, WriteError};
use sqlx::{mysql::MySqlDatabaseError, sqlite::SqliteError};

use super::limits::ACQUIRE_LIMIT;

/// Why a statement, or a transaction of several, did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The engine is away, too busy, or says something that is not about the data: the same will do later.
    Away(String),
    /// The engine refused it, or hung up, for a reason that is not known here: its trouble, or the data's.
    Unexplained(String),
    /// The server takes no writes at all: it may be the primary no more, so what is connected to it should not stay there.
    ReadOnly(String),
    /// Another transaction was in the way (deadlock, lock wait): the same will do at once.
    Again(String),
    /// A row with this key is there.
    Duplicate,
    /// The engine will never take this row.
    Rejected(String),
    /// The promise says no; what was begun is rolled back.
    Refused(StoreError),
}

impl Failure {
    /// With the name of the engine that said it.
    pub(super) fn of(self, engine: &str) -> Failure {
        let of = |why: String| format!("{engine}: {why}");
        match self {
            Failure::Away(why) => Failure::Away(of(why)),
            Failure::Unexplained(why) => Failure::Unexplained(of(why)),
            Failure::ReadOnly(why) => Failure::ReadOnly(of(why)),
            Failure::Again(why) => Failure::Again(of(why)),
            Failure::Rejected(why) => Failure::Rejected(of(why)),
            Failure::Duplicate | Failure::Refused(_) => self,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        match failure {
            Failure::Away(why)
            | Failure::Unexplained(why)
            | Failure::ReadOnly(why)
            | Failure::Again(why)
            | Failure::Rejected(why) => StoreError::Unavailable(why),
            Failure::Duplicate => StoreError::Taken,
            Failure::Refused(refusal) => refusal,
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> WriteError {
        match failure {
            Failure::Away(why) | Failure::ReadOnly(why) | Failure::Again(why) => {
                WriteError::Unavailable(why)
            }
            Failure::Unexplained(why) => WriteError::Unexplained(why),
            Failure::Rejected(why) => WriteError::Rejected(why),
            Failure::Duplicate => WriteError::Unavailable("a key is taken".to_owned()),
            Failure::Refused(refusal) => WriteError::Unavailable(refusal.to_string()),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        let why = error.to_string();
        match error {
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                    return mysql(error.number(), error.code().unwrap_or_default(), why);
                }
                if error.try_downcast_ref::<SqliteError>().is_some() {
                    let code = error.code().and_then(|code| code.parse().ok());
                    return sqlite(code.unwrap_or_default(), why);
                }
                Failure::Unexplained(why)
            }
            // A server also hangs up on what it cannot take.
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Failure::Unexplained(why),
            sqlx::Error::Encode(_) => Failure::Rejected(why),
            sqlx::Error::PoolTimedOut => Failure::Away(format!(
                "no connection to the database within {ACQUIRE_LIMIT:?}"
            )),
            _ => Failure::Away(why),
        }
    }
}

/// Sorts an error of MySQL or MariaDB by its number and SQLSTATE.
fn mysql(number: u16, state: &str, why: String) -> Failure {
    match number {
        // Lock wait timeout, deadlock, MariaDB's "record has changed since last read", MySQL's lock NOWAIT.
        1205 | 1213 | 1020 | 3572 => Failure::Again(why),
        1062 | 1586 => Failure::Duplicate,
        // The server is read-only, the session is, the storage is; said the same by MySQL and MariaDB.
        1290 | 1792 | 1836 => Failure::ReadOnly(why),
        // No such database.
        1049 => Failure::Away(format!("{why}: run `persister migrate`")),
        // Incorrect string value; invalid characters; a character that the column's set does not have; a packet larger
        // than the server takes (said again of a batch's half until it is one row); a failed CHECK (MySQL, MariaDB);
        // collations that do not mix, which is how a comparison with characters outside a column's set fails.
        1366 | 1300 | 3854 | 1153 | 3819 | 4025 | 1267 => Failure::Rejected(why),
        // Data exceptions (too long, out of range, ...) and broken constraints (NULL where none may be, ...).
        _ if state.starts_with("22") || state.starts_with("23") => Failure::Rejected(why),
        // Full: the disk (said in three ways), the table, the table of locks; an error of the storage below.
        1003 | 1021 | 1026 | 1030 | 1114 | 1206
        // Out of memory, of connections, of what a user may.
        | 1037 | 1038 | 1040 | 1041 | 1203 | 1226
        // Shutting down; this connection was ended; the statement was, or took too long; the commit failed.
        | 1053 | 1077..=1080 | 1180 | 1317 | 1927 | 1969 | 3024 | 3168 | 3169 | 4031
        // Not let in, or not allowed; the host is blocked.
        | 1044 | 1045 | 1129 | 1130 | 1142 | 1143 | 1227
        // Not ready, as part of a cluster; no such table, or another one than a moment ago.
        | 1047 | 1146 | 1412 | 1615 => Failure::Away(why),
        _ => Failure::Unexplained(why),
    }
}

/// Sorts an error of SQLite by its extended result code.
fn sqlite(code: u32, why: String) -> Failure {
    match (code, code & 0xff) {
        // The primary key, a unique index, the row's number.
        (1555 | 2067 | 2579, _) => Failure::Duplicate,
        // Busy, locked: another process has the file.
        (_, 5 | 6) => Failure::Again(why),
        // Too big, constraint, type mismatch.
        (_, 18..=20) => Failure::Rejected(why),
        // Not allowed, out of memory, read-only, interrupted, an error of the disk, a file that is damaged, full or gone, no
        // database.
        (_, 3 | 7..=11 | 13 | 14 | 23 | 26) => Failure::Away(why),
        _ => Failure::Unexplained(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clearly_about_the_data_is_rejected() {
        let sorted = |number, state| mysql(number, state, String::new());
        for (number, state) in [
            (1406, "22001"),
            (1366, "HY000"),
            (1048, "23000"),
            (1264, "22003"),
        ] {
            assert!(
                matches!(sorted(number, state), Failure::Rejected(_)),
                "{number}"
            );
        }
        // Too many connections, shutting down, disk full, no such table, out of memory.
        for number in [1040, 1053, 1021, 1114, 1146, 1037] {
            assert!(
                matches!(sorted(number, "HY000"), Failure::Away(_)),
                "{number}"
            );
        }
        assert!(matches!(sorted(9999, "HY000"), Failure::Unexplained(_)));
        assert!(matches!(sorted(1644, "45000"), Failure::Unexplained(_)));
        assert!(matches!(sorted(1290, "HY000"), Failure::ReadOnly(_)));
        assert!(matches!(sorted(1213, "40001"), Failure::Again(_)));
        assert!(matches!(sorted(1062, "23000"), Failure::Duplicate));
    }
}
