//! How far people have read, in statements that both engines understand.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use common::{
    store::{ReadMark, ReadMarks, StoreError, UNREAD_MAX},
    wire::Seq,
};

use super::{Connection, ThisStore, dialect};
use crate::sql::{
    batch::{BySize, lists, runs},
    call::{reading, writing},
    columns::column,
    failure::Failure,
};

static MARK_READ: BySize = BySize::new(
    "INSERT INTO read_marks (user, room, seq) VALUES ",
    "(?, ?, ?)",
    ", ",
    dialect::FURTHEST_READ,
);

/// What a mark takes in a statement, at most.
const MARK_BYTES: usize = 160;

/// Of each room the first messages behind a place, and how many of those are others'.
static UNREAD: BySize = BySize::new(
    "",
    "SELECT ? AS room, COUNT(*) AS unread FROM \
     (SELECT sender FROM messages WHERE room = ? AND seq > ? ORDER BY seq LIMIT ?) AS later WHERE sender <> ?",
    " UNION ALL ",
    "",
);

/// The most rooms in one such statement: SQLite takes 500 parts.
const UNREAD_ROOMS: usize = 128;

/// How much a user has not read in each of these rooms, up to [`UNREAD_MAX`], their own messages not counted.
pub(super) async fn unread(
    db: &mut Connection,
    user: &str,
    read: &[(&str, i64)],
    takes: usize,
) -> Result<HashMap<String, u32>, Failure> {
    let mut unread = HashMap::new();
    // A part takes more than a key does.
    let takes = takes / 2;
    for list in read
        .chunks(UNREAD_ROOMS)
        .flat_map(|some| lists(some, takes))
    {
        let mut query = sqlx::query_as::<_, (String, i64)>(UNREAD.sql(list.len()));
        for (room, seq) in list {
            query = query.bind(room).bind(room).bind(seq);
            query = query.bind(i64::from(UNREAD_MAX)).bind(user);
        }
        let counts = query.fetch_all(&mut *db).await?;
        unread.extend(counts.into_iter().map(|(room, count)| {
            let count = u32::try_from(count).unwrap_or(UNREAD_MAX);
            (room, count)
        }));
    }
    Ok(unread)
}

#[async_trait]
impl ReadMarks for ThisStore {
    async fn mark_read(&self, marks: &[ReadMark]) -> Result<(), StoreError> {
        // Each once, and in one order in every process, so that two of them wait for each other rather than deadlock.
        let mut furthest = BTreeMap::new();
        for mark in marks {
            let seq = furthest.entry((&mark.user, &mark.room)).or_insert(mark.seq);
            *seq = mark.seq.max(*seq);
        }
        let rows: Vec<_> = furthest.into_iter().collect();
        for run in runs(&vec![MARK_BYTES; rows.len()], self.takes()) {
            let rows = &rows[run];
            let marked = writing!(self, |db| {
                let mut query = sqlx::query(MARK_READ.sql(rows.len()));
                for ((user, room), seq) in rows {
                    query = query.bind(&***user).bind(&***room).bind(column(*seq));
                }
                query.execute(db).await?;
                Ok::<_, Failure>(())
            });
            marked.await?;
        }
        Ok(())
    }

    async fn read_up_to(&self, user: &str, room: &str) -> Result<Seq, StoreError> {
        let read = reading!(self, |db| {
            let query = sqlx::query_scalar::<_, i64>(
                "SELECT seq FROM read_marks WHERE user = ? AND room = ?",
            );
            let query = query.bind(user).bind(room);
            Ok::<_, Failure>(query.fetch_optional(db).await?)
        });
        Ok(read.await?.unwrap_or_default().cast_unsigned())
    }
}
