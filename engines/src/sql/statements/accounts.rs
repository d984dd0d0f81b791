//! Users and their sessions, in statements that both engines understand.

use std::{collections::HashSet, num::NonZeroU32};

use async_trait::async_trait;
use common::{
    names,
    store::{Accounts, BotPolicy, DEVICES_PER_USER, LogIn, Room, Session, StoreError},
};
use uuid::Uuid;

use super::{Connection, ThisStore, dialect, identities, looks, passwords, rooms, standings};
use crate::sql::{
    batch::{BySize, lists},
    call::{reading, transaction, writing},
    columns::{column, now_ms},
    failure::Failure,
};

static LIVE_SESSIONS: BySize = BySize::new(
    "SELECT sessions.id FROM sessions LEFT JOIN standings ON standings.user = sessions.user \
     WHERE COALESCE(standings.disabled, 0) = 0 AND sessions.expires_at_ms > ? AND sessions.id IN (",
    "?",
    ", ",
    ")",
);

/// A row of `sessions`, without the token's hash.
#[derive(sqlx::FromRow)]
struct SessionRow {
    id: Uuid,
    user: String,
    device: String,
    created_at_ms: i64,
    last_seen_at_ms: i64,
    expires_at_ms: i64,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Session {
        Session {
            id: row.id,
            user: row.user,
            device: row.device,
            created_at_ms: row.created_at_ms.cast_unsigned(),
            last_seen_at_ms: row.last_seen_at_ms.cast_unsigned(),
            expires_at_ms: row.expires_at_ms.cast_unsigned(),
            is_token: false,
        }
    }
}

/// Longer than anything here: and yet a time can be added to it.
const NO_END_MS: i64 = i64::MAX / 2;

/// The most rows that one log-in clears away; the next one goes on.
const CLEARED_MAX: i64 = 1_000;

/// Notes that somebody has logged in on a device, and lets go of those that were used longest ago.
async fn remember_device(
    db: &mut Connection,
    user: &str,
    device: &[u8; 32],
    now_ms: i64,
) -> Result<(), Failure> {
    let known = sqlx::query("UPDATE devices SET used_at_ms = ? WHERE device_hash = ? AND user = ?");
    let known = known.bind(now_ms).bind(&device[..]).bind(user);
    if known.execute(&mut *db).await?.rows_affected() > 0 {
        return Ok(());
    }
    let insert =
        sqlx::query("INSERT INTO devices (device_hash, user, used_at_ms) VALUES (?, ?, ?)");
    let insert = insert.bind(&device[..]).bind(user).bind(now_ms);
    insert.execute(&mut *db).await?;
    let old = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT device_hash FROM devices WHERE user = ? ORDER BY used_at_ms DESC, device_hash LIMIT ? OFFSET ?",
    );
    let old = old
        .bind(user)
        .bind(CLEARED_MAX)
        .bind(i64::from(DEVICES_PER_USER));
    for device in old.fetch_all(&mut *db).await? {
        let delete = sqlx::query("DELETE FROM devices WHERE device_hash = ?");
        delete.bind(device).execute(&mut *db).await?;
    }
    Ok(())
}

/// Ends what a user has of sessions beside a new one and beyond `most`.
async fn end_longest_unused(
    db: &mut Connection,
    new: &Session,
    most: NonZeroU32,
) -> Result<Vec<Uuid>, Failure> {
    let ending = sqlx::query_scalar::<_, Uuid>(
        "SELECT id FROM sessions WHERE user = ? AND id <> ? ORDER BY last_seen_at_ms DESC, id LIMIT ? OFFSET ?",
    );
    let ending = ending.bind(&new.user).bind(new.id);
    let ending = ending.bind(CLEARED_MAX).bind(i64::from(most.get()) - 1);
    let ending = ending.fetch_all(&mut *db).await?;
    for id in &ending {
        let delete = sqlx::query("DELETE FROM sessions WHERE id = ?");
        delete.bind(id).execute(&mut *db).await?;
    }
    Ok(ending)
}

/// Makes a user and their own room, within a transaction.
pub(super) async fn make(
    db: &mut Connection,
    name: &str,
    password_hash: &str,
) -> Result<(), Failure> {
    let own_room = Room {
        name: name.to_owned(),
        private: true,
        bot: BotPolicy::Always,
        owner: name.to_owned(),
        ..Room::default()
    };
    let insert = sqlx::query(
        "INSERT INTO users (name, skeleton, password_hash, created_at_ms) VALUES (?, ?, ?, ?)",
    );
    let insert = insert.bind(name).bind(names::skeleton(name));
    let insert = insert.bind(password_hash).bind(now_ms());
    insert.execute(&mut *db).await?;
    rooms::insert(db, &own_room).await?;
    looks::user_made(db, name).await
}

#[async_trait]
impl Accounts for ThisStore {
    async fn create_user(&self, name: &str, password_hash: &str) -> Result<(), StoreError> {
        let made = transaction!(self, |db| { make(db, name, password_hash).await });
        Ok(made.await?)
    }

    async fn password_hash(&self, name: &str) -> Result<Option<String>, StoreError> {
        if !names::may_exist(name) {
            return Ok(None);
        }
        let hash = reading!(self, |db| {
            let query = sqlx::query_scalar(
                "SELECT password_hash FROM users LEFT JOIN standings ON standings.user = users.name \
                 WHERE name = ? AND COALESCE(standings.deleted, 0) = 0 AND password_hash <> ''",
            );
            Ok(query.bind(name).fetch_optional(db).await?)
        });
        Ok(hash.await?)
    }

    async fn begin_session(
        &self,
        session: &Session,
        token_hash: &[u8; 32],
        log_in: LogIn<'_>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let begun = transaction!(self, |db| {
            // The user's own room stands for the user: what is counted here is counted by one at a time, and whoever
            // disables the account finds this session or is found by it.
            rooms::lock(db, &session.user).await?;
            standings::refuse_disabled(db, &session.user).await?;
            passwords::still_keeps(db, &session.user, log_in.password_hash).await?;
            identities::still_leads_to(db, &session.user, log_in.identity_hash).await?;
            sqlx::query(
                "INSERT INTO sessions (token_hash, id, user, device, created_at_ms, last_seen_at_ms, expires_at_ms) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&token_hash[..])
            .bind(session.id)
            .bind(&session.user)
            .bind(&session.device)
            .bind(column(session.created_at_ms))
            .bind(column(session.last_seen_at_ms))
            .bind(column(session.expires_at_ms))
            .execute(&mut *db)
            .await?;
            if let Some(device) = log_in.device_hash {
                remember_device(db, &session.user, &device, column(session.created_at_ms)).await?;
            }
            match log_in.sessions_max {
                Some(most) => end_longest_unused(db, session, most).await,
                None => Ok(Vec::new()),
            }
        });
        Ok(begun.await?)
    }

    async fn knows_device(
        &self,
        user: Option<&str>,
        device_hash: &[u8; 32],
        since_ms: u64,
    ) -> Result<bool, StoreError> {
        if user.is_some_and(|user| !names::may_exist(user)) {
            return Ok(false);
        }
        let known = reading!(self, |db| {
            let query = sqlx::query_scalar::<_, String>(
                "SELECT user FROM devices WHERE device_hash = ? AND used_at_ms > ?",
            );
            let query = query.bind(&device_hash[..]).bind(column(since_ms));
            let whose = query.fetch_optional(db).await?;
            Ok(whose.is_some_and(|whose| user.is_none_or(|user| user == whose)))
        });
        Ok(known.await?)
    }

    async fn session(
        &self,
        token_hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<Session>, StoreError> {
        let session = reading!(self, |db| {
            let row = sqlx::query_as::<_, SessionRow>(
                "SELECT id, sessions.user, device, created_at_ms, last_seen_at_ms, expires_at_ms \
                 FROM sessions LEFT JOIN standings ON standings.user = sessions.user \
                 WHERE token_hash = ? AND expires_at_ms > ? AND COALESCE(standings.disabled, 0) = 0",
            )
            .bind(&token_hash[..])
            .bind(column(now_ms))
            .fetch_optional(db)
            .await?;
            Ok(row.map(Session::from))
        });
        Ok(session.await?)
    }

    async fn sessions(&self, user: &str, now_ms: u64) -> Result<Vec<Session>, StoreError> {
        let sessions = reading!(self, |db| {
            let rows = sqlx::query_as::<_, SessionRow>(
                "SELECT id, user, device, created_at_ms, last_seen_at_ms, expires_at_ms FROM sessions \
                 WHERE user = ? AND expires_at_ms > ? ORDER BY last_seen_at_ms DESC, id",
            )
            .bind(user)
            .bind(column(now_ms))
            .fetch_all(db)
            .await?;
            Ok(rows.into_iter().map(Session::from).collect())
        });
        Ok(sessions.await?)
    }

    async fn end_session(&self, user: &str, session: Uuid) -> Result<bool, StoreError> {
        let ended = writing!(self, |db| {
            let query = sqlx::query("DELETE FROM sessions WHERE id = ? AND user = ?");
            let done = query.bind(session).bind(user).execute(db).await?;
            Ok(done.rows_affected() > 0)
        });
        Ok(ended.await?)
    }

    async fn live_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
    ) -> Result<HashSet<Uuid>, StoreError> {
        let live = reading!(self, |db| {
            let mut live = HashSet::new();
            for list in lists(sessions, self.takes()) {
                let mut query = sqlx::query_scalar::<_, Uuid>(LIVE_SESSIONS.sql(list.len()));
                query = query.bind(column(now_ms));
                for id in list {
                    query = query.bind(id);
                }
                live.extend(query.fetch_all(&mut *db).await?);
            }
            Ok(live)
        });
        Ok(live.await?)
    }

    async fn touch_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
        expires_at_ms: u64,
        longest_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let longest = longest_ms.map_or(NO_END_MS, |longest| column(longest).min(NO_END_MS));
        // In one order in every process, so that two of them wait for each other rather than deadlock.
        let mut sessions = sessions.to_vec();
        sessions.sort_unstable();
        for list in lists(&sessions, self.takes()) {
            let touched = writing!(self, |db| {
                let mut query = sqlx::query(dialect::TOUCH_SESSIONS.sql(list.len()))
                    .bind(column(now_ms))
                    .bind(column(expires_at_ms))
                    .bind(longest)
                    .bind(column(now_ms));
                for id in &list {
                    query = query.bind(*id);
                }
                query.execute(db).await?;
                Ok(())
            });
            touched.await?;
        }
        Ok(())
    }

    async fn sweep_sessions(&self, now_ms: u64) -> Result<u64, StoreError> {
        let swept = writing!(self, |db| {
            let query = sqlx::query(dialect::SWEEP_SESSIONS).bind(column(now_ms));
            Ok::<_, Failure>(query.execute(db).await?.rows_affected())
        });
        Ok(swept.await?)
    }
}
