//! All that lasts, row by row, out of one engine and into another, in statements that both understand. The tables and their columns
//! stand in `sql/archived.rs`.

use std::collections::HashSet;

use async_trait::async_trait;
use common::store::{
    StoreError,
    archive::{ArchiveError, Archives, Columns, ImportPiece, ImportState, Taker},
};
use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{Connection, ThisRow, ThisStore, dialect};
use crate::sql::{
    archived::{ARCHIVED, Archived, Held, archived},
    batch::{BySize, lists, runs},
    call::{reading, transaction, writing},
    columns::{column, now_ms},
    failure::Failure,
};

/// Names that somebody or something has, and such as had one that is nobody's for ever.
static NAMES_TAKEN: [BySize; 3] = [
    BySize::new("SELECT name FROM users WHERE name IN (", "?", ", ", ")"),
    BySize::new("SELECT name FROM rooms WHERE name IN (", "?", ", ", ")"),
    BySize::new(
        "SELECT name FROM deleted_rooms WHERE name IN (",
        "?",
        ", ",
        ")",
    ),
];

/// What users look like, and rooms.
static LOOKS_TAKEN: [BySize; 2] = [
    BySize::new(
        "SELECT skeleton FROM users WHERE skeleton IN (",
        "?",
        ", ",
        ")",
    ),
    BySize::new(
        "SELECT skeleton FROM room_looks WHERE skeleton IN (",
        "?",
        ", ",
        ")",
    ),
];

/// What a column takes in a statement beside its text, at most.
const COLUMN_BYTES: usize = 80;

const IMPORTED_ELSEWHERE: &str = "somebody else imports the same archive at this moment";

fn unfit(why: String) -> ArchiveError {
    ArchiveError::Unfit(why)
}

fn no_table(name: &str) -> ArchiveError {
    unfit(format!("this version knows of no table {name:?}"))
}

fn read(row: &ThisRow, table: &Archived) -> Result<Columns, Failure> {
    let mut columns = Columns::new();
    for (at, (name, held)) in table.columns.iter().enumerate() {
        let value = match held {
            Held::Text => row
                .try_get_unchecked::<Option<String>, _>(at)?
                .map(Value::from),
            Held::Number => row
                .try_get_unchecked::<Option<i64>, _>(at)?
                .map(Value::from),
            Held::Id => {
                let id = row.try_get_unchecked::<Option<Uuid>, _>(at)?;
                id.map(|id| id.to_string().into())
            }
            Held::Hash => {
                let hash = row.try_get_unchecked::<Option<Vec<u8>>, _>(at)?;
                hash.map(|hash| hexadecimal(&hash).into())
            }
        };
        // What is not set is not written.
        if let Some(value) = value {
            columns.insert((*name).to_owned(), value);
        }
    }
    Ok(columns)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// A value on its way into a column.
enum Bound {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

fn bound(table: &Archived, name: &str, held: Held, row: &Columns) -> Result<Bound, ArchiveError> {
    let value = row.get(name).filter(|value| !value.is_null());
    let text = value.and_then(Value::as_str);
    let (bound, is_there) = match held {
        Held::Text => (Bound::Text(text.map(ToOwned::to_owned)), text.is_some()),
        Held::Number => {
            let number = value.and_then(Value::as_i64);
            (Bound::Number(number), number.is_some())
        }
        Held::Id => {
            let id = text.and_then(|text| Uuid::parse_str(text).ok());
            let bytes = id.map(|id| id.as_bytes().to_vec());
            let is_there = bytes.is_some();
            (Bound::Bytes(bytes), is_there)
        }
        Held::Hash => {
            let bytes = text.and_then(bytes_of);
            let is_there = bytes.is_some();
            (Bound::Bytes(bytes), is_there)
        }
    };
    match value.is_some() && !is_there {
        true => Err(unfit(format!(
            "a row of {} has no {name} that could be read",
            table.name
        ))),
        false => Ok(bound),
    }
}

impl ThisStore {
    async fn found(
        &self,
        statements: &'static [BySize],
        words: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        let takes = self.takes();
        let found = reading!(self, |db| {
            let mut found = HashSet::new();
            for statement in statements {
                for list in lists(words, takes) {
                    let mut query = sqlx::query_scalar::<_, String>(statement.sql(list.len()));
                    for word in list {
                        query = query.bind(word);
                    }
                    found.extend(query.fetch_all(&mut *db).await?);
                }
            }
            Ok(found)
        });
        Ok(found.await?)
    }
}

#[async_trait(?Send)]
impl Archives for ThisStore {
    fn schema(&self) -> i64 {
        ThisStore::schema_version()
    }

    async fn give(&self, with_sessions: bool, take: &mut Taker<'_>) -> Result<(), ArchiveError> {
        let of_engine = |failure: Failure| StoreError::from(failure.of(dialect::ENGINE));
        let of_sqlx = |error: sqlx::Error| of_engine(Failure::from(error));
        // Not one of the store's calls, which have a time limit: this takes as long as it takes.
        let mut lease = self.reader().await.map_err(of_engine)?;
        let db = lease.connection();
        for statement in dialect::BEGIN_SNAPSHOT {
            let begun = sqlx::raw_sql(statement).execute(&mut *db).await;
            begun.map_err(of_sqlx)?;
        }
        for table in ARCHIVED
            .iter()
            .filter(|table| with_sessions || !table.with_sessions)
        {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|(name, _)| format!("t.{name}"))
                .collect();
            let select = format!("SELECT {} {}", columns.join(", "), table.from);
            let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut *db);
            while let Some(row) = rows.try_next().await.map_err(of_sqlx)? {
                take(table.name, read(&row, table).map_err(of_engine)?)?;
            }
        }
        let ended = sqlx::raw_sql("COMMIT").execute(&mut *db).await;
        let ended = ended.map(drop).map_err(Failure::from);
        Ok(lease.end(ended).map_err(of_engine)?)
    }

    async fn taken_names(
        &self,
        table: &str,
        rows: &[Columns],
    ) -> Result<Vec<String>, ArchiveError> {
        let word = |row: &'_ Columns, name: &str| row.get(name)?.as_str().map(ToOwned::to_owned);
        let names: Vec<String> = match table {
            "users" | "rooms" | "deleted_rooms" => {
                rows.iter().filter_map(|row| word(row, "name")).collect()
            }
            _ => Vec::new(),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut taken = match names.is_empty() {
            true => HashSet::new(),
            false => self.found(&NAMES_TAKEN, &names).await?,
        };
        // Nobody may look like another user, nor like a room; rooms may look like each other.
        let (by, statements) = match table {
            "users" => ("name", &LOOKS_TAKEN[..]),
            "room_looks" => ("room", &LOOKS_TAKEN[..1]),
            _ => ("", &LOOKS_TAKEN[..0]),
        };
        let looks: Vec<(String, String)> = rows
            .iter()
            .filter_map(|row| Some((word(row, by)?, word(row, "skeleton")?)))
            .collect();
        if !looks.is_empty() {
            let words: Vec<&str> = looks.iter().map(|(_, look)| look.as_str()).collect();
            let found = self.found(statements, &words).await?;
            let alike = looks.into_iter().filter(|(_, look)| found.contains(look));
            taken.extend(alike.map(|(name, _)| name));
        }
        let mut taken: Vec<String> = taken.into_iter().collect();
        taken.sort_unstable();
        Ok(taken)
    }

    async fn import_state(&self, id: Uuid) -> Result<Option<ImportState>, ArchiveError> {
        let state = reading!(self, |db| {
            let query = sqlx::query_as::<_, (i64, Option<i64>)>(
                "SELECT rows_done, finished_at_ms FROM imports WHERE id = ?",
            );
            Ok(query.bind(id).fetch_optional(db).await?)
        });
        let state: Option<(i64, Option<i64>)> = state.await.map_err(StoreError::from)?;
        Ok(state.map(|(rows_done, finished_at_ms)| ImportState {
            rows_done: rows_done.unsigned_abs(),
            is_finished: finished_at_ms.is_some(),
        }))
    }

    async fn take(&self, piece: ImportPiece<'_>) -> Result<(), ArchiveError> {
        let ImportPiece {
            id,
            rows_before,
            table,
            rows,
        } = piece;
        let table = archived(table).ok_or_else(|| no_table(table))?;
        let columns: Vec<(&str, Held)> = table
            .columns
            .iter()
            .filter(|(name, _)| table.counted != Some(*name))
            .copied()
            .collect();
        let mut bounds = Vec::with_capacity(rows.len());
        for row in rows {
            let known = |name: &String| table.columns.iter().any(|(known, _)| known == name);
            if let Some(strange) = row.keys().find(|name| !known(name)) {
                let table = table.name;
                return Err(unfit(format!(
                    "this version knows of no column {strange:?} of {table}"
                )));
            }
            let bound = |(name, held): &(&str, Held)| bound(table, name, *held, row);
            bounds.push(columns.iter().map(bound).collect::<Result<Vec<_>, _>>()?);
        }
        let text = |bound: &Bound| match bound {
            Bound::Text(Some(text)) => text.len() + COLUMN_BYTES,
            _ => COLUMN_BYTES,
        };
        let bytes: Vec<usize> = bounds
            .iter()
            .map(|row| row.iter().map(text).sum())
            .collect();
        let runs = runs(&bytes, self.takes());
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let head = format!("INSERT INTO {} ({}) VALUES ", table.name, names.join(", "));
        let marks = format!("({})", vec!["?"; names.len()].join(", "));
        let if_absent = dialect::if_absent(names[0]);
        let (before, after) = (column(rows_before), column(rows_before + rows.len() as u64));
        let taken = transaction!(self, |db| {
            let noted = match before {
                0 => {
                    let insert = sqlx::query(dialect::BEGIN_IMPORT).bind(id).bind(after);
                    insert
                        .bind(now_ms())
                        .execute(&mut *db)
                        .await?
                        .rows_affected()
                        == 1
                }
                _ => {
                    let update = sqlx::query(
                        "UPDATE imports SET rows_done = ? WHERE id = ? AND rows_done = ?",
                    );
                    let update = update.bind(after).bind(id).bind(before);
                    update.execute(&mut *db).await?.rows_affected() == 1
                }
            };
            if !noted {
                return Err(Failure::Refused(StoreError::Forbidden(
                    IMPORTED_ELSEWHERE.into(),
                )));
            }
            for run in &runs {
                let marks = vec![marks.as_str(); run.len()].join(", ");
                let insert = AssertSqlSafe(format!("{head}{marks}{if_absent}"));
                let mut query = sqlx::query(insert).persistent(false);
                for bound in bounds[run.clone()].iter().flatten() {
                    query = match bound {
                        Bound::Text(text) => query.bind(text.as_deref()),
                        Bound::Number(number) => query.bind(*number),
                        Bound::Bytes(bytes) => query.bind(bytes.as_deref()),
                    };
                }
                query.execute(&mut *db).await?;
            }
            Ok(())
        });
        match taken.await.map_err(StoreError::from) {
            Err(StoreError::Taken) => Err(unfit(IMPORTED_ELSEWHERE.into())),
            taken => Ok(taken?),
        }
    }

    async fn finish_import(&self, id: Uuid) -> Result<(), ArchiveError> {
        let noted = writing!(self, |db| {
            let query = sqlx::query("UPDATE imports SET finished_at_ms = ? WHERE id = ?");
            query.bind(now_ms()).bind(id).execute(db).await?;
            Ok::<_, Failure>(())
        });
        noted.await.map_err(StoreError::from)?;
        Ok(())
    }
}
