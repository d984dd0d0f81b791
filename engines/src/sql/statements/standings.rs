//! What accounts are beyond name and password, in statements that both engines understand.

use common::store::{Standing, StoreError};

use super::Connection;
use crate::sql::failure::Failure;

/// What an account is, within whatever is under way; none if there is no such account.
pub(super) async fn of(db: &mut Connection, user: &str) -> Result<Option<Standing>, Failure> {
    let query = sqlx::query_as::<_, (bool, bool, bool)>(
        "SELECT COALESCE(admin, 0), COALESCE(disabled, 0), COALESCE(deleted, 0) \
         FROM users LEFT JOIN standings ON standings.user = users.name WHERE users.name = ?",
    );
    let row = query.bind(user).fetch_optional(db).await?;
    Ok(row.map(|(admin, disabled, deleted)| Standing {
        admin,
        disabled,
        deleted,
    }))
}

/// Refuses what somebody may not do whose account is disabled or deleted.
pub(super) async fn refuse_disabled(db: &mut Connection, user: &str) -> Result<(), Failure> {
    match of(db, user).await? {
        Some(standing) if standing.disabled => Err(Failure::Refused(StoreError::Forbidden(
            "this account is disabled; ask whoever administers this server".to_owned(),
        ))),
        _ => Ok(()),
    }
}
