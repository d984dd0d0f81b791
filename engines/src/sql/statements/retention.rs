//! What is gone by age, in statements that both engines understand. Each of them goes along a key from where it begins and ends
//! after a bounded number of rows, however much a room has.

use std::{collections::HashMap, num::NonZeroU32};

use async_trait::async_trait;
use common::{
    store::{OldRooms, Retention, RoomRetention, StoreError, may_be_gone},
    wire::Seq,
};
use uuid::Uuid;

use super::{Connection, ThisStore, dialect, rooms};
use crate::sql::{
    batch::{BySize, lists},
    call::{reading, transaction, writing},
    columns::{column, now_ms},
    failure::Failure,
};

static RETENTION_OF: BySize = BySize::new(
    "SELECT room, days, gone_until FROM room_retention WHERE room IN (",
    "?",
    ", ",
    ")",
);

static DELETE_EVENTS: BySize = BySize::new(
    "DELETE FROM message_events WHERE room = ? AND id IN (",
    "?",
    ", ",
    ")",
);

/// What there is beside the bot's messages.
static DELETE_BESIDE_REPLIES: [BySize; 2] = [
    BySize::new(
        "DELETE FROM message_groundings WHERE room = ? AND id IN (",
        "?",
        ", ",
        ")",
    ),
    BySize::new(
        "DELETE FROM reply_stops WHERE room = ? AND id IN (",
        "?",
        ", ",
        ")",
    ),
];

/// What an event says stays as long as the event: a copy of an edit that comes late must not bring back a text that was deleted.
static DELETE_STATES: BySize = BySize::new(
    "DELETE FROM message_states WHERE room = ? AND edited_seq <= ? AND deleted_seq <= ? AND id IN (",
    "?",
    ", ",
    ")",
);

/// A page of rooms, and the oldest place of each: the beginning of its stretch of the key, which is one look.
macro_rules! rooms_and_their_oldest {
    ($name:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $name,
            " AS name, room_retention.days, room_retention.gone_until, \
             (SELECT messages.seq FROM messages WHERE messages.room = ",
            $name,
            " ORDER BY messages.seq LIMIT 1) AS oldest FROM ",
            $from,
            " WHERE ",
            $name,
            " > ? ORDER BY ",
            $name,
            " LIMIT ?"
        )
    };
}

/// Where the server itself keeps nothing for ever, all rooms are looked at.
const ALL_ROOMS: &str = rooms_and_their_oldest!(
    "rooms.name",
    "rooms LEFT JOIN room_retention ON room_retention.room = rooms.name"
);

/// Elsewhere those of which something is set, or gone.
const ROOMS_WITH_THEIR_OWN: &str = rooms_and_their_oldest!("room_retention.room", "room_retention");

/// The row of `sweeps` that says how far the rooms have been looked at.
const SWEEP: &str = "retention";

/// Between two rounds.
const ROUND_EVERY_MS: i64 = 20_000;

#[derive(sqlx::FromRow)]
struct LookedAt {
    name: String,
    days: Option<i64>,
    gone_until: Option<i64>,
    oldest: Option<i64>,
}

/// Days as their column holds them.
pub(super) fn days(days: Option<i64>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(days?).ok()?)
}

fn kept(set: Option<i64>, gone_until: i64) -> RoomRetention {
    RoomRetention {
        days: days(set),
        gone_until: gone_until.cast_unsigned(),
    }
}

/// Up to which place a room's past is gone, for whoever reads something as old as `oldest` in it.
pub(super) async fn gone_until(
    db: &mut Connection,
    room: &str,
    oldest: i64,
) -> Result<i64, Failure> {
    if !may_be_gone(oldest.cast_unsigned()) {
        return Ok(0);
    }
    let query = sqlx::query_scalar("SELECT gone_until FROM room_retention WHERE room = ?");
    let gone = query.bind(room).fetch_optional(db).await?;
    Ok(gone.unwrap_or_default())
}

/// Sets how long a room keeps what is said in it, under the lock of the room.
pub(super) async fn set_days(
    db: &mut Connection,
    room: &str,
    days: Option<NonZeroU32>,
) -> Result<(), Failure> {
    let days = days.map(|days| i64::from(days.get()));
    let update = sqlx::query("UPDATE room_retention SET days = ? WHERE room = ?");
    let update = update.bind(days).bind(room);
    if update.execute(&mut *db).await?.rows_affected() > 0 || days.is_none() {
        return Ok(());
    }
    let insert = sqlx::query("INSERT INTO room_retention (room, days) VALUES (?, ?)");
    insert.bind(room).bind(days).execute(db).await?;
    Ok(())
}

/// Notes up to which place a room's past is gone, under the lock of the room. It never goes back.
async fn note_gone(db: &mut Connection, room: &str, until: i64) -> Result<(), Failure> {
    let update = sqlx::query(
        "UPDATE room_retention SET gone_until = ?, untrimmed = 1 WHERE room = ? AND gone_until < ?",
    );
    let update = update.bind(until).bind(room).bind(until);
    if update.execute(&mut *db).await?.rows_affected() > 0 {
        return Ok(());
    }
    let exists = sqlx::query("SELECT 1 FROM room_retention WHERE room = ?").bind(room);
    if exists.fetch_optional(&mut *db).await?.is_none() {
        let insert = sqlx::query(
            "INSERT INTO room_retention (room, gone_until, untrimmed) VALUES (?, ?, 1)",
        );
        insert.bind(room).bind(until).execute(db).await?;
    }
    Ok(())
}

#[async_trait]
impl Retention for ThisStore {
    async fn retention_of(
        &self,
        rooms: &[&str],
    ) -> Result<HashMap<String, RoomRetention>, StoreError> {
        let known = reading!(self, |db| {
            let mut known = HashMap::new();
            for list in lists(rooms, self.takes()) {
                let mut query =
                    sqlx::query_as::<_, (String, Option<i64>, i64)>(RETENTION_OF.sql(list.len()));
                for room in list {
                    query = query.bind(room);
                }
                let rows = query.fetch_all(&mut *db).await?;
                known.extend(
                    rows.into_iter()
                        .map(|(room, days, gone)| (room, kept(days, gone))),
                );
            }
            Ok(known)
        });
        Ok(known.await?)
    }

    async fn take_old_rooms(
        &self,
        now: Seq,
        server_days: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<OldRooms, StoreError> {
        let now_ms = now_ms();
        let page = match server_days {
            Some(_) => ALL_ROOMS,
            None => ROOMS_WITH_THEIR_OWN,
        };
        let looked = reading!(self, |db| {
            let sweep = sqlx::query_as::<_, (String, i64)>(
                "SELECT after_room, due_at_ms FROM sweeps WHERE name = ?",
            );
            let sweep = sweep.bind(SWEEP).fetch_optional(&mut *db).await?;
            let is_there = sweep.is_some();
            let (after, due_at_ms) = sweep.unwrap_or_default();
            if due_at_ms > now_ms {
                return Ok(None);
            }
            let rooms = sqlx::query_as::<_, LookedAt>(page).bind(&after);
            let rooms = rooms.bind(column(limit as u64)).fetch_all(db).await?;
            Ok(Some((is_there, after, due_at_ms, rooms)))
        });
        let Some((is_there, after, due_at_ms, looked)) = looked.await? else {
            return Ok(OldRooms::default());
        };
        let is_more = looked.len() >= limit;
        let (next, next_due) = match looked.last() {
            Some(last) if is_more => (last.name.as_str(), due_at_ms),
            _ => ("", now_ms.saturating_add(ROUND_EVERY_MS)),
        };
        // Others have read the same page: whose change comes first has it.
        let claimed = writing!(self, |db| {
            if !is_there {
                let insert = sqlx::query(dialect::BEGIN_SWEEP);
                insert.bind(SWEEP).execute(&mut *db).await?;
            }
            let query = sqlx::query(
                "UPDATE sweeps SET after_room = ?, due_at_ms = ? WHERE name = ? AND after_room = ? AND due_at_ms = ?",
            );
            let query = query.bind(next).bind(next_due).bind(SWEEP);
            let done = query.bind(&after).bind(due_at_ms).execute(db).await?;
            Ok::<_, Failure>(done.rows_affected() > 0)
        });
        if !claimed.await? {
            return Ok(OldRooms::default());
        }
        let old = looked.into_iter().filter_map(|room| {
            let known = kept(room.days, room.gone_until.unwrap_or_default());
            let until = known.ends_at(server_days, now);
            let is_old = room
                .oldest
                .is_some_and(|oldest| oldest.cast_unsigned() <= until);
            is_old.then_some((room.name, until))
        });
        Ok(OldRooms {
            rooms: old.collect(),
            is_more,
        })
    }

    async fn clock(&self) -> Result<Seq, StoreError> {
        let now = reading!(self, |db| {
            let now: i64 = sqlx::query_scalar(dialect::CLOCK).fetch_one(db).await?;
            Ok(now.cast_unsigned())
        });
        Ok(now.await?)
    }

    async fn remove_old(
        &self,
        room: &str,
        now: Seq,
        server_days: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let takes = self.takes();
        let removed = transaction!(self, |db| {
            if !rooms::lock(db, room).await? {
                return Ok(0);
            }
            let known = sqlx::query_as::<_, (Option<i64>, i64)>(
                "SELECT days, gone_until FROM room_retention WHERE room = ?",
            );
            let known = known.bind(room).fetch_optional(&mut *db).await?;
            let known = known.map_or_else(RoomRetention::default, |(days, gone)| kept(days, gone));
            let until = column(known.ends_at(server_days, now));
            let rows = sqlx::query_as::<_, (i64, Uuid, Option<Uuid>, bool)>(
                "SELECT m.seq, m.id, e.target, m.kind <> 'user' FROM messages m \
                 LEFT JOIN message_events e ON e.room = m.room AND e.id = m.id \
                 WHERE m.room = ? AND m.seq <= ? ORDER BY m.seq LIMIT ?",
            );
            let rows = rows.bind(room).bind(until).bind(column(limit as u64));
            let rows = rows.fetch_all(&mut *db).await?;
            // Not further than what goes now: the rest is there for whoever wants it kept after all.
            let until = match rows.last() {
                Some((last, ..)) if rows.len() >= limit => *last,
                _ => until,
            };
            note_gone(db, room, until).await?;
            if rows.is_empty() {
                return Ok(0);
            }
            let messages = sqlx::query("DELETE FROM messages WHERE room = ? AND seq <= ?");
            let messages = messages.bind(room).bind(until).execute(&mut *db).await?;
            let is_event = rows.iter().filter(|(_, _, target, _)| target.is_some());
            let mut events: Vec<Uuid> = is_event.map(|(_, id, ..)| *id).collect();
            events.sort_unstable();
            for list in lists(&events, takes) {
                let mut query = sqlx::query(DELETE_EVENTS.sql(list.len())).bind(room);
                for id in list {
                    query = query.bind(id);
                }
                query.execute(&mut *db).await?;
            }
            let is_reply = rows.iter().filter(|(.., is_bots)| *is_bots);
            let mut replies: Vec<Uuid> = is_reply.map(|(_, id, ..)| *id).collect();
            replies.sort_unstable();
            for beside in &DELETE_BESIDE_REPLIES {
                for list in lists(&replies, takes) {
                    let mut query = sqlx::query(beside.sql(list.len())).bind(room);
                    for id in list {
                        query = query.bind(id);
                    }
                    query.execute(&mut *db).await?;
                }
            }
            let changed = rows.iter().map(|(_, id, target, _)| target.unwrap_or(*id));
            let mut changed: Vec<Uuid> = changed.collect();
            changed.sort_unstable();
            changed.dedup();
            for list in lists(&changed, takes) {
                let mut query = sqlx::query(DELETE_STATES.sql(list.len()));
                query = query.bind(room).bind(until).bind(until);
                for id in list {
                    query = query.bind(id);
                }
                query.execute(&mut *db).await?;
            }
            Ok(messages.rows_affected())
        });
        let removed = removed.await?;
        if removed > 0 {
            self.note_remains();
        }
        Ok(removed)
    }

    async fn streams_to_trim(&self, limit: usize) -> Result<Vec<(String, Seq)>, StoreError> {
        let untrimmed = reading!(self, |db| {
            let query = sqlx::query_as::<_, (String, i64)>(
                "SELECT room, gone_until FROM room_retention WHERE untrimmed = 1 ORDER BY untrimmed, room LIMIT ?",
            );
            let rows = query.bind(column(limit as u64)).fetch_all(db).await?;
            let place = |(room, until): (String, i64)| (room, until.cast_unsigned());
            Ok(rows.into_iter().map(place).collect())
        });
        Ok(untrimmed.await?)
    }

    async fn stream_is_trimmed(&self, room: &str, until: Seq) -> Result<(), StoreError> {
        let noted = writing!(self, |db| {
            let query = sqlx::query(
                "UPDATE room_retention SET untrimmed = 0 WHERE room = ? AND gone_until = ?",
            );
            query.bind(room).bind(column(until)).execute(db).await?;
            Ok::<_, Failure>(())
        });
        Ok(noted.await?)
    }

    async fn sweep_reply_log(&self, before_day: &str, limit: usize) -> Result<u64, StoreError> {
        let mut swept = 0;
        for of_table in dialect::SWEEP_REPLY_LOG {
            let done = writing!(self, |db| {
                let query = sqlx::query(of_table).bind(before_day);
                let done = query.bind(column(limit as u64)).execute(db).await?;
                Ok::<_, Failure>(done.rows_affected())
            });
            swept += done.await?;
        }
        Ok(swept)
    }
}
