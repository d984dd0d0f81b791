//! What calls to models have used, as far as no reply's log has it; and what both together say of a day and a month, for the
//! budgets.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::{
    quota::budgets::{PastSpending, Spending},
    wire::Seq,
};

/// One line for a call whose use is in the log of no reply, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendingLine {
    /// The call.
    pub id: Uuid,
    /// The day (UTC), such as `2026-11-28`.
    pub day: String,
    /// Where it was asked.
    pub room: String,
    /// Who asked.
    pub user: String,
    /// Which model.
    pub model: String,
    /// What it has used; as long as it is under way, the most that it can.
    pub spent: Spending,
    /// Whether the price table has the model.
    pub is_priced: bool,
    /// When it is over at the latest; 0 if it is.
    pub open_until: Seq,
}

/// Keeps what is spent beside the log of replies.
#[async_trait]
pub trait Spendings: Send + Sync + 'static {
    /// Writes a line, in the place of an earlier one of the same call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn note_spending(&self, line: &SpendingLine) -> Result<(), StoreError>;

    /// Takes lines away, since a reply's log has what they say. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn drop_spendings(&self, calls: &[Uuid]) -> Result<(), StoreError>;

    /// What each person, each room and all together have used in the day and the month of this time, by the log of replies and
    /// these lines; calls under way count as the most they can use. Reads all of the month.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn spent_by_log(&self, at: Seq) -> Result<Vec<PastSpending>, StoreError>;
}
