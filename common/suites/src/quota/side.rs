//! A fresh side of the seam for one story, and what a story says to it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::quota::{CallReport, CallRequest, Quota, QuotaLimits, QuotaTimings, Reservation};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long a story waits for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A minute that no story lasts.
pub const LONG: QuotaTimings = QuotaTimings {
    window: Duration::from_secs(3_600),
    margin: Duration::ZERO,
    lease: Duration::from_secs(3_600),
    grace: Duration::from_secs(3_600),
    seen: Duration::from_secs(3_600),
    gap: Duration::from_secs(3_600),
};

/// An engine of the quota seam.
#[async_trait]
pub trait QuotaUnderTest: Send + Sync {
    /// Opens it as two processes do, with nothing in it. An engine inside one process gives the same twice.
    async fn open(&self, limits: QuotaLimits, timings: QuotaTimings) -> [Arc<dyn Quota>; 2];
}

/// Two processes on one side. On the embedded side they are one.
pub struct Side {
    pub one: Arc<dyn Quota>,
    pub two: Arc<dyn Quota>,
}

impl Side {
    pub async fn fresh(
        engine: &dyn QuotaUnderTest,
        limits: QuotaLimits,
        timings: QuotaTimings,
    ) -> Side {
        let [one, two] = engine.open(limits, timings).await;
        Side { one, two }
    }
}

pub fn calls(calls: u32) -> QuotaLimits {
    QuotaLimits {
        calls: NonZeroU32::new(calls),
        ..QuotaLimits::default()
    }
}

pub fn tokens(tokens: u32) -> QuotaLimits {
    QuotaLimits {
        tokens: NonZeroU32::new(tokens),
        ..QuotaLimits::default()
    }
}

/// A call that somebody wants to make in a room.
pub fn wish<'a>(user: &'a str, room: &'a str, tokens: u32) -> CallRequest<'a> {
    CallRequest {
        model: "model",
        id: Uuid::now_v7(),
        user,
        room,
        tokens,
    }
}

/// What a story says to a process.
#[allow(async_fn_in_trait, reason = "only used with types that are known")]
pub trait Asks {
    /// Whether it is granted now; if not, how long it is told to wait.
    async fn asks(&self, wish: &CallRequest<'_>) -> Result<(), Duration>;

    /// Asks as often as it is told to, until it is granted, and begins.
    async fn calls(&self, wish: &CallRequest<'_>);
}

impl Asks for Arc<dyn Quota> {
    async fn asks(&self, wish: &CallRequest<'_>) -> Result<(), Duration> {
        match self.reserve(wish).await.unwrap() {
            Reservation::Granted { .. } => Ok(()),
            Reservation::Wait { expected, again } => {
                assert!(again <= expected, "{again:?} {expected:?}");
                Err(expected)
            }
        }
    }

    async fn calls(&self, wish: &CallRequest<'_>) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.reserve(wish).await.unwrap() {
                Reservation::Granted { .. } => {
                    if self
                        .report(wish.model, wish.id, CallReport::Began)
                        .await
                        .unwrap()
                    {
                        return;
                    }
                }
                Reservation::Wait { again, .. } => sleep(again).await,
            }
            assert!(Instant::now() < until, "never granted: {wish:?}");
        }
    }
}
