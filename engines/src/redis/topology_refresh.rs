//! When to look where the nodes are: sooner, when a connection is gone or somebody was sent elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Told by connections, and by whoever was sent elsewhere.
#[derive(Default)]
pub(super) struct Look {
    again: Notify,
    losses: AtomicU64,
}

impl Look {
    /// A connection is gone, or could not be made.
    pub(super) fn lost_connection(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.again.notify_one();
    }

    /// Somebody was sent elsewhere: see whether the slots have moved.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }

    /// Completes when there is a reason to look.
    pub(super) async fn wanted(&self) {
        self.again.notified().await;
    }

    /// Changes whenever a connection is lost: its server may have lost what it knew.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}
