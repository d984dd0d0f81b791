//! The quota seam: beside what can befall every call, the engine's clock can be behind.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use common::{
    quota::{
        CallReport, CallRequest, Quota, QuotaError, Reservation, WorkerFleet,
        budgets::{
            Books, BudgetLimits, BudgetOut, Budgets, CostlyCall, Held, PastSpending, Reached,
            Spending, SpentView,
        },
        run_queue::{Offer, Place, RunQueue},
    },
    wire::Seq,
};
use uuid::Uuid;

use crate::{Faults, passes_on};

/// A quota behind a network.
pub struct FaultyQuota {
    inner: Arc<dyn Quota>,
    /// What befalls its calls.
    pub faults: Faults,
    behind: Duration,
}

impl FaultyQuota {
    /// This engine, on a machine whose clock is so far behind.
    pub fn behind(inner: Arc<dyn Quota>, behind: Duration) -> Arc<FaultyQuota> {
        Arc::new(FaultyQuota {
            inner,
            faults: Faults::of(CALLS),
            behind,
        })
    }
}

passes_on! { FaultyQuota, beside ["workers"],
    RunQueue {
        async fn offer(offer: &Offer) -> Result<(), QuotaError>;
        async fn before(place: Place) -> Result<Option<usize>, QuotaError>;
        async fn take(passed_over: &[String]) -> Result<Option<Offer>, QuotaError>;
        async fn withdraw(place: Place) -> Result<bool, QuotaError>;
    }
    Budgets {
        async fn keep_budgets(limits: &BudgetLimits, at: Seq) -> Result<Books, QuotaError>;
        async fn hold(call: &CostlyCall<'_>, limits: &BudgetLimits, at: Seq) -> Result<Held, QuotaError>;
        async fn look(
            user: &str,
            room: &str,
            limits: &BudgetLimits,
            at: Seq
        ) -> Result<Option<BudgetOut>, QuotaError>;
        async fn settle(
            call: &CostlyCall<'_>,
            used: Option<Spending>,
            limits: &BudgetLimits,
            at: Seq
        ) -> Result<Vec<Reached>, QuotaError>;
        async fn fill(past: &[PastSpending], at: Seq) -> Result<(), QuotaError>;
        async fn spent(user: &str, room: Option<&str>, at: Seq) -> Result<SpentView, QuotaError>;
    }
    Quota {
        async fn reserve(wish: &CallRequest<'_>) -> Result<Reservation, QuotaError>;
        async fn report(model: &str, id: Uuid, news: CallReport) -> Result<bool, QuotaError>;
        async fn pause(model: &str, pause: Duration) -> Result<(), QuotaError>;
        async fn admit(
            user: &str,
            request: Uuid,
            posted: Seq,
            a_minute: NonZeroU32
        ) -> Result<Option<Duration>, QuotaError>;
        by hand {
            async fn workers(&self, worker: &str) -> Result<WorkerFleet, QuotaError> {
                self.faults.pass("workers").await?;
                let fleet = self.inner.workers(worker).await?;
                let behind = self.behind.as_micros() as Seq;
                Ok(WorkerFleet {
                    since: fleet.since - behind,
                    now: fleet.now - behind,
                    ..fleet
                })
            }
        }
    }
}
