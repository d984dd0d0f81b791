//! What the broker has handed to this process, nobody in it may leave unread: the broker gives it to nobody else.

use std::{collections::HashSet, time::Duration};

use common::queue::{Queue, QueueName, Route, Verdict};
use lapin::options::QueueDeleteOptions;
use private_engines::Engines;
use seam_suites::queue::side::{ack, dead_letters, next, publish, publish_somehow, silence, words};
use tokio::time::{sleep, timeout};

use crate::{
    rabbitmq_topology::operator,
    side::connect,
    wire::{CANCEL_OK, CONSUME_OK, GET, Wire},
};

/// Longer than anybody waits for an answer of the broker, which is 5 s.
const TOO_LATE: Duration = Duration::from_millis(6_500);

/// An idle consumer asks the broker every 5 s, and believes what it has been told twice.
const ASKED_OFTEN: Duration = Duration::from_secs(17);

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_granted_too_late_keeps_nothing_from_the_others() {
    let url = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&url).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    wire.hold_next(CONSUME_OK);
    let consumer = queue.consume(QueueName::Persist, 10).await;
    wire.held_one().await;
    let publisher = connect(&url).await.expect("the broker runs");
    let all = numbered(100);
    for word in &all {
        publish(&*publisher, Route::Persist, &[word]).await;
    }
    sleep(TOO_LATE).await;
    wire.release();
    let mut missing: HashSet<String> = all.into_iter().collect();
    while !missing.is_empty() {
        let delivery = timeout(TOO_LATE, next(&consumer)).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{missing:?} lie with nobody"));
        missing.remove(&String::from_utf8_lossy(&delivery.payload).into_owned());
        ack(&consumer, &delivery).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_held_that_is_gone_comes_to_another_whatever_the_broker_answers() {
    let url = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&url).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["a", "b", "c"]).await;
    let mut held = words(&consumer, 3).await;
    wire.hold_next(CANCEL_OK);
    drop(consumer);
    let other = connect(&url).await.expect("the broker runs");
    let consumer = other.consume(QueueName::Persist, 10).await;
    let mut again = words(&consumer, 3).await;
    held.sort();
    again.sort();
    assert_eq!(again, held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_hands_to_a_consumer_that_nobody_knows_of_comes_all_the_same() {
    let url = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&url).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["before"]).await;
    let before = next(&consumer).await;
    ack(&consumer, &before).await;
    wire.consume_unseen("persist");
    // From here on the broker hands out in turn.
    let publisher = connect(&url).await.expect("the broker runs");
    let all = numbered(40);
    for word in &all {
        publish(&*publisher, Route::Persist, &[word]).await;
    }
    let mut missing: HashSet<String> = all.into_iter().collect();
    while !missing.is_empty() {
        let delivery = timeout(TOO_LATE, next(&consumer)).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{missing:?} lie with nobody"));
        missing.remove(&String::from_utf8_lossy(&delivery.payload).into_owned());
        ack(&consumer, &delivery).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_was_only_looked_at_is_seen_again_whatever_the_broker_hears() {
    let url = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&url).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["garbage"]).await;
    let garbage = next(&consumer).await;
    let verdict = Verdict::DeadLetter("it is garbage".to_owned());
    let settled = consumer.settle(vec![garbage.receipt], verdict).await;
    settled.expect("the broker runs");
    consumer.close().await;
    dead_letters(&*queue, QueueName::Persist, 1).await;
    // It cannot be put back where it came from, and the end of the look at it does not
    // reach the broker.
    let (_connection, channel) = operator(&url).await;
    let deleted = channel.queue_delete("persist".into(), QueueDeleteOptions::default());
    deleted.await.expect("it is there");
    wire.mute_after(GET);
    let replayed = queue.dead_letters().replay(QueueName::Persist, &[]).await;
    replayed.expect_err("there is no queue for it");
    dead_letters(&*queue, QueueName::Persist, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_the_broker_does_not_count_for_a_while_is_left_as_it_is() {
    let url = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&url).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["in hand"]).await;
    let in_hand = next(&consumer).await;
    // As a broker says it of a queue whose leader stands still.
    wire.say_queues_are_empty();
    if let Ok(again) = timeout(ASKED_OFTEN, consumer.next()).await {
        panic!("it was abandoned: {again:?}");
    }
    ack(&consumer, &in_hand).await;
    publish_somehow(&*queue, "after").await;
    let after = next(&consumer).await;
    assert_eq!(after.receipt.epoch, in_hand.receipt.epoch);
    ack(&consumer, &after).await;
    queue.close().await;
    let queue = connect(&url).await.expect("the broker runs");
    silence(&queue.consume(QueueName::Persist, 10).await).await;
}
