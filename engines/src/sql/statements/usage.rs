//! Sums over the log of replies.

use super::{Connection, ThisStore};
use crate::store::{
    StoreError,
    call::reading,
    usage::{UsageAsked, UsageSum},
};

impl ThisStore {
    /// Sums over the log of replies, in the order of what they are told apart by. Reads every row of its days, so it is
    /// an operator's call and none of the seam's.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn usage(&self, asked: &UsageAsked) -> Result<Vec<UsageSum>, StoreError> {
        let sums = reading!(self, |db| {
            let query = sqlx::query_as(sqlx::AssertSqlSafe(asked.sql()));
            let query = query.bind(&*asked.since).bind(&*asked.until);
            Ok(query.fetch_all(db).await?)
        });
        Ok(sums.await?)
    }
}
