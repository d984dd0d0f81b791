//! Rooms and who may see them, in statements that both engines understand.

use async_trait::async_trait;
use common::{
    names,
    store::{
        BotPolicy, MEMBERS_PER_ROOM, ROOMS_LISTED_MAX, ROOMS_PER_OWNER, Room, RoomChanges, Rooms,
        StoreError,
    },
};

use super::{Connection, ThisStore};
use crate::sql::{
    call::{reading, transaction, writing},
    columns::now_ms,
    failure::Failure,
};

/// A row of `rooms`.
#[derive(sqlx::FromRow)]
struct RoomRow {
    name: String,
    owner: String,
    private: bool,
    bot: String,
    persona: String,
}

impl TryFrom<RoomRow> for Room {
    type Error = Failure;

    fn try_from(row: RoomRow) -> Result<Room, Failure> {
        let bot = BotPolicy::from_word(&row.bot).ok_or_else(|| {
            Failure::Away(format!(
                "the room {} has an unknown policy for the bot",
                row.name
            ))
        })?;
        Ok(Room {
            name: row.name,
            private: row.private,
            bot,
            persona: row.persona,
            owner: row.owner,
        })
    }
}

/// Writes a new room.
pub(super) async fn insert(db: &mut Connection, room: &Room) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO rooms (name, owner, private, bot, persona, created_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&room.name)
    .bind(&room.owner)
    .bind(room.private)
    .bind(room.bot.as_str())
    .bind(&room.persona)
    .bind(now_ms())
    .execute(db)
    .await?;
    Ok(())
}

/// Locks a room's row until the transaction ends, so that a limit that is counted under it holds however many come at
/// once. An update that changes nothing, because the engines have no other statement for it in common. False if there
/// is no such room.
async fn lock(db: &mut Connection, room: &str) -> Result<bool, Failure> {
    let query = sqlx::query("UPDATE rooms SET owner = owner WHERE name = ?");
    Ok(query.bind(room).execute(db).await?.rows_affected() > 0)
}

#[async_trait]
impl Rooms for ThisStore {
    async fn create_room(&self, room: &Room) -> Result<(), StoreError> {
        let made = transaction!(self, |db| {
            // The owner's own room stands for the owner.
            lock(db, &room.owner).await?;
            let owned: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM rooms WHERE owner = ? AND name <> ?")
                    .bind(&room.owner)
                    .bind(&room.owner)
                    .fetch_one(&mut *db)
                    .await?;
            insert(db, room).await?;
            if owned.cast_unsigned() >= ROOMS_PER_OWNER as u64 {
                return Err(Failure::Refused(StoreError::Full(
                    "you own as many rooms as one may",
                )));
            }
            Ok(())
        });
        Ok(made.await?)
    }

    async fn room(&self, name: &str) -> Result<Option<Room>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let room = reading!(self, |db| {
            let row = sqlx::query_as::<_, RoomRow>(
                "SELECT name, owner, private, bot, persona FROM rooms WHERE name = ?",
            )
            .bind(name)
            .fetch_optional(db)
            .await?;
            row.map(Room::try_from).transpose()
        });
        Ok(room.await?)
    }

    async fn room_seen_by(&self, name: &str, user: &str) -> Result<Option<Room>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let room = reading!(self, |db| {
            let row = sqlx::query_as::<_, RoomRow>(
                "SELECT name, owner, private, bot, persona FROM rooms WHERE name = ? AND (private = 0 OR owner = ? \
                 OR EXISTS (SELECT 1 FROM members WHERE members.room = rooms.name AND members.user = ?))",
            )
            .bind(name)
            .bind(user)
            .bind(user)
            .fetch_optional(db)
            .await?;
            row.map(Room::try_from).transpose()
        });
        Ok(room.await?)
    }

    async fn rooms_seen_by(&self, user: &str) -> Result<Vec<Room>, StoreError> {
        let limit = ROOMS_LISTED_MAX as i64;
        let rooms = reading!(self, |db| {
            let mut rows = sqlx::query_as::<_, RoomRow>(
                "SELECT name, owner, private, bot, persona FROM rooms WHERE owner = ? \
                 UNION ALL \
                 SELECT rooms.name, rooms.owner, rooms.private, rooms.bot, rooms.persona \
                 FROM members JOIN rooms ON rooms.name = members.room \
                 WHERE members.user = ? AND rooms.owner <> ? \
                 ORDER BY name LIMIT ?",
            )
            .bind(user)
            .bind(user)
            .bind(user)
            .bind(limit)
            .fetch_all(&mut *db)
            .await?;
            // Those of the user's that are public come again, so as many as may be listed are enough to fill up.
            let public = sqlx::query_as::<_, RoomRow>(
                "SELECT name, owner, private, bot, persona FROM rooms WHERE private = 0 ORDER BY name LIMIT ?",
            )
            .bind(limit)
            .fetch_all(db)
            .await?;
            // In the order of the first query, by name.
            let listed = rows.len();
            for row in public {
                let known = rows[..listed].binary_search_by(|known| known.name.cmp(&row.name));
                if known.is_err() && rows.len() < ROOMS_LISTED_MAX {
                    rows.push(row);
                }
            }
            rows.into_iter().map(Room::try_from).collect()
        });
        Ok(rooms.await?)
    }

    async fn change_room(
        &self,
        name: &str,
        changes: &RoomChanges,
    ) -> Result<Option<Room>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let changed = transaction!(self, |db| {
            let query = sqlx::query(
                "UPDATE rooms SET private = COALESCE(?, private), bot = COALESCE(?, bot), \
                 persona = COALESCE(?, persona) WHERE name = ?",
            );
            query
                .bind(changes.private)
                .bind(changes.bot.map(BotPolicy::as_str))
                .bind(changes.persona.as_deref())
                .bind(name)
                .execute(&mut *db)
                .await?;
            let row = sqlx::query_as::<_, RoomRow>(
                "SELECT name, owner, private, bot, persona FROM rooms WHERE name = ?",
            );
            let row = row.bind(name).fetch_optional(db).await?;
            row.map(Room::try_from).transpose()
        });
        Ok(changed.await?)
    }

    async fn add_member(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let added = transaction!(self, |db| {
            let exists = sqlx::query("SELECT 1 FROM users WHERE name = ?");
            let exists = exists.bind(user).fetch_optional(&mut *db).await?.is_some();
            if !exists || !lock(db, room).await? {
                return Ok(false);
            }
            let sees = sqlx::query(
                "SELECT 1 FROM rooms WHERE name = ? AND owner = ? \
                 UNION ALL SELECT 1 FROM members WHERE room = ? AND user = ?",
            );
            let sees = sees.bind(room).bind(user).bind(room).bind(user);
            if sees.fetch_optional(&mut *db).await?.is_some() {
                return Ok(true);
            }
            let members: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM members WHERE room = ?")
                .bind(room)
                .fetch_one(&mut *db)
                .await?;
            if members.cast_unsigned() >= MEMBERS_PER_ROOM as u64 {
                return Err(Failure::Refused(StoreError::Full(
                    "this room has as many members as one may",
                )));
            }
            let insert = sqlx::query("INSERT INTO members (room, user) VALUES (?, ?)");
            insert.bind(room).bind(user).execute(db).await?;
            Ok(true)
        });
        Ok(added.await?)
    }

    async fn remove_member(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let removed = writing!(self, |db| {
            let query = sqlx::query("DELETE FROM members WHERE room = ? AND user = ?");
            let done = query.bind(room).bind(user).execute(db).await?;
            Ok(done.rows_affected() > 0)
        });
        Ok(removed.await?)
    }

    async fn members(&self, room: &str) -> Result<Vec<String>, StoreError> {
        let members = reading!(self, |db| {
            let query = sqlx::query_scalar("SELECT user FROM members WHERE room = ? ORDER BY user");
            Ok(query.bind(room).fetch_all(db).await?)
        });
        Ok(members.await?)
    }
}
