//! The door and who keeps it: each call of the seam, and its lists, in statements that both engines understand.

use std::collections::HashSet;

use async_trait::async_trait;
use common::{
    names,
    store::{
        Actor, AuditLine, Departure, Invite, KeptRoom, LISTED_MAX, ListedAccount, People, Standing,
        StandingChanges, StoreError, THE_SERVER,
        usage::{UsageAsked, UsageSum},
    },
};
use uuid::Uuid;

use super::{Connection, ThisStore, audit, invites, passwords, programs, rooms, standings};
use crate::sql::{
    call::{reading, transaction, writing},
    columns::column,
};

/// A row of the list of accounts.
#[derive(sqlx::FromRow)]
struct AccountRow {
    name: String,
    created_at_ms: i64,
    admin: bool,
    disabled: bool,
    deleted: bool,
    program: bool,
    sessions: i64,
    last_seen_at_ms: Option<i64>,
    rooms: i64,
}

/// A row of the list of rooms.
#[derive(sqlx::FromRow)]
struct KeptRoomRow {
    name: String,
    owner: String,
    private: bool,
    created_at_ms: i64,
    members: i64,
    latest: i64,
    gone_until: i64,
}

#[async_trait]
impl People for ThisStore {
    async fn standing(&self, user: &str) -> Result<Option<Standing>, StoreError> {
        if !names::may_exist(user) {
            return Ok(None);
        }
        let standing = reading!(self, |db| { standings::of(db, user).await });
        Ok(standing.await?)
    }

    async fn programs(&self) -> Result<HashSet<String>, StoreError> {
        let programs = reading!(self, |db| { programs::all(db).await });
        Ok(programs.await?)
    }

    async fn has_accounts(&self) -> Result<bool, StoreError> {
        let has = reading!(self, |db| {
            let query = sqlx::query("SELECT 1 FROM users LIMIT 1");
            Ok(query.fetch_optional(db).await?.is_some())
        });
        Ok(has.await?)
    }

    async fn standings_changed(&self, since_ms: u64) -> Result<Vec<(String, u64)>, StoreError> {
        let changed = reading!(self, |db| {
            let query = sqlx::query_as::<_, (String, i64)>(
                "SELECT user, changed_at_ms FROM standings WHERE changed_at_ms > ? AND user <> ?",
            );
            let query = query.bind(column(since_ms)).bind(THE_SERVER);
            let rows = query.fetch_all(db).await?;
            let rows = rows
                .into_iter()
                .map(|(user, at)| (user, at.cast_unsigned()));
            Ok(rows.collect())
        });
        Ok(changed.await?)
    }

    async fn make_invite(&self, invite: &Invite, token_hash: &[u8; 32]) -> Result<(), StoreError> {
        let made = transaction!(self, |db| { invites::make(db, invite, token_hash).await });
        Ok(made.await?)
    }

    async fn invites(&self, by: Option<&str>, now_ms: u64) -> Result<Vec<Invite>, StoreError> {
        let listed = reading!(self, |db| { invites::list(db, by, now_ms).await });
        Ok(listed.await?)
    }

    async fn withdraw_invite(&self, actor: Actor<'_>, id: Uuid) -> Result<bool, StoreError> {
        let withdrawn = transaction!(self, |db| { invites::withdraw(db, actor, id).await });
        Ok(withdrawn.await?)
    }

    async fn check_invite(
        &self,
        token_hash: &[u8; 32],
        by_keepers_alone: bool,
    ) -> Result<(), StoreError> {
        let checked = reading!(self, |db| {
            invites::check(db, token_hash, by_keepers_alone).await
        });
        Ok(checked.await?)
    }

    async fn create_invited_user(
        &self,
        name: &str,
        password_hash: &str,
        token_hash: &[u8; 32],
        by_keepers_alone: bool,
    ) -> Result<Option<String>, StoreError> {
        let made = transaction!(self, |db| {
            invites::take(db, name, password_hash, token_hash, by_keepers_alone).await
        });
        Ok(made.await?)
    }

    async fn change_password(
        &self,
        user: &str,
        kept: &str,
        new: &str,
        session: Uuid,
        device_hash: Option<[u8; 32]>,
    ) -> Result<Option<Vec<Uuid>>, StoreError> {
        let changed = transaction!(self, |db| {
            passwords::change(db, user, kept, new, session, device_hash).await
        });
        Ok(changed.await?)
    }

    async fn end_other_sessions(
        &self,
        user: &str,
        session: Uuid,
        device_hash: Option<[u8; 32]>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let ended = transaction!(self, |db| {
            rooms::lock(db, user).await?;
            passwords::end_others(db, user, Some(session), device_hash).await
        });
        Ok(ended.await?)
    }

    async fn make_reset(
        &self,
        actor: Actor<'_>,
        user: &str,
        token_hash: &[u8; 32],
        expires_at_ms: u64,
    ) -> Result<bool, StoreError> {
        if !names::may_exist(user) {
            return Ok(false);
        }
        let made = transaction!(self, |db| {
            passwords::make_reset(db, actor, user, token_hash, expires_at_ms).await
        });
        Ok(made.await?)
    }

    async fn reset_of(&self, token_hash: &[u8; 32]) -> Result<String, StoreError> {
        let user = reading!(self, |db| { passwords::reset_of(db, token_hash).await });
        Ok(user.await?)
    }

    async fn use_reset(
        &self,
        token_hash: &[u8; 32],
        password_hash: &str,
    ) -> Result<Vec<Uuid>, StoreError> {
        let used = transaction!(self, |db| {
            passwords::use_reset(db, token_hash, password_hash).await
        });
        Ok(used.await?)
    }

    async fn change_standing(
        &self,
        actor: Actor<'_>,
        user: &str,
        changes: StandingChanges,
    ) -> Result<Option<(Standing, Vec<Uuid>)>, StoreError> {
        if !names::may_exist(user) {
            return Ok(None);
        }
        let changed = transaction!(self, |db| {
            standings::change(db, actor, user, changes).await
        });
        Ok(changed.await?)
    }

    async fn delete_account(
        &self,
        actor: Actor<'_>,
        user: &str,
        kept: Option<&str>,
        with_messages: bool,
    ) -> Result<Option<Vec<Uuid>>, StoreError> {
        if !names::may_exist(user) {
            return Ok(None);
        }
        let deleted = transaction!(self, |db| {
            standings::delete(db, actor, user, kept, with_messages).await
        });
        Ok(deleted.await?)
    }

    async fn deleted_accounts(&self) -> Result<Vec<String>, StoreError> {
        let names = reading!(self, |db| {
            let query = sqlx::query_scalar("SELECT user FROM standings WHERE deleted = 1");
            Ok(query.fetch_all(db).await?)
        });
        Ok(names.await?)
    }

    async fn claim_departure(
        &self,
        now_ms: u64,
        until_ms: u64,
        left_before_ms: u64,
    ) -> Result<Option<Departure>, StoreError> {
        let claimed = transaction!(self, |db| {
            let query = sqlx::query_as::<_, (String, String)>(
                "SELECT user, after_room FROM departures WHERE claimed_until_ms <= ? AND left_at_ms <= ? \
                 ORDER BY left_at_ms LIMIT 1",
            );
            let query = query.bind(column(now_ms)).bind(column(left_before_ms));
            let Some((user, after_room)) = query.fetch_optional(&mut *db).await? else {
                return Ok(None);
            };
            let claim = sqlx::query(
                "UPDATE departures SET claimed_until_ms = ? WHERE user = ? AND claimed_until_ms <= ?",
            );
            let claim = claim.bind(column(until_ms)).bind(&user);
            let claim = claim.bind(column(now_ms)).execute(db).await?;
            // Somebody else may have taken it at this moment.
            let departure = Departure { user, after_room };
            Ok((claim.rows_affected() > 0).then_some(departure))
        });
        Ok(claimed.await?)
    }

    async fn departure_reached(
        &self,
        user: &str,
        after_room: &str,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        let noted = writing!(self, |db| {
            let query = sqlx::query(
                "UPDATE departures SET after_room = ?, claimed_until_ms = ? WHERE user = ?",
            );
            let query = query.bind(after_room).bind(column(until_ms)).bind(user);
            query.execute(db).await?;
            Ok(())
        });
        Ok(noted.await?)
    }

    async fn departure_done(&self, user: &str) -> Result<(), StoreError> {
        let done = writing!(self, |db| {
            let query = sqlx::query("DELETE FROM departures WHERE user = ?");
            query.bind(user).execute(db).await?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn room_names(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let names = reading!(self, |db| {
            let query =
                sqlx::query_scalar("SELECT name FROM rooms WHERE name > ? ORDER BY name LIMIT ?");
            let query = query.bind(after).bind(column(limit as u64));
            Ok(query.fetch_all(db).await?)
        });
        Ok(names.await?)
    }

    async fn accounts_listed(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        let listed = reading!(self, |db| {
            let query = sqlx::query_as::<_, AccountRow>(
                "SELECT name, created_at_ms, COALESCE(admin, 0) AS admin, COALESCE(disabled, 0) AS disabled, \
                 COALESCE(deleted, 0) AS deleted, \
                 COALESCE((SELECT programs.is_program FROM programs WHERE programs.name = users.name), 0) AS program, \
                 (SELECT COUNT(*) FROM sessions WHERE sessions.user = users.name) AS sessions, \
                 (SELECT MAX(last_seen_at_ms) FROM sessions WHERE sessions.user = users.name) AS last_seen_at_ms, \
                 (SELECT COUNT(*) FROM rooms WHERE rooms.owner = users.name AND rooms.name <> users.name) AS rooms \
                 FROM users LEFT JOIN standings ON standings.user = users.name \
                 WHERE name > ? ORDER BY name LIMIT ?",
            );
            let query = query.bind(after.unwrap_or_default());
            let rows = query.bind(column(limit as u64)).fetch_all(db).await?;
            let listed = |row: AccountRow| ListedAccount {
                name: row.name,
                created_at_ms: row.created_at_ms.cast_unsigned(),
                standing: Standing {
                    admin: row.admin,
                    disabled: row.disabled,
                    deleted: row.deleted,
                    program: row.program,
                },
                sessions: row.sessions.cast_unsigned(),
                last_seen_at_ms: row.last_seen_at_ms.map(i64::cast_unsigned),
                rooms: row.rooms.cast_unsigned(),
            };
            Ok(rows.into_iter().map(listed).collect())
        });
        Ok(listed.await?)
    }

    async fn rooms_kept(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeptRoom>, StoreError> {
        let listed = reading!(self, |db| {
            let query = sqlx::query_as::<_, KeptRoomRow>(
                "SELECT name, owner, private, created_at_ms, \
                 (SELECT COUNT(*) FROM members WHERE members.room = rooms.name) AS members, \
                 (SELECT COALESCE(MAX(seq), 0) FROM messages WHERE messages.room = rooms.name) AS latest, \
                 COALESCE((SELECT gone_until FROM room_retention WHERE room_retention.room = rooms.name), 0) AS gone_until \
                 FROM rooms WHERE name <> owner AND name > ? ORDER BY name LIMIT ?",
            );
            let query = query.bind(after.unwrap_or_default());
            let rows = query.bind(column(limit as u64)).fetch_all(db).await?;
            let listed = |row: KeptRoomRow| KeptRoom {
                name: row.name,
                owner: row.owner,
                private: row.private,
                created_at_ms: row.created_at_ms.cast_unsigned(),
                members: row.members.cast_unsigned(),
                latest: match row.latest > row.gone_until {
                    true => row.latest.cast_unsigned(),
                    false => 0,
                },
            };
            Ok(rows.into_iter().map(listed).collect())
        });
        Ok(listed.await?)
    }

    async fn usage_sums(&self, asked: &UsageAsked) -> Result<Vec<UsageSum>, StoreError> {
        let mut sums = self.usage(asked).await?;
        sums.truncate(LISTED_MAX);
        Ok(sums)
    }

    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        let page = reading!(self, |db| { audit::page(db, before, limit).await });
        Ok(page.await?)
    }

    async fn sweep_door(&self, before_ms: u64, audit_before_ms: u64) -> Result<(), StoreError> {
        for (statement, before_ms) in [
            ("DELETE FROM invites WHERE expires_at_ms <= ?", before_ms),
            ("DELETE FROM resets WHERE expires_at_ms <= ?", before_ms),
            (
                "DELETE FROM spent_sign_ons WHERE expires_at_ms <= ?",
                before_ms,
            ),
            ("DELETE FROM audit WHERE at_ms <= ?", audit_before_ms),
        ] {
            let swept = writing!(self, |db| {
                let query = sqlx::query(statement).bind(column(before_ms));
                query.execute(db).await?;
                Ok(())
            });
            swept.await?;
        }
        Ok(())
    }
}
