//! What is to go, in statements that both engines understand.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use common::store::{Removals, StoreError};

use super::{Connection, ThisStore, dialect};
use crate::sql::{
    batch::{BySize, lists},
    call::{reading, transaction, writing},
    columns::{column, now_ms},
    failure::Failure,
};

static DELETED_AMONG: BySize = BySize::new(
    "SELECT name FROM deleted_rooms WHERE name IN (",
    "?",
    ", ",
    ")",
);

/// When a deleted room is looked through for the first time, and between two looks at least.
const LOOK_AGAIN_FIRST: Duration = Duration::from_secs(5);

/// And at most.
const LOOK_AGAIN_LAST: Duration = Duration::from_secs(24 * 60 * 60);

/// Notes that a room is deleted, for ever.
pub(super) async fn note_deletion(
    db: &mut Connection,
    room: &str,
    owner: &str,
    created_at_ms: i64,
) -> Result<(), Failure> {
    let now = now_ms();
    let insert = sqlx::query(
        "INSERT INTO deleted_rooms (name, owner, created_at_ms, deleted_at_ms, due_at_ms) VALUES (?, ?, ?, ?, ?)",
    );
    let insert = insert.bind(room).bind(owner).bind(created_at_ms).bind(now);
    insert.bind(next_look(now, now)).execute(db).await?;
    Ok(())
}

/// Whether a room of this name was deleted, also if that is committed at this moment.
pub(super) async fn was_deleted(db: &mut Connection, room: &str) -> Result<bool, Failure> {
    let deleted = sqlx::query(dialect::ROOM_WAS_DELETED).bind(room);
    Ok(deleted.fetch_optional(db).await?.is_some())
}

/// When a room is to be looked through next: again after half of the time since it was deleted.
fn next_look(deleted_at_ms: i64, now_ms: i64) -> i64 {
    let millis = |time: Duration| column(time.as_millis() as u64);
    let half = now_ms.saturating_sub(deleted_at_ms) / 2;
    now_ms.saturating_add(half.clamp(millis(LOOK_AGAIN_FIRST), millis(LOOK_AGAIN_LAST)))
}

#[async_trait]
impl Removals for ThisStore {
    async fn deleted_among(&self, rooms: &[&str]) -> Result<HashSet<String>, StoreError> {
        let deleted = reading!(self, |db| {
            let mut deleted = HashSet::new();
            for list in lists(rooms, self.takes()) {
                let mut query = sqlx::query_scalar::<_, String>(DELETED_AMONG.sql(list.len()));
                for room in list {
                    query = query.bind(room);
                }
                deleted.extend(query.fetch_all(&mut *db).await?);
            }
            Ok(deleted)
        });
        Ok(deleted.await?)
    }

    async fn deletions_due(&self, now_ms: u64, limit: usize) -> Result<Vec<String>, StoreError> {
        let now = column(now_ms);
        let due = reading!(self, |db| {
            let query = sqlx::query_as::<_, (String, i64, i64)>(
                "SELECT name, deleted_at_ms, due_at_ms FROM deleted_rooms WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?",
            );
            let query = query.bind(now).bind(column(limit as u64));
            Ok(query.fetch_all(db).await?)
        });
        let mut ours = Vec::new();
        for (room, deleted_at_ms, due_at_ms) in due.await? {
            // Others have read the same: whose change comes first has it.
            let claimed = writing!(self, |db| {
                let query = sqlx::query(
                    "UPDATE deleted_rooms SET due_at_ms = ? WHERE name = ? AND due_at_ms = ?",
                );
                let query = query.bind(next_look(deleted_at_ms, now)).bind(&room);
                let done = query.bind(due_at_ms).execute(db).await?;
                Ok::<_, Failure>(done.rows_affected() > 0)
            });
            if claimed.await? {
                ours.push(room);
            }
        }
        Ok(ours)
    }

    async fn erase_deleted(&self, room: &str, limit: usize) -> Result<u64, StoreError> {
        let limit = column(limit as u64);
        let erased = transaction!(self, |db| {
            if !was_deleted(db, room).await? {
                return Ok(0);
            }
            let mut erased = 0;
            for of_table in [
                dialect::ERASE_MESSAGES,
                dialect::ERASE_EVENTS,
                dialect::ERASE_STATES,
                dialect::ERASE_GROUNDINGS,
                dialect::ERASE_READ_MARKS,
            ] {
                let query = sqlx::query(of_table).bind(room).bind(limit);
                erased += query.execute(&mut *db).await?.rows_affected();
            }
            Ok(erased)
        });
        let erased = erased.await?;
        if erased > 0 {
            self.note_remains();
        }
        Ok(erased)
    }
}
