//! Identities at the provider of single sign-on, in statements that both engines understand.

use async_trait::async_trait;
use common::store::{
    Actor, ByInvite, IDENTITIES_PER_USER, Identities, Identity, LinkedIdentity, StoreError, WaysIn,
};
use uuid::Uuid;

use super::{Connection, ThisStore, accounts, audit, invites, rooms, standings};
use crate::sql::{
    call::{reading, transaction, writing},
    columns::{column, now_ms},
    failure::Failure,
};

/// What is kept of the password of somebody who has none. It is the hash of no password.
const NO_PASSWORD: &str = "";

/// Refuses what somebody wants who comes with an identity that leads to another account by now, or to none.
pub(super) async fn still_leads_to(
    db: &mut Connection,
    user: &str,
    identity: Option<[u8; 32]>,
) -> Result<(), Failure> {
    let Some(hash) = identity else { return Ok(()) };
    match user_of(db, &hash).await? {
        Some(linked) if linked == user => Ok(()),
        _ => Err(standings::forbidden(
            "this way in was taken away from the account at this moment",
        )),
    }
}

async fn user_of(db: &mut Connection, hash: &[u8; 32]) -> Result<Option<String>, Failure> {
    let query = sqlx::query_scalar("SELECT user FROM identities WHERE identity_hash = ?");
    Ok(query.bind(&hash[..]).fetch_optional(db).await?)
}

async fn insert(db: &mut Connection, user: &str, identity: Identity<'_>) -> Result<(), Failure> {
    let hash = identity.hash();
    let insert = sqlx::query(
        "INSERT INTO identities (identity_hash, id, user, issuer, linked_at_ms) VALUES (?, ?, ?, ?, ?)",
    );
    let insert = insert.bind(&hash[..]).bind(Uuid::now_v7()).bind(user);
    let insert = insert.bind(identity.issuer).bind(now_ms());
    insert.execute(db).await?;
    Ok(())
}

/// Takes all away that lead into an account, within a transaction.
pub(super) async fn forget(db: &mut Connection, user: &str) -> Result<(), Failure> {
    let delete = sqlx::query("DELETE FROM identities WHERE user = ?");
    delete.bind(user).execute(db).await?;
    Ok(())
}

async fn count(db: &mut Connection, user: &str) -> Result<u64, Failure> {
    let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM identities WHERE user = ?");
    Ok(count.bind(user).fetch_one(db).await?.cast_unsigned())
}

async fn has_password(db: &mut Connection, user: &str) -> Result<bool, Failure> {
    let has = sqlx::query("SELECT 1 FROM users WHERE name = ? AND password_hash <> ?");
    let has = has.bind(user).bind(NO_PASSWORD).fetch_optional(db).await?;
    Ok(has.is_some())
}

async fn list(db: &mut Connection, user: &str) -> Result<Vec<LinkedIdentity>, Failure> {
    let rows = sqlx::query_as::<_, (Uuid, String, i64)>(
        "SELECT id, issuer, linked_at_ms FROM identities WHERE user = ? ORDER BY linked_at_ms, id",
    );
    let rows = rows.bind(user).fetch_all(db).await?;
    let identity = |(id, issuer, at_ms): (_, _, i64)| LinkedIdentity {
        id,
        issuer,
        linked_at_ms: at_ms.cast_unsigned(),
    };
    Ok(rows.into_iter().map(identity).collect())
}

async fn ways_in(db: &mut Connection, user: &str) -> Result<WaysIn, Failure> {
    Ok(WaysIn {
        password: has_password(db, user).await?,
        identities: list(db, user).await?,
    })
}

/// Takes one away, within a transaction and under the lock of the account. False if it does not lead there.
async fn delete(db: &mut Connection, user: &str, id: Uuid) -> Result<bool, Failure> {
    let delete = sqlx::query("DELETE FROM identities WHERE id = ? AND user = ?");
    let deleted = delete.bind(id).bind(user).execute(db).await?;
    Ok(deleted.rows_affected() > 0)
}

#[async_trait]
impl Identities for ThisStore {
    async fn user_of_identity(&self, identity: Identity<'_>) -> Result<Option<String>, StoreError> {
        let user = reading!(self, |db| { user_of(db, &identity.hash()).await });
        Ok(user.await?)
    }

    async fn create_identified_user(
        &self,
        name: &str,
        identity: Identity<'_>,
        invite: Option<ByInvite<'_>>,
    ) -> Result<Option<String>, StoreError> {
        let made = transaction!(self, |db| {
            let room = match invite {
                Some(invite) => {
                    let (hash, by_keepers) = (invite.token_hash, invite.by_keepers_alone);
                    invites::take(db, name, NO_PASSWORD, hash, by_keepers).await?
                }
                None => {
                    accounts::make(db, name, NO_PASSWORD).await?;
                    None
                }
            };
            insert(db, name, identity).await?;
            Ok(room)
        });
        Ok(made.await?)
    }

    async fn link_identity(
        &self,
        user: &str,
        identity: Identity<'_>,
        session: Uuid,
    ) -> Result<(), StoreError> {
        let linked = transaction!(self, |db| {
            // The user's own room stands for the user.
            rooms::lock(db, user).await?;
            standings::refuse_disabled(db, user).await?;
            let asks = sqlx::query("SELECT 1 FROM sessions WHERE id = ? AND user = ?");
            let asks = asks.bind(session).bind(user).fetch_optional(&mut *db);
            if asks.await?.is_none() {
                return Err(standings::forbidden("this session has ended; log in again"));
            }
            match user_of(db, &identity.hash()).await? {
                Some(linked) if linked == user => return Ok(()),
                Some(_) => return Err(Failure::Duplicate),
                None => {}
            }
            if count(db, user).await? >= IDENTITIES_PER_USER as u64 {
                return Err(Failure::Refused(StoreError::Full(format!(
                    "{IDENTITIES_PER_USER} identities lead into this account, as many as may; take one away first"
                ))));
            }
            insert(db, user, identity).await?;
            audit::note(db, user, "linked a single sign-on", user, identity.issuer).await
        });
        Ok(linked.await?)
    }

    async fn identities(&self, user: &str) -> Result<Vec<LinkedIdentity>, StoreError> {
        let listed = reading!(self, |db| { list(db, user).await });
        Ok(listed.await?)
    }

    async fn unlink_identity(
        &self,
        user: &str,
        id: Uuid,
        passwords_count: bool,
    ) -> Result<bool, StoreError> {
        let unlinked = transaction!(self, |db| {
            rooms::lock(db, user).await?;
            if !delete(db, user, id).await? {
                return Ok(false);
            }
            let by_password = passwords_count && has_password(db, user).await?;
            if !by_password && count(db, user).await? == 0 {
                return Err(standings::forbidden(
                    "nothing else leads into this account; it would be closed to you",
                ));
            }
            audit::note(db, user, "took a single sign-on away", user, "").await?;
            Ok(true)
        });
        Ok(unlinked.await?)
    }

    async fn ways_in(&self, user: &str) -> Result<Option<WaysIn>, StoreError> {
        let known = reading!(self, |db| {
            match standings::of(db, user).await? {
                Some(_) => Ok(Some(ways_in(db, user).await?)),
                None => Ok(None),
            }
        });
        Ok(known.await?)
    }

    async fn take_identity(
        &self,
        actor: Actor<'_>,
        user: &str,
        id: Uuid,
    ) -> Result<Option<WaysIn>, StoreError> {
        let left = transaction!(self, |db| {
            rooms::lock(db, user).await?;
            standings::only_administrators(db, actor).await?;
            if !delete(db, user, id).await? {
                return Ok(None);
            }
            audit::note(db, actor.name(), "took a single sign-on away", user, "").await?;
            Ok(Some(ways_in(db, user).await?))
        });
        Ok(left.await?)
    }

    async fn spend_sign_on(
        &self,
        attempt_hash: &[u8; 32],
        expires_at_ms: u64,
    ) -> Result<bool, StoreError> {
        let spent = writing!(self, |db| {
            let insert = sqlx::query(
                "INSERT INTO spent_sign_ons (attempt_hash, expires_at_ms) VALUES (?, ?)",
            );
            let insert = insert.bind(&attempt_hash[..]).bind(column(expires_at_ms));
            match insert.execute(db).await.map_err(Failure::from) {
                Err(Failure::Duplicate) => Ok(false),
                spent => spent.map(|_| true),
            }
        });
        Ok(spent.await?)
    }
}
