//! Invitations: memberships that somebody has not yet said yes to, and what keeps them from becoming a nuisance. In
//! statements that both engines understand.

use std::time::Duration;

use common::store::{
    ACCOUNT_NEW_FOR, COUNTED_WITHIN, INVITATIONS_ENDED_KNOWN, INVITATIONS_ENDED_MAX,
    INVITATIONS_OPEN_BY_NEW, INVITATIONS_OPEN_BY_ONE, INVITATIONS_OPEN_MAX, INVITATIONS_PER_HOUR,
    Invited, MEMBERS_PER_ROOM, RoomKeeper, StoreError,
};

use super::{
    Connection,
    rooms::{lock, lock_for, refuse_if_banned},
};
use crate::sql::{
    columns::{column, now_ms},
    failure::Failure,
};

/// Invites somebody, within a transaction.
pub(super) async fn invite(
    db: &mut Connection,
    room: &str,
    user: &str,
    by: &str,
) -> Result<Invited, Failure> {
    let exists = sqlx::query("SELECT 1 FROM users WHERE name = ?");
    let exists = exists.bind(user).fetch_optional(&mut *db).await?.is_some();
    // What is counted about somebody is counted under the lock of their own room.
    if !exists || !lock(db, by).await? || !lock(db, user).await? {
        return Ok(Invited::Nobody);
    }
    if lock_for(db, room, RoomKeeper::Owner(by)).await?.is_none() {
        return Ok(Invited::Nobody);
    }
    if sees(db, room, user).await? {
        return Ok(Invited::Already);
    }
    refuse_if_banned(db, room, user).await?;
    let now = now_ms();
    let forgotten = sqlx::query("DELETE FROM invitations WHERE user = ? AND ended_at_ms <= ?");
    let forgotten = forgotten
        .bind(user)
        .bind(before(now, INVITATIONS_ENDED_KNOWN));
    forgotten.execute(&mut *db).await?;
    may_invite(db, user, by, now).await?;
    may_have_one_more(db, room).await?;

    let again = sqlx::query(
        "UPDATE invitations SET invited_by = ?, invited_at_ms = ?, ended_at_ms = NULL WHERE room = ? AND user = ?",
    );
    let again = again.bind(by).bind(now).bind(room).bind(user);
    if again.execute(&mut *db).await?.rows_affected() == 0 {
        let insert = sqlx::query(
            "INSERT INTO invitations (room, user, invited_by, invited_at_ms, ended_at_ms, ended_times) \
             VALUES (?, ?, ?, ?, NULL, 0)",
        );
        let insert = insert.bind(room).bind(user).bind(by).bind(now);
        insert.execute(&mut *db).await?;
    }
    let insert = sqlx::query("INSERT INTO members (room, user) VALUES (?, ?)");
    insert.bind(room).bind(user).execute(db).await?;
    Ok(Invited::Now)
}

/// Whether somebody is the owner or a member of a room, invited or not.
pub(super) async fn sees(db: &mut Connection, room: &str, user: &str) -> Result<bool, Failure> {
    let sees = sqlx::query(
        "SELECT 1 FROM rooms WHERE name = ? AND owner = ? \
         UNION ALL SELECT 1 FROM members WHERE room = ? AND user = ?",
    );
    let sees = sees.bind(room).bind(user).bind(room).bind(user);
    Ok(sees.fetch_optional(db).await?.is_some())
}

/// Whether there is room for one more member of a room.
pub(super) async fn may_have_one_more(db: &mut Connection, room: &str) -> Result<(), Failure> {
    let members: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM members WHERE room = ?")
        .bind(room)
        .fetch_one(db)
        .await?;
    if members.cast_unsigned() >= MEMBERS_PER_ROOM as u64 {
        return Err(full(format!(
            "this room has {MEMBERS_PER_ROOM} members, as many as one may"
        )));
    }
    Ok(())
}

async fn may_invite(db: &mut Connection, user: &str, by: &str, now: i64) -> Result<(), Failure> {
    let open: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM invitations WHERE user = ? AND ended_at_ms IS NULL",
    )
    .bind(user)
    .fetch_one(&mut *db)
    .await?;
    if open >= INVITATIONS_OPEN_MAX.into() {
        return Err(full(format!(
            "{user} has {INVITATIONS_OPEN_MAX} invitations to look through; ask them to take or decline some first"
        )));
    }
    let new_since = before(now, ACCOUNT_NEW_FOR);
    let is_new = sqlx::query("SELECT 1 FROM users WHERE name = ? AND created_at_ms > ?");
    let is_new = is_new.bind(by).bind(new_since).fetch_optional(&mut *db);
    if is_new.await?.is_some() {
        let open: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM invitations JOIN users ON users.name = invitations.invited_by \
             WHERE invitations.user = ? AND invitations.ended_at_ms IS NULL AND users.created_at_ms > ?",
        )
        .bind(user)
        .bind(new_since)
        .fetch_one(&mut *db)
        .await?;
        if open >= INVITATIONS_OPEN_BY_NEW.into() {
            return Err(full(format!(
                "{user} has {INVITATIONS_OPEN_BY_NEW} invitations to look through by people whose accounts are new, as yours \
                 is; ask them to take or decline some first"
            )));
        }
    }
    let open: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM invitations WHERE user = ? AND invited_by = ? AND ended_at_ms IS NULL",
    )
    .bind(user)
    .bind(by)
    .fetch_one(&mut *db)
    .await?;
    if open >= INVITATIONS_OPEN_BY_ONE.into() {
        return Err(full(format!(
            "{INVITATIONS_OPEN_BY_ONE} of your invitations wait for {user}'s answer; there may be no more"
        )));
    }
    // Each row says how often, so there may be fewer rows than times.
    let ended = sqlx::query_as::<_, (i64, i64)>(
        "SELECT ended_times, ended_at_ms FROM invitations \
         WHERE user = ? AND invited_by = ? AND ended_at_ms > ? ORDER BY ended_at_ms DESC",
    );
    let ended = ended
        .bind(user)
        .bind(by)
        .bind(before(now, INVITATIONS_ENDED_KNOWN));
    let mut times = 0;
    for (ended_times, at) in ended.fetch_all(&mut *db).await? {
        times += ended_times;
        if times >= INVITATIONS_ENDED_MAX.into() {
            let limit = format!(
                "{user} was invited by you {INVITATIONS_ENDED_MAX} times within a day and is not in your rooms"
            );
            return Err(too_often(limit, at, INVITATIONS_ENDED_KNOWN, now));
        }
    }
    let nth = sqlx::query_scalar::<_, i64>(
        "SELECT invited_at_ms FROM invitations WHERE invited_by = ? AND invited_at_ms > ? \
         ORDER BY invited_at_ms DESC LIMIT 1 OFFSET ?",
    );
    let nth = nth.bind(by).bind(before(now, COUNTED_WITHIN));
    let nth = nth
        .bind(i64::from(INVITATIONS_PER_HOUR) - 1)
        .fetch_optional(db);
    if let Some(at) = nth.await? {
        let limit = format!(
            "{INVITATIONS_PER_HOUR} people whom you invited within an hour have not said yes; there may be no more"
        );
        return Err(too_often(limit, at, COUNTED_WITHIN, now));
    }
    Ok(())
}

/// Notes that an invitation was declined or withdrawn, if one stands.
pub(super) async fn end(db: &mut Connection, room: &str, user: &str) -> Result<(), Failure> {
    let query = sqlx::query(
        "UPDATE invitations SET ended_at_ms = ?, ended_times = ended_times + 1 \
         WHERE room = ? AND user = ? AND ended_at_ms IS NULL",
    );
    query
        .bind(now_ms())
        .bind(room)
        .bind(user)
        .execute(db)
        .await?;
    Ok(())
}

fn full(limit: String) -> Failure {
    Failure::Refused(StoreError::Full(limit))
}

/// A limit that what happened at `at` takes up for `within`.
pub(super) fn too_often(limit: String, at: i64, within: Duration, now: i64) -> Failure {
    let until = at.saturating_add(column(within.as_millis() as u64));
    let again_in = Duration::from_millis(until.saturating_sub(now).max(1).cast_unsigned());
    Failure::Refused(StoreError::TooOften { limit, again_in })
}

/// The moment so long ago.
pub(super) fn before(now: i64, within: Duration) -> i64 {
    now.saturating_sub(column(within.as_millis() as u64))
}
