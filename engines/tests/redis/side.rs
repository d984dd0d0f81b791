//! A Redis for the suites, and how a story connects to one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    live::Live,
    quota::{self, Quota, QuotaLimits},
};
use engines::redis::{RedisLive, RedisQuota, RedisSettings};
use private_engines::Engines;
use seam_suites::{
    live::{LiveUnderTest, TIMINGS},
    quota::QuotaUnderTest,
};

/// A part of the Redis that all stories share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deployed {
    Alone,
    AsCluster,
}

impl Deployed {
    /// With keys that nobody else has.
    async fn settings(self) -> RedisSettings {
        let engines = Engines::shared().await;
        let url = match self {
            Deployed::Alone => engines.redis_url().to_owned(),
            Deployed::AsCluster => cluster_url(&engines.start_cluster().await),
        };
        settings(&url, &engines.fresh_prefix())
    }
}

#[async_trait]
impl LiveUnderTest for Deployed {
    async fn open(&self, idle: Duration) -> [Arc<dyn Live>; 2] {
        let mut settings = self.settings().await;
        settings.stream_idle_seconds = idle;
        [connect(&settings).await, connect(&settings).await]
    }
}

#[async_trait]
impl QuotaUnderTest for Deployed {
    async fn open(&self, limits: QuotaLimits, timings: quota::QuotaTimings) -> [Arc<dyn Quota>; 2] {
        let settings = self.settings().await;
        let connect = async || RedisLive::connect(&settings).await.unwrap();
        [
            RedisQuota::with(&*connect().await, limits, timings),
            RedisQuota::with(&*connect().await, limits, timings),
        ]
    }
}

pub(crate) fn cluster_url(nodes: &[String]) -> String {
    let nodes: Vec<&str> = nodes
        .iter()
        .map(|node| node.trim_start_matches("redis://"))
        .collect();
    format!("redis-cluster://{}", nodes.join(","))
}

pub(crate) fn settings(url: &str, prefix: &str) -> RedisSettings {
    RedisSettings {
        redis_url: url.to_owned().into(),
        redis_prefix: prefix.to_owned(),
        stream_idle_seconds: Duration::from_secs(3_600),
    }
}

pub(crate) async fn connect(settings: &RedisSettings) -> Arc<RedisLive> {
    RedisLive::connect_with(settings, TIMINGS)
        .await
        .expect("Redis is there")
}
