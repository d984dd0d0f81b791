//! What travels together: fewer messages for the broker, and nothing else is to be seen of it.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use common::queue::{
    Consumer, DELIVERY_LIMIT, Delivery, Queue, QueueName, Receipt, Route, Verdict,
};
use engines::rabbitmq::RabbitQueue;
use futures_util::future::join_all;
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use private_engines::Engines;
use seam_suites::queue::side::{SILENCE, ack, dead_letters, next, publish, silence, word, words};
use uuid::Uuid;

use crate::{rabbitmq_topology::operator, side::connect, wire::Wire};

/// The most payloads in one message of the broker.
const TOGETHER_MAX: usize = 64;

/// Asks for all of them before the publishing task has its turn: each of these stories has one thread. So they leave
/// together, as many as may, in this order.
async fn publish_at_once(queue: &Arc<RabbitQueue>, route: Route, payloads: &[(Uuid, String)]) {
    let publishing = payloads
        .iter()
        .map(|(id, payload)| queue.publish(route, 0, *id, Bytes::from(payload.clone())));
    for published in tokio::task::unconstrained(join_all(publishing)).await {
        published.expect("it is confirmed");
    }
}

/// Numbers, each under an id of its own.
fn numbers(count: usize) -> Vec<(Uuid, String)> {
    (0..count)
        .map(|number| (Uuid::now_v7(), number.to_string()))
        .collect()
}

/// How many messages of the broker wait in `persist`. No consumer may be there.
async fn waiting(url: &str) -> usize {
    let (_connection, channel) = operator(url).await;
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare("persist".into(), options, FieldTable::default())
        .await
        .expect("it is there");
    queue.message_count() as usize
}

async fn take(consumer: &Arc<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(next(consumer).await);
    }
    taken
}

/// The receipts of those whose number is wanted.
fn receipts(deliveries: &[Delivery], wanted: impl Fn(usize) -> bool) -> Vec<Receipt> {
    let number = |one: &Delivery| word(one).parse().expect("a number");
    let wanted = deliveries.iter().filter(|one| wanted(number(one)));
    wanted.map(|one| one.receipt).collect()
}

async fn settle(consumer: &Arc<dyn Consumer>, receipts: Vec<Receipt>, verdict: Verdict) {
    consumer
        .settle(receipts, verdict)
        .await
        .expect("the broker is there");
}

#[tokio::test]
async fn many_at_once_are_few_messages_and_each_arrives_once_and_in_order() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let all = numbers(2_000);
    publish_at_once(&queue, Route::Persist, &all).await;
    let messages = waiting(&url).await;
    assert!(
        (2_000 / TOGETHER_MAX..2_000 / 8).contains(&messages),
        "{messages} messages"
    );
    let consumer = queue.consume(QueueName::Persist, 500).await;
    let deliveries = take(&consumer, 2_000).await;
    let came: Vec<String> = deliveries.iter().map(word).collect();
    assert_eq!(
        came,
        all.into_iter().map(|(_, word)| word).collect::<Vec<_>>()
    );
    assert!(deliveries.iter().all(|one| one.attempt == 1));
    let everything = deliveries.iter().map(|one| one.receipt).collect();
    settle(&consumer, everything, Verdict::Ack).await;
    silence(&consumer).await;
    queue.close().await;
    assert_eq!(waiting(&url).await, 0);
}

#[tokio::test]
async fn one_after_the_other_each_is_a_message_of_its_own() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    publish(&*queue, Route::Persist, &["a", "b", "c"]).await;
    assert_eq!(waiting(&url).await, 3);
}

#[tokio::test]
async fn requests_to_the_bot_travel_alone() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    publish_at_once(&queue, Route::PersistAndAsk, &numbers(100)).await;
    assert_eq!(waiting(&url).await, 100);
}

#[tokio::test]
async fn what_is_not_one_line_or_is_large_arrives_whole_among_others() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let large = "ä".repeat(100_000);
    let odd = ["a", "b\nc", "d", "", "e", &large, "f", "\n", "g"];
    let all: Vec<_> = odd.map(|word| (Uuid::now_v7(), word.to_owned())).into();
    publish_at_once(&queue, Route::Persist, &all).await;
    let consumer = queue.consume(QueueName::Persist, 100).await;
    assert_eq!(words(&consumer, odd.len()).await, odd);
    silence(&consumer).await;
}

#[tokio::test]
async fn a_part_that_can_never_be_done_leaves_the_others() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let envelope = |number: usize| {
        let id = Uuid::now_v7();
        (
            id,
            format!(r#"{{"message":{{"id":"{id}","number":{number}}}}}"#),
        )
    };
    let all: Vec<_> = (0..50).map(envelope).collect();
    publish_at_once(&queue, Route::Persist, &all).await;
    assert_eq!(waiting(&url).await, 1, "all of them together");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let mut deliveries = take(&consumer, 50).await;
    for bad in [30, 10] {
        let reason = Verdict::DeadLetter(format!("{bad} is bad"));
        settle(&consumer, vec![deliveries.remove(bad).receipt], reason).await;
    }
    let rest = deliveries.iter().map(|one| one.receipt).collect();
    settle(&consumer, rest, Verdict::Ack).await;
    drop(consumer);

    let letters = dead_letters(&*queue, QueueName::Persist, 2).await;
    let told: Vec<_> = letters
        .iter()
        .map(|one| (one.id, one.reason.as_str(), one.payload.as_ref()))
        .collect();
    let expected = [(30, "30 is bad"), (10, "10 is bad")]
        .map(|(bad, reason)| (all[bad].0, reason, all[bad].1.as_bytes()));
    assert_eq!(told, expected);
    let consumer = queue.consume(QueueName::Persist, 10).await;
    silence(&consumer).await;
    let operator = queue.dead_letters();
    let replayed = operator.replay(QueueName::Persist, &[all[10].0]).await;
    assert_eq!(replayed.expect("it is put back"), 1);
    assert_eq!(words(&consumer, 1).await, [all[10].1.as_str()]);
    silence(&consumer).await;
}

#[tokio::test]
async fn a_part_that_is_handed_back_comes_again_when_the_others_are_settled() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    publish_at_once(&queue, Route::Persist, &numbers(10)).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let deliveries = take(&consumer, 10).await;
    settle(
        &consumer,
        receipts(&deliveries, |one| one == 3),
        Verdict::HandBack,
    )
    .await;
    silence(&consumer).await;
    settle(
        &consumer,
        receipts(&deliveries, |one| one != 3),
        Verdict::Ack,
    )
    .await;
    let again = take(&consumer, 10).await;
    assert!(again.iter().any(|one| word(one) == "3"));
    assert!(again.iter().all(|one| one.attempt == 2));
    settle(&consumer, receipts(&again, |_| true), Verdict::Ack).await;
    silence(&consumer).await;
    queue.close().await;
    assert_eq!(waiting(&url).await, 0);
}

#[tokio::test]
async fn what_is_settled_in_part_comes_back_whole_when_the_connection_is_cut() {
    let vhost = Engines::shared().await.fresh_vhost().await;
    let wire = Wire::to(&vhost).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    publish_at_once(&queue, Route::Persist, &numbers(TOGETHER_MAX + 10)).await;
    assert_eq!(waiting(&vhost).await, 2);
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let deliveries = take(&consumer, TOGETHER_MAX + 10).await;
    // All of the second message, and all of the first but one.
    settle(
        &consumer,
        receipts(&deliveries, |one| one != 5),
        Verdict::Ack,
    )
    .await;
    wire.cut();
    let again = take(&consumer, TOGETHER_MAX).await;
    let came: HashSet<String> = again.iter().map(word).collect();
    assert!(came.contains("5"), "{came:?}");
    assert_eq!(came.len(), TOGETHER_MAX, "each once");
    assert!(again.iter().all(|one| one.attempt == 2));
    for one in &again {
        ack(&consumer, one).await;
    }
    // The second one's ack may have been cut off with the wire; nothing else comes.
    while let Ok(Some(one)) = tokio::time::timeout(SILENCE, consumer.next()).await {
        assert!(!came.contains(&word(&one)), "{} was settled", word(&one));
        ack(&consumer, &one).await;
    }
}

#[tokio::test]
async fn a_closed_consumer_hands_back_what_travelled_with_what_was_not_taken() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    publish_at_once(&queue, Route::Persist, &numbers(20)).await;
    let first = queue.consume(QueueName::Persist, 10).await;
    let taken = take(&first, 5).await;
    first.close().await;
    let second = queue.consume(QueueName::Persist, 10).await;
    silence(&second).await;
    settle(&first, receipts(&taken, |_| true), Verdict::Ack).await;
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(words(&second, 20).await, all);
    drop(first);
    silence(&second).await;
}

#[tokio::test]
async fn what_nobody_can_settle_becomes_a_dead_letter_together_and_is_put_back_together() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let all = numbers(3);
    publish_at_once(&queue, Route::Persist, &all).await;
    let consumer = queue.consume(QueueName::Persist, 1).await;
    for attempt in 1..=DELIVERY_LIMIT + 1 {
        let deliveries = take(&consumer, 3).await;
        assert!(deliveries.iter().all(|one| one.attempt == attempt));
        settle(
            &consumer,
            receipts(&deliveries, |_| true),
            Verdict::HandBack,
        )
        .await;
    }
    silence(&consumer).await;
    let letters = dead_letters(&*queue, QueueName::Persist, 1).await;
    assert_eq!((letters.len(), letters[0].id), (1, all[0].0));
    assert_eq!(letters[0].payload.as_ref(), b"0\n1\n2");
    let operator = queue.dead_letters();
    let replayed = operator.replay(QueueName::Persist, &[all[0].0]).await;
    assert_eq!(replayed.expect("it is put back"), 1);
    let again = take(&consumer, 3).await;
    assert_eq!(again.iter().map(word).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(again.iter().all(|one| one.attempt == 1), "a new life");
}
