//! Queues that are several on the broker: a room is always in the same one, whoever reads reads all of them, and their
//! number is changed without a loss.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use common::queue::{Consumer, Queue, QueueName, Route, Verdict};
use engines::rabbitmq::RabbitQueue;
use lapin::options::QueueDeleteOptions;
use private_engines::Engines;
use seam_suites::queue::side::{ack, dead_letters, eventually, next, silence, word};
use uuid::Uuid;

use crate::{
    rabbitmq_topology::operator,
    side::{connect, connect_in},
};

/// Says this in a room, as the services do.
async fn say(queue: &RabbitQueue, route: Route, room: &str, word: &str) {
    let partition = queue.partition_of(room);
    queue
        .publish(
            route,
            partition,
            Uuid::now_v7(),
            Bytes::from(word.to_owned()),
        )
        .await
        .expect("the broker runs");
}

/// Takes so many, acks them, and returns what they say in the order in which they came.
async fn take(consumer: &Arc<dyn Consumer>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        let delivery = next(consumer).await;
        words.push(word(&delivery));
        ack(consumer, &delivery).await;
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_changes_while_messages_are_on_their_way_and_none_is_lost() {
    let url = Engines::shared().await.fresh_vhost().await;
    let mut edges = Vec::new();
    for partitions in [1, 4, 2] {
        edges.push(connect_in(&url, partitions).await.expect("it runs"));
    }
    let mut said = HashSet::new();
    // Old edges go on for a while beside those with another number.
    for (phase, publishing) in [&edges[..1], &edges[..2], &edges[1..], &edges[2..]]
        .into_iter()
        .enumerate()
    {
        for number in 0..40 {
            for (edge, queue) in publishing.iter().enumerate() {
                let room = format!("room-{}", number % 10);
                let word = format!("{room}/{phase}/{number}/{edge}");
                say(queue, Route::PersistAndAsk, &room, &word).await;
                said.insert(word);
            }
        }
    }
    // Whoever reads has the last number, and finds what the one before has left.
    let reading = connect_in(&url, 2).await.expect("it runs");
    assert_eq!(reading.partitions(), 4);
    for queue in QueueName::ALL {
        let consumer = reading.consume(queue, 64).await;
        let heard = take(&consumer, said.len()).await;
        // Of each edge and phase what was said in a room comes in its order, since it was in one partition.
        let mut latest: HashMap<(&str, &str, &str), u32> = HashMap::new();
        for word in &heard {
            let parts: Vec<&str> = word.split('/').collect();
            let [room, phase, number, edge] = parts[..] else {
                panic!("{word}")
            };
            let number: u32 = number.parse().expect("a number");
            if let Some(before) = latest.insert((room, phase, edge), number) {
                assert!(before < number, "{word} after {before}");
            }
        }
        assert_eq!(heard.into_iter().collect::<HashSet<_>>(), said, "{queue:?}");
        silence(&consumer).await;
        consumer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_share_every_partition_as_they_come_and_go() {
    let url = Engines::shared().await.fresh_vhost().await;
    let publishing = connect_in(&url, 3).await.expect("it runs");
    let one = connect_in(&url, 3).await.expect("it runs");
    let other = connect_in(&url, 3).await.expect("it runs");
    let first = one.consume(QueueName::Persist, 30).await;
    let second = other.consume(QueueName::Persist, 30).await;
    let rooms: Vec<String> = (0..12).map(|number| format!("room-{number}")).collect();
    let partitions: HashSet<usize> = rooms.iter().map(|room| one.partition_of(room)).collect();
    assert_eq!(partitions.len(), 3, "the rooms are in all of them");
    let say_all = async |round: usize| {
        for number in 0..4 {
            for room in &rooms {
                say(
                    &publishing,
                    Route::Persist,
                    room,
                    &format!("{room}/{round}/{number}"),
                )
                .await;
            }
        }
    };
    say_all(0).await;
    // Neither takes all that there is of any partition.
    let mut seen = [HashSet::new(), HashSet::new()];
    for _ in 0..18 {
        for (consumer, seen) in [&first, &second].into_iter().zip(&mut seen) {
            let delivery = next(consumer).await;
            let word = word(&delivery);
            let room = word.split('/').next().expect("a room");
            seen.insert(one.partition_of(room));
            ack(consumer, &delivery).await;
        }
    }
    assert_eq!(seen, [partitions.clone(), partitions]);
    // One goes with what it has in hand, and the other has all.
    say_all(1).await;
    drop(next(&second).await);
    drop(second);
    other.close().await;
    let heard: HashSet<String> = take(&first, 60).await.into_iter().collect();
    assert_eq!(heard.len(), 60);
    silence(&first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_all_partitions_are_in_one_place_and_are_put_back() {
    let url = Engines::shared().await.fresh_vhost().await;
    let queue = connect_in(&url, 4).await.expect("it runs");
    let rooms = ["lobby", "den", "attic", "ship", "yard", "hall"];
    let partitions: HashSet<usize> = rooms.iter().map(|room| queue.partition_of(room)).collect();
    assert!(partitions.len() > 1);
    for room in rooms {
        say(&queue, Route::Persist, room, room).await;
    }
    let consumer = queue.consume(QueueName::Persist, 64).await;
    for _ in rooms {
        let delivery = next(&consumer).await;
        let verdict = Verdict::DeadLetter("as a test".into());
        let settled = consumer.settle(vec![delivery.receipt], verdict).await;
        settled.expect("the broker runs");
    }
    let letters = dead_letters(&*queue, QueueName::Persist, rooms.len()).await;
    assert_eq!(letters.len(), rooms.len());
    let replayed = queue.dead_letters().replay(QueueName::Persist, &[]).await;
    assert_eq!(replayed.expect("the broker runs"), rooms.len());
    let heard: HashSet<String> = take(&consumer, rooms.len()).await.into_iter().collect();
    assert_eq!(heard, rooms.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_over_is_read_until_an_operator_removes_it() {
    let url = Engines::shared().await.fresh_vhost().await;
    let before = connect_in(&url, 2).await.expect("it runs");
    let room = (0..)
        .map(|number| format!("room-{number}"))
        .find(|room| before.partition_of(room) == 1)
        .expect("there is one");
    say(&before, Route::Persist, &room, "left over").await;
    before.close().await;
    let queue = connect(&url).await.expect("it runs");
    let consumer = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(take(&consumer, 1).await, ["left over"]);
    let (_connection, channel) = operator(&url).await;
    let removed = channel.queue_delete("persist.1".into(), QueueDeleteOptions::default());
    removed.await.expect("it was there");
    for number in 0..5 {
        say(&queue, Route::Persist, &room, &number.to_string()).await;
        assert_eq!(take(&consumer, 1).await, [number.to_string()]);
    }
    // Nobody has declared it again.
    let looking = connect(&url).await.expect("it runs");
    eventually("it is not there", async || {
        (looking.partitions() == 1).then_some(())
    })
    .await;
}
