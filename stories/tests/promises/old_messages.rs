//! What is older than a room keeps it goes, whoever dies meanwhile, and nothing brings it back. Nobody waits for days here: what is
//! said has an old place.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use common::{
    envelope::Envelope,
    queue::{DeadLetter, Queue, QueueName, Reviser, Revision, Route},
    store::Retention,
    wire::{Grounding, Kind, Message, Seq, now_seq},
};
use engines::rabbitmq::{RabbitQueue, RabbitSettings};
use serde_json::json;
use sqlx::{Connection as _, MySqlConnection};
use stories::{Chat, PATIENCE, Setup, run, until};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::everywhere::{is_nowhere, places_of};

const DAY: Seq = 24 * 60 * 60 * 1_000_000;

fn old(room: &str, seq: Seq, text: &str) -> Envelope {
    let message = Message {
        room: room.into(),
        seq,
        prev: 0,
        id: Uuid::now_v7(),
        sender: "ada".into(),
        kind: Kind::User,
        message: text.into(),
        reply_to: None,
        of: None,
        edited: None,
        deleted: false,
        grounding: Grounding::default(),
        stopped_by: None,
    };
    Envelope::new(message, None)
}

async fn publishes(queue: &RabbitQueue, envelopes: &[Envelope]) {
    for envelope in envelopes {
        let id = envelope.message.id;
        let partition = queue.partition_of(&envelope.message.room);
        let published = queue.publish(Route::Persist, partition, id, envelope.to_bytes());
        published.await.expect("confirmed");
    }
}

/// Puts a message into a room's stream, as it would have been there since then.
async fn streams(chat: &Chat, message: &Message) {
    let client = redis::Client::open(chat.setting("REDIS_URL")).expect("an address");
    let connected = client.get_multiplexed_async_connection().await;
    let mut redis = connected.expect("Redis is there");
    let key = |part: &str| {
        format!(
            "{}{{{}}}:{part}",
            chat.setting("REDIS_PREFIX"),
            message.room
        )
    };
    let mut entry = redis::cmd("XADD");
    entry.arg(key("stream")).arg(format!("{}-0", message.seq));
    entry.arg("sender").arg(&message.sender);
    entry.arg("frame").arg(message.frame());
    let _: String = entry.query_async(&mut redis).await.expect("it is there");
    let mut id = redis::cmd("ZADD");
    id.arg(key("ids"))
        .arg(message.seq)
        .arg(message.id.as_bytes());
    let _: i64 = id.query_async(&mut redis).await.expect("it is there");
}

/// Somebody who looks at one of the dead letters for as long as they like, and leaves all as they are.
#[derive(Default)]
struct Looking {
    at: OnceLock<Uuid>,
    may_end: Notify,
}

#[async_trait]
impl Reviser for Looking {
    async fn revise(&self, letter: &DeadLetter) -> Revision {
        if self.at.set(letter.id).is_ok() {
            self.may_end.notified().await;
        }
        Revision::Leave
    }
}

/// Whether a dead letter is there and has the word: the list of them does not tell what they say.
fn letter_has(chat: &Chat, letter: &Envelope, word: &str) -> bool {
    let id = letter.message.id.to_string();
    let shown = run(
        "persister",
        &["dead-letters", "show", &id],
        &chat.environment,
    )
    .1;
    shown.contains(word)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_nowhere_whoever_dies_and_nothing_brings_it_back() {
    let chat = Chat::with(Setup {
        persisters: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("attic", ["ada"]).await;
    let word = format!("secret{}", Uuid::new_v4().simple());
    let settings = RabbitSettings {
        amqp_url: chat.setting("AMQP_URL").to_owned().into(),
        queue_partitions: 1,
    };
    let connected = RabbitQueue::connect(&settings).await;
    let queue = connected.expect("the broker is there");
    let long_ago = now_seq() - 40 * DAY;
    let mut said: Vec<Envelope> = (0..2_000)
        .map(|n| {
            old(
                "attic",
                long_ago + 2 * n,
                &format!("{n}: the word is {word}"),
            )
        })
        .collect();
    publishes(&queue, &said).await;
    // Their places are others': dead letters that have the word.
    let dead = [0, 2, 4].map(|n| old("attic", long_ago + n, &format!("I said {word} first")));
    publishes(&queue, &dead).await;
    // The room's stream has had some of them all the while, and one that no database has.
    let mut lost = old("attic", long_ago + 4_001, &format!("lost: {word}"));
    lost.message.prev = long_ago + 3_998;
    said.push(lost);
    for envelope in &said[1_990..] {
        streams(&chat, &envelope.message).await;
    }
    let (_, lately) = ada.says_and_is_acked("of today").await;
    let database = chat.database().await;
    until("all of it is there", PATIENCE, async || {
        let there = places_of(&chat, &word).await;
        let dead = dead.iter().all(|dead| letter_has(&chat, dead, &word));
        let all = there
            .iter()
            .any(|place| place.contains("messages.message of 2"));
        (dead && all).then_some(())
    })
    .await;
    assert!(ada.history().await.len() > 2_000);

    // Somebody looks at a dead letter meanwhile, which is out of everybody else's sight until they have done.
    let looking = Arc::new(Looking::default());
    let looks = tokio::spawn({
        let (letters, looking) = (queue.dead_letters(), Arc::clone(&looking));
        async move {
            // A persister may look at all of them just now.
            while looking.at.get().is_none() {
                let looked = letters.revise(QueueName::Persist, &*looking);
                looked.await.expect("the broker is there");
            }
        }
    });
    let looked_at = until("somebody looks at one", PATIENCE, async || {
        looking.at.get().copied()
    })
    .await;

    // By its owner, and nobody else; a persister dies in the middle.
    let room = "/api/rooms/attic";
    let bob = chat.join("attic", ["bob"]).await;
    let days = json!({ "retention_days": 30 });
    bob[0]
        .client
        .patch(room, days.clone())
        .await
        .is_problem(403, "forbidden");
    ada.client
        .patch(room, days)
        .await
        .is(reqwest::StatusCode::OK);
    let mut rows = MySqlConnection::connect(chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    until("some of it is gone", Duration::from_secs(90), async || {
        let count = "SELECT COUNT(*) FROM messages WHERE room = 'attic'";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut rows).await.ok()?;
        (count < 2_000).then_some(())
    })
    .await;
    for persister in &chat.persisters {
        persister.kill();
    }
    // One dead letter is put back, if it is still there, and the others stay.
    let in_sight = || dead.iter().filter(|one| one.message.id != looked_at);
    let id = in_sight().next().expect("there are two").message.id;
    let id = id.to_string();
    let replay = ["dead-letters", "replay", "persist", &id];
    let (status, printed) = run("persister", &replay, &chat.environment);
    assert!(status.success(), "{printed}");
    // As a redelivery brings it, and one that is days behind.
    publishes(&queue, &said[..50]).await;
    publishes(
        &queue,
        &[old("attic", long_ago + 5_001, &format!("late: {word}"))],
    )
    .await;
    let anew = "UPDATE sweeps SET due_at_ms = 0, after_room = ''";
    sqlx::raw_sql(anew)
        .execute(&mut rows)
        .await
        .expect("a new round");
    for persister in &chat.persisters {
        persister.start_again();
    }
    is_nowhere(&chat, &word).await;
    let has_it_no_more = async |letter: &Envelope| {
        let minute = Duration::from_secs(60);
        until("the dead letter has it no more", minute, async || {
            (!letter_has(&chat, letter, &word)).then_some(())
        })
        .await;
    };
    for letter in in_sight() {
        has_it_no_more(letter).await;
    }
    looking.may_end.notify_one();
    looks.await.expect("no panic");
    for letter in &dead {
        has_it_no_more(letter).await;
    }
    let (_, last) = ada.says_and_is_acked("and that was all").await;
    let shown = until("what is kept is shown", PATIENCE, async || {
        let history = ada.history().await;
        (history.last()?["seq"] == last).then_some(history)
    })
    .await;
    let places: Vec<Option<u64>> = shown
        .iter()
        .map(|message| message["seq"].as_u64())
        .collect();
    assert_eq!(places, [Some(lately), Some(last)]);
    // Up to a place that is a quarter of an hour before it would have to be at the most.
    let gone = database.gone_until("attic").await.expect("known");
    let age = now_seq() - gone;
    assert!((30 * DAY..31 * DAY).contains(&age), "{age}");
    // Whoever comes back from long ago is told what there is.
    let mut late = stories::Person::log_in(&chat.url(0), "ada").await;
    late.connects().await;
    let joined = late.joins("attic", Some(long_ago + 100)).await;
    assert_eq!(joined["complete"], true, "{joined}");
    late.waits_for("the latest", |frame| {
        frame["seq"] == last && frame["type"] == "message"
    })
    .await;
    assert_eq!(late.messages().len(), 2);
    is_nowhere(&chat, &word).await;
    let shown = ada.client.get(room).await;
    assert_eq!(shown.body["retention_days"], 30);
}
