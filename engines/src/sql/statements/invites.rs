//! Invitations to the server, in statements that both engines understand.

use common::store::{
    Actor, INVITES_PER_HOUR, INVITES_PER_HOUR_OF_ADMINISTRATORS, INVITES_STANDING_MAX,
    INVITES_STANDING_MAX_OF_ADMINISTRATORS, Invite, LISTED_MAX, OPERATOR, Standing, StoreError,
    THE_SERVER,
};
use uuid::Uuid;

use super::{Connection, accounts, audit, invitations, rooms, standings};
use crate::sql::{
    columns::{column, now_ms},
    failure::Failure,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How long an invitation that is used up is listed, and known as that.
const USED_UP_KEPT_MS: i64 = 24 * HOUR_MS;

/// A row of `invites`, without the token's hash.
#[derive(sqlx::FromRow)]
struct InviteRow {
    id: Uuid,
    made_by: String,
    admin: bool,
    room: Option<String>,
    uses: i32,
    used: i32,
    made_at_ms: i64,
    expires_at_ms: i64,
    withdrawn_at_ms: Option<i64>,
}

impl From<InviteRow> for Invite {
    fn from(row: InviteRow) -> Invite {
        Invite {
            id: row.id,
            made_by: row.made_by,
            admin: row.admin,
            room: row.room,
            uses: row.uses.cast_unsigned(),
            used: row.used.cast_unsigned(),
            made_at_ms: row.made_at_ms.cast_unsigned(),
            expires_at_ms: row.expires_at_ms.cast_unsigned(),
        }
    }
}

/// Whether whoever made an invitation is an account.
fn is_account(made_by: &str) -> bool {
    made_by != OPERATOR && made_by != THE_SERVER
}

/// Whether somebody may make others members of a room: its owner, of a public one also an administrator; and the operator.
async fn may_give(
    db: &mut Connection,
    by: &str,
    is_admin: bool,
    room: &str,
) -> Result<bool, Failure> {
    let query =
        sqlx::query_as::<_, (String, bool)>("SELECT owner, private FROM rooms WHERE name = ?");
    let found = query.bind(room).fetch_optional(db).await?;
    Ok(found.is_some_and(|(owner, private)| {
        // Nobody is a member of what is somebody's own.
        owner != room && (!is_account(by) || owner == by || (is_admin && !private))
    }))
}

/// Keeps an invitation, within a transaction. Those of administrators and of the operator stand in the log: anybody
/// else can make many.
pub(super) async fn make(
    db: &mut Connection,
    invite: &Invite,
    token_hash: &[u8; 32],
) -> Result<(), Failure> {
    let by = &*invite.made_by;
    let mut is_admin = true;
    if is_account(by) {
        rooms::lock(db, by).await?;
        let standing = standings::of(db, by).await?;
        let standing = standing.filter(|standing| !standing.disabled);
        is_admin = standing.is_some_and(|standing| standing.admin);
        if standing.is_none() || (invite.admin && !is_admin) {
            return Err(standings::forbidden(
                "only an administrator may make administrators",
            ));
        }
        let (most, hourly) = match is_admin {
            true => (
                INVITES_STANDING_MAX_OF_ADMINISTRATORS,
                INVITES_PER_HOUR_OF_ADMINISTRATORS,
            ),
            false => (INVITES_STANDING_MAX, INVITES_PER_HOUR),
        };
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM invites \
             WHERE made_by = ? AND used < uses AND expires_at_ms > ? AND withdrawn_at_ms IS NULL",
        );
        let open = query.bind(by).bind(now_ms()).fetch_one(&mut *db).await?;
        if open >= i64::from(most) {
            return Err(Failure::Refused(StoreError::Full(format!(
                "{most} of your invitations may still be used, as many as may; withdraw some first"
            ))));
        }
        // Those that were withdrawn too, or making and withdrawing would leave rows without end.
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM invites WHERE made_by = ? AND made_at_ms > ?",
        );
        let query = query.bind(by).bind(now_ms() - HOUR_MS);
        if query.fetch_one(&mut *db).await? >= i64::from(hourly) {
            return Err(Failure::Refused(StoreError::Full(format!(
                "you have made {hourly} invitations within an hour, as many as one may"
            ))));
        }
    }
    if let Some(room) = &invite.room
        && !may_give(db, by, is_admin, room).await?
    {
        return Err(standings::forbidden(
            "only its owner may make others members of this room",
        ));
    }
    let insert = sqlx::query(
        "INSERT INTO invites (token_hash, id, made_by, admin, room, uses, used, made_at_ms, expires_at_ms, withdrawn_at_ms) \
         VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, NULL)",
    );
    let insert = insert.bind(&token_hash[..]).bind(invite.id).bind(by);
    let insert = insert.bind(invite.admin).bind(&invite.room);
    let insert = insert
        .bind(invite.uses.cast_signed())
        .bind(column(invite.made_at_ms));
    insert
        .bind(column(invite.expires_at_ms))
        .execute(&mut *db)
        .await?;
    if !is_admin {
        return Ok(());
    }
    let detail = words(invite);
    let actor = if by == THE_SERVER { OPERATOR } else { by };
    audit::note(
        db,
        actor,
        "made an invitation",
        &invite.id.to_string(),
        &detail,
    )
    .await
}

/// What an invitation is for, in the log.
fn words(invite: &Invite) -> String {
    let mut words = format!("for {}", invite.uses);
    if invite.admin {
        words.push_str(", as an administrator");
    }
    if let Some(room) = &invite.room {
        words.push_str(&format!(", into {room}"));
    }
    words
}

/// Those that are neither withdrawn nor expired, the newest first.
pub(super) async fn list(
    db: &mut Connection,
    by: Option<&str>,
    now: u64,
) -> Result<Vec<Invite>, Failure> {
    let query = sqlx::query_as::<_, InviteRow>(
        "SELECT id, made_by, admin, room, uses, used, made_at_ms, expires_at_ms, withdrawn_at_ms FROM invites \
         WHERE (? OR made_by = ?) AND expires_at_ms > ? AND withdrawn_at_ms IS NULL \
         ORDER BY made_at_ms DESC, id DESC LIMIT ?",
    );
    let query = query.bind(by.is_none()).bind(by.unwrap_or_default());
    let query = query.bind(column(now)).bind(column(LISTED_MAX as u64));
    let rows = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(Invite::from).collect())
}

/// Withdraws an invitation, within a transaction; it has ended then, and is swept with those that have.
pub(super) async fn withdraw(
    db: &mut Connection,
    actor: Actor<'_>,
    id: Uuid,
) -> Result<bool, Failure> {
    let is_keeper = standings::only_administrators(db, actor).await.is_ok();
    let query = sqlx::query(
        "UPDATE invites SET withdrawn_at_ms = ?, expires_at_ms = ? \
         WHERE id = ? AND withdrawn_at_ms IS NULL AND expires_at_ms > ? AND (? OR made_by = ?)",
    );
    let now = now_ms();
    let query = query.bind(now).bind(now).bind(id).bind(now);
    let query = query.bind(is_keeper).bind(actor.name());
    if query.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok(false);
    }
    if is_keeper {
        let id = id.to_string();
        audit::note(db, actor.name(), "withdrew an invitation", &id, "").await?;
    }
    Ok(true)
}

/// Makes a user by an invitation, within a transaction. Returns the room whose member they are by it.
pub(super) async fn take(
    db: &mut Connection,
    name: &str,
    password_hash: &str,
    token_hash: &[u8; 32],
    by_keepers_alone: bool,
) -> Result<Option<String>, Failure> {
    // So that of two who would be the first administrator the second one sees the first.
    standings::lock(db).await?;
    // Whoever comes at the same moment waits here, and sees what was left. The last use lets it end: set first, since
    // MySQL sees in `used` what was set before.
    let query = sqlx::query(
        "UPDATE invites SET expires_at_ms = \
         CASE WHEN used + 1 >= uses AND expires_at_ms > ? THEN ? ELSE expires_at_ms END, used = used + 1 \
         WHERE token_hash = ? AND used < uses AND expires_at_ms > ? AND withdrawn_at_ms IS NULL",
    );
    let now = now_ms();
    let ends = now + USED_UP_KEPT_MS;
    let used = query
        .bind(ends)
        .bind(ends)
        .bind(&token_hash[..])
        .bind(now)
        .execute(&mut *db)
        .await?;
    let (invite, is_keeper) =
        known(db, token_hash, by_keepers_alone, used.rows_affected() > 0).await?;
    let by = &*invite.made_by;
    accounts::make(db, name, password_hash).await?;
    if invite.admin {
        let standing = Standing {
            admin: true,
            ..Standing::default()
        };
        standings::write(db, name, standing).await?;
    }
    // Whose it is is asked under its lock.
    if let Some(room) = &invite.room {
        rooms::lock(db, room).await?;
    }
    let room = match invite.room.as_deref() {
        Some(room) if may_give(db, by, is_keeper, room).await? => {
            match invitations::may_have_one_more(db, room).await {
                Ok(()) => {
                    let insert = sqlx::query("INSERT INTO members (room, user) VALUES (?, ?)");
                    insert.bind(room).bind(name).execute(&mut *db).await?;
                    Some(room.to_owned())
                }
                // That it is full keeps nobody off the server.
                Err(Failure::Refused(StoreError::Full(_))) => None,
                Err(failure) => return Err(failure),
            }
        }
        _ => None,
    };
    let detail = match by {
        OPERATOR | THE_SERVER => words(&invite),
        _ => format!("invited by {by}, {}", words(&invite)),
    };
    audit::note(db, name, "came by an invitation", name, &detail).await?;
    Ok(room)
}

/// Whether somebody could come by an invitation just now.
pub(super) async fn check(
    db: &mut Connection,
    token_hash: &[u8; 32],
    by_keepers_alone: bool,
) -> Result<(), Failure> {
    known(db, token_hash, by_keepers_alone, false)
        .await
        .map(drop)
}

/// The invitation, if it is worth something, and whether whoever made it administers the server. One that was used just now
/// had that left.
async fn known(
    db: &mut Connection,
    token_hash: &[u8; 32],
    by_keepers_alone: bool,
    was_used_now: bool,
) -> Result<(Invite, bool), Failure> {
    let query = sqlx::query_as::<_, InviteRow>(
        "SELECT id, made_by, admin, room, uses, used, made_at_ms, expires_at_ms, withdrawn_at_ms FROM invites \
         WHERE token_hash = ?",
    );
    let row = query.bind(&token_hash[..]).fetch_optional(&mut *db).await?;
    let row = row.ok_or_else(|| standings::forbidden("there is no such invitation"))?;
    let wrong = match &row {
        _ if was_used_now => None,
        row if row.withdrawn_at_ms.is_some() => Some("this invitation was withdrawn"),
        row if row.used >= row.uses => Some("this invitation is used up"),
        row if row.expires_at_ms <= now_ms() => Some("this invitation has expired"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(standings::forbidden(wrong));
    }
    let invite = Invite::from(row);
    let by = &*invite.made_by;
    let maker = match is_account(by) {
        true => standings::of(db, by).await?.unwrap_or_default(),
        false => Standing {
            admin: true,
            ..Standing::default()
        },
    };
    let is_keeper = maker.admin && !maker.disabled;
    if maker.disabled || (!is_keeper && (invite.admin || by_keepers_alone)) {
        return Err(standings::forbidden(
            "whoever made this invitation may not let anybody in any more",
        ));
    }
    if by == THE_SERVER && standings::administrators_beside(db, THE_SERVER).await? > 0 {
        return Err(standings::forbidden(
            "this invitation was for the first administrator, and there is one",
        ));
    }
    Ok((invite, is_keeper))
}
