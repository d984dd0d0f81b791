//! What only RabbitMQ can suffer: a broker that dies, stands still or runs full, and a wire that is cut.

use std::{
    collections::HashSet,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use common::queue::{Queue, QueueError, QueueName, Route, Verdict};
use futures_util::future::join_all;
use private_engines::{Engine, Engines};
use seam_suites::queue::side::{
    PATIENCE, SILENCE, ack, drain_until, eventually, next, publish, publish_somehow, silence, word,
    words,
};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::{
    side::connect,
    wire::{CONFIRM, Wire},
};

/// How long the broker may stand still before nobody should publish any more.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

/// More than the time limit of a confirm, which is 10 s.
const NO_CONFIRM: Duration = Duration::from_secs(11);

/// Well below it.
const AT_ONCE: Duration = Duration::from_secs(3);

/// By then the broker has noticed that a connection is gone, on a busy machine too, and has put back what was on it.
const NOTICED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_in_the_middle_of_ten_thousand_publishes_loses_nothing_confirmed() {
    let engines = Engines::start_only(&[Engine::RabbitMq]).await;
    let queue = connect(&engines.amqp_url("/"))
        .await
        .expect("the broker runs");
    let confirmed = Arc::new(AtomicUsize::new(0));
    let publishers = (0..100).map(|publisher| {
        let (queue, confirmed) = (queue.clone(), confirmed.clone());
        // Half of them may travel together.
        let route = if publisher % 2 == 0 {
            Route::PersistAndAsk
        } else {
            Route::Persist
        };
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for number in 0..100 {
                let word = format!("{publisher}/{number}");
                loop {
                    let payload = Bytes::from(word.clone());
                    match queue.publish(route, 0, Uuid::now_v7(), payload).await {
                        Ok(()) => break,
                        Err(QueueError::Unavailable { .. }) => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                confirmed.fetch_add(1, Ordering::Relaxed);
                mine.push(word);
            }
            mine
        })
    });
    let publishers: Vec<_> = publishers.collect();
    // A consumer that is there all the time is carried over, too.
    let consumer = queue.consume(QueueName::BotRequests, 100).await;
    let asked = tokio::spawn(async move {
        let mut seen = HashSet::new();
        while seen.len() < 5_000 {
            let delivery = next(&consumer).await;
            seen.insert(word(&delivery));
            ack(&consumer, &delivery).await;
        }
    });
    for enough in [2_000, 6_000] {
        eventually("some are confirmed", async || {
            (confirmed.load(Ordering::Relaxed) > enough).then_some(())
        })
        .await;
        engines.kill(Engine::RabbitMq).await;
        eventually("that is noticed", async || queue.ready().err()).await;
        engines.start_engine(Engine::RabbitMq).await;
    }
    let mut all = HashSet::new();
    for published in join_all(publishers).await {
        all.extend(published.expect("it does not panic"));
    }
    assert_eq!(all.len(), 10_000);
    timeout(PATIENCE, asked)
        .await
        .expect("the consumer is carried over")
        .expect("it does not panic");
    drain_until(&*queue, QueueName::Persist, all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_is_noticed_and_waited_for() {
    let engines = Engines::start_only(&[Engine::RabbitMq]).await;
    let queue = connect(&engines.amqp_url("/"))
        .await
        .expect("the broker runs");
    publish(&*queue, Route::Persist, &["before"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let before = next(&consumer).await;

    engines.freeze(Engine::RabbitMq).await;
    let frozen = Instant::now();
    let publishing = (0..50).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let payload = Bytes::from("into the ice");
            let outcome = queue
                .publish(Route::Persist, 0, Uuid::now_v7(), payload)
                .await;
            // Whoever was refused finds it so when asking, however soon.
            (outcome, queue.ready())
        })
    });
    for answers in timeout(NOTICED_WITHIN, join_all(publishing))
        .await
        .expect("nobody waits longer")
    {
        let (outcome, ready) = answers.expect("it does not panic");
        assert!(
            matches!(outcome, Err(QueueError::Unavailable { .. })),
            "{outcome:?}"
        );
        assert!(
            ready.is_err(),
            "{:?} after it stood still",
            frozen.elapsed()
        );
    }
    assert!(
        timeout(NOTICED_WITHIN, queue.ping())
            .await
            .expect("nobody waits longer")
            .is_err()
    );
    // Settling does not wait for a broker that stands still.
    timeout(SILENCE, consumer.settle(vec![before.receipt], Verdict::Ack))
        .await
        .expect("at once")
        .expect("never");
    sleep_until(frozen + Duration::from_secs(20)).await;
    engines.thaw(Engine::RabbitMq).await;

    publish_somehow(&*queue, "after").await;
    loop {
        let delivery = next(&consumer).await;
        ack(&consumer, &delivery).await;
        if word(&delivery) == "after" {
            break;
        }
    }
    queue.ready().expect("it is back");
    queue.ping().await.expect("it is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_is_noticed_without_publishing() {
    let engines = Engines::start_only(&[Engine::RabbitMq]).await;
    let queue = connect(&engines.amqp_url("/"))
        .await
        .expect("the broker runs");
    engines.freeze(Engine::RabbitMq).await;
    let frozen = Instant::now();
    eventually("it is noticed", async || queue.ready().err()).await;
    assert!(frozen.elapsed() < NOTICED_WITHIN, "{:?}", frozen.elapsed());
    engines.thaw(Engine::RabbitMq).await;
    eventually("it is back", async || queue.ready().ok()).await;
    publish_somehow(&*queue, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_restart_of_the_broker_is_survived() {
    let engines = Engines::start_only(&[Engine::RabbitMq]).await;
    let queue = connect(&engines.amqp_url("/"))
        .await
        .expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["taken", "not taken"]).await;
    let taken = next(&consumer).await;
    engines.stop(Engine::RabbitMq).await;
    eventually("it is noticed", async || queue.ready().err()).await;
    let refused = queue
        .publish(Route::Persist, 0, Uuid::now_v7(), Bytes::from("refused"))
        .await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable { .. })),
        "{refused:?}"
    );
    // Of a connection that is gone: passed over.
    ack(&consumer, &taken).await;
    engines.start_engine(Engine::RabbitMq).await;
    let mut again = words(&consumer, 2).await;
    again.sort();
    assert_eq!(again, ["not taken", "taken"]);
    publish_somehow(&*queue, "after").await;
    assert_eq!(words(&consumer, 1).await, ["after"]);
    queue.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_wire_is_mended_and_nothing_is_lost_or_settled_twice() {
    let wire = Wire::to(&Engines::shared().await.fresh_vhost().await).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 50).await;
    let mut settled = HashSet::new();
    for round in 0..5 {
        let all: HashSet<String> = (0..200).map(|number| format!("{round}/{number}")).collect();
        let publishing = all.iter().map(|word| {
            let (queue, word) = (queue.clone(), word.clone());
            tokio::spawn(async move { publish_somehow(&*queue, &word).await })
        });
        let publishing: Vec<_> = publishing.collect();
        let stale = next(&consumer).await;
        wire.cut();
        // Its connection is gone, or about to be: whichever, it is settled or it comes again.
        ack(&consumer, &stale).await;
        let mut missing = all;
        missing.remove(&word(&stale));
        while !missing.is_empty() {
            let delivery = next(&consumer).await;
            missing.remove(&word(&delivery));
            ack(&consumer, &delivery).await;
            settled.insert(word(&delivery));
        }
        for published in join_all(publishing).await {
            published.expect("it does not panic");
        }
    }
    // What is published twice because its confirm was cut off, or was taken when its wire was, may still be there, and
    // come as late as the broker notices; all of it before what is published now, or soon after. Then nothing.
    publish_somehow(&*queue, "last").await;
    loop {
        let delivery = next(&consumer).await;
        ack(&consumer, &delivery).await;
        if word(&delivery) == "last" {
            break;
        }
    }
    while let Ok(Some(delivery)) = timeout(NOTICED, consumer.next()).await {
        ack(&consumer, &delivery).await;
    }
    queue.close().await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 50).await;
    silence(&consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_under_way_fail_at_once_when_the_connection_goes() {
    let wire = Wire::to(&Engines::shared().await.fresh_vhost().await).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    wire.hold(true);
    let publishing = (0..100).map(|number| {
        let (queue, word) = (queue.clone(), number.to_string());
        tokio::spawn(async move {
            queue
                .publish(Route::Persist, 0, Uuid::now_v7(), Bytes::from(word))
                .await
        })
    });
    let mut publishing = join_all(publishing);
    assert!(
        timeout(SILENCE, &mut publishing).await.is_err(),
        "nobody has confirmed anything"
    );
    wire.cut();
    wire.hold(false);
    for outcome in timeout(AT_ONCE, publishing)
        .await
        .expect("nobody waits for the time limit")
    {
        let outcome = outcome.expect("it does not panic");
        assert!(
            matches!(outcome, Err(QueueError::Unavailable { .. })),
            "{outcome:?}"
        );
    }
    eventually("it is back", async || queue.ready().ok()).await;
    publish(&*queue, Route::Persist, &["after"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_confirm_that_never_comes_keeps_nobody_else() {
    let wire = Wire::to(&Engines::shared().await.fresh_vhost().await).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    publish(&*queue, Route::Persist, &["before"]).await;
    wire.lose_next(CONFIRM);
    let unlucky = queue.clone();
    let unlucky = tokio::spawn(async move {
        let payload = Bytes::from("never confirmed");
        unlucky
            .publish(Route::Persist, 0, Uuid::now_v7(), payload)
            .await
    });
    wire.lost_one().await;
    let lost = Instant::now();
    // Each alone, as requests to the bot go, and in groups.
    while lost.elapsed() < NO_CONFIRM {
        for route in [Route::Persist, Route::PersistAndAsk] {
            let published = queue.publish(route, 0, Uuid::now_v7(), Bytes::from("another"));
            let published = timeout(NO_CONFIRM, published).await;
            let published = published.expect("nobody waits for the one that is lost");
            published.unwrap_or_else(|why| panic!("{why} after {:?}", lost.elapsed()));
        }
        queue.ready().expect("the broker goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcome = unlucky.await.expect("it does not panic");
    assert!(
        matches!(outcome, Err(QueueError::Unavailable { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_runs_out_of_memory_is_left_alone_until_it_has_some() {
    let wire = Wire::to(&Engines::shared().await.fresh_vhost().await).await;
    let queue = connect(&wire.url).await.expect("the broker runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["before"]).await;
    wire.say_blocked();
    let why = eventually("it is blocked", async || queue.ready().err()).await;
    assert!(why.to_string().contains("memory or disk"), "{why}");
    // Asked, too, it says why, and not that nothing answers.
    let why = queue
        .ping()
        .await
        .expect_err("it takes nothing")
        .to_string();
    assert!(why.contains("RabbitMQ's alarm"), "{why}");
    let refused = queue
        .publish(Route::Persist, 0, Uuid::now_v7(), Bytes::from("refused"))
        .await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable { .. })),
        "{refused:?}"
    );
    wire.say_unblocked();
    eventually("it is ready", async || queue.ready().ok()).await;
    publish(&*queue, Route::Persist, &["after"]).await;
    assert_eq!(words(&consumer, 2).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_a_bounded_number_waits_for_confirms() {
    let engines = Engines::start_only(&[Engine::RabbitMq]).await;
    let queue = connect(&engines.amqp_url("/"))
        .await
        .expect("the broker runs");
    engines.freeze(Engine::RabbitMq).await;
    let megabyte = Bytes::from(vec![b'x'; 1 << 20]);
    let publishing =
        (0..200).map(|_| queue.publish(Route::Persist, 0, Uuid::now_v7(), megabyte.clone()));
    let outcomes = timeout(NOTICED_WITHIN, join_all(publishing))
        .await
        .expect("nobody waits longer");
    let full = |outcome: &&Result<(), QueueError>| match outcome {
        Err(error) => error.to_string().contains("wait for their confirm"),
        Ok(()) => panic!("the broker stands still"),
    };
    assert_eq!(
        outcomes.iter().filter(full).count(),
        200 - 64,
        "64 MiB wait, no more"
    );
    engines.thaw(Engine::RabbitMq).await;
    publish_somehow(&*queue, "after").await;
}
