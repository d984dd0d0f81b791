//! Several workers and one quota, on a real Redis, against a model that counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bot_worker::WorkerSettings;
use common::{
    quota::{CallReport, CallRequest, Quota, QuotaTimings, Reservation},
    wire::{Kind, Message},
};
use engines::redis::{RedisLive, RedisQuota, RedisSettings};
use practice_model::{PracticeModel, ReceivedCall};
use private_engines::{Engine, Engines};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{engines::Surroundings, models::practice, scene::settings_for};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Workers that take from one queue, and what is around them.
struct Fleet {
    practice: PracticeModel,
    around: Surroundings,
    redis: RedisSettings,
    settings: WorkerSettings,
    timings: QuotaTimings,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// So many workers, which have these limits in `flags`.
    async fn start(
        engines: &Engines,
        workers: usize,
        timings: QuotaTimings,
        flags: &[&str],
    ) -> Fleet {
        let practice = practice().await;
        let settings = settings_for(&practice, flags);
        let mut fleet = Fleet {
            practice,
            around: Surroundings::new().await,
            redis: RedisSettings {
                redis_url: engines.redis_url().to_owned().into(),
                redis_prefix: engines.fresh_prefix(),
                stream_idle_seconds: Duration::from_secs(3_600),
            },
            settings,
            timings,
            stop: CancellationToken::new(),
            workers: Vec::new(),
        };
        for _ in 0..workers {
            fleet.one_more().await;
        }
        fleet
    }

    async fn one_more(&mut self) {
        let running = bot_worker::run(
            self.around.live.clone(),
            self.around.queue.clone(),
            self.around.store.clone(),
            self.quota().await,
            self.settings.clone(),
            self.stop.clone(),
        );
        let worker = tokio::spawn(async { running.await.unwrap() });
        self.workers.push(worker);
    }

    /// The quota, as one more process has it.
    async fn quota(&self) -> Arc<RedisQuota> {
        let live = RedisLive::connect(&self.redis).await.unwrap();
        RedisQuota::with(&live, self.settings.limits(), self.timings)
    }

    async fn asks(&self, user: &str, room: &str, text: &str) -> Message {
        self.around.add_room(room, "").await;
        let message = self.around.said(room, user, text).await;
        self.around.deliver(&message, 1).await;
        message
    }

    async fn calls_when(&self, wanted: impl Fn(&[ReceivedCall]) -> bool) -> Vec<ReceivedCall> {
        let seen = self.practice.requests_when(4 * PATIENCE, wanted).await;
        seen.unwrap_or_else(|| panic!("never: {:?}", self.practice.requests().len()))
    }

    async fn end(self) {
        self.stop.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

/// A quota of which every place is wanted, for two windows. Returns what was used of it in the second, and how often
/// the model refused. Whatever a busy machine is late with is lost, so the window is not much shorter than a minute.
async fn used_by(workers: usize) -> (f64, u64) {
    const CALLS: usize = 40;
    const WINDOW: Duration = Duration::from_secs(40);
    let timings = QuotaTimings {
        window: WINDOW,
        margin: Duration::from_millis(400),
        ..QuotaTimings::default()
    };
    let flags = [
        "--gemini-models",
        "only",
        "--bot-rpm",
        "40",
        "--bot-deadline",
        "600",
    ];
    let fleet = Fleet::start(Engines::shared().await, workers, timings, &flags).await;
    fleet
        .practice
        .behave("quota rpm=40 window=40s pace=1ms")
        .unwrap();
    let mut asked = 0;
    let is_accepted = |call: &&ReceivedCall| call.outcome == "ok";
    let accepted = |calls: &[ReceivedCall]| calls.iter().filter(is_accepted).count();
    let mut used = 0.0_f64;
    // The best of three windows: a machine that is late for a moment says nothing about the quota. There is always more
    // to do than may be done.
    for window in 1..=3 {
        while asked < (window + 2) * CALLS {
            let (user, room) = (format!("user-{}", asked % 7), format!("room-{asked}"));
            fleet.asks(&user, &room, "what is two plus two?").await;
            asked += 1;
        }
        let calls = fleet
            .calls_when(|calls| accepted(calls) >= (window + 1) * CALLS)
            .await;
        let times: Vec<u64> = calls
            .iter()
            .filter(is_accepted)
            .map(|call| call.at)
            .collect();
        let took = times[(window + 1) * CALLS - 1] - times[window * CALLS - 1];
        used = used.max(WINDOW.as_secs_f64() / Duration::from_micros(took).as_secs_f64());
        if used >= 0.95 {
            break;
        }
    }
    let exceeded = fleet.practice.quota().exceeded;
    fleet.end().await;
    (used, exceeded)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_two_and_eight_workers_use_the_quota_up_and_keep_it() {
    let (one, two, eight) = tokio::join!(used_by(1), used_by(2), used_by(8));
    for (workers, (used, exceeded)) in [(1, one), (2, two), (8, eight)] {
        println!(
            "{workers} workers: {:.1} % of the quota used, exceeded {exceeded} times",
            100.0 * used
        );
        assert!(used >= 0.95, "{workers} workers used {used} of the quota");
        assert!(
            exceeded <= 1,
            "{workers} workers exceeded it {exceeded} times"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_that_one_worker_is_told_is_kept_by_all() {
    let flags = ["--gemini-models", "only", "--bot-deadline", "600"];
    let fleet = Fleet::start(Engines::shared().await, 3, QuotaTimings::default(), &flags).await;
    let delay = Duration::from_secs(8);
    fleet.practice.behave_next(["429 retry=8s"]).unwrap();
    fleet.asks("ada", "ada", "what is two plus two?").await;
    let quota = fleet.quota().await;
    let wish = CallRequest {
        model: "only",
        id: Uuid::now_v7(),
        user: "probe",
        room: "probe",
        tokens: 1,
    };
    let until = Instant::now() + PATIENCE;
    while let Reservation::Granted { .. } = quota.reserve(&wish).await.unwrap() {
        assert!(Instant::now() < until, "nobody else hears of the delay");
        sleep(Duration::from_millis(20)).await;
    }
    for n in 0..9 {
        let name = format!("user-{n}");
        fleet.asks(&name, &name, "what is two plus two?").await;
    }
    let calls = fleet.calls_when(|calls| calls.len() >= 11).await;
    let (first, rest) = calls.split_first().unwrap();
    for call in rest {
        let after = Duration::from_micros(call.at - first.at);
        assert!(after >= delay, "called again after {after:?}");
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_who_floods_does_not_hold_up_another() {
    let flags = [
        "--gemini-models",
        "only",
        "--bot-rpm",
        "10",
        "--bot-deadline",
        "600",
    ];
    let fleet = Fleet::start(Engines::shared().await, 2, QuotaTimings::default(), &flags).await;
    for n in 0..40 {
        fleet.asks("flood", &format!("room-{n}"), "flood").await;
    }
    fleet.calls_when(|calls| calls.len() >= 5).await;
    let before = fleet.practice.requests().len();
    let question = fleet.asks("quiet", "quiet", "what is two plus two?").await;
    let reply = fleet.around.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Bot);
    let calls = fleet.practice.requests();
    let quiet = calls.iter().position(|call| call.text.contains("two plus"));
    assert!(quiet.unwrap() <= before + 2, "{quiet:?} after {before}");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_had_comes_back() {
    let timings = QuotaTimings {
        window: Duration::from_secs(6),
        lease: Duration::from_secs(1),
        ..QuotaTimings::default()
    };
    let flags = [
        "--gemini-models",
        "only",
        "--bot-rpm",
        "10",
        "--bot-deadline",
        "600",
    ];
    let fleet = Fleet::start(Engines::shared().await, 1, timings, &flags).await;
    let dead = fleet.quota().await;
    for n in 0..10 {
        let name = format!("dead-{n}");
        let wish = CallRequest {
            model: "only",
            id: Uuid::now_v7(),
            user: &name,
            room: &name,
            tokens: 1,
        };
        let answer = dead.reserve(&wish).await.unwrap();
        assert!(matches!(answer, Reservation::Granted { .. }), "{answer:?}");
        if n % 2 == 0 {
            dead.report("only", wish.id, CallReport::Began)
                .await
                .unwrap();
        }
    }
    drop(dead);
    for n in 0..20 {
        let name = format!("user-{n}");
        fleet.asks(&name, &name, "what is two plus two?").await;
    }
    fleet.calls_when(|calls| calls.len() >= 20).await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_worker_keeps_to_its_share() {
    let engines = Engines::start_only(&[Engine::Redis]).await;
    let flags = [
        "--gemini-models",
        "only",
        "--bot-rpm",
        "60",
        "--bot-deadline",
        "600",
    ];
    let mut fleet = Fleet::start(&engines, 0, QuotaTimings::default(), &flags).await;
    let quota = fleet.quota().await;
    // Two that nothing is asked of are there already, so that each sees three at least.
    let until = Instant::now() + PATIENCE;
    for already in 2..4 {
        quota.workers("one").await.unwrap();
        quota.workers("two").await.unwrap();
        fleet.one_more().await;
        while quota.workers("one").await.unwrap().workers <= already {
            assert!(Instant::now() < until, "the worker does not show");
            sleep(Duration::from_millis(20)).await;
        }
    }
    engines.kill(Engine::Redis).await;
    let began = Instant::now();
    for n in 0..30 {
        let name = format!("user-{n}");
        fleet.asks(&name, &name, "what is two plus two?").await;
    }
    let calls = fleet.calls_when(|calls| calls.len() >= 12).await;
    let seconds = began.elapsed().as_secs_f64();
    // A third is 20: 4 at once, and 17 a minute.
    let most = 2.0 * (4.0 + 1.0 + seconds * 17.0 / 60.6);
    assert!((calls.len() as f64) <= most, "{} in {seconds}", calls.len());

    engines.start_engine(Engine::Redis).await;
    let quota = fleet.quota().await;
    let wish = CallRequest {
        model: "only",
        id: Uuid::now_v7(),
        user: "probe",
        room: "probe",
        tokens: 1,
    };
    let until = Instant::now() + PATIENCE;
    let used = async || match quota.reserve(&wish).await.unwrap() {
        Reservation::Granted { calls, .. } => calls,
        Reservation::Wait { .. } => 0,
    };
    while used().await < 2 {
        assert!(Instant::now() < until, "nobody asks Redis again");
        sleep(Duration::from_millis(100)).await;
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let flags = ["--bot-user-rpm", "2"];
    let fleet = Fleet::start(Engines::shared().await, 2, QuotaTimings::default(), &flags).await;
    let mut kinds = Vec::new();
    let mut last = String::new();
    for _ in 0..3 {
        let question = fleet.asks("ada", "ada", "what is two plus two?").await;
        let reply = fleet.around.reply_to(&question).await;
        kinds.push(reply.kind);
        last = reply.message;
    }
    assert_eq!(kinds, [Kind::Bot, Kind::Bot, Kind::Fallback]);
    assert!(last.contains("Please ask again in "), "{last}");
    assert_eq!(fleet.practice.requests().len(), 2);
    let question = fleet.asks("bob", "bob", "what is two plus two?").await;
    assert_eq!(fleet.around.reply_to(&question).await.kind, Kind::Bot);
    fleet.end().await;
}
