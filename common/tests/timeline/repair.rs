//! What was shown and did not come to the database.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use common::{
    envelope::Envelope,
    queue::{Queue, QueueName},
    store::{Accounts, BotPolicy, Messages, Room, Rooms},
    timeline::{REPAIR_AFTER, TimelineError},
    wire::{Message, Seq},
};
use engines::{
    embedded::EmbeddedLive,
    redis::{RedisLive, RedisSettings},
};
use private_engines::Engines;
use seam_fakes::FaultyLive;
use tokio::time::{Instant, timeout};

use crate::{
    past::{Past, ROOM, ids},
    watched::Watched,
};

#[tokio::test]
async fn the_newest_of_an_overlong_stream_is_missed_too() {
    let engines = Engines::shared().await;
    let settings = RedisSettings {
        redis_url: engines.redis_url().to_owned().into(),
        redis_prefix: engines.fresh_prefix(),
        stream_idle_seconds: Duration::from_secs(3_600),
    };
    let past = Past::with(RedisLive::connect(&settings).await.unwrap()).await;
    // Redis drops whole nodes of a stream, so some stay beyond the limit.
    let said = past.is_said(10_050, 0).await;
    let (last, others) = said.split_last().unwrap();
    past.is_written(others).await;
    let is_settled = past.is_whole().await;
    assert!(!is_settled, "the last one is not in the database");
    past.is_written(std::slice::from_ref(last)).await;
    assert!(past.is_whole().await);
}

#[tokio::test]
async fn what_was_seen_in_the_database_is_not_compared_again() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    // More than is read at a time: what comes after the missing one is there, and makes nobody sure of it.
    let said = past.is_said(1_100, 0).await;
    let (before, from) = said.split_at(100);
    let (late, after) = from.split_first().unwrap();
    past.is_written(before).await;
    past.is_written(after).await;
    assert!(!past.is_whole().await);
    assert_eq!(watched.read.swap(0, SeqCst), 1_100);

    assert!(!past.is_whole().await, "still missing");
    assert_eq!(
        watched.read.swap(0, SeqCst),
        1_000,
        "from the missing one on"
    );

    past.is_written(std::slice::from_ref(late)).await;
    assert!(past.is_whole().await);
    watched.read.store(0, SeqCst);
    let newer = past.is_said(3, 0).await;
    assert!(!past.is_whole().await);
    past.is_written(&newer).await;
    assert!(past.is_whole().await);
    assert_eq!(watched.read.load(SeqCst), 6, "the new ones, twice");
}

/// As if it had been said this long ago: everything in the stream, each time it is read.
fn aged(live: &FaultyLive, age: Duration) {
    let micros = age.as_micros() as Seq;
    live.around_reads(move |_, read| {
        Box::pin(async move {
            let mut tail = read.await?;
            for message in &mut tail.messages {
                message.seq -= micros;
            }
            Ok(tail)
        })
    });
}

/// Two messages in the stream, and neither in the database nor in the queue.
async fn two_are_lost() -> (Past, Vec<Message>) {
    let live = FaultyLive::over(EmbeddedLive::new());
    let past = Past::with(live.clone()).await;
    let said = past.is_said(2, 0).await;
    aged(&live, Duration::from_secs(60));
    (past, said)
}

#[tokio::test]
async fn what_is_lost_is_handed_over_and_in_a_later_round_again() {
    let (past, said) = two_are_lost().await;
    // Whoever takes them loses them once more.
    let taken = past.is_persisted(|message| message.room != ROOM).await;
    let of_room = || {
        let taken = taken.lock().unwrap();
        let taken: Vec<Message> = taken
            .iter()
            .filter(|one| one.room == ROOM)
            .cloned()
            .collect();
        ids(&taken)
    };
    let compared = past.compared_in(1).await;
    assert_eq!(
        (compared.missing, compared.handed_over, compared.waits),
        (2, 2, false)
    );
    let compared = past.compared_in(1).await;
    assert_eq!(
        (compared.missing, compared.handed_over, compared.waits),
        (2, 0, false)
    );
    // Another server answers: that it was handed over counts no longer.
    let compared = past.compared_in(2).await;
    assert_eq!((compared.missing, compared.handed_over), (2, 2));
    let twice = [ids(&said), ids(&said)].concat();
    let deadline = Instant::now() + Duration::from_secs(5);
    while of_room() != twice {
        assert!(Instant::now() < deadline, "{:?}", of_room());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_lost_is_handed_over_though_the_clock_was_put_back_since_it_was_said() {
    let live = FaultyLive::over(EmbeddedLive::new());
    let past = Past::with(live.clone()).await;
    past.is_said(2, 0).await;
    let taken = past.is_persisted(|message| message.room != ROOM).await;
    // As if it were said an hour from now.
    live.around_reads(move |_, read| {
        Box::pin(async move {
            let mut tail = read.await?;
            for message in &mut tail.messages {
                message.seq += 3_600_000_000;
            }
            Ok(tail)
        })
    });
    let compared = past.compared_in(1).await;
    assert_eq!(
        (compared.missing, compared.handed_over),
        (2, 0),
        "it may be on its way"
    );
    tokio::time::pause();
    tokio::time::advance(REPAIR_AFTER).await;
    tokio::time::resume();
    let compared = past.compared_in(1).await;
    assert_eq!((compared.missing, compared.handed_over), (2, 2));
    drop(taken);
}

#[tokio::test]
async fn what_was_seen_counts_in_its_round_only() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    let said = past.is_said(10, 0).await;
    past.is_written(&said).await;
    for (round, read) in [(1, 10), (1, 0), (2, 10), (2, 0)] {
        assert!(past.compared_in(round).await.is_whole);
        assert_eq!(watched.read.swap(0, SeqCst), read, "in round {round}");
    }
}

#[tokio::test]
async fn what_is_compared_with_two_servers_is_not_compared() {
    let past = Past::none().await;
    past.is_said(1, 0).await;
    let (_, rooms) = past.timeline.unsettled(10).await.unwrap();
    let compared = past.timeline.repair(&rooms[0], "the one before").await;
    assert!(
        matches!(compared, Err(TimelineError::OtherServer)),
        "{compared:?}"
    );
}

/// While nobody writes, what is missing waits in the queue; and when somebody does again, another one may still hold some
/// of it for a while.
#[tokio::test]
async fn what_waits_in_the_queue_is_not_taken_for_lost() {
    let (past, said) = two_are_lost().await;
    for _ in 0..3 {
        let compared = past.compared_in(1).await;
        assert_eq!((compared.handed_over, compared.waits), (0, true));
    }
    let taken = past.is_persisted(|_| true).await;
    let begun = Instant::now();
    past.is_written(&said[..1]).await;
    let handed_over = loop {
        let compared = past.compared_in(1).await;
        if !compared.waits {
            break compared.handed_over;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(
        begun.elapsed() > Duration::from_secs(11),
        "an attempt and a pause"
    );
    // What was written meanwhile was not lost, and the rest was.
    assert_eq!(handed_over, 1);
    let taken = taken.lock().unwrap();
    let of_room = taken.iter().filter(|message| message.room == ROOM).count();
    assert!(of_room <= 1, "{taken:?}");
}

/// A message and a question, and a deletion of each: what the stream has left of them is handed over like anything else, and
/// nobody asks the bot about nothing.
#[tokio::test]
async fn what_is_erased_in_the_stream_is_handed_over_as_a_place_without_a_text() {
    let live = FaultyLive::over(EmbeddedLive::new());
    let past = Past::with(live.clone()).await;
    let room = Room {
        name: ROOM.to_owned(),
        private: false,
        bot: BotPolicy::Always,
        owner: "ada".to_owned(),
        ..Room::default()
    };
    past.store.create_user("ada", "").await.unwrap();
    past.store.create_room(&room).await.unwrap();
    let said = past.is_said(3, 0).await;
    // One of them is in the database, as it was.
    past.is_written(&said[1..2]).await;
    let kept = said[2].id;
    live.around_reads(move |_, read| {
        Box::pin(async move {
            let mut tail = read.await?;
            for message in tail.messages.iter_mut().filter(|one| one.id != kept) {
                message.message.clear();
                message.deleted = true;
            }
            for message in &mut tail.messages {
                message.seq -= 60_000_000;
            }
            Ok(tail)
        })
    });
    let asked = past.queue.consume(QueueName::BotRequests, 10).await;
    let taken = past.is_persisted(|_| true).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let compared = past.compared_in(1).await;
    assert_eq!((compared.missing, compared.handed_over), (2, 2));
    while past.store.existing(ROOM, &ids(&said)).await.unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "they come to the database");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(past.is_whole().await);
    let erased = past.store.find(ROOM, said[0].id).await.unwrap().unwrap();
    assert_eq!((&*erased.message, erased.deleted), ("", true));
    let there = past.store.find(ROOM, kept).await.unwrap().unwrap();
    assert!(!there.deleted && !there.message.is_empty());
    // The only question is the one that has a text.
    let question = asked.next().await.unwrap();
    let question = Envelope::read(&question.payload).unwrap().message;
    assert_eq!(question.id, kept);
    drop(asked);
    drop(taken);
    let again = past.queue.consume(QueueName::BotRequests, 10).await;
    assert_eq!(again.next().await.map(|one| one.attempt), Some(2));
    let another = timeout(Duration::from_millis(300), again.next()).await;
    assert!(another.is_err(), "{another:?}");
}
