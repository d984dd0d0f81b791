//! Every seam with a network in front of it that can fail: for tests of what the services make of the seams' promises.
//!
//! There is one wrapper for each seam. It passes each call on to an engine, of which a test has its pick, and a test says
//! to its [`Faults`] what fails, what takes long and what hangs, and asks them what was called. What a seam promises is
//! tested with the engines; here nothing is promised but that whatever no fault was set for goes through as it is.
//!
//! A method that a trait gets later is one more line in the list of its wrapper.

mod live;
mod queue;
mod quota;
mod store;

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{
    live::LiveError,
    queue::QueueError,
    quota::QuotaError,
    store::{StoreError, WriteError},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

pub use self::{
    live::{FaultyLive, Read},
    queue::FaultyQueue,
    quota::FaultyQuota,
    store::FaultyStore,
};

/// What becomes of a call.
#[derive(Clone)]
pub enum Fault {
    /// It is passed on this much later.
    Takes(Duration),
    /// Calls are passed on one after the other, each so much later than the one before: an engine that does so many a second.
    OneByOne(Duration),
    /// It hangs at the gate, and fails when that is opened.
    Hangs(Arc<Gate>),
}

/// Where a call hangs.
#[derive(Default)]
pub struct Gate {
    reached: Notify,
    opened: Notify,
}

impl Gate {
    /// Waits until a call hangs there.
    pub async fn is_reached(&self) {
        self.reached.notified().await;
    }

    /// Lets one call go.
    pub fn opens(&self) {
        self.opened.notify_one();
    }
}

/// What happens to the calls of one engine, by the names of the seam's methods; and how often each was called. Clones are
/// the same.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<State>>);

struct State {
    is_away: bool,
    calls: HashMap<&'static str, Calls>,
}

#[derive(Default)]
struct Calls {
    count: usize,
    each: Option<Fault>,
    next: Option<Fault>,
    /// When the next one of [`Fault::OneByOne`] may be passed on.
    free_at: Option<Instant>,
}

/// The engine cannot be reached.
#[derive(Debug)]
struct CutOff;

impl Faults {
    fn of(calls: &[&'static str]) -> Faults {
        let calls = calls.iter().map(|call| (*call, Calls::default()));
        Faults(Arc::new(Mutex::new(State {
            is_away: false,
            calls: calls.collect(),
        })))
    }

    /// Whether every call fails from now on.
    pub fn away(&self, is_away: bool) {
        self.0.lock().is_away = is_away;
    }

    /// What becomes of each call of this method from now on.
    ///
    /// # Panics
    /// If the seam has no such method, as everywhere here: a test that waits for such a call would prove nothing.
    pub fn on(&self, call: &str, fault: Fault) {
        self.with(call, |calls| calls.each = Some(fault));
    }

    /// What becomes of the next call of this method.
    ///
    /// # Panics
    /// As [`Faults::on`].
    pub fn on_next(&self, call: &str, fault: Fault) {
        self.with(call, |calls| calls.next = Some(fault));
    }

    /// How often this method was called while the engine was not away.
    ///
    /// # Panics
    /// As [`Faults::on`].
    pub fn calls(&self, call: &str) -> usize {
        self.with(call, |calls| calls.count)
    }

    fn with<T>(&self, call: &str, look: impl FnOnce(&mut Calls) -> T) -> T {
        let mut state = self.0.lock();
        let Some(calls) = state.calls.get_mut(call) else {
            panic!("the seam has no method {call:?}")
        };
        look(calls)
    }

    /// Whether the engine is there at all.
    fn is_there(&self) -> Result<(), CutOff> {
        if self.0.lock().is_away {
            return Err(CutOff);
        }
        Ok(())
    }

    /// A call comes, and may be passed on when this returns.
    async fn pass(&self, call: &str) -> Result<(), CutOff> {
        self.is_there()?;
        let fault = self.with(call, |calls| {
            calls.count += 1;
            calls.next.take().or_else(|| calls.each.clone())
        });
        match fault {
            None => Ok(()),
            Some(Fault::Takes(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Some(Fault::OneByOne(time)) => {
                let turn = self.with(call, |calls| {
                    let now = Instant::now();
                    let turn = calls.free_at.map_or(now, |free_at| free_at.max(now)) + time;
                    *calls.free_at.insert(turn)
                });
                tokio::time::sleep_until(turn).await;
                Ok(())
            }
            Some(Fault::Hangs(gate)) => {
                gate.reached.notify_one();
                gate.opened.notified().await;
                Err(CutOff)
            }
        }
    }
}

const CUT_OFF: &str = "cut off";

impl From<CutOff> for LiveError {
    fn from(_: CutOff) -> LiveError {
        LiveError {
            what: "a call",
            source: CUT_OFF.into(),
        }
    }
}

impl From<CutOff> for QuotaError {
    fn from(_: CutOff) -> QuotaError {
        QuotaError {
            what: "a call",
            source: CUT_OFF.into(),
        }
    }
}

impl From<CutOff> for QueueError {
    fn from(_: CutOff) -> QueueError {
        QueueError::Unavailable {
            why: CUT_OFF.into(),
            retry_after: Duration::from_millis(50),
        }
    }
}

impl From<CutOff> for StoreError {
    fn from(_: CutOff) -> StoreError {
        StoreError::Unavailable(CUT_OFF.into())
    }
}

impl From<CutOff> for WriteError {
    fn from(_: CutOff) -> WriteError {
        WriteError::Unavailable(CUT_OFF.into())
    }
}

/// Makes a wrapper keep its seam's traits by passing the calls on to `self.inner`, as far as `self.faults` lets them. What
/// is not as simple as that stands behind `by hand`. Makes a constant `CALLS` of all names, those of `beside` with them.
macro_rules! passes_on {
    ($wrapper:ident, beside [$($beside:literal),*], $($seam:ident {
        $(async fn $call:ident($($name:ident: $kind:ty),*) -> $answer:ty;)*
        $(by hand { $($rest:tt)* })?
    })*) => {
        /// The names of the calls that can be passed on.
        const CALLS: &[&str] = &[$($(stringify!($call),)*)* $($beside),*];

        $(#[async_trait::async_trait]
        impl $seam for $wrapper {
            $(async fn $call(&self, $($name: $kind),*) -> $answer {
                self.faults.pass(stringify!($call)).await?;
                self.inner.$call($($name),*).await
            })*
            $($($rest)*)?
        })*
    };
}
use passes_on;
