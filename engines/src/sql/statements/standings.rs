//! What accounts are beyond name and password, in statements that both engines understand.
//!
//! Standings change under one lock, so that two administrators who demote each other at the same moment do not leave a server
//! without one. It is taken first, and a user's own room, which stands for the user, after it; only then is anything read, so that it is what holds.

use common::store::{Actor, Standing, StandingChanges, StoreError, THE_SERVER};
use uuid::Uuid;

use super::{Connection, audit, passwords, programs, rooms};
use crate::sql::{columns::now_ms, failure::Failure};

/// What an account is, within whatever is under way; none if there is no such account.
pub(super) async fn of(db: &mut Connection, user: &str) -> Result<Option<Standing>, Failure> {
    let query = sqlx::query_as::<_, (bool, bool, bool, bool)>(
        "SELECT COALESCE(admin, 0), COALESCE(disabled, 0), COALESCE(deleted, 0), COALESCE(is_program, 0) \
         FROM users LEFT JOIN standings ON standings.user = users.name \
         LEFT JOIN programs ON programs.name = users.name WHERE users.name = ?",
    );
    let row = query.bind(user).fetch_optional(db).await?;
    Ok(row.map(|(admin, disabled, deleted, program)| Standing {
        admin,
        disabled,
        deleted,
        program,
    }))
}

/// Refuses what somebody may not do whose account is disabled or deleted.
pub(super) async fn refuse_disabled(db: &mut Connection, user: &str) -> Result<(), Failure> {
    match of(db, user).await? {
        Some(standing) if standing.disabled => Err(forbidden(
            "this account is disabled; ask whoever administers this server",
        )),
        _ => Ok(()),
    }
}

/// A refusal in words.
pub(super) fn forbidden(why: &str) -> Failure {
    Failure::Refused(StoreError::Forbidden(why.to_owned()))
}

/// Waits until nobody else changes standings.
pub(super) async fn lock(db: &mut Connection) -> Result<(), Failure> {
    let query = sqlx::query("UPDATE standings SET admin = admin WHERE user = ?");
    let locked = query.bind(THE_SERVER).execute(&mut *db).await?;
    if locked.rows_affected() > 0 {
        return Ok(());
    }
    match insert(db, THE_SERVER, Standing::default(), 0).await {
        // Somebody else was the first, and has the lock.
        Err(Failure::Duplicate) => Err(Failure::Again("standings change".to_owned())),
        made => made,
    }
}

/// Refuses what somebody wants who does not administer the server.
pub(super) async fn only_administrators(
    db: &mut Connection,
    actor: Actor<'_>,
) -> Result<(), Failure> {
    let Actor::Account(name) = actor else {
        return Ok(());
    };
    match of(db, name).await? {
        Some(standing) if standing.admin && !standing.disabled => Ok(()),
        _ => Err(forbidden("only an administrator may do this")),
    }
}

/// How many administer the server beside this account.
pub(super) async fn administrators_beside(db: &mut Connection, user: &str) -> Result<i64, Failure> {
    let query = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM standings WHERE admin = 1 AND disabled = 0 AND user <> ?",
    );
    Ok(query.bind(user).fetch_one(db).await?)
}

async fn insert(
    db: &mut Connection,
    user: &str,
    standing: Standing,
    at_ms: i64,
) -> Result<(), Failure> {
    let insert = sqlx::query(
        "INSERT INTO standings (user, admin, disabled, deleted, changed_at_ms) VALUES (?, ?, ?, ?, ?)",
    );
    let insert = insert.bind(user).bind(standing.admin);
    let insert = insert.bind(standing.disabled).bind(standing.deleted);
    insert.bind(at_ms).execute(db).await?;
    Ok(())
}

/// Writes what an account is from now on, but for whether it is a program, under the lock of its own room. A later change
/// is later, whatever the clock says: who looks for changes must not take two for one.
pub(super) async fn write(
    db: &mut Connection,
    user: &str,
    standing: Standing,
) -> Result<(), Failure> {
    let now = now_ms();
    let update = sqlx::query(
        "UPDATE standings SET admin = ?, disabled = ?, deleted = ?, \
         changed_at_ms = CASE WHEN changed_at_ms >= ? THEN changed_at_ms + 1 ELSE ? END WHERE user = ?",
    );
    let update = update.bind(standing.admin).bind(standing.disabled);
    let update = update.bind(standing.deleted).bind(now).bind(now).bind(user);
    if update.execute(&mut *db).await?.rows_affected() > 0 {
        return Ok(());
    }
    insert(db, user, standing, now).await
}

/// Ends a user's sessions, but the one given, under the lock of their own room, so that every process hears of it that looks
/// for changes.
pub(super) async fn end_sessions(
    db: &mut Connection,
    user: &str,
    but: Option<Uuid>,
) -> Result<Vec<Uuid>, Failure> {
    let but = but.unwrap_or(Uuid::nil());
    let ended = sqlx::query_scalar::<_, Uuid>("SELECT id FROM sessions WHERE user = ? AND id <> ?");
    let ended = ended.bind(user).bind(but).fetch_all(&mut *db).await?;
    let delete = sqlx::query("DELETE FROM sessions WHERE user = ? AND id <> ?");
    delete.bind(user).bind(but).execute(&mut *db).await?;
    let standing = of(db, user).await?.unwrap_or_default();
    write(db, user, standing).await?;
    Ok(ended)
}

/// Changes what an account is, within a transaction.
pub(super) async fn change(
    db: &mut Connection,
    actor: Actor<'_>,
    user: &str,
    changes: StandingChanges,
) -> Result<Option<(Standing, Vec<Uuid>)>, Failure> {
    lock(db).await?;
    rooms::lock(db, user).await?;
    only_administrators(db, actor).await?;
    let Some(before) = of(db, user).await? else {
        return Ok(None);
    };
    if before.deleted {
        return Err(forbidden("this account is deleted, for good"));
    }
    let after = Standing {
        admin: changes.admin.unwrap_or(before.admin),
        disabled: changes.disabled.unwrap_or(before.disabled),
        deleted: false,
        program: changes.program.unwrap_or(before.program),
    };
    if after == before {
        return Ok(Some((after, Vec::new())));
    }
    let administered = |standing: Standing| standing.admin && !standing.disabled;
    if administered(before) && !administered(after) {
        keep_one(db, user).await?;
        void_resets(db).await?;
    }
    write(db, user, after).await?;
    if after.program != before.program {
        programs::mark(db, user, after.program).await?;
    }
    let deeds = [
        (
            before.admin,
            after.admin,
            "made administrator",
            "no longer administrator",
        ),
        (before.disabled, after.disabled, "disabled", "enabled"),
        (
            before.program,
            after.program,
            "made program",
            "no longer program",
        ),
    ];
    for (before, after, begun, ended) in deeds {
        if before != after {
            let deed = if after { begun } else { ended };
            audit::note(db, actor.name(), deed, user, "").await?;
        }
    }
    let mut ended = Vec::new();
    if after.disabled {
        ended = end_sessions(db, user, None).await?;
        ended.extend(end_tokens(db, user).await?);
    }
    Ok(Some((after, ended)))
}

/// Whoever stops being an administrator may have made links to others' passwords, and kept them. It is not known who made which.
async fn void_resets(db: &mut Connection) -> Result<(), Failure> {
    let delete = sqlx::query("DELETE FROM resets WHERE used_at_ms IS NULL");
    delete.execute(db).await?;
    Ok(())
}

/// Revokes all tokens of somebody's programs. Returns which those were.
pub(super) async fn end_tokens(db: &mut Connection, user: &str) -> Result<Vec<Uuid>, Failure> {
    let ended = sqlx::query_scalar::<_, Uuid>("SELECT id FROM tokens WHERE user = ?");
    let ended = ended.bind(user).fetch_all(&mut *db).await?;
    let delete = sqlx::query("DELETE FROM tokens WHERE user = ?");
    delete.bind(user).execute(&mut *db).await?;
    Ok(ended)
}

/// Refuses what would leave nobody to administer.
async fn keep_one(db: &mut Connection, user: &str) -> Result<(), Failure> {
    if administrators_beside(db, user).await? > 0 {
        return Ok(());
    }
    Err(forbidden(
        "nobody would administer this server any more; make somebody else an administrator first",
    ))
}

/// Deletes an account, within a transaction.
pub(super) async fn delete(
    db: &mut Connection,
    actor: Actor<'_>,
    user: &str,
    kept: Option<&str>,
    with_messages: bool,
) -> Result<Option<Vec<Uuid>>, Failure> {
    lock(db).await?;
    rooms::lock(db, user).await?;
    if actor != Actor::Account(user) {
        only_administrators(db, actor).await?;
    }
    let Some(before) = of(db, user).await?.filter(|standing| !standing.deleted) else {
        return Ok(None);
    };
    passwords::still_keeps(db, user, kept).await?;
    if before.admin && !before.disabled {
        keep_one(db, user).await?;
        void_resets(db).await?;
    }
    let after = Standing {
        admin: false,
        disabled: true,
        deleted: true,
        program: before.program,
    };
    write(db, user, after).await?;
    let mut ended = end_sessions(db, user, None).await?;
    ended.extend(end_tokens(db, user).await?);
    let now = now_ms();
    for statement in [
        "UPDATE users SET password_hash = '' WHERE name = ?",
        "DELETE FROM devices WHERE user = ?",
        "DELETE FROM resets WHERE user = ?",
        "DELETE FROM members WHERE user = ?",
        "DELETE FROM invitations WHERE user = ?",
        "DELETE FROM read_marks WHERE user = ?",
        "DELETE FROM room_makings WHERE maker = ?",
    ] {
        sqlx::query(statement).bind(user).execute(&mut *db).await?;
    }
    let withdraw = sqlx::query(
        "UPDATE invites SET withdrawn_at_ms = ? WHERE made_by = ? AND withdrawn_at_ms IS NULL",
    );
    withdraw.bind(now).bind(user).execute(&mut *db).await?;
    if with_messages {
        let insert = sqlx::query(
            "INSERT INTO departures (user, after_room, claimed_until_ms, left_at_ms) VALUES (?, '', 0, ?)",
        );
        insert.bind(user).bind(now).execute(&mut *db).await?;
    }
    let detail = match with_messages {
        true => "with their messages",
        false => "their messages stay",
    };
    audit::note(db, actor.name(), "deleted", user, detail).await?;
    Ok(Some(ended))
}
