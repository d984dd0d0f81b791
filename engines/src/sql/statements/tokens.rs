//! Tokens of programs, in statements that both engines understand.

use std::collections::HashSet;

use async_trait::async_trait;
use common::store::{ProgramToken, StoreError, TOKENS_PER_USER, Tokens};
use uuid::Uuid;

use super::{Connection, ThisStore, rooms, standings};
use crate::sql::{
    batch::{BySize, lists},
    call::{reading, transaction, writing},
    columns::column,
    failure::Failure,
};

/// A token's columns, and where they are found.
macro_rules! token_where {
    ($condition:literal) => {
        concat!(
            "SELECT tokens.id, tokens.user, tokens.name, tokens.created_at_ms, tokens.last_used_at_ms, \
             tokens.expires_at_ms FROM tokens LEFT JOIN standings ON standings.user = tokens.user \
             WHERE COALESCE(standings.disabled, 0) = 0 \
             AND (tokens.expires_at_ms IS NULL OR tokens.expires_at_ms > ?) AND ",
            $condition
        )
    };
}

static LIVE_TOKENS: BySize = BySize::new(token_where!("tokens.id IN ("), "?", ", ", ")");

static TOUCH_TOKENS: BySize = BySize::new(
    "UPDATE tokens SET last_used_at_ms = ? WHERE id IN (",
    "?",
    ", ",
    ")",
);

/// A row of `tokens`, without the token's hash.
#[derive(sqlx::FromRow)]
struct TokenRow {
    id: Uuid,
    user: String,
    name: String,
    created_at_ms: i64,
    last_used_at_ms: Option<i64>,
    expires_at_ms: Option<i64>,
}

impl From<TokenRow> for ProgramToken {
    fn from(row: TokenRow) -> ProgramToken {
        ProgramToken {
            id: row.id,
            user: row.user,
            name: row.name,
            created_at_ms: row.created_at_ms.cast_unsigned(),
            last_used_at_ms: row.last_used_at_ms.map(i64::cast_unsigned),
            expires_at_ms: row.expires_at_ms.map(i64::cast_unsigned),
        }
    }
}

#[async_trait]
impl Tokens for ThisStore {
    async fn create_token(
        &self,
        token: &ProgramToken,
        token_hash: &[u8; 32],
        session: Uuid,
    ) -> Result<(), StoreError> {
        let created = transaction!(self, |db| {
            // The user's own room stands for the user: what is counted here is counted by one at a time, and whoever ends
            // the session because somebody else has it is not followed by a token of theirs.
            rooms::lock(db, &token.user).await?;
            standings::refuse_disabled(db, &token.user).await?;
            let asks = sqlx::query("SELECT 1 FROM sessions WHERE id = ? AND user = ?");
            let asks = asks.bind(session).bind(&token.user);
            if asks.fetch_optional(&mut *db).await?.is_none() {
                return Err(standings::forbidden("this session has ended; log in again"));
            }
            let now = column(token.created_at_ms);
            let expired = sqlx::query("DELETE FROM tokens WHERE user = ? AND expires_at_ms <= ?");
            expired
                .bind(&token.user)
                .bind(now)
                .execute(&mut *db)
                .await?;
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE user = ?")
                .bind(&token.user)
                .fetch_one(&mut *db)
                .await?;
            if count.cast_unsigned() >= TOKENS_PER_USER as u64 {
                return Err(Failure::Refused(StoreError::Full(format!(
                    "you have {TOKENS_PER_USER} tokens, as many as one may; revoke one first"
                ))));
            }
            let insert = sqlx::query(
                "INSERT INTO tokens (token_hash, id, user, name, created_at_ms, last_used_at_ms, expires_at_ms) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            );
            let insert = insert.bind(&token_hash[..]).bind(token.id);
            let insert = insert.bind(&token.user).bind(&token.name).bind(now);
            let insert = insert.bind(token.last_used_at_ms.map(column));
            let insert = insert.bind(token.expires_at_ms.map(column));
            insert.execute(db).await?;
            Ok(())
        });
        Ok(created.await?)
    }

    async fn token(
        &self,
        token_hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<ProgramToken>, StoreError> {
        let token = reading!(self, |db| {
            let row = sqlx::query_as::<_, TokenRow>(token_where!("tokens.token_hash = ?"));
            let row = row.bind(column(now_ms)).bind(&token_hash[..]);
            Ok(row.fetch_optional(db).await?.map(ProgramToken::from))
        });
        Ok(token.await?)
    }

    async fn tokens(&self, user: &str, now_ms: u64) -> Result<Vec<ProgramToken>, StoreError> {
        let tokens = reading!(self, |db| {
            let rows = sqlx::query_as::<_, TokenRow>(token_where!(
                "tokens.user = ? ORDER BY tokens.created_at_ms DESC, tokens.id"
            ));
            let rows = rows.bind(column(now_ms)).bind(user).fetch_all(db).await?;
            Ok(rows.into_iter().map(ProgramToken::from).collect())
        });
        Ok(tokens.await?)
    }

    async fn revoke_token(&self, user: &str, token: Uuid) -> Result<bool, StoreError> {
        let revoked = writing!(self, |db| {
            let query = sqlx::query("DELETE FROM tokens WHERE id = ? AND user = ?");
            let done = query.bind(token).bind(user).execute(db).await?;
            Ok(done.rows_affected() > 0)
        });
        Ok(revoked.await?)
    }

    async fn live_tokens(&self, ids: &[Uuid], now_ms: u64) -> Result<HashSet<Uuid>, StoreError> {
        let live = reading!(self, |db| {
            let mut live = HashSet::new();
            for list in lists(ids, self.takes()) {
                let mut query = sqlx::query_as::<_, TokenRow>(LIVE_TOKENS.sql(list.len()));
                query = query.bind(column(now_ms));
                for id in list {
                    query = query.bind(id);
                }
                let rows = query.fetch_all(&mut *db).await?;
                live.extend(rows.into_iter().map(|row| row.id));
            }
            Ok(live)
        });
        Ok(live.await?)
    }

    async fn touch_tokens(&self, ids: &[Uuid], now_ms: u64) -> Result<(), StoreError> {
        // In one order in every process, so that two of them wait for each other rather than deadlock.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        for list in lists(&ids, self.takes()) {
            let touched = writing!(self, |db| {
                let mut query = sqlx::query(TOUCH_TOKENS.sql(list.len())).bind(column(now_ms));
                for id in &list {
                    query = query.bind(*id);
                }
                query.execute(db).await?;
                Ok::<_, Failure>(())
            });
            touched.await?;
        }
        Ok(())
    }
}
