//! The stories that every side must tell the same.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use common::queue::{
    Consumer, DELIVERY_LIMIT, DeadLetter, QueueName, Receipt, Reviser, Revision, Route, Verdict,
};
use futures_util::future::join_all;
use tokio::time::timeout;
use uuid::Uuid;

use super::side::{
    PATIENCE, QueueUnderTest, ack, dead_letters, drain_until, eventually, next, publish, silence,
    word, words,
};

pub async fn what_is_published_is_delivered_in_order(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    publish(&*queue, Route::Persist, &["one", "two", "three"]).await;
    for expected in ["one", "two", "three"] {
        let delivery = next(&consumer).await;
        assert_eq!(word(&delivery), expected);
        assert_eq!(delivery.attempt, 1);
        ack(&consumer, &delivery).await;
    }
    silence(&consumer).await;
}

pub async fn one_publish_reaches_every_queue_of_its_route(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::PersistAndAsk, &["@bot hello"]).await;
    publish(&*queue, Route::Persist, &["hello all"]).await;
    let persister = queue.consume(QueueName::Persist, 10).await;
    let worker = queue.consume(QueueName::BotRequests, 10).await;
    assert_eq!(words(&persister, 2).await, ["@bot hello", "hello all"]);
    assert_eq!(words(&worker, 1).await, ["@bot hello"]);
    silence(&worker).await;
}

pub async fn what_was_settled_does_not_come_again_and_nothing_else_is_lost(
    engine: impl QueueUnderTest,
) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["a", "b", "c", "d"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(next(&consumer).await);
    }
    ack(&consumer, &deliveries[0]).await;
    ack(&consumer, &deliveries[2]).await;
    queue.close().await;
    drop(consumer);

    let queue = engine.open().await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let mut left = words(&consumer, 2).await;
    left.sort();
    assert_eq!(left, ["b", "d"]);
    silence(&consumer).await;
}

pub async fn a_consumer_holds_no_more_than_its_prefetch(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["a", "b", "c", "d"]).await;
    let consumer = queue.consume(QueueName::Persist, 2).await;
    let first = next(&consumer).await;
    let second = next(&consumer).await;
    silence(&consumer).await;
    ack(&consumer, &first).await;
    assert_eq!(words(&consumer, 1).await, ["c"]);
    silence(&consumer).await;
    ack(&consumer, &second).await;
    assert_eq!(words(&consumer, 1).await, ["d"]);
}

pub async fn what_is_handed_back_comes_again_and_is_counted(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["again"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    for attempt in 1..=3 {
        let delivery = next(&consumer).await;
        assert_eq!(
            (word(&delivery).as_str(), delivery.attempt),
            ("again", attempt)
        );
        consumer
            .settle(vec![delivery.receipt], Verdict::HandBack)
            .await
            .expect("it can be handed back");
    }
}

pub async fn a_dead_letter_is_kept_with_its_reason_until_it_is_put_back_or_dropped(
    engine: impl QueueUnderTest,
) {
    let queue = engine.open().await;
    let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for (id, word) in ids.iter().zip(["x", "y", "z"]) {
        queue
            .publish(Route::PersistAndAsk, 0, *id, Bytes::from(word))
            .await
            .expect("the queue is there");
    }
    let consumer = queue.consume(QueueName::Persist, 10).await;
    for _ in 0..3 {
        let delivery = next(&consumer).await;
        let reason = format!("{} is no message", word(&delivery));
        consumer
            .settle(vec![delivery.receipt], Verdict::DeadLetter(reason))
            .await
            .expect("it is kept");
    }
    silence(&consumer).await;

    let letters = dead_letters(&*queue, QueueName::Persist, 3).await;
    let told: Vec<_> = letters
        .iter()
        .map(|one| (one.id, one.reason.as_str(), one.payload.as_ref()))
        .collect();
    let expected = [
        (ids[0], "x is no message", &b"x"[..]),
        (ids[1], "y is no message", &b"y"[..]),
        (ids[2], "z is no message", &b"z"[..]),
    ];
    assert_eq!(told, expected);
    assert!(
        letters
            .iter()
            .all(|one| one.queue == QueueName::Persist && one.died_at_ms > 1_700_000_000_000)
    );
    let operator = queue.dead_letters();
    assert_eq!(
        operator
            .list(QueueName::Persist, 2)
            .await
            .expect("it can be read")
            .len(),
        2,
        "no more than asked for"
    );
    assert_eq!(
        operator
            .list(QueueName::BotRequests, 9)
            .await
            .expect("it can be read")
            .len(),
        0
    );

    assert_eq!(
        operator
            .replay(QueueName::Persist, &[ids[1]])
            .await
            .expect("it is put back"),
        1
    );
    let again = next(&consumer).await;
    assert_eq!(word(&again), "y");
    assert_eq!(again.attempt, 1, "a new life");
    ack(&consumer, &again).await;
    assert_eq!(
        operator
            .discard(QueueName::Persist, &[ids[0]])
            .await
            .expect("it is dropped"),
        1
    );
    let left = operator
        .list(QueueName::Persist, 9)
        .await
        .expect("it can be read");
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(
        operator
            .replay(QueueName::Persist, &[])
            .await
            .expect("all the rest"),
        1
    );
    assert_eq!(words(&consumer, 1).await, ["z"]);
    assert_eq!(
        operator
            .discard(QueueName::Persist, &[])
            .await
            .expect("nothing is left"),
        0
    );

    let worker = queue.consume(QueueName::BotRequests, 10).await;
    assert_eq!(
        words(&worker, 3).await,
        ["x", "y", "z"],
        "the other queue saw each of them once"
    );
    silence(&worker).await;
}

/// Has one word replaced, and another one go.
struct Rewording;

#[async_trait]
impl Reviser for Rewording {
    async fn revise(&self, letter: &DeadLetter) -> Revision {
        match &*letter.payload {
            b"secret" => Revision::Replace(Bytes::from_static(b"nothing")),
            b"rubbish" => Revision::Forget,
            _ => Revision::Leave,
        }
    }
}

pub async fn a_dead_letter_that_is_revised_says_something_else_or_goes(
    engine: impl QueueUnderTest,
) {
    let queue = engine.open().await;
    let operator = queue.dead_letters();
    let count = async |name| operator.count(name).await.expect("the queue is there");
    assert_eq!(count(QueueName::Persist).await, 0);
    publish(
        &*queue,
        Route::PersistAndAsk,
        &["a", "secret", "rubbish", "b"],
    )
    .await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    for _ in 0..4 {
        let delivery = next(&consumer).await;
        let reason = format!("{} bytes are no message", delivery.payload.len());
        let verdict = Verdict::DeadLetter(reason);
        consumer
            .settle(vec![delivery.receipt], verdict)
            .await
            .expect("it is kept");
    }
    let before = dead_letters(&*queue, QueueName::Persist, 4).await;
    eventually("they are counted", async || {
        (count(QueueName::Persist).await == 4).then_some(())
    })
    .await;
    assert_eq!(count(QueueName::BotRequests).await, 0);

    let revise = async |name| operator.revise(name, &Rewording).await;
    assert_eq!(revise(QueueName::Persist).await.expect("revised"), 2);
    assert_eq!(revise(QueueName::Persist).await.expect("nothing left"), 0);
    assert_eq!(revise(QueueName::BotRequests).await.expect("none"), 0);
    let after = dead_letters(&*queue, QueueName::Persist, 3).await;
    let mut told: Vec<(&[u8], &str, Uuid, u64)> = Vec::new();
    for letter in &after {
        told.push((
            &letter.payload,
            &letter.reason,
            letter.id,
            letter.died_at_ms,
        ));
    }
    told.sort_unstable();
    let of = |n: usize| (&*before[n].reason, before[n].id, before[n].died_at_ms);
    let expected = [(b"a" as &[u8], of(0)), (b"b", of(3)), (b"nothing", of(1))];
    let expected = expected.map(|(word, (reason, id, died))| (word, reason, id, died));
    assert_eq!(told, expected);
    // Put back, it says what it says now.
    let ids = [before[1].id, before[2].id];
    let replayed = operator.replay(QueueName::Persist, &ids).await;
    assert_eq!(replayed.expect("it is put back"), 1);
    assert_eq!(words(&consumer, 1).await, ["nothing"]);
    // What is in no dead letter is nobody's business here.
    let worker = queue.consume(QueueName::BotRequests, 10).await;
    assert_eq!(words(&worker, 4).await, ["a", "secret", "rubbish", "b"]);
}

pub async fn what_nobody_can_settle_becomes_a_dead_letter(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let poison = Uuid::now_v7();
    queue
        .publish(Route::Persist, 0, poison, Bytes::from("poison"))
        .await
        .expect("the queue is there");
    let consumer = queue.consume(QueueName::Persist, 1).await;
    for attempt in 1..=DELIVERY_LIMIT + 1 {
        let delivery = next(&consumer).await;
        assert_eq!(delivery.attempt, attempt);
        consumer
            .settle(vec![delivery.receipt], Verdict::HandBack)
            .await
            .expect("it can be handed back");
    }
    silence(&consumer).await;
    let letters = dead_letters(&*queue, QueueName::Persist, 1).await;
    assert_eq!(letters[0].id, poison);
    assert_eq!(
        letters[0].reason,
        "delivered 51 times without being settled"
    );
    assert!(letters[0].died_at_ms > 1_700_000_000_000);
    let operator = queue.dead_letters();
    assert_eq!(
        operator
            .replay(QueueName::Persist, &[poison])
            .await
            .expect("it is put back"),
        1
    );
    let again = next(&consumer).await;
    assert_eq!((word(&again).as_str(), again.attempt), ("poison", 1));
}

pub async fn looking_at_dead_letters_again_and_again_loses_none(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["a", "b"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    for _ in 0..2 {
        let delivery = next(&consumer).await;
        let verdict = Verdict::DeadLetter("for the story".into());
        consumer
            .settle(vec![delivery.receipt], verdict)
            .await
            .expect("it is kept");
    }
    for _ in 0..DELIVERY_LIMIT + 5 {
        let letters = dead_letters(&*queue, QueueName::Persist, 2).await;
        assert_eq!(
            letters
                .iter()
                .map(|one| one.payload.as_ref())
                .collect::<Vec<_>>(),
            [b"a", b"b"]
        );
    }
}

pub async fn two_consumers_share_a_queue(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let consumers = [
        queue.consume(QueueName::Persist, 5).await,
        queue.consume(QueueName::Persist, 5).await,
    ];
    let all: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let reading = consumers.each_ref().map(|consumer| {
        let consumer = consumer.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(delivery) = consumer.next().await {
                seen.push(word(&delivery));
                ack(&consumer, &delivery).await;
                // Both get their turn.
                tokio::task::yield_now().await;
            }
            seen
        })
    });
    publish(
        &*queue,
        Route::Persist,
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let fresh = queue.consume(QueueName::BotRequests, 1).await;
    silence(&fresh).await;
    let mut seen = Vec::new();
    for (consumer, reader) in consumers.iter().zip(reading) {
        consumer.close().await;
        let part = timeout(PATIENCE, reader)
            .await
            .expect("it ends when closed")
            .expect("it does not panic");
        assert!(!part.is_empty(), "each had a part");
        assert!(
            part.iter()
                .map(|one| one.parse::<u32>().expect("a number"))
                .is_sorted(),
            "in order"
        );
        seen.extend(part);
    }
    let third = queue.consume(QueueName::Persist, 100).await;
    while seen.len() < all.len() {
        seen.push(word(&next(&third).await));
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 100, "each once");
}

pub async fn a_closed_consumer_hands_back_what_it_had_not_looked_at(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["a", "b", "c"]).await;
    let first = queue.consume(QueueName::Persist, 10).await;
    let taken = next(&first).await;
    first.close().await;
    assert!(
        timeout(PATIENCE, first.next())
            .await
            .expect("a closed consumer does not wait")
            .is_none()
    );
    let second = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(words(&second, 2).await, ["b", "c"]);
    silence(&second).await;
    ack(&first, &taken).await;
    drop(first);
    silence(&second).await;
}

pub async fn a_dropped_consumer_hands_back_everything(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["a", "b"]).await;
    let first = queue.consume(QueueName::Persist, 10).await;
    next(&first).await;
    drop(first);
    let second = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(words(&second, 2).await, ["a", "b"]);
}

pub async fn a_batch_is_acked_in_any_order(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let all: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    publish(
        &*queue,
        Route::Persist,
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let consumer = queue.consume(QueueName::Persist, 100).await;
    let mut receipts = Vec::new();
    for _ in 0..40 {
        receipts.push(next(&consumer).await.receipt);
    }
    let some = |keep: fn(usize) -> bool| -> Vec<Receipt> {
        let kept = receipts
            .iter()
            .enumerate()
            .filter(|(place, _)| keep(*place));
        kept.map(|(_, receipt)| *receipt).collect()
    };
    // From the middle, backwards, then the beginning, then nearly all of the rest; 7 and 33 stay.
    let middle = some(|place| (20..30).contains(&place))
        .into_iter()
        .rev()
        .collect();
    consumer
        .settle(middle, Verdict::Ack)
        .await
        .expect("an ack cannot fail");
    consumer
        .settle(some(|place| place < 7), Verdict::Ack)
        .await
        .expect("an ack cannot fail");
    let rest = some(|place| (8..20).contains(&place) || (30..33).contains(&place) || place > 33);
    consumer
        .settle(rest, Verdict::Ack)
        .await
        .expect("an ack cannot fail");
    drop(consumer);
    let consumer = queue.consume(QueueName::Persist, 100).await;
    assert_eq!(words(&consumer, 2).await, ["7", "33"]);
    silence(&consumer).await;
}

pub async fn a_receipt_is_good_once(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    publish(&*queue, Route::Persist, &["once"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let first = next(&consumer).await;
    consumer
        .settle(vec![first.receipt], Verdict::HandBack)
        .await
        .expect("it can be handed back");
    let second = next(&consumer).await;
    consumer
        .settle(vec![first.receipt], Verdict::Ack)
        .await
        .expect("it is passed over");
    drop(consumer);
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let third = next(&consumer).await;
    assert_eq!(
        word(&third),
        word(&second),
        "it was not settled by the old receipt"
    );
}

pub async fn waiting_can_be_given_up_without_losing_a_delivery(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let impatient = |consumer: Arc<dyn Consumer>| async move {
        loop {
            if let Ok(delivery) = timeout(Duration::from_micros(200), consumer.next()).await {
                return delivery.expect("the consumer is open");
            }
        }
    };
    let all: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let publishing = publish(
        &*queue,
        Route::Persist,
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let reading = async {
        for expected in &all {
            let delivery = impatient(consumer.clone()).await;
            assert_eq!(word(&delivery), *expected);
            ack(&consumer, &delivery).await;
        }
    };
    let ((), outcome) = (publishing, timeout(PATIENCE, reading).await);
    outcome.expect("all of them come");
}

pub async fn five_thousand_at_once_all_arrive(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let all: HashSet<String> = (0..5_000).map(|number| format!("{number:0300}")).collect();
    let publishing = all.iter().map(|word| {
        let (queue, word) = (queue.clone(), word.clone());
        tokio::spawn(async move {
            queue
                .publish(Route::Persist, 0, Uuid::now_v7(), word.into())
                .await
        })
    });
    for published in join_all(publishing).await {
        published
            .expect("it does not panic")
            .expect("it is confirmed");
    }
    drain_until(&*queue, QueueName::Persist, all).await;
}

pub async fn an_empty_payload_and_a_large_one_arrive_whole(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    let large = "ä".repeat(500_000);
    publish(&*queue, Route::Persist, &["", &large]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(words(&consumer, 2).await, [String::new(), large]);
}

pub async fn an_open_queue_is_ready_and_answers(engine: impl QueueUnderTest) {
    let queue = engine.open().await;
    queue.ready().expect("it was just opened");
    queue.ping().await.expect("it answers");
}
