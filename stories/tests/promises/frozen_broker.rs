//! Three RabbitMQ nodes, of which the one that leads every queue stands still: what people notice of it, and what is in
//! the database afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{queue::Queue, store::Messages};
use engines::rabbitmq::{RabbitQueue, RabbitSettings};
use private_engines::{Engine, Engines};
use stories::{Chat, Person, Setup, until};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Longer than this no room is without an ack while two of three nodes live.
const WITHOUT_ACK: Duration = Duration::from_secs(10);

/// When everything is in the database again.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// When everything that only the broker's frozen node had is in the database: an edge looks for what has been missing
/// there for 30 s, a few times a minute.
const REPAIRED_WITHIN: Duration = Duration::from_secs(180);

/// A Chinwag on a cluster whose first node leads the queues.
async fn on_a_cluster() -> (Chat, Engines) {
    let brokers = Engines::start_only(&[]).await;
    let nodes = brokers.start_brokers().await;
    let first = RabbitSettings::at(&nodes[0]);
    let queue: Arc<RabbitQueue> = RabbitQueue::connect(&first).await.expect("it runs");
    queue.close().await;
    let setup = Setup {
        edges: 3,
        workers: 0,
        persisters: 2,
        settings: vec![("AMQP_URL", nodes.join(","))],
        ..Setup::default()
    };
    (Chat::with(setup).await, brokers)
}

/// What one room's only speaker was told.
struct Told {
    person: Person,
    acked: Vec<Uuid>,
    longest: Duration,
}

/// Says one thing after the other until it is time to stop, each until it is acked.
async fn talks(mut person: Person, edge: [String; 1], stop: Arc<AtomicBool>) -> Told {
    let (mut acked, mut longest) = (Vec::new(), Duration::ZERO);
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // Every tenth leads to both queues. Nobody answers.
        let to = if acked.len() % 10 == 9 { "@bot" } else { "all" };
        let text = format!("{to} {} says {}", person.name, acked.len());
        let (id, _) = person.says_until_acked(&text, &edge).await;
        acked.push(id);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        sleep(Duration::from_millis(50)).await;
    }
    Told {
        person,
        acked,
        longest,
    }
}

/// Two rooms at each edge talk while the story goes on.
async fn while_all_talk(chat: &Chat, story: impl Future<Output = ()>) -> Vec<Told> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut rooms = Vec::new();
    for number in 0..6 {
        let edge = number % chat.edges.len();
        let name = format!("speaker-{number}");
        let [person] = chat.join_at(edge, &format!("room-{number}"), [&name]).await;
        rooms.push(tokio::spawn(talks(person, [chat.url(edge)], stop.clone())));
    }
    story.await;
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for room in rooms {
        told.push(room.await.expect("it does not panic"));
    }
    for Told {
        person, longest, ..
    } in &told
    {
        assert!(
            *longest < WITHOUT_ACK,
            "{} was {longest:?} without an ack",
            person.name
        );
    }
    told
}

/// Everything that was acked is in the database, and in the history.
async fn assert_written(chat: &Chat, told: &[Told], within: Duration) {
    let database = chat.database().await;
    for Told { person, acked, .. } in told {
        let what = format!("what {} was told to be kept is written", person.name);
        until(&what, within, async || {
            let written = database.existing(&person.room, acked).await.ok()?;
            (written.len() == acked.len()).then_some(())
        })
        .await;
        let history = person.history().await;
        let heard = history.iter().map(|message| message["id"].to_string());
        let heard: Vec<String> = heard.collect();
        for id in acked {
            let times = heard.iter().filter(|one| **one == format!("\"{id}\""));
            assert_eq!(times.count(), 1, "{id} in the history");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_stands_still_for_half_a_minute() {
    let (chat, brokers) = on_a_cluster().await;
    let told = while_all_talk(&chat, async {
        sleep(Duration::from_secs(2)).await;
        brokers.freeze(Engine::Broker(1)).await;
        sleep(Duration::from_secs(30)).await;
        brokers.thaw(Engine::Broker(1)).await;
        sleep(Duration::from_secs(2)).await;
    })
    .await;
    assert_written(&chat, &told, WRITTEN_WITHIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_stands_still_and_never_comes_back() {
    let (chat, brokers) = on_a_cluster().await;
    let told = while_all_talk(&chat, async {
        sleep(Duration::from_secs(2)).await;
        brokers.freeze(Engine::Broker(1)).await;
        sleep(Duration::from_secs(20)).await;
    })
    .await;
    assert_written(&chat, &told, REPAIRED_WITHIN).await;
}
