//! New passwords and what they end, in statements that both engines understand. Each under the lock of the user's own room.

use common::store::Actor;
use uuid::Uuid;

use super::{Connection, audit, identities, rooms, standings};
use crate::sql::{
    columns::{column, now_ms},
    failure::Failure,
};

/// Sets a new password where the kept one is still this, within a transaction.
pub(super) async fn change(
    db: &mut Connection,
    user: &str,
    kept: &str,
    new: &str,
    session: Uuid,
    device_hash: Option<[u8; 32]>,
) -> Result<Option<Vec<Uuid>>, Failure> {
    rooms::lock(db, user).await?;
    standings::refuse_disabled(db, user).await?;
    let update =
        sqlx::query("UPDATE users SET password_hash = ? WHERE name = ? AND password_hash = ?");
    let update = update.bind(new).bind(user).bind(kept);
    if update.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(None);
    }
    forget_resets(db, user).await?;
    let ended = end_others(db, user, Some(session), device_hash).await?;
    audit::note(db, user, "changed the password", user, "").await?;
    Ok(Some(ended))
}

/// Refuses what somebody wants by a password that is not theirs any more, if they had to say one.
pub(super) async fn still_keeps(
    db: &mut Connection,
    user: &str,
    kept: Option<&str>,
) -> Result<(), Failure> {
    let Some(kept) = kept else { return Ok(()) };
    let same = sqlx::query("SELECT 1 FROM users WHERE name = ? AND password_hash = ?");
    let same = same.bind(user).bind(kept).fetch_optional(db).await?;
    same.map(drop).ok_or_else(|| {
        standings::forbidden("the password was changed at this moment; use the new one")
    })
}

/// Ends sessions and forgets devices, but these.
pub(super) async fn end_others(
    db: &mut Connection,
    user: &str,
    session: Option<Uuid>,
    device_hash: Option<[u8; 32]>,
) -> Result<Vec<Uuid>, Failure> {
    let device = device_hash.map_or_else(Vec::new, |hash| hash.to_vec());
    let delete = sqlx::query("DELETE FROM devices WHERE user = ? AND device_hash <> ?");
    delete.bind(user).bind(device).execute(&mut *db).await?;
    standings::end_sessions(db, user, session).await
}

async fn forget_resets(db: &mut Connection, user: &str) -> Result<(), Failure> {
    let delete = sqlx::query("DELETE FROM resets WHERE user = ? AND used_at_ms IS NULL");
    delete.bind(user).execute(db).await?;
    Ok(())
}

/// Keeps a link in the place of earlier ones, within a transaction. False if there is no such account.
pub(super) async fn make_reset(
    db: &mut Connection,
    actor: Actor<'_>,
    user: &str,
    token_hash: &[u8; 32],
    expires_at_ms: u64,
) -> Result<bool, Failure> {
    rooms::lock(db, user).await?;
    standings::only_administrators(db, actor).await?;
    let standing = standings::of(db, user).await?;
    if standing.is_none_or(|standing| standing.deleted) {
        return Ok(false);
    }
    forget_resets(db, user).await?;
    let insert = sqlx::query(
        "INSERT INTO resets (token_hash, user, made_at_ms, expires_at_ms, used_at_ms) VALUES (?, ?, ?, ?, NULL)",
    );
    let insert = insert.bind(&token_hash[..]).bind(user).bind(now_ms());
    insert.bind(column(expires_at_ms)).execute(&mut *db).await?;
    audit::note(db, actor.name(), "made a link to reset", user, "").await?;
    Ok(true)
}

/// Whose password a link sets.
pub(super) async fn reset_of(
    db: &mut Connection,
    token_hash: &[u8; 32],
) -> Result<String, Failure> {
    let query = sqlx::query_as::<_, (String, i64, Option<i64>)>(
        "SELECT user, expires_at_ms, used_at_ms FROM resets WHERE token_hash = ?",
    );
    let row = query.bind(&token_hash[..]).fetch_optional(&mut *db).await?;
    let user = match row {
        Some((_, _, Some(_))) => return Err(standings::forbidden("this link was used already")),
        Some((_, expires, None)) if expires <= now_ms() => {
            return Err(standings::forbidden("this link has expired"));
        }
        Some((user, _, None)) => user,
        None => {
            return Err(standings::forbidden(
                "there is no such link; a later one may have taken its place",
            ));
        }
    };
    standings::refuse_disabled(db, &user).await?;
    Ok(user)
}

/// Sets the new password by a link, within a transaction.
pub(super) async fn use_reset(
    db: &mut Connection,
    token_hash: &[u8; 32],
    password_hash: &str,
) -> Result<Vec<Uuid>, Failure> {
    // Of two who come with it at the same moment, the other one waits here.
    let update = sqlx::query(
        "UPDATE resets SET used_at_ms = ? WHERE token_hash = ? AND used_at_ms IS NULL AND expires_at_ms > ?",
    );
    let now = now_ms();
    let update = update.bind(now).bind(&token_hash[..]).bind(now);
    if update.execute(&mut *db).await?.rows_affected() == 0 {
        reset_of(db, token_hash).await?;
        return Err(standings::forbidden("this link has expired"));
    }
    let user = sqlx::query_scalar::<_, String>("SELECT user FROM resets WHERE token_hash = ?");
    let user = user.bind(&token_hash[..]).fetch_one(&mut *db).await?;
    rooms::lock(db, &user).await?;
    standings::refuse_disabled(db, &user).await?;
    let update = sqlx::query("UPDATE users SET password_hash = ? WHERE name = ?");
    update
        .bind(password_hash)
        .bind(&user)
        .execute(&mut *db)
        .await?;
    forget_resets(db, &user).await?;
    let mut ended = end_others(db, &user, None, None).await?;
    ended.extend(standings::end_tokens(db, &user).await?);
    // Whoever else was in the account may have linked one of their own, and would come back by it.
    identities::forget(db, &user).await?;
    audit::note(db, &user, "reset the password", &user, "by a link").await?;
    Ok(ended)
}
