//! Whether a process can serve, which is not whether all is well behind it: one node of several that is gone, or an engine
//! that takes its time, is told and takes no process out of a load balancer. Why so, and the times:
//! `docs/decisions/readiness.md`.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{live::Live, queue::Queue, store::Store, supervise};

/// How long one engine may take to answer a look.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// An answer that took longer is told as slow.
const SLOW_AFTER: Duration = Duration::from_millis(500);

/// An engine that has failed every look for so long is gone. Shorter breaks are over before another process would have
/// taken over, and would take all processes out of a load balancer at once.
pub const GONE_AFTER: Duration = Duration::from_secs(3);

/// Between two looks at engines that are well, if nobody asks, and if somebody does. Every look is a question to each.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_HOLDS: Duration = Duration::from_secs(1);

/// What an engine says of itself when it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All of it takes what it is given.
    Well,
    /// A part of it does not, in words.
    Degraded(String),
}

/// The engines behind a process, as far as it uses them.
#[derive(Clone, Default)]
pub struct Engines {
    /// The live engine.
    pub live: Option<Arc<dyn Live>>,
    /// The queue.
    pub queue: Option<Arc<dyn Queue>>,
    /// The store.
    pub store: Option<Arc<dyn Store>>,
}

/// Whether a process is ready: what is behind it, as far as it is connected yet, and whether it drains.
#[derive(Clone, Default)]
pub struct Readiness {
    inner: Arc<ReadinessInner>,
}

#[derive(Default)]
struct ReadinessInner {
    draining: CancellationToken,
    /// What the last look found; none before the process has its engines.
    known: Mutex<Option<Known>>,
    asked: Notify,
}

struct Known {
    engines: Vec<Watched>,
    looked_at: Instant,
}

/// One engine, over the looks.
struct Watched {
    name: &'static str,
    last: Look,
    /// When the first of the looks began that have failed since the last that did not.
    failing_since: Option<Instant>,
    told: Kind,
}

/// What one look found.
#[derive(Clone, Debug)]
enum Look {
    Answered(Health),
    Failed(String),
}

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Well,
    Degraded(String),
    Gone(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Well,
    Degraded,
    Gone,
}

impl Readiness {
    /// That of a process which drains once this is cancelled.
    pub fn until(stop: &CancellationToken) -> Readiness {
        let inner = ReadinessInner {
            draining: stop.child_token(),
            ..ReadinessInner::default()
        };
        Readiness {
            inner: Arc::new(inner),
        }
    }

    /// From now on the process is ready while none of these is gone. They were connected to a moment ago, so until the first
    /// look they count as well. Must be called on a Tokio runtime.
    pub fn started(&self, engines: Engines) {
        let watched = engines.names().into_iter().map(Watched::new).collect();
        *self.inner.known.lock() = Some(Known {
            engines: watched,
            looked_at: Instant::now(),
        });
        let inner = Arc::clone(&self.inner);
        let watching = async move { inner.watch(&engines).await };
        supervise::spawn("engines' health", &self.inner.draining, watching);
    }

    /// From now on the process is not ready: it drains.
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// What keeps the process from being ready; empty if it is. Asks no engine, but has them looked at if that was a while
    /// ago: whoever asks is never kept waiting by an engine that does not answer.
    pub fn obstacles(&self) -> Vec<String> {
        let told = self.conditions();
        match told {
            Err(why) => vec![why.to_owned()],
            Ok(engines) => engines
                .into_iter()
                .filter_map(|(name, condition)| match condition {
                    Condition::Gone(why) => Some(format!("{name}: {why}")),
                    Condition::Well | Condition::Degraded(_) => None,
                })
                .collect(),
        }
    }

    /// All that is known, a line for each engine.
    pub fn details(&self) -> Vec<String> {
        match self.conditions() {
            Err(why) => vec![why.to_owned()],
            Ok(engines) => engines
                .into_iter()
                .map(|(name, condition)| format!("{name}: {condition}"))
                .collect(),
        }
    }

    fn conditions(&self) -> Result<Vec<(&'static str, Condition)>, &'static str> {
        if self.inner.draining.is_cancelled() {
            return Err("draining");
        }
        let known = self.inner.known.lock();
        let known = known.as_ref().ok_or("starting")?;
        if known.looked_at.elapsed() >= LOOK_HOLDS {
            self.inner.asked.notify_one();
        }
        let conditions = known.engines.iter().map(|one| (one.name, one.condition()));
        Ok(conditions.collect())
    }
}

impl ReadinessInner {
    /// Looks at the engines again and again until the process drains.
    async fn watch(&self, engines: &Engines) {
        loop {
            let began = Instant::now();
            let Some(looks) = self.draining.run_until_cancelled(engines.look()).await else {
                return;
            };
            let all_well = self.learn(began, looks);
            let pause = if all_well { LOOK_EVERY } else { LOOK_HOLDS };
            let waiting = async {
                tokio::time::sleep(LOOK_HOLDS).await;
                drop(timeout(pause - LOOK_HOLDS, self.asked.notified()).await);
            };
            if self.draining.run_until_cancelled(waiting).await.is_none() {
                return;
            }
        }
    }

    /// Takes in what a look found, tells what has changed, and returns whether all is well.
    fn learn(&self, began: Instant, looks: Vec<Look>) -> bool {
        let mut known = self.known.lock();
        let Some(known) = known.as_mut() else {
            return true;
        };
        known.looked_at = Instant::now();
        for (engine, look) in known.engines.iter_mut().zip(looks) {
            engine.learn(began, look);
            engine.tell();
        }
        known.engines.iter().all(|one| one.told == Kind::Well)
    }
}

impl Watched {
    fn new(name: &'static str) -> Watched {
        Watched {
            name,
            last: Look::Answered(Health::Well),
            failing_since: None,
            told: Kind::Well,
        }
    }

    fn learn(&mut self, began: Instant, look: Look) {
        self.failing_since = match look {
            Look::Answered(_) => None,
            Look::Failed(_) => self.failing_since.or(Some(began)),
        };
        self.last = look;
    }

    fn condition(&self) -> Condition {
        match (&self.last, self.failing_since) {
            (Look::Answered(Health::Well), _) => Condition::Well,
            (Look::Answered(Health::Degraded(why)), _) => Condition::Degraded(why.clone()),
            (Look::Failed(why), Some(since)) if since.elapsed() >= GONE_AFTER => {
                Condition::Gone(why.clone())
            }
            (Look::Failed(why), _) => Condition::Degraded(why.clone()),
        }
    }

    /// Counts the condition, and logs it where it is another one than before.
    fn tell(&mut self) {
        let condition = self.condition();
        let kind = condition.kind();
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let engine = self.name;
        metrics::gauge!("chinwag_engine_up", "engine" => engine).set(flag(kind != Kind::Gone));
        metrics::gauge!("chinwag_engine_degraded", "engine" => engine)
            .set(flag(kind == Kind::Degraded));
        if kind != self.told {
            match &condition {
                Condition::Well => tracing::info!(engine, "an engine is well again"),
                Condition::Degraded(why) => tracing::warn!(engine, why, "an engine is degraded"),
                Condition::Gone(why) => {
                    tracing::error!(engine, why, "an engine is gone: this process is not ready");
                }
            }
            self.told = kind;
        }
    }
}

impl Condition {
    fn kind(&self) -> Kind {
        match self {
            Condition::Well => Kind::Well,
            Condition::Degraded(_) => Kind::Degraded,
            Condition::Gone(_) => Kind::Gone,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Well => f.write_str("well"),
            Condition::Degraded(why) => write!(f, "degraded: {why}"),
            Condition::Gone(why) => write!(f, "gone: {why}"),
        }
    }
}

impl Engines {
    /// Those that there are, in the order in which [`Engines::look`] looks at them.
    fn names(&self) -> Vec<&'static str> {
        let live = self.live.as_ref().map(|_| "live");
        let queue = self.queue.as_ref().map(|_| "queue");
        let store = self.store.as_ref().map(|_| "store");
        [live, queue, store].into_iter().flatten().collect()
    }

    async fn look(&self) -> Vec<Look> {
        let live = async {
            match &self.live {
                Some(live) => Some(in_time(live.ping()).await),
                None => None,
            }
        };
        let queue = async {
            match &self.queue {
                Some(queue) => Some(in_time(async { queue.ping().await.map(well) }).await),
                None => None,
            }
        };
        let store = async {
            match &self.store {
                Some(store) => Some(in_time(async { store.ping().await.map(well) }).await),
                None => None,
            }
        };
        let (live, queue, store) = tokio::join!(live, queue, store);
        [live, queue, store].into_iter().flatten().collect()
    }
}

fn well((): ()) -> Health {
    Health::Well
}

async fn in_time<E: fmt::Display>(check: impl Future<Output = Result<Health, E>>) -> Look {
    let began = Instant::now();
    match timeout(LOOK_LIMIT, check).await {
        Ok(Ok(Health::Well)) if began.elapsed() >= SLOW_AFTER => {
            let took = began.elapsed().as_millis();
            Look::Answered(Health::Degraded(format!(
                "slow: it answered after {took} ms"
            )))
        }
        Ok(Ok(health)) => Look::Answered(health),
        Ok(Err(error)) => Look::Failed(error.to_string()),
        Err(_) => Look::Failed(format!("no answer within {} s", LOOK_LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn failed() -> Look {
        Look::Failed("refused".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_break_is_degraded_and_a_long_one_is_gone() {
        let mut engine = Watched::new("live");
        assert_eq!(engine.condition(), Condition::Well);
        engine.learn(Instant::now(), failed());
        assert_eq!(engine.condition(), Condition::Degraded("refused".into()));
        advance(GONE_AFTER / 2).await;
        engine.learn(Instant::now(), failed());
        assert_eq!(engine.condition(), Condition::Degraded("refused".into()));
        // Counted from the first look that failed, and whether or not there was another.
        advance(GONE_AFTER / 2).await;
        assert_eq!(engine.condition(), Condition::Gone("refused".into()));
        engine.learn(Instant::now(), Look::Answered(Health::Well));
        assert_eq!(engine.condition(), Condition::Well);
        engine.learn(Instant::now(), failed());
        assert_eq!(engine.condition(), Condition::Degraded("refused".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_away_is_degraded_for_however_long() {
        let mut engine = Watched::new("live");
        let part = Look::Answered(Health::Degraded("1 of 3".into()));
        engine.learn(Instant::now(), part);
        advance(GONE_AFTER * 10).await;
        assert_eq!(engine.condition(), Condition::Degraded("1 of 3".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_late_is_slow_and_whoever_does_not_has_failed() {
        let after = async |time: Duration| {
            in_time(async {
                tokio::time::sleep(time).await;
                Ok::<_, String>(Health::Well)
            })
            .await
        };
        assert!(matches!(
            after(SLOW_AFTER / 2).await,
            Look::Answered(Health::Well)
        ));
        assert!(matches!(
            after(SLOW_AFTER * 2).await,
            Look::Answered(Health::Degraded(why)) if why.starts_with("slow")
        ));
        assert!(matches!(after(LOOK_LIMIT * 2).await, Look::Failed(_)));
    }

    #[tokio::test]
    async fn a_process_that_starts_or_drains_is_not_ready() {
        let stop = CancellationToken::new();
        let readiness = Readiness::until(&stop);
        assert_eq!(readiness.obstacles(), ["starting"]);
        readiness.started(Engines::default());
        assert!(readiness.obstacles().is_empty());
        stop.cancel();
        assert_eq!(readiness.obstacles(), ["draining"]);
    }
}
