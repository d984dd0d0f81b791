//! A place where a queue can be opened, closed and opened again, and the words the stories are told in.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use common::queue::{Consumer, DeadLetter, Delivery, Queue, QueueName, Route, Verdict};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// What must happen has happened by then, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What must not happen would have happened by then.
pub const SILENCE: Duration = Duration::from_millis(300);

/// A place of its own where a queue can be opened, closed and opened again.
#[async_trait]
pub trait QueueUnderTest: Send + Sync {
    async fn open(&self) -> Arc<dyn Queue>;
}

/// Publishes these words, one after the other.
pub async fn publish(queue: &dyn Queue, route: Route, words: &[&str]) {
    for word in words {
        queue
            .publish(route, 0, Uuid::now_v7(), Bytes::from((*word).to_owned()))
            .await
            .expect("the queue is there");
    }
}

/// Publishes one word until that succeeds.
pub async fn publish_somehow(queue: &dyn Queue, word: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = queue
        .publish(
            Route::Persist,
            0,
            Uuid::now_v7(),
            Bytes::from(word.to_owned()),
        )
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
