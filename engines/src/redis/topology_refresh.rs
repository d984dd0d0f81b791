//! When to ask where the nodes are: sooner, when a connection is gone or somebody was sent elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Asked for by connections, and by whoever was sent elsewhere.
#[derive(Default)]
pub(super) struct TopologyRefresh {
    request: Notify,
    losses: AtomicU64,
}

impl TopologyRefresh {
    /// A connection is gone, or could not be made.
    pub(super) fn lost_connection(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.request.notify_one();
    }

    /// Somebody was sent elsewhere: see whether the slots have moved.
    pub(super) fn request(&self) {
        self.request.notify_one();
    }

    /// Completes when there is a reason to ask.
    pub(super) async fn requested(&self) {
        self.request.notified().await;
    }

    /// Changes whenever a connection is lost: its server may have lost what it knew.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}
