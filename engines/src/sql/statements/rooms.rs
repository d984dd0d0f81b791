//! Rooms and who may see them, in statements that both engines understand.

use async_trait::async_trait;
use common::{
    names,
    store::{
        Actor, BANS_PER_ROOM, BotChoices, BotPolicy, COUNTED_WITHIN, ChoiceChanges, HandOver,
        Invited, ListedRoom, Membership, Room, RoomChanges, RoomKeeper, RoomLimits, Rooms,
        StoreError, Thinking,
    },
};

use super::{
    Connection, ThisStore, audit, invitations, listing, looks, programs, removals, retention,
    standings,
};
use crate::sql::{
    call::{reading, transaction, writing},
    columns::now_ms,
    failure::Failure,
};

/// A room's columns, and where they are found.
macro_rules! room_where {
    ($condition:literal) => {
        concat!(
            "SELECT rooms.name, rooms.owner, rooms.private, rooms.bot, rooms.persona, \
             COALESCE(room_details.title, '') AS title, COALESCE(room_details.topic, '') AS topic, \
             room_retention.days AS retention_days, \
             room_bots.model, room_bots.thinking, COALESCE(room_bots.search, 0) AS search, \
             COALESCE(programs.are_answered, 0) AS bot_answers_programs \
             FROM rooms LEFT JOIN room_details ON room_details.room = rooms.name \
             LEFT JOIN room_retention ON room_retention.room = rooms.name \
             LEFT JOIN programs ON programs.name = rooms.name \
             LEFT JOIN room_bots ON room_bots.room = rooms.name WHERE rooms.name = ?",
            $condition
        )
    };
}

const ROOM: &str = room_where!("");

const ROOM_SEEN_BY: &str = room_where!(
    " AND (rooms.private = 0 OR rooms.owner = ? \
     OR EXISTS (SELECT 1 FROM members WHERE members.room = rooms.name AND members.user = ?)) \
     AND NOT EXISTS (SELECT 1 FROM bans WHERE bans.room = rooms.name AND bans.user = ?)"
);

/// A row of `rooms`, with its details.
#[derive(sqlx::FromRow)]
struct RoomRow {
    name: String,
    owner: String,
    private: bool,
    bot: String,
    persona: String,
    title: String,
    topic: String,
    retention_days: Option<i64>,
    model: Option<String>,
    thinking: Option<String>,
    search: i64,
    bot_answers_programs: bool,
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
            title: row.title,
            topic: row.topic,
            retention_days: retention::days(row.retention_days),
            choices: choices(row.model, row.thinking.as_deref(), row.search),
            bot_answers_programs: row.bot_answers_programs,
        })
    }
}

/// What a room has chosen, as its row says. A word of a later version is as if nothing were chosen.
fn choices(model: Option<String>, thinking: Option<&str>, search: i64) -> BotChoices {
    BotChoices {
        model,
        thinking: thinking.and_then(Thinking::from_word),
        search: search != 0,
    }
}

/// When the bot answers in a room, as its row says.
pub(super) fn policy(room: &str, word: &str) -> Result<BotPolicy, Failure> {
    let why = || Failure::Away(format!("the room {room} has an unknown policy for the bot"));
    BotPolicy::from_word(word).ok_or_else(why)
}

/// Writes a new room, unless one had its name that was deleted.
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
    .execute(&mut *db)
    .await?;
    if removals::was_deleted(db, &room.name).await? {
        return Err(Failure::Refused(StoreError::Taken));
    }
    let details = RoomChanges {
        title: Some(room.title.clone()).filter(|title| !title.is_empty()),
        topic: Some(room.topic.clone()).filter(|topic| !topic.is_empty()),
        ..RoomChanges::default()
    };
    if room.bot_answers_programs {
        programs::answer(db, &room.name, true).await?;
    }
    change_details(db, &room.name, &details).await?;
    match room.retention_days {
        None => Ok(()),
        days => retention::set_days(db, &room.name, days).await,
    }
}

/// Changes what is in `room_details`, under the lock of the room.
async fn change_details(
    db: &mut Connection,
    room: &str,
    changes: &RoomChanges,
) -> Result<(), Failure> {
    let RoomChanges { title, topic, .. } = changes;
    if title.is_none() && topic.is_none() {
        return Ok(());
    }
    let update = sqlx::query(
        "UPDATE room_details SET title = COALESCE(?, title), topic = COALESCE(?, topic) WHERE room = ?",
    );
    let update = update.bind(title.as_deref()).bind(topic.as_deref());
    if update.bind(room).execute(&mut *db).await?.rows_affected() > 0 {
        return Ok(());
    }
    let insert = sqlx::query("INSERT INTO room_details (room, title, topic) VALUES (?, ?, ?)");
    let insert = insert.bind(room).bind(title.as_deref().unwrap_or(""));
    let insert = insert.bind(topic.as_deref().unwrap_or(""));
    insert.execute(db).await?;
    Ok(())
}

/// Changes what is in `room_bots`, under the lock of the room.
async fn change_choices(
    db: &mut Connection,
    room: &str,
    changes: &ChoiceChanges,
) -> Result<(), Failure> {
    if *changes == ChoiceChanges::default() {
        return Ok(());
    }
    let query = "SELECT model, thinking, COALESCE(search, 0) FROM room_bots WHERE room = ?";
    let row: Option<(Option<String>, Option<String>, i64)> = sqlx::query_as(query)
        .bind(room)
        .fetch_optional(&mut *db)
        .await?;
    let sql = match row {
        Some(_) => "UPDATE room_bots SET model = ?, thinking = ?, search = ? WHERE room = ?",
        None => "INSERT INTO room_bots (model, thinking, search, room) VALUES (?, ?, ?, ?)",
    };
    let before = row.map(|(model, thinking, search)| choices(model, thinking.as_deref(), search));
    let chosen = changes.over(before.unwrap_or_default());
    let query = sqlx::query(sql)
        .bind(chosen.model.as_deref())
        .bind(chosen.thinking.map(Thinking::as_str))
        .bind(chosen.search)
        .bind(room);
    query.execute(db).await?;
    Ok(())
}

/// Gives a room another owner, under its lock.
async fn hand_over(
    db: &mut Connection,
    room: &str,
    to: &HandOver,
    by: RoomKeeper<'_>,
) -> Result<(), Failure> {
    let HandOver {
        from,
        to,
        owned_max,
    } = to;
    let no = |refusal| Err(Failure::Refused(refusal));
    if from == room {
        return no(StoreError::Forbidden(
            "one's own room stays one's own".into(),
        ));
    }
    // How many rooms somebody owns is counted under the lock of their own.
    if !names::may_exist(to) || !lock(db, to).await? {
        return no(nobody_to_take_it(to, by));
    }
    let update = sqlx::query("UPDATE rooms SET owner = ? WHERE name = ? AND owner = ?");
    let update = update.bind(to).bind(room).bind(from);
    if update.execute(&mut *db).await?.rows_affected() == 0 {
        return no(StoreError::Forbidden("the room has another owner".into()));
    }
    if from == to {
        return Ok(());
    }
    // Nobody becomes the owner of what they have not said yes to, unless an administrator has it so: of a room, for one,
    // whose owner has left.
    let member = sqlx::query(
        "SELECT 1 FROM users WHERE users.name = ? \
         AND (? OR (EXISTS (SELECT 1 FROM members WHERE members.room = ? AND members.user = users.name) \
         AND NOT EXISTS (SELECT 1 FROM invitations WHERE invitations.room = ? \
         AND invitations.user = users.name AND invitations.ended_at_ms IS NULL))) \
         AND NOT EXISTS (SELECT 1 FROM standings WHERE standings.user = users.name AND standings.disabled = 1)",
    );
    let member = member.bind(to).bind(!matches!(by, RoomKeeper::Owner(_)));
    let member = member.bind(room).bind(room);
    if member.fetch_optional(&mut *db).await?.is_none() {
        return no(nobody_to_take_it(to, by));
    }
    refuse_if_banned(db, room, to).await?;
    if let Some(most) = owned_max
        && owned(db, to).await? > i64::from(most.get())
    {
        return no(StoreError::Full(format!(
            "{to} owns {most} rooms, as many as one may (USER_ROOMS)"
        )));
    }
    for table in [
        "DELETE FROM members WHERE room = ? AND user = ?",
        "DELETE FROM invitations WHERE room = ? AND user = ?",
    ] {
        let query = sqlx::query(table).bind(room).bind(to);
        query.execute(&mut *db).await?;
    }
    let insert = sqlx::query("INSERT INTO members (room, user) VALUES (?, ?)");
    insert.bind(room).bind(from).execute(&mut *db).await?;
    if let Some(by) = by.in_the_log() {
        audit::note(db, by, "room_handed_over", room, &format!("{from} to {to}")).await?;
    }
    Ok(())
}

fn nobody_to_take_it(user: &str, by: RoomKeeper<'_>) -> StoreError {
    if by == RoomKeeper::Operator {
        let why =
            format!("there is no account {user:?} that could take the room, or it is disabled");
        return StoreError::NotFound(why);
    }
    StoreError::NotFound(format!(
        "there is no member {user:?} of this room; invite them first, and when they have taken the invitation they can take \
         the room over"
    ))
}

/// How many rooms somebody owns beside their own.
async fn owned(db: &mut Connection, user: &str) -> Result<i64, Failure> {
    let owned = sqlx::query_scalar("SELECT COUNT(*) FROM rooms WHERE owner = ? AND name <> ?");
    Ok(owned.bind(user).bind(user).fetch_one(db).await?)
}

/// Notes who made a room, whatever becomes of it, and forgets what they made before what is counted.
async fn note_making(db: &mut Connection, room: &Room, now: i64) -> Result<(), Failure> {
    let old = sqlx::query("DELETE FROM room_makings WHERE maker = ? AND made_at_ms <= ?");
    let old = old.bind(&room.owner);
    let old = old.bind(invitations::before(now, COUNTED_WITHIN));
    old.execute(&mut *db).await?;
    let insert = sqlx::query("INSERT INTO room_makings (maker, made_at_ms, room) VALUES (?, ?, ?)");
    let insert = insert.bind(&room.owner).bind(now).bind(&room.name);
    insert.execute(db).await?;
    Ok(())
}

/// Locks a room's row until the transaction ends, so that a limit that is counted under it holds however many come at
/// once. An update that changes nothing, because the engines have no other statement for it in common. False if there
/// is no such room.
pub(super) async fn lock(db: &mut Connection, room: &str) -> Result<bool, Failure> {
    let query = sqlx::query("UPDATE rooms SET owner = owner WHERE name = ?");
    Ok(query.bind(room).execute(db).await?.rows_affected() > 0)
}

/// Locks a room for whoever disposes of it, and says whose it is; none if there is no such room. What they were a moment ago
/// does not count.
pub(super) async fn lock_for(
    db: &mut Connection,
    room: &str,
    by: RoomKeeper<'_>,
) -> Result<Option<String>, Failure> {
    if !lock(db, room).await? {
        return Ok(None);
    }
    let owner = sqlx::query_scalar::<_, String>("SELECT owner FROM rooms WHERE name = ?");
    let owner = owner.bind(room).fetch_one(&mut *db).await?;
    match by {
        RoomKeeper::Owner(by) if by != owner => {
            Err(standings::forbidden("only the room's owner may do this"))
        }
        RoomKeeper::Owner(_) | RoomKeeper::Operator => Ok(Some(owner)),
        RoomKeeper::Administrator(by) => {
            standings::only_administrators(db, Actor::Account(by)).await?;
            Ok(Some(owner))
        }
    }
}

/// Whether somebody is banned from a room.
async fn is_banned(db: &mut Connection, room: &str, user: &str) -> Result<bool, Failure> {
    let banned = sqlx::query("SELECT 1 FROM bans WHERE room = ? AND user = ?");
    let banned = banned.bind(room).bind(user);
    Ok(banned.fetch_optional(db).await?.is_some())
}

/// Refuses to let somebody into a room, under its lock, who is banned from it.
pub(super) async fn refuse_if_banned(
    db: &mut Connection,
    room: &str,
    user: &str,
) -> Result<(), Failure> {
    if is_banned(db, room, user).await? {
        let why = format!("{user} is banned from this room; lift the ban first");
        return Err(Failure::Refused(StoreError::Forbidden(why)));
    }
    Ok(())
}

#[async_trait]
impl Rooms for ThisStore {
    async fn create_room_within(&self, room: &Room, limits: RoomLimits) -> Result<(), StoreError> {
        let made = transaction!(self, |db| {
            // The owner's own room stands for the owner.
            lock(db, &room.owner).await?;
            insert(db, room).await?;
            looks::room_made(db, &room.name).await?;
            let now = now_ms();
            note_making(db, room, now).await?;
            // The new one is among them.
            if let Some(most) = limits.owned
                && owned(db, &room.owner).await? > i64::from(most.get())
            {
                return Err(Failure::Refused(StoreError::Full(format!(
                    "you own {most} rooms, as many as one may (USER_ROOMS); another takes deleting one"
                ))));
            }
            if let Some(most) = limits.per_hour {
                let nth = sqlx::query_scalar::<_, i64>(
                    "SELECT made_at_ms FROM room_makings WHERE maker = ? ORDER BY made_at_ms DESC LIMIT 1 OFFSET ?",
                );
                let nth = nth.bind(&room.owner).bind(i64::from(most.get()));
                let nth = nth.fetch_optional(&mut *db);
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
            let row = sqlx::query_as::<_, RoomRow>(ROOM);
            let row = row.bind(name).fetch_optional(db).await?;
            row.map(Room::try_from).transpose()
        });
        Ok(room.await?)
    }

    async fn room_seen_by(&self, name: &str, user: &str) -> Result<Option<Room>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let room = reading!(self, |db| {
            let row = sqlx::query_as::<_, RoomRow>(ROOM_SEEN_BY).bind(name);
            let row = row.bind(user).bind(user).bind(user);
            let row = row.fetch_optional(db).await?;
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
        let takes = self.takes();
        let page = reading!(self, |db| {
            listing::page(db, user, after, limit, takes).await
        });
        Ok(page.await?)
    }

    async fn change_room(
        &self,
        name: &str,
        changes: &RoomChanges,
        by: RoomKeeper<'_>,
    ) -> Result<Option<Room>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let changed = transaction!(self, |db| {
            // Rooms are locked in this order wherever two are: a person's own, then another.
            if let Some(to) = &changes.hand_over
                && names::may_exist(&to.to)
            {
                lock(db, &to.to).await?;
            }
            if lock_for(db, name, by).await?.is_none() {
                return Ok(None);
            }
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
            change_details(db, name, changes).await?;
            if let Some(days) = changes.retention_days {
                retention::set_days(db, name, days).await?;
            }
            change_choices(db, name, &changes.choices).await?;
            if let Some(are_answered) = changes.bot_answers_programs {
                programs::answer(db, name, are_answered).await?;
            }
            if let Some(to) = &changes.hand_over {
                hand_over(db, name, to, by).await?;
            }
            let row = sqlx::query_as::<_, RoomRow>(ROOM);
            let row = row.bind(name).fetch_optional(db).await?;
            row.map(Room::try_from).transpose()
        });
        Ok(changed.await?)
    }

    async fn delete_room(&self, name: &str, by: RoomKeeper<'_>) -> Result<bool, StoreError> {
        if !names::may_exist(name) {
            return Ok(false);
        }
        let deleted = transaction!(self, |db| {
            let Some(owner) = lock_for(db, name, by).await? else {
                return Ok(false);
            };
            if owner == name {
                return Err(standings::forbidden("one's own room cannot be deleted"));
            }
            let created = sqlx::query_scalar("SELECT created_at_ms FROM rooms WHERE name = ?");
            let created_at_ms: i64 = created.bind(name).fetch_one(&mut *db).await?;
            removals::note_deletion(db, name, &owner, created_at_ms).await?;
            if let Some(by) = by.in_the_log() {
                audit::note(db, by, "room_deleted", name, &format!("it was {owner}'s")).await?;
            }
            for table in [
                "DELETE FROM members WHERE room = ?",
                "DELETE FROM invitations WHERE room = ?",
                "DELETE FROM bans WHERE room = ?",
                "DELETE FROM room_details WHERE room = ?",
                "DELETE FROM room_retention WHERE room = ?",
                "DELETE FROM room_bots WHERE room = ?",
                "DELETE FROM room_looks WHERE room = ?",
                "DELETE FROM programs WHERE name = ?",
                "DELETE FROM rooms WHERE name = ?",
            ] {
                sqlx::query(table).bind(name).execute(&mut *db).await?;
            }
            Ok(true)
        });
        Ok(deleted.await?)
    }

    async fn ban(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let banned = transaction!(self, |db| {
            let exists = sqlx::query("SELECT 1 FROM users WHERE name = ?");
            let exists = exists.bind(user).fetch_optional(&mut *db).await?.is_some();
            if !exists || lock_for(db, room, RoomKeeper::Owner(by)).await?.is_none() {
                return Ok(false);
            }
            if by == user {
                return Err(standings::forbidden(
                    "a room's owner cannot be banned from it",
                ));
            }
            if is_banned(db, room, user).await? {
                return Ok(true);
            }
            let bans: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM bans WHERE room = ?")
                .bind(room)
                .fetch_one(&mut *db)
                .await?;
            if bans.cast_unsigned() >= BANS_PER_ROOM as u64 {
                return Err(Failure::Refused(StoreError::Full(format!(
                    "{BANS_PER_ROOM} people are banned from this room, as many as may be"
                ))));
            }
            let member = sqlx::query("DELETE FROM members WHERE room = ? AND user = ?");
            member.bind(room).bind(user).execute(&mut *db).await?;
            invitations::end(db, room, user).await?;
            let insert = sqlx::query(
                "INSERT INTO bans (room, user, banned_by, banned_at_ms) VALUES (?, ?, ?, ?)",
            );
            let insert = insert.bind(room).bind(user).bind(by).bind(now_ms());
            insert.execute(db).await?;
            Ok(true)
        });
        Ok(banned.await?)
    }

    async fn lift_ban(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let lifted = transaction!(self, |db| {
            if lock_for(db, room, RoomKeeper::Owner(by)).await?.is_none() {
                return Ok(false);
            }
            let query = sqlx::query("DELETE FROM bans WHERE room = ? AND user = ?");
            let done = query.bind(room).bind(user).execute(db).await?;
            Ok(done.rows_affected() > 0)
        });
        Ok(lifted.await?)
    }

    async fn bans(&self, room: &str) -> Result<Vec<String>, StoreError> {
        let bans = reading!(self, |db| {
            let query = sqlx::query_scalar("SELECT user FROM bans WHERE room = ? ORDER BY user");
            Ok(query.bind(room).fetch_all(db).await?)
        });
        Ok(bans.await?)
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
            refuse_if_banned(db, room, user).await?;
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

    async fn remove_member(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError> {
        if !names::may_exist(room) || !names::may_exist(user) {
            return Ok(false);
        }
        let removed = transaction!(self, |db| {
            // Under the lock also for whoever goes: a room is handed over to nobody who is leaving it.
            let is_there = match by == user {
                true => lock(db, room).await?,
                false => lock_for(db, room, RoomKeeper::Owner(by)).await?.is_some(),
            };
            if !is_there {
                return Ok(false);
            }
            let owns = sqlx::query("SELECT 1 FROM rooms WHERE name = ? AND owner = ?");
            let owns = owns.bind(room).bind(user).fetch_optional(&mut *db);
            if owns.await?.is_some() {
                return Err(standings::forbidden(
                    "a room's owner stays in it, until it is handed over to somebody else",
                ));
            }
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
