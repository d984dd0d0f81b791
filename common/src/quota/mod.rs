//! The quota seam: what the whole fleet of workers may ask of each model, kept in one place, since a provider counts
//! per project and not per process. Two sides in the crate `engines`: Redis, and one process alone. Both pass the suite
//! in `common/suites/src/quota/`.
//!
//! What is kept is a rolling window, so that no minute, wherever it begins, sees more than the quota, whatever the
//! provider's own minutes are. Why it is so, and what is fair: `docs/decisions/one-quota.md`.

pub mod budgets;
pub mod run_queue;

use std::{num::NonZeroU32, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use self::{budgets::Budgets, run_queue::RunQueue};
use crate::{causes::WithCauses, wire::Seq};

/// Never grants more than the limits allow in any window; a grant that is not used comes back.
#[async_trait]
pub trait Quota: RunQueue + Budgets {
    /// Asks for leave to make a call. Granted, it has to [begin](CallReport::Began) within [`QuotaTimings::lease`]; told to wait,
    /// the caller asks again with the same id after the time it was told, or leaves the queue. Of those who wait, it is
    /// the turn of whose user and room have had least in the window. Asked again after a grant, it is granted still.
    ///
    /// # Errors
    /// [`QuotaError`]; it may have been granted all the same, and comes back then.
    async fn reserve(&self, request: &CallRequest<'_>) -> Result<Reservation, QuotaError>;

    /// Tells how it goes with a granted call. Idempotent. False if the grant is not there any more: it has lapsed, was
    /// given back, or has left the window.
    ///
    /// # Errors
    /// [`QuotaError`]; a call that began then counts by its estimate until it leaves the window.
    async fn report(&self, model: &str, id: Uuid, report: CallReport) -> Result<bool, QuotaError>;

    /// Nobody calls the model for so long; a longer pause that there is already stays.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn pause(&self, model: &str, pause: Duration) -> Result<(), QuotaError>;

    /// Counts what a user asks, by when it was posted. If that is more than `a_minute`, it does not count, and the
    /// answer is how long from now until one more does. Idempotent by the request's id.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn admit(
        &self,
        user: &str,
        request: Uuid,
        posted: Seq,
        a_minute: NonZeroU32,
    ) -> Result<Option<Duration>, QuotaError>;

    /// Says that this worker is there, and returns what there is of the fleet.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn workers(&self, worker: &str) -> Result<WorkerFleet, QuotaError>;
}

/// The workers, as far as they show. Times are by the engine's clock, which on Redis gives messages their `seq` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerFleet {
    /// How many showed within [`QuotaTimings::seen`], the one that asks included.
    pub workers: usize,
    /// Since when there has always been one: never [`QuotaTimings::gap`] without any that showed.
    pub since: Seq,
    /// Now.
    pub now: Seq,
}

/// A call that somebody wants to make.
#[derive(Clone, Copy, Debug)]
pub struct CallRequest<'a> {
    /// Whom they want to call.
    pub model: &'a str,
    /// The call; the same until it is granted.
    pub id: Uuid,
    /// Who asked the bot.
    pub user: &'a str,
    /// And where.
    pub room: &'a str,
    /// About how many input tokens it is.
    pub tokens: u32,
}

/// What became of a [`CallRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Go; the window then holds so much.
    Granted {
        /// Calls, this one included.
        calls: u32,
        /// Input tokens, these included.
        tokens: u64,
    },
    /// Not now.
    Wait {
        /// About how long until it is this one's turn.
        expected: Duration,
        /// When to ask again.
        again: Duration,
    },
}

/// How it goes with a call that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallReport {
    /// It goes out now, and counts from now on.
    Began,
    /// It had so many input tokens.
    Cost(u32),
    /// It never counted with the provider: it did not go out, or was refused. Of a call that still waits: it waits no
    /// more.
    GivenBack,
}

/// What the fleet may ask of each model; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Calls a minute.
    pub calls: Option<NonZeroU32>,
    /// Input tokens a minute.
    pub tokens: Option<NonZeroU32>,
    /// Calls a day. The day ends at midnight in California, as Google's does.
    pub daily_calls: Option<NonZeroU32>,
}

impl QuotaLimits {
    /// Whether there is nothing to keep.
    pub fn is_none(self) -> bool {
        self == QuotaLimits::default()
    }
}

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct QuotaTimings {
    /// How long the "minute" is that the limits are for.
    pub window: Duration,
    /// A call counts for so much longer: for what the network does to distances in time.
    pub margin: Duration,
    /// A grant that has not begun by then is given back.
    pub lease: Duration,
    /// Whoever is so much later than told in asking again has left the queue.
    pub grace: Duration,
    /// A worker that did not show for so long is gone.
    pub seen: Duration,
    /// When none showed for so long, there was none.
    pub gap: Duration,
}

impl Default for QuotaTimings {
    fn default() -> QuotaTimings {
        QuotaTimings {
            window: Duration::from_secs(60),
            margin: Duration::from_millis(600),
            lease: Duration::from_secs(5),
            grace: Duration::from_secs(1),
            seen: Duration::from_secs(60),
            gap: Duration::from_secs(5),
        }
    }
}

/// The quota could not be asked; nothing is known of how long that will be so.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", WithCauses(&**source))]
pub struct QuotaError {
    /// What was being done.
    pub what: &'static str,
    /// Why it failed.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
