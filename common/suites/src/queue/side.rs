//! A place where a queue of either side can be opened, closed and opened again, and the words the stories are told in.

use std::{collections::HashSet, ops::Deref, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    queue::{
        Consumer, DeadLetter, Delivery, Queue, QueueError, QueueName, Route, Verdict,
        embedded::EmbeddedQueue, rabbitmq::RabbitQueue,
    },
    settings::QueueSettings,
};
use private_engines::Engines;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// What must happen has happened by then, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What must not happen would have happened by then.
pub const SILENCE: Duration = Duration::from_millis(300);

/// Where a queue is kept.
pub enum Place {
    Folder(TempDir),
    Vhost(String),
}

/// A queue that was opened there.
#[derive(Clone)]
pub enum Opened {
    Embedded(Arc<EmbeddedQueue>),
    RabbitMq(Arc<RabbitQueue>),
}

impl Place {
    pub async fn folder() -> Place {
        Place::Folder(tempfile::tempdir().expect("a folder"))
    }

    pub async fn vhost() -> Place {
        Place::Vhost(Engines::shared().await.fresh_vhost().await)
    }

    pub async fn open(&self) -> Opened {
        match self {
            Place::Folder(folder) => Opened::Embedded(
                EmbeddedQueue::open(folder.path())
                    .await
                    .expect("the folder is ours"),
            ),
            Place::Vhost(url) => Opened::RabbitMq(connect(url).await.expect("the broker runs")),
        }
    }
}

/// Connects to RabbitMQ at these addresses.
pub async fn connect(url: &str) -> Result<Arc<RabbitQueue>, QueueError> {
    RabbitQueue::connect(&QueueSettings {
        amqp_url: url.to_owned().into(),
    })
    .await
}

impl Opened {
    pub async fn close(self) {
        match self {
            Opened::Embedded(queue) => queue.close().await,
            Opened::RabbitMq(queue) => queue.close().await,
        }
    }
}

impl Deref for Opened {
    type Target = dyn Queue;

    fn deref(&self) -> &Self::Target {
        match self {
            Opened::Embedded(queue) => &**queue,
            Opened::RabbitMq(queue) => &**queue,
        }
    }
}

/// Publishes these words, one after the other.
pub async fn publish(queue: &dyn Queue, route: Route, words: &[&str]) {
    for word in words {
        queue
            .publish(route, Uuid::now_v7(), Bytes::from((*word).to_owned()))
            .await
            .expect("the queue is there");
    }
}

/// Publishes one word until that succeeds.
pub async fn publish_somehow(queue: &dyn Queue, word: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = queue
        .publish(Route::Persist, Uuid::now_v7(), Bytes::from(word.to_owned()))
        .await
    {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The next delivery.
pub async fn next(consumer: &Arc<dyn Consumer>) -> Delivery {
    timeout(PATIENCE, consumer.next())
        .await
        .expect("a delivery comes")
        .expect("the consumer is open")
}

/// The next deliveries' words.
pub async fn words(consumer: &Arc<dyn Consumer>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(word(&next(consumer).await));
    }
    words
}

pub fn word(delivery: &Delivery) -> String {
    String::from_utf8(delivery.payload.to_vec()).expect("stories publish text")
}

/// Nothing comes.
pub async fn silence(consumer: &Arc<dyn Consumer>) {
    if let Ok(delivery) = timeout(SILENCE, consumer.next()).await {
        panic!(
            "nothing was to come, but this did: {:?}",
            delivery.map(|delivery| word(&delivery))
        );
    }
}

pub async fn ack(consumer: &Arc<dyn Consumer>, delivery: &Delivery) {
    consumer
        .settle(vec![delivery.receipt], Verdict::Ack)
        .await
        .expect("an ack cannot fail");
}

/// Consumes and acks until all of these have come; whatever comes twice or besides is fine.
pub async fn drain_until(queue: &dyn Queue, name: QueueName, mut missing: HashSet<String>) {
    let consumer = queue.consume(name, 500).await;
    let until = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(delivery) = timeout(left, consumer.next()).await else {
            panic!("{} confirmed messages never came", missing.len());
        };
        let delivery = delivery.expect("the consumer is open");
        missing.remove(&word(&delivery));
        ack(&consumer, &delivery).await;
    }
}

/// The dead letters of a queue once there are so many.
pub async fn dead_letters(queue: &dyn Queue, name: QueueName, count: usize) -> Vec<DeadLetter> {
    eventually("the dead letters are there", async || {
        let letters = queue.dead_letters().list(name, 1_000).await.ok()?;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < until,
            "waited {} s until {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A child's own file: this program, started again with other orders.
pub fn this_program() -> PathBuf {
    std::env::current_exe().expect("tests are files")
}
