//! What somebody has used of the models, and what is left of the budgets that their questions count against.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use common::{
    names,
    quota::{
        QuotaError,
        budgets::{BudgetPeriod, BudgetScope, BudgetUnit, Spending, SpentView, rfc3339},
    },
    wire::{Seq, now_seq},
};
use serde::{Deserialize, Serialize};

use super::{
    Http,
    body::{Caller, InQuery},
};
use crate::{access::AccessError, problem::Problem};

#[derive(Deserialize)]
pub(super) struct AskedRoom {
    room: Option<String>,
}

#[derive(Serialize)]
struct OwnUsage {
    today: PeriodUsage,
    month: PeriodUsage,
    budgets: Vec<ShownBudget>,
}

#[derive(Serialize)]
struct PeriodUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<String>,
    #[serde(flatten)]
    spent: Spending,
}

/// One budget, and what is left of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ShownBudget {
    scope: BudgetScope,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    period: BudgetPeriod,
    unit: BudgetUnit,
    limit: u64,
    used: u64,
    left: u64,
    opens_at: String,
}

/// `GET /api/usage`.
pub(super) async fn usage(
    State(http): State<Arc<Http>>,
    Caller(caller): Caller,
    InQuery(AskedRoom { room }): InQuery<AskedRoom>,
) -> Result<Response, Problem> {
    if let Some(room) = &room {
        names::check_room(room).map_err(|_| AccessError::NotFound)?;
        http.services.access.room(&caller.user, room).await?;
    }
    let at = now_seq();
    let view = http.spent(&caller.user, room.as_deref(), at).await?;
    let [today, month] = view.person;
    let usage = OwnUsage {
        today: PeriodUsage {
            day: Some(BudgetPeriod::Day.name(at)),
            month: None,
            spent: today,
        },
        month: PeriodUsage {
            day: None,
            month: Some(BudgetPeriod::Month.name(at)),
            spent: month,
        },
        budgets: budgets(&view, Some(&caller.user), room.as_deref(), at),
    };
    Ok(Json(usage).into_response())
}

impl Http {
    /// What they have used by this time.
    pub(super) async fn spent(
        &self,
        user: &str,
        room: Option<&str>,
        at: Seq,
    ) -> Result<SpentView, Problem> {
        let not_now = |error: Option<QuotaError>| {
            if let Some(error) = error {
                tracing::warn!(%error, "what was used of the models cannot be read");
            }
            Problem::unavailable("what was used cannot be told just now; try again in a moment")
        };
        let view = match &self.budgets {
            Some(budgets) => budgets.spent(user, room, at).await,
            None => return Err(not_now(None)),
        };
        let view = view.map_err(|error| not_now(Some(error)))?;
        view.is_whole.then_some(view).ok_or_else(|| not_now(None))
    }
}

/// The budgets of a person and a room, as far as they are asked for, and the server's.
pub(super) fn budgets(
    view: &SpentView,
    person: Option<&str>,
    room: Option<&str>,
    at: Seq,
) -> Vec<ShownBudget> {
    let shown = view.limits.all().filter_map(|(scope, period, budget)| {
        let spent = match scope {
            BudgetScope::Person => person.map(|_| view.person),
            BudgetScope::Room => room.map(|_| view.room),
            BudgetScope::Server => Some(view.server),
        };
        let used = spent?[period as usize].in_unit(budget.unit);
        let named = |of: BudgetScope, name: Option<&str>| {
            name.filter(|_| scope == of).map(ToOwned::to_owned)
        };
        Some(ShownBudget {
            scope,
            person: named(BudgetScope::Person, person),
            room: named(BudgetScope::Room, room),
            period,
            unit: budget.unit,
            limit: budget.limit,
            used,
            left: budget.limit.saturating_sub(used),
            opens_at: rfc3339(period.ends(at)),
        })
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use common::quota::budgets::BudgetLimits;

    use super::*;

    #[test]
    fn what_is_left_is_never_less_than_nothing() {
        let used = |tokens_in| Spending {
            calls: 1,
            tokens_in,
            tokens_out: 0,
            cost_micros: 0,
        };
        let view = SpentView {
            is_whole: true,
            person: [used(120), used(300)],
            limits: BudgetLimits::from_words(["t100", "t1000", "t5", "-", "-", "m7"]),
            ..SpentView::default()
        };
        let shown = budgets(&view, Some("ada"), None, 1_795_990_000_000_000);
        let shown: Vec<_> = shown
            .iter()
            .map(|budget| (budget.left, &*budget.opens_at))
            .collect();
        let (midnight, first) = ("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z");
        assert_eq!(shown, [(0, midnight), (700, first), (7, first)]);
    }
}
