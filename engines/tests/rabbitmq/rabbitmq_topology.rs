//! What is on the broker, and what happens when it is not as it should be.

use std::collections::HashSet;

use bytes::Bytes;
use common::queue::{Queue, QueueError, QueueName, Route};
use futures_util::future::join_all;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use private_engines::Engines;
use seam_suites::queue::side::{
    PATIENCE, ack, eventually, next, publish, publish_somehow, silence, word, words,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::side::connect;

/// Somebody else who uses the same virtual host.
pub(crate) async fn operator(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .expect("the broker runs");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_in_the_brokers_words() {
    let url = Engines::shared().await.fresh_vhost().await;
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, host) = rest.split_once('@').expect("with a password");
    let Err(error) = connect(&format!("{scheme}://nobody:wrong@{host}")).await else {
        panic!("nobody is let in");
    };
    let why = error.to_string();
    assert!(
        why.contains("RabbitMQ (AMQP_URL)") && why.contains("ACCESS_REFUSED"),
        "{why}"
    );
    assert!(!why.contains("wrong"), "{why}");
}

#[tokio::test]
async fn a_queue_of_other_properties_is_refused_by_its_name() {
    let url = Engines::shared().await.fresh_vhost().await;
    let (_connection, channel) = operator(&url).await;
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("bot.requests".into(), options, FieldTable::default())
        .await
        .expect("a classic queue");
    let Err(QueueError::Unavailable { why, .. }) = connect(&url).await else {
        panic!("it is not the queue that was asked for");
    };
    assert!(
        why.contains("the queue `bot.requests` is there with other properties"),
        "{why}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_told() {
    let url = Engines::shared()
        .await
        .fresh_vhost()
        .await
        .replace("guest:guest", "guest:hunter2");
    let Err(QueueError::Unavailable { why, .. }) = connect(&url).await else {
        panic!("the password is wrong");
    };
    assert!(why.contains("ACCESS") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_dead_host_among_several_is_passed_over() {
    let url = Engines::shared().await.fresh_vhost().await;
    // The engines' ports are far above this one.
    let dead = "amqp://guest:guest@127.0.0.1:9/nowhere";
    for several in [format!("{dead},{url}"), format!("{url},{dead}")] {
        let queue = connect(&several).await.expect("one of the two lives");
        publish(&*queue, Route::Persist, &["through the other"]).await;
        queue.close().await;
    }
    let Err(QueueError::Unavailable { why, .. }) = connect(dead).await else {
        panic!("nobody is there");
    };
    assert!(why.contains("127.0.0.1:9"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_is_unroutable_and_only_that() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let (_connection, channel) = operator(&url).await;
    let mut confirmed = HashSet::new();
    let mut unroutable = 0;
    for round in 0..5 {
        let unbind = channel.queue_unbind(
            "persist".into(),
            "chat".into(),
            "message".into(),
            FieldTable::default(),
        );
        unbind.await.expect("it was bound");
        let publishing = (0..400).map(|number| {
            let (queue, word) = (queue.clone(), format!("{round}/{number}"));
            let route = if number % 2 == 0 {
                Route::Persist
            } else {
                Route::PersistAndAsk
            };
            tokio::spawn(async move {
                (
                    queue
                        .publish(route, 0, Uuid::now_v7(), Bytes::from(word.clone()))
                        .await,
                    route,
                    word,
                )
            })
        });
        for published in join_all(publishing).await {
            match published.expect("it does not panic") {
                (Ok(()), _, word) => drop(confirmed.insert(word)),
                (Err(QueueError::Unroutable(Route::Persist)), Route::Persist, _) => unroutable += 1,
                (outcome, route, word) => panic!("{word} of {route:?}: {outcome:?}"),
            }
        }
        // What is missing is declared again by itself.
        let word = format!("healed {round}");
        publish_somehow(&*queue, &word).await;
        confirmed.insert(word);
    }
    assert!(unroutable > 0, "the binding was missing for a while");
    let consumer = queue.consume(QueueName::Persist, 500).await;
    let mut came = HashSet::new();
    for _ in 0..confirmed.len() {
        let delivery = timeout(PATIENCE, next(&consumer))
            .await
            .expect("what was confirmed is there");
        came.insert(word(&delivery));
        ack(&consumer, &delivery).await;
    }
    assert_eq!(
        came, confirmed,
        "exactly what was confirmed is in the queue"
    );
    silence(&consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_queue_is_deleted_begins_again() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["before"]).await;
    assert_eq!(words(&consumer, 1).await, ["before"]);
    let (_connection, channel) = operator(&url).await;
    channel
        .queue_delete("persist".into(), QueueDeleteOptions::default())
        .await
        .expect("it is there");
    publish_somehow(&*queue, "after").await;
    assert_eq!(words(&consumer, 1).await, ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_the_broker_has_lost_track_of_begins_again() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 2).await;
    publish(&*queue, Route::Persist, &["a", "b", "c", "d"]).await;
    for _ in 0..4 {
        ack(&consumer, &next(&consumer).await).await;
    }
    // Faster than the consumer is told, somebody else has it back: then the broker counts the first messages as
    // delivered, and delivers none of them.
    let (_connection, channel) = operator(&url).await;
    channel
        .queue_delete("persist".into(), QueueDeleteOptions::default())
        .await
        .expect("it is there");
    let other = connect(&url).await.expect("the broker runs");
    publish(&*other, Route::Persist, &["one", "two", "three", "four"]).await;
    let mut came = HashSet::new();
    while came.len() < 4 {
        let delivery = next(&consumer).await;
        ack(&consumer, &delivery).await;
        came.insert(word(&delivery));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_declared_again() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect(&url).await.expect("the broker runs");
    let (_connection, channel) = operator(&url).await;
    channel
        .exchange_delete(
            "chat".into(),
            lapin::options::ExchangeDeleteOptions::default(),
        )
        .await
        .expect("it is there");
    publish_somehow(&*queue, "after").await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(words(&consumer, 1).await, ["after"]);
    eventually("it is ready", async || queue.ready().ok()).await;
}
