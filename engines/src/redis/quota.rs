//! The quota on Redis: one script on keys that share the model's hash tag, by the server's own clock. The connections
//! are those of the live seam.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    quota::{
        CallReport, CallRequest, Quota, QuotaError, QuotaLimits, QuotaTimings, Reservation,
        WorkerFleet,
        run_queue::{LOOKED_THROUGH, Offer, Place, RunQueue},
    },
    wire::{Seq, now_seq},
};
use redis::FromRedisValue;
use uuid::Uuid;

use super::{
    budgets,
    live::RedisLive,
    scripts::Script,
    server::{RedisServer, micros},
};
use crate::{
    day::behind_utc,
    quota_rules::{
        ASK_AGAIN, ASK_AGAIN_EACH, ASK_AGAIN_MIN, LEARNS, PACE_SLACK, RATIO_MAX, RATIO_MIN,
        SHARES_KEPT_FREE,
    },
};

/// How long the run queue is kept without anything being put into it: longer than any request may wait.
const RUN_QUEUE_KEPT: Duration = Duration::from_secs(600);

/// The quota of all workers together.
pub struct RedisQuota {
    pub(super) server: RedisServer,
    is_limited: bool,
    timings: QuotaTimings,
    quota: Script,
    admit: Script,
    workers: Script,
    run_queue: Script,
    pub(super) budgets: Script,
}

impl RedisQuota {
    /// With these limits of each model, over the connections of the live seam.
    pub fn new(live: &RedisLive, limits: QuotaLimits) -> Arc<RedisQuota> {
        RedisQuota::with(live, limits, QuotaTimings::default())
    }

    /// As [`RedisQuota::new`], with other timings than the default.
    pub fn with(live: &RedisLive, limits: QuotaLimits, timings: QuotaTimings) -> Arc<RedisQuota> {
        let most = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
        let numbers = format!(
            "local CALLS_MAX, TOKENS_MAX, DAILY_MAX = {}, {}, {}\n\
             local WINDOW_US, LEASE_US, GRACE_US = {}, {}, {}\n\
             local ASK_AGAIN_US, ASK_AGAIN_EACH_US, ASK_AGAIN_MIN_US = {}, {}, {}\n\
             local SHARES_KEPT_FREE, PACE_SLACK = {SHARES_KEPT_FREE}, {PACE_SLACK}\n\
             local LEARNS, RATIO_MIN, RATIO_MAX = {LEARNS}, {RATIO_MIN}, {RATIO_MAX}\n",
            most(limits.calls),
            most(limits.tokens),
            most(limits.daily_calls),
            micros(timings.window + timings.margin),
            micros(timings.lease),
            micros(timings.grace),
            micros(ASK_AGAIN),
            micros(ASK_AGAIN_EACH),
            micros(ASK_AGAIN_MIN),
        );
        Arc::new(RedisQuota {
            server: live.server().clone(),
            is_limited: !limits.is_none(),
            timings,
            quota: Script::new(format!("{numbers}{}", include_str!("scripts/quota.lua"))),
            admit: Script::new(include_str!("scripts/admit.lua").to_owned()),
            workers: Script::new(include_str!("scripts/workers.lua").to_owned()),
            run_queue: Script::new(format!(
                "local LOOKED_THROUGH, KEPT_MS = {LOOKED_THROUGH}, {}\n{}",
                RUN_QUEUE_KEPT.as_millis(),
                include_str!("scripts/run_queue.lua")
            )),
            budgets: budgets::script(),
        })
    }

    async fn of_model<T: FromRedisValue>(
        &self,
        what: &'static str,
        model: &str,
        arguments: &[&str],
    ) -> Result<T, QuotaError> {
        let key = |part| self.server.keys.other(&format!(":quota-{model}"), part);
        let keys = ["calls", "leases", "waiting", "about", "sums"].map(key);
        let keys = keys.each_ref().map(String::as_str);
        self.call(what, &self.quota, &keys, arguments).await
    }

    async fn of_run_queue<T: FromRedisValue>(
        &self,
        what: &'static str,
        arguments: &[&str],
    ) -> Result<T, QuotaError> {
        let keys = ["queue", "offers", "tags", "clock"]
            .map(|part| self.server.keys.other(":run-queue", part));
        let keys = keys.each_ref().map(String::as_str);
        self.call(what, &self.run_queue, &keys, arguments).await
    }

    pub(super) async fn call<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<T, QuotaError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        let answer = self.server.call(what, script, keys, &arguments).await;
        answer.map_err(|error| QuotaError {
            what: error.what,
            source: error.source,
        })
    }
}

#[async_trait]
impl Quota for RedisQuota {
    async fn reserve(&self, request: &CallRequest<'_>) -> Result<Reservation, QuotaError> {
        const WHAT: &str = "asking for quota";
        let behind = 1_000_000 * behind_utc(now_seq() / 1_000_000);
        let (id, tokens, behind) = (
            request.id.to_string(),
            request.tokens.to_string(),
            behind.to_string(),
        );
        let arguments = ["reserve", &id, &tokens, request.user, request.room, &behind];
        let (word, first, second): (String, u64, u64) =
            self.of_model(WHAT, request.model, &arguments).await?;
        match word.as_str() {
            "granted" => Ok(Reservation::Granted {
                calls: u32::try_from(first).unwrap_or(u32::MAX),
                tokens: second,
            }),
            "wait" => Ok(Reservation::Wait {
                expected: Duration::from_micros(first),
                again: Duration::from_micros(second),
            }),
            _ => Err(QuotaError {
                what: WHAT,
                source: "an answer that the script does not give".into(),
            }),
        }
    }

    async fn report(&self, model: &str, id: Uuid, report: CallReport) -> Result<bool, QuotaError> {
        if !self.is_limited {
            return Ok(true);
        }
        let (task, cost) = match report {
            CallReport::Began => ("begins", 0),
            CallReport::Cost(tokens) => ("cost", tokens),
            CallReport::GivenBack => ("given back", 0),
        };
        let (id, cost) = (id.to_string(), cost.to_string());
        let (word,): (String,) = self
            .of_model("settling quota", model, &[task, &id, &cost])
            .await?;
        Ok(word == "there")
    }

    async fn pause(&self, model: &str, pause: Duration) -> Result<(), QuotaError> {
        let pause = micros(pause).to_string();
        self.of_model("pausing a model", model, &["pause", &pause])
            .await
    }

    async fn admit(
        &self,
        user: &str,
        request: Uuid,
        posted: Seq,
        a_minute: NonZeroU32,
    ) -> Result<Option<Duration>, QuotaError> {
        const WHAT: &str = "counting what a user asks";
        let key = self.server.keys.other(&format!(":asked-{user}"), "asked");
        let window = micros(self.timings.window);
        let arguments = [
            request.to_string(),
            posted.to_string(),
            a_minute.to_string(),
            window.to_string(),
        ];
        let arguments = arguments.each_ref().map(String::as_str);
        let wait: i64 = self.call(WHAT, &self.admit, &[&key], &arguments).await?;
        Ok(u64::try_from(wait).ok().map(Duration::from_micros))
    }

    async fn workers(&self, worker: &str) -> Result<WorkerFleet, QuotaError> {
        let keys = ["seen", "since"].map(|part| self.server.keys.other(":workers", part));
        let keys = keys.each_ref().map(String::as_str);
        let [seen, gap] =
            [self.timings.seen, self.timings.gap].map(|time| micros(time).to_string());
        let arguments = [worker, &seen, &gap];
        let (workers, since, now) = self
            .call("counting the workers", &self.workers, &keys, &arguments)
            .await?;
        Ok(WorkerFleet {
            workers,
            since,
            now,
        })
    }
}

#[async_trait]
impl RunQueue for RedisQuota {
    async fn offer(&self, offer: &Offer) -> Result<(), QuotaError> {
        let Offer { place, user, work } = offer;
        let arguments = ["offer", &word(*place), user, work];
        self.of_run_queue("offering a request", &arguments).await
    }

    async fn before(&self, place: Place) -> Result<Option<usize>, QuotaError> {
        let arguments = ["before", &word(place)];
        let before: i64 = self
            .of_run_queue("looking where a request stands", &arguments)
            .await?;
        Ok(usize::try_from(before).ok())
    }

    async fn take(&self, passed_over: &[String]) -> Result<Option<Offer>, QuotaError> {
        const WHAT: &str = "taking a request";
        let passed_over = passed_over.iter().map(String::as_str);
        let arguments: Vec<&str> = ["take"].into_iter().chain(passed_over).collect();
        let taken: Vec<String> = self.of_run_queue(WHAT, &arguments).await?;
        let Ok([place, user, work]) = <[String; 3]>::try_from(taken) else {
            return Ok(None);
        };
        let place = read_word(&place).ok_or_else(|| QuotaError {
            what: WHAT,
            source: "an answer that the script does not give".into(),
        })?;
        Ok(Some(Offer { place, user, work }))
    }

    async fn withdraw(&self, place: Place) -> Result<bool, QuotaError> {
        let arguments = ["withdraw", &word(place)];
        let was_there: i64 = self
            .of_run_queue("withdrawing a request", &arguments)
            .await?;
        Ok(was_there > 0)
    }
}

/// A place as the run queue keeps it: sorted as text, the older one is first.
fn word(place: Place) -> String {
    format!("{:020} {}", place.asked, place.id.simple())
}

fn read_word(word: &str) -> Option<Place> {
    let (asked, id) = word.split_once(' ')?;
    Some(Place {
        asked: asked.parse().ok()?,
        id: id.parse().ok()?,
    })
}
