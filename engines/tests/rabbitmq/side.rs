//! A broker for the suite, and how a story connects to one.

use std::sync::Arc;

use async_trait::async_trait;
use common::queue::{Queue, QueueError};
use engines::rabbitmq::{RabbitQueue, RabbitSettings};
use private_engines::Engines;
use seam_suites::queue::QueueUnderTest;

/// A virtual host of a story's own, by its URL.
pub(crate) struct Vhost(String);

impl Vhost {
    pub(crate) async fn fresh() -> Vhost {
        Vhost(Engines::shared().await.fresh_vhost().await)
    }
}

#[async_trait]
impl QueueUnderTest for Vhost {
    async fn open(&self) -> Arc<dyn Queue> {
        connect(&self.0).await.expect("the broker runs")
    }
}

/// Connects to RabbitMQ at these addresses.
pub(crate) async fn connect(url: &str) -> Result<Arc<RabbitQueue>, QueueError> {
    connect_in(url, 1).await
}

/// The same with so many partitions.
pub(crate) async fn connect_in(url: &str, partitions: u16) -> Result<Arc<RabbitQueue>, QueueError> {
    RabbitQueue::connect(&RabbitSettings {
        queue_partitions: partitions,
        ..RabbitSettings::at(url)
    })
    .await
}
