//! What was spent beside the log of replies, in statements that both engines understand.

use async_trait::async_trait;
use common::{
    quota::budgets::{BudgetPeriod, BudgetScope, PastSpending, Spending},
    store::{
        SpendingLine, Spendings, StoreError,
        usage::{UsageAsked, UsageBy, UsageSum},
    },
    wire::Seq,
};
use uuid::Uuid;

use super::{Connection, ThisStore, dialect};
use crate::sql::{
    batch::{BySize, lists},
    call::writing,
    columns::column,
    failure::Failure,
};

static DROP: BySize = BySize::new("DELETE FROM spendings WHERE id IN (", "?", ", ", ")");

#[async_trait]
impl Spendings for ThisStore {
    async fn note_spending(&self, line: &SpendingLine) -> Result<(), StoreError> {
        let cost = line.is_priced.then(|| column(line.spent.cost_micros));
        let noted = writing!(self, |db| {
            let query = sqlx::query(dialect::NOTE_SPENDING).bind(line.id);
            let query = query.bind(&*line.day).bind(&*line.room).bind(&*line.user);
            let query = query.bind(&*line.model).bind(column(line.spent.calls));
            let query = query.bind(column(line.spent.tokens_in));
            let query = query.bind(column(line.spent.tokens_out)).bind(cost);
            query.bind(column(line.open_until)).execute(db).await?;
            Ok::<_, Failure>(())
        });
        Ok(noted.await?)
    }

    async fn drop_spendings(&self, calls: &[Uuid]) -> Result<(), StoreError> {
        for list in lists(calls, self.takes()) {
            let dropped = writing!(self, |db| {
                let mut query = sqlx::query(DROP.sql(list.len()));
                for id in &list {
                    query = query.bind(id);
                }
                query.execute(db).await?;
                Ok::<_, Failure>(())
            });
            dropped.await?;
        }
        Ok(())
    }

    async fn spent_by_log(&self, at: Seq) -> Result<Vec<PastSpending>, StoreError> {
        let today = BudgetPeriod::Day.name(at);
        let month = format!("{}-01", BudgetPeriod::Month.name(at));
        let mut past = Vec::new();
        for (period, since) in [(BudgetPeriod::Day, &today), (BudgetPeriod::Month, &month)] {
            for (scope, by) in [
                (BudgetScope::Person, Some(UsageBy::User)),
                (BudgetScope::Room, Some(UsageBy::Room)),
                (BudgetScope::Server, None),
            ] {
                let asked = UsageAsked {
                    by: by.into_iter().collect(),
                    since: since.clone(),
                    until: today.clone(),
                };
                let sums = self.sums(&asked, Seq::MAX).await?;
                past.extend(sums.into_iter().map(|sum| line(period, scope, sum)));
            }
        }
        Ok(past)
    }
}

fn line(period: BudgetPeriod, scope: BudgetScope, sum: UsageSum) -> PastSpending {
    PastSpending {
        period,
        scope,
        name: match scope {
            BudgetScope::Person => sum.user,
            BudgetScope::Room => sum.room,
            BudgetScope::Server => String::new(),
        },
        spent: Spending {
            calls: sum.calls.cast_unsigned(),
            tokens_in: sum.tokens_in.cast_unsigned(),
            tokens_out: sum.tokens_out.cast_unsigned(),
            cost_micros: sum.cost_micros.cast_unsigned(),
        },
    }
}
