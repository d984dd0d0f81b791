//! The worker's part in the fleet's quota: asks leave for each call, and says afterwards what it cost. While the quota
//! cannot be asked, the worker keeps a pace of its own: its share of it.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    quota::{CallReport, CallRequest, Quota, QuotaError, QuotaLimits, Reservation, WorkerFleet},
    wire::{Seq, now_seq},
};
use metrics::{counter, gauge};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    answering::Request,
    attempts::{Bar, BarKind},
    fallback::Reason,
    pace::Pace,
};

/// How often a worker shows that it is there, a showing or two of which may come late within `QuotaTimings::gap`; and how often
/// it looks whether the quota is back.
const SHOW_EVERY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What one worker may do.
pub(crate) struct Allowance {
    quota: Arc<dyn Quota>,
    limits: QuotaLimits,
    user_calls: Option<NonZeroU32>,
    worker: String,
    state: Mutex<State>,
    /// The quota can be asked again.
    back: Notify,
}

struct State {
    is_away: bool,
    workers: usize,
    /// The fleet, and when that was heard.
    fleet: Option<(WorkerFleet, Instant)>,
    /// The share of each model's quota, which counts along.
    paces: HashMap<String, Arc<Pace>>,
}

/// What became of asking for leave.
pub(crate) enum Admission {
    /// The call may go out.
    Granted(QuotaPermit),
    /// Not now.
    Wait {
        /// About how long.
        expected: Duration,
        /// When to ask again.
        again: Duration,
    },
}

/// Admission for one call. Dropped, it counts as it was estimated.
pub(crate) struct QuotaPermit {
    /// None if it was given by this worker's own pace.
    booked: Option<(Arc<dyn Quota>, String, Uuid)>,
}

impl Allowance {
    /// A part in this quota, which keeps these limits; and so many questions a minute of one person.
    pub(crate) fn new(
        quota: Arc<dyn Quota>,
        limits: QuotaLimits,
        user_calls: Option<NonZeroU32>,
    ) -> Arc<Allowance> {
        Arc::new(Allowance {
            quota,
            limits,
            user_calls,
            worker: Uuid::now_v7().to_string(),
            state: Mutex::new(State {
                is_away: false,
                workers: 1,
                fleet: None,
                paces: HashMap::new(),
            }),
            back: Notify::new(),
        })
    }

    /// Shows that this worker is there, and sees how many there are. Returns after which time to do so again.
    pub(crate) async fn show(&self) -> Duration {
        match self.quota.workers(&self.worker).await {
            Ok(fleet) => {
                self.is_here(fleet);
                SHOW_EVERY
            }
            Err(error) => {
                self.is_away(&error);
                LOOK_AGAIN
            }
        }
    }

    /// Goes on showing that this worker is there, first after this time, for ever.
    pub(crate) async fn keep_up(&self, mut pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            pause = self.show().await;
        }
    }

    /// Since when there has been a worker, this one or others; none if that could not be asked.
    pub(crate) fn fleet_since(&self) -> Option<Seq> {
        Some(self.state().fleet?.0.since)
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.state().workers
    }

    /// What time it is where messages get their `seq`, so that it does not matter how this machine's clock is set. By
    /// that clock as long as the other could not be asked.
    pub(crate) fn now(&self) -> Seq {
        self.state().fleet.map_or_else(now_seq, |(fleet, heard)| {
            let micros = heard.elapsed().as_micros();
            fleet.now + Seq::try_from(micros).unwrap_or(Seq::MAX / 2)
        })
    }

    /// Asks leave for a call. While the quota is away this waits for the worker's own pace. Safe to cancel: what was
    /// granted meanwhile comes back by itself.
    pub(crate) async fn ask(&self, wish: &CallRequest<'_>) -> Admission {
        loop {
            let back = self.back.notified();
            if !self.state().is_away {
                match self.ask_quota(wish).await {
                    Ok(leave) => return leave,
                    Err(error) => self.is_away(&error),
                }
            }
            let pace = self.pace(wish.model);
            tokio::select! {
                () = pace.wait(wish.tokens) => return Admission::Granted(QuotaPermit { booked: None }),
                () = back => {}
            }
        }
    }

    async fn ask_quota(&self, wish: &CallRequest<'_>) -> Result<Admission, QuotaError> {
        loop {
            let (calls, tokens) = match self.quota.reserve(wish).await? {
                Reservation::Wait { expected, again } => {
                    return Ok(Admission::Wait { expected, again });
                }
                Reservation::Granted { calls, tokens } => (calls, tokens),
            };
            // Without this it has lapsed meanwhile, and is asked for once more.
            if self
                .quota
                .report(wish.model, wish.id, CallReport::Began)
                .await?
            {
                self.pace(wish.model).count(wish.tokens);
                let model = || wish.model.to_owned();
                gauge!("chinwag_bot_quota_used_calls", "model" => model()).set(calls);
                gauge!("chinwag_bot_quota_used_tokens", "model" => model()).set(tokens as f64);
                let limit = |limit: Option<NonZeroU32>| {
                    limit.map_or(f64::INFINITY, |limit| limit.get().into())
                };
                gauge!("chinwag_bot_quota_limit_calls", "model" => model())
                    .set(limit(self.limits.calls));
                gauge!("chinwag_bot_quota_limit_tokens", "model" => model())
                    .set(limit(self.limits.tokens));
                let booked = Some((Arc::clone(&self.quota), model(), wish.id));
                return Ok(Admission::Granted(QuotaPermit { booked }));
            }
        }
    }

    /// Nobody is to call the model for so long.
    pub(crate) fn pause(&self, model: &str, pause: Duration) {
        counter!("chinwag_bot_quota_pauses_total", "model" => model.to_owned()).increment(1);
        let (quota, model) = (Arc::clone(&self.quota), model.to_owned());
        tokio::spawn(async move {
            if let Err(error) = quota.pause(&model, pause).await {
                tracing::debug!(model, %error, "only this worker knows of the pause");
            }
        });
    }

    /// How long somebody has to wait until they may ask again; none if this request is within what they may.
    pub(crate) async fn too_soon(&self, request: &Request) -> Option<Duration> {
        let user_calls = self.user_calls?;
        if self.state().is_away {
            return None;
        }
        // By the reply's id, so that another answer to the same question counts as well.
        let (asker, id, asked) = (request.asker(), request.reply, request.asked);
        match self.quota.admit(asker, id, asked, user_calls).await {
            Ok(wait) => wait,
            Err(error) => {
                self.is_away(&error);
                None
            }
        }
    }

    fn pace(&self, model: &str) -> Arc<Pace> {
        let mut state = self.state();
        let workers = state.workers;
        let pace = state
            .paces
            .entry(model.to_owned())
            .or_insert_with(|| Arc::new(Pace::new(self.limits.calls, self.limits.tokens, workers)));
        Arc::clone(pace)
    }

    fn is_here(&self, fleet: WorkerFleet) {
        let workers = fleet.workers.max(1);
        let mut state = self.state();
        state.fleet = Some((fleet, Instant::now()));
        if state.is_away {
            tracing::info!(workers, "the fleet's quota can be asked again");
            self.back.notify_waiters();
        }
        state.is_away = false;
        if state.workers != workers {
            state.workers = workers;
            state.paces.clear();
        }
        drop(state);
        gauge!("chinwag_bot_quota_away").set(0);
    }

    fn is_away(&self, error: &QuotaError) {
        let mut state = self.state();
        if !state.is_away {
            let workers = state.workers;
            tracing::warn!(%error, workers, "the fleet's quota cannot be asked: keeping to this worker's share of it");
        }
        state.is_away = true;
        drop(state);
        gauge!("chinwag_bot_quota_away").set(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl QuotaPermit {
    /// The call had so many input tokens.
    pub(crate) fn cost(self, tokens: u32) {
        if tokens > 0 {
            self.report(CallReport::Cost(tokens));
        }
    }

    /// The call never counted.
    pub(crate) fn give_back(self) {
        self.report(CallReport::GivenBack);
    }

    fn report(self, news: CallReport) {
        if let Some((quota, model, id)) = self.booked {
            report(quota, model, id, news);
        }
    }
}

/// No reply waits for the books.
fn report(quota: Arc<dyn Quota>, model: String, id: Uuid, news: CallReport) {
    tokio::spawn(async move {
        if let Err(error) = quota.report(&model, id, news).await {
            tracing::debug!(model, %error, "a call counts as it was estimated");
        }
    });
}

/// What one call was told to wait for, by the models' indices. Dropped, it waits no more.
pub(crate) struct Waits<'a> {
    allowance: &'a Allowance,
    /// The call that waits.
    pub id: Uuid,
    told: HashMap<usize, Told>,
}

struct Told {
    model: String,
    expected: Instant,
    again: Instant,
}

impl<'a> Waits<'a> {
    /// For a call that was told nothing yet.
    pub(crate) fn new(allowance: &'a Allowance) -> Waits<'a> {
        Waits {
            allowance,
            id: Uuid::now_v7(),
            told: HashMap::new(),
        }
    }

    /// Whether it was told to wait.
    pub(crate) fn any(&self) -> bool {
        !self.told.is_empty()
    }

    /// It was told so for the model at this index.
    pub(crate) fn told(
        &mut self,
        index: usize,
        model: &str,
        now: Instant,
        expected: Duration,
        again: Duration,
    ) {
        let told = Told {
            model: model.to_owned(),
            expected: now + expected,
            again: now + again,
        };
        self.told.insert(index, told);
    }

    /// The call goes out, to the model at this index.
    pub(crate) fn granted(&mut self, index: usize) {
        self.told.remove(&index);
    }

    /// Lays what it was told over what bars the models otherwise. A model that is to be asked again has no bar.
    pub(crate) fn lay_over(&self, bars: &mut [Option<Bar>], now: Instant) {
        for (index, told) in &self.told {
            let left = told.expected.saturating_duration_since(now);
            if let Some(bar) = bars.get_mut(*index)
                && told.again > now
                && bar.is_none_or(|bar| bar.left < left)
            {
                *bar = Some(Bar {
                    left,
                    reason: Reason::Quota,
                    kind: BarKind::Delay,
                });
            }
        }
    }

    /// How long until some model is to be asked again, and at most `delay`.
    pub(crate) fn until_again(&self, now: Instant, delay: Duration) -> Duration {
        let ahead = self.told.values().filter(|told| told.again > now);
        let next = ahead.map(|told| told.again - now).min();
        next.map_or(delay, |next| next.min(delay))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        for told in self.told.drain().map(|(_, told)| told) {
            report(
                Arc::clone(&self.allowance.quota),
                told.model,
                self.id,
                CallReport::GivenBack,
            );
        }
    }
}
