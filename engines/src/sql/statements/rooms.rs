//! Rooms and who may see them, in statements that both engines understand.

use async_trait::async_trait;
use common::{
    names,
    store::{
        BotPolicy, COUNTED_WITHIN, Invited, ListedRoom, Membership, Room, RoomChanges, RoomLimits,
        Rooms, StoreError,
    },
};

use super::{Connection, ThisStore, invitations, listing, looks};
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
        Ok(Room {
            bot: policy(&row.name, &row.bot)?,
            name: row.name,
            private: row.private,
            persona: row.persona,
            owner: row.owner,
        })
    }
}

/// When the bot answers in a room, as its row says.
pub(super) fn policy(room: &str, word: &str) -> Result<BotPolicy, Failure> {
    let why = || Failure::Away(format!("the room {room} has an unknown policy for the bot"));
    BotPolicy::from_word(word).ok_or_else(why)
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
pub(super) async fn lock(db: &mut Connection, room: &str) -> Result<bool, Failure> {
    let query = sqlx::query("UPDATE rooms SET owner = owner WHERE name = ?");
    Ok(query.bind(room).execute(db).await?.rows_affected() > 0)
}

#[async_trait]
impl Rooms for ThisStore {
    async fn create_room_within(&self, room: &Room, limits: RoomLimits) -> Result<(), StoreError> {
        let made = transaction!(self, |db| {
            // The owner's own room stands for the owner.
            lock(db, &room.owner).await?;
            insert(db, room).await?;
            looks::room_made(db, &room.name).await?;
            // The new one is among them.
            if let Some(most) = limits.owned {
                let owned: i64 =
                    sqlx::query_scalar("SELECT COUNT(*) FROM rooms WHERE owner = ? AND name <> ?")
                        .bind(&room.owner)
                        .bind(&room.owner)
                        .fetch_one(&mut *db)
                        .await?;
                if owned > i64::from(most.get()) {
                    return Err(Failure::Refused(StoreError::Full(format!(
                        "you own {most} rooms, as many as one may (USER_ROOMS); another takes deleting one"
                    ))));
                }
            }
            if let Some(most) = limits.per_hour {
                let now = now_ms();
                let nth = sqlx::query_scalar::<_, i64>(
                    "SELECT created_at_ms FROM rooms WHERE owner = ? AND name <> ? AND created_at_ms > ? \
                     ORDER BY created_at_ms DESC LIMIT 1 OFFSET ?",
                );
                let nth = nth.bind(&room.owner).bind(&room.owner);
                let nth = nth.bind(invitations::before(now, COUNTED_WITHIN));
                let nth = nth.bind(i64::from(most.get())).fetch_optional(&mut *db);
                if let Some(at) = nth.await? {
                    let limit = format!(
                        "you made {most} rooms within an hour, as many as one may (USER_ROOMS_PER_HOUR)"
                    );
                    return Err(invitations::too_often(limit, at, COUNTED_WITHIN, now));
                }
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

    async fn note_looks(&self, after: &str) -> Result<Option<String>, StoreError> {
        let page = reading!(self, |db| { looks::look_at_rooms(db, after).await });
        let page = page.await?;
        if !page.lacking.is_empty() {
            let noted = transaction!(self, |db| {
                looks::note_all(db, &page.lacking, self.takes()).await
            });
            noted.await?;
        }
        Ok(page.last)
    }

    async fn rooms_listed(
        &self,
        user: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ListedRoom>, StoreError> {
        let page = reading!(self, |db| { listing::page(db, user, after, limit).await });
        Ok(page.await?)
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
            if invitations::sees(db, room, user).await? {
                return Ok(true);
            }
            invitations::may_have_one_more(db, room).await?;
            let insert = sqlx::query("INSERT INTO members (room, user) VALUES (?, ?)");
            insert.bind(room).bind(user).execute(db).await?;
            Ok(true)
        });
        Ok(added.await?)
    }

    async fn invite(&self, room: &str, user: &str, by: &str) -> Result<Invited, StoreError> {
        if ![room, user, by].into_iter().all(names::may_exist) {
            return Ok(Invited::Nobody);
        }
        let invited = transaction!(self, |db| { invitations::invite(db, room, user, by).await });
        Ok(invited.await?)
    }

    async fn take_invitation(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let taken = writing!(self, |db| {
            let query = sqlx::query(
                "DELETE FROM invitations WHERE room = ? AND user = ? AND ended_at_ms IS NULL",
            );
            let done = query.bind(room).bind(user).execute(db).await?;
            Ok(done.rows_affected() > 0)
        });
        Ok(taken.await?)
    }

    async fn invited(&self, room: &str) -> Result<Vec<String>, StoreError> {
        let invited = reading!(self, |db| {
            let query = sqlx::query_scalar(
                "SELECT user FROM invitations WHERE room = ? AND ended_at_ms IS NULL",
            );
            Ok(query.bind(room).fetch_all(db).await?)
        });
        Ok(invited.await?)
    }

    async fn membership(&self, room: &str, user: &str) -> Result<Option<Membership>, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(None);
        }
        let membership = reading!(self, |db| {
            let query = sqlx::query_scalar::<_, Option<String>>(
                "SELECT invitations.invited_by FROM members LEFT JOIN invitations \
                 ON invitations.room = members.room AND invitations.user = members.user \
                 AND invitations.ended_at_ms IS NULL WHERE members.room = ? AND members.user = ?",
            );
            let row = query.bind(room).bind(user).fetch_optional(db).await?;
            Ok(row.map(|invited_by| Membership { invited_by }))
        });
        Ok(membership.await?)
    }

    async fn remove_member(&self, room: &str, user: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let removed = transaction!(self, |db| {
            let query = sqlx::query("DELETE FROM members WHERE room = ? AND user = ?");
            let done = query.bind(room).bind(user).execute(&mut *db).await?;
            invitations::end(db, room, user).await?;
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
