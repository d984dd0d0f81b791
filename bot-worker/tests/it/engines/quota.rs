//! A quota that is told another time.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    quota::{CallReport, CallRequest, Quota, QuotaError, Reservation, WorkerFleet},
    wire::Seq,
};
use uuid::Uuid;

/// A quota on a machine whose clock is so far behind this one's.
pub struct QuotaBehind(pub Arc<dyn Quota>, pub Duration);

#[async_trait]
impl Quota for QuotaBehind {
    async fn reserve(&self, wish: &CallRequest<'_>) -> Result<Reservation, QuotaError> {
        self.0.reserve(wish).await
    }

    async fn report(&self, model: &str, id: Uuid, news: CallReport) -> Result<bool, QuotaError> {
        self.0.report(model, id, news).await
    }

    async fn pause(&self, model: &str, pause: Duration) -> Result<(), QuotaError> {
        self.0.pause(model, pause).await
    }

    async fn admit(
        &self,
        user: &str,
        request: Uuid,
        posted: Seq,
        a_minute: NonZeroU32,
    ) -> Result<Option<Duration>, QuotaError> {
        self.0.admit(user, request, posted, a_minute).await
    }

    async fn workers(&self, worker: &str) -> Result<WorkerFleet, QuotaError> {
        let fleet = self.0.workers(worker).await?;
        let behind = self.1.as_micros() as Seq;
        Ok(WorkerFleet {
            since: fleet.since - behind,
            now: fleet.now - behind,
            ..fleet
        })
    }
}
