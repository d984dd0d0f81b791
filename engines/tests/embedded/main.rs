//! One process alone: the promises of the live seam, the queue and the quota inside it, and what can only go wrong there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    live::Live,
    queue::Queue,
    quota::{Quota, QuotaLimits, QuotaTimings},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, EmbeddedQuota};
use seam_suites::{
    live::{LiveUnderTest, TIMINGS},
    live_suite,
    queue::QueueUnderTest,
    queue_suite,
    quota::QuotaUnderTest,
    quota_suite,
};
use tempfile::TempDir;

mod embedded_faults;
mod watched;

/// This process.
struct Here;

#[async_trait]
impl LiveUnderTest for Here {
    async fn open(&self, idle: Duration) -> [Arc<dyn Live>; 2] {
        let live = EmbeddedLive::with(TIMINGS, idle);
        [Arc::clone(&live) as _, live]
    }
}

#[async_trait]
impl QuotaUnderTest for Here {
    async fn open(&self, limits: QuotaLimits, timings: QuotaTimings) -> [Arc<dyn Quota>; 2] {
        let quota = EmbeddedQuota::with(limits, timings);
        [Arc::clone(&quota) as _, quota]
    }
}

/// A folder of a story's own.
struct Folder(TempDir);

impl Folder {
    fn fresh() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }
}

#[async_trait]
impl QueueUnderTest for Folder {
    async fn open(&self) -> Arc<dyn Queue> {
        EmbeddedQueue::open(self.0.path(), 0)
            .await
            .expect("the folder is ours")
    }
}

mod live {
    use super::*;

    live_suite!(embedded, Here);
}

mod queue {
    use super::*;

    queue_suite!(embedded, Folder::fresh());
}

mod quota {
    use super::*;

    quota_suite!(embedded, Here);
}
