//! What may cut short whatever a request waits for: its time is up, somebody stopped the reply, or the worker drains.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Somebody may want a reply stopped; who does first is remembered. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    wanted: CancellationToken,
    by: OnceLock<String>,
}

impl Stop {
    /// This person wants it.
    pub(crate) fn want(&self, by: &str) {
        // Before the word, or whoever hears that might not see it.
        self.0.by.get_or_init(|| by.to_owned());
        self.0.wanted.cancel();
    }

    /// Who wanted it first; none if nobody did, or an edge of the version before did not say who.
    pub(crate) fn by(&self) -> Option<&str> {
        self.0
            .by
            .get()
            .map(String::as_str)
            .filter(|by| !by.is_empty())
    }
}

/// Draining, in its two steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    /// Nothing new is begun.
    pub begun: CancellationToken,
    /// What is still under way is handed back.
    pub over: CancellationToken,
}

/// Why a wait was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The reply has to be posted now.
    TimeUp,
    /// Somebody stopped it.
    Stopped,
    /// The worker goes; another is to do it.
    HandBack,
}

/// What may interrupt one request.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    /// When the request came.
    pub received: Instant,
    /// When the reply has to be posted.
    pub respond_by: Instant,
    /// How long a request has in all.
    pub deadline: Duration,
    /// How long after that it may still wait for its turn, so that a room's last words in time are in order too.
    pub grace: Duration,
    /// Whether somebody stops it.
    pub stopped: Stop,
    /// The worker's.
    pub drain: Drain,
}

impl Interrupts {
    /// Whether the reply has to be posted by now.
    pub(crate) fn time_is_up(&self) -> bool {
        Instant::now() >= self.respond_by
    }

    /// Does the work unless something interrupts it. What is not `begun` is handed back as soon as the worker drains.
    ///
    /// # Errors
    /// What interrupted it; the work was dropped.
    pub(crate) async fn race<T>(
        &self,
        begun: bool,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupt> {
        let hand_back = if begun {
            &self.drain.over
        } else {
            &self.drain.begun
        };
        tokio::select! {
            biased;
            () = hand_back.cancelled() => Err(Interrupt::HandBack),
            () = self.stopped.0.wanted.cancelled() => Err(Interrupt::Stopped),
            done = work => Ok(done),
            () = sleep_until(self.respond_by) => Err(Interrupt::TimeUp),
        }
    }
}
