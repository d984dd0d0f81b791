//! Sums over the log of replies, and of what was spent beside it.

use common::{
    store::{
        StoreError,
        usage::{UsageAsked, UsageSum},
    },
    wire::{Seq, now_seq},
};

use super::{Connection, ThisStore};
use crate::sql::{
    call::reading,
    columns::column,
    usage::{UsageRow, statement},
};

impl ThisStore {
    /// Sums over the log of replies, in the order of what they are told apart by. Reads every row of its days, so it is
    /// an operator's call and none of the seam's.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn usage(&self, asked: &UsageAsked) -> Result<Vec<UsageSum>, StoreError> {
        self.sums(asked, now_seq()).await
    }

    /// The same, with the calls that are over by this time.
    pub(super) async fn sums(
        &self,
        asked: &UsageAsked,
        over_by: Seq,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let sums = reading!(self, |db| {
            let query = sqlx::query_as::<_, UsageRow>(sqlx::AssertSqlSafe(statement(asked)));
            let query = query.bind(&*asked.since).bind(&*asked.until);
            let query = query.bind(&*asked.since).bind(&*asked.until);
            let query = query.bind(column(over_by));
            let rows = query.fetch_all(db).await?;
            Ok(rows.into_iter().map(UsageSum::from).collect())
        });
        Ok(sums.await?)
    }
}
