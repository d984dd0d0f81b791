//! What happens to a Redis Cluster: nodes go and come, slots move.

use std::time::Duration;

use common::live::{Live, LiveEvent};
use common::readiness::Health;
use private_engines::{Engine, Engines};
use redis::{aio::MultiplexedConnection, cmd};

use crate::{
    redis_faults::{by_hand, cut_connections},
    side::{cluster_url, connect, settings},
};
use seam_suites::live::{
    TIMINGS,
    side::{Says, eventually, says},
};
use tokio::time::{Instant, sleep};

/// A Cluster of the story's own, and the URLs of its nodes.
async fn own_cluster() -> (Engines, Vec<String>) {
    let engines = Engines::start_only(&[]).await;
    let nodes = engines.start_cluster().await;
    (engines, nodes)
}

async fn slot_of(redis: &mut MultiplexedConnection, prefix: &str, room: &str) -> u16 {
    let mut keyslot = cmd("CLUSTER");
    keyslot.arg("KEYSLOT").arg(format!("{prefix}{{{room}}}"));
    keyslot.query_async(redis).await.unwrap()
}

/// Rooms of different slots that one node serves, as the nodes of private engines share the slots.
async fn rooms_of_node(url: &str, prefix: &str, node: usize, count: usize) -> Vec<String> {
    let mut redis = by_hand(url).await;
    let mut rooms = Vec::new();
    let mut number = 0;
    while rooms.len() < count {
        number += 1;
        let room = format!("room-{number}");
        let slot = slot_of(&mut redis, prefix, &room).await;
        if [0..5_461, 5_461..10_923, 10_923..16_384][node - 1].contains(&slot) {
            rooms.push(room);
        }
    }
    rooms
}

/// Everything is heard again in each of these rooms.
async fn all_heard(live: &dyn Live, bob: &mut seam_suites::live::ears::Ears, rooms: &[String]) {
    for room in rooms {
        let message = says(room, "ada", &format!("heard in {room}"));
        eventually("messages are taken again", async || {
            live.append(&message, Some(0)).await.is_ok()
        })
        .await;
        bob.hears(&message.message).await;
    }
}

/// Two rooms in different slots of one node: a client that subscribes both in one command is refused, and stays deaf.
#[tokio::test(flavor = "multi_thread")]
async fn after_all_connections_were_cut_every_room_of_every_node_is_heard_again() {
    let (_engines, nodes) = own_cluster().await;
    let settings = settings(&cluster_url(&nodes), "cut:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut rooms = Vec::new();
    for node in 1..=3 {
        rooms.extend(rooms_of_node(&nodes[0], "cut:", node, 3).await);
    }
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut bob = two.listen(&names).await;
    for _ in 0..3 {
        all_heard(&*one, &mut bob, &rooms).await;
        for node in &nodes {
            cut_connections(node).await;
        }
        let mut told: Vec<String> = Vec::new();
        while told.len() < rooms.len() {
            if let LiveEvent::Gap { room, .. } = bob.next().await {
                assert!(!told.contains(&room.to_string()), "told once");
                told.push(room.to_string());
            }
        }
    }
    all_heard(&*one, &mut bob, &rooms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_node_was_killed_and_came_back() {
    let (engines, nodes) = own_cluster().await;
    let settings = settings(&cluster_url(&nodes), "killed:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let here = rooms_of_node(&nodes[0], "killed:", 2, 3).await;
    let there = rooms_of_node(&nodes[0], "killed:", 3, 2).await;
    let rooms: Vec<String> = here.iter().chain(&there).cloned().collect();
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut bob = two.listen(&names).await;
    all_heard(&*one, &mut bob, &rooms).await;

    engines.kill(Engine::Cluster(2)).await;
    let message = says(&here[0], "ada", "lost");
    assert!(one.append(&message, Some(0)).await.is_err());
    let health = one.ping().await.unwrap();
    assert!(
        matches!(&health, Health::Degraded(why) if why.starts_with("2 of 3 Redis masters")),
        "{health:?}"
    );
    // Whoever starts now serves the rooms of the others.
    let late = connect(&settings).await;
    late.tail(&there[0], 0, 1).await.unwrap();
    engines.start_engine(Engine::Cluster(2)).await;
    for _ in &here {
        let gap = loop {
            if let LiveEvent::Gap { room, .. } = bob.next().await {
                break room;
            }
        };
        assert!(here.contains(&gap.to_string()), "the other nodes were well");
    }
    all_heard(&*one, &mut bob, &rooms).await;
}

/// The rooms of each slot have a list of their own, and what is away costs only its rooms.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_node_is_away_the_unsettled_rooms_of_the_others_are_marked_and_listed() {
    let (engines, nodes) = own_cluster().await;
    let settings = settings(&cluster_url(&nodes), "parts:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut rooms = Vec::new();
    for node in 1..=3 {
        rooms.extend(rooms_of_node(&nodes[0], "parts:", node, 2).await);
    }
    for room in &rooms {
        one.post(&says(room, "ada", "first")).await;
    }
    let listed = async || {
        let listed = two.unsettled(100, "the server").await.unwrap();
        let mut listed: Vec<String> = listed.into_iter().map(|room| room.room).collect();
        listed.sort_unstable();
        listed
    };
    let sorted = |rooms: &[String]| {
        let mut rooms = rooms.to_vec();
        rooms.sort_unstable();
        rooms
    };
    assert_eq!(listed().await, sorted(&rooms));
    let here = rooms.split_off(4);
    engines.kill(Engine::Cluster(3)).await;
    // Longer than a mark holds.
    let until = Instant::now() + 2 * TIMINGS.mark_holds;
    while Instant::now() < until {
        for room in &rooms {
            let since = Instant::now();
            one.post(&says(room, "ada", "meanwhile")).await;
            let took = since.elapsed();
            assert!(took < Duration::from_secs(1), "{room}: {took:?}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(listed().await, sorted(&rooms));
    let anew = two.compare_anew().await;
    assert!(anew.is_err(), "not all can be compared anew");
    engines.start_engine(Engine::Cluster(3)).await;
    // It came back with nothing.
    for room in here {
        let message = says(&room, "ada", "again");
        eventually("messages are taken again", async || {
            one.append(&message, Some(0)).await.is_ok()
        })
        .await;
        rooms.push(room);
    }
    eventually("all are listed", async || listed().await == sorted(&rooms)).await;
}

/// Edges of the version before have one list for all rooms in a Cluster as well, and may run beside this one for a while.
#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_versions_have_put_on_their_list_is_listed_and_settled() {
    let (_engines, nodes) = own_cluster().await;
    let settings = settings(&cluster_url(&nodes), "earlier:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let rooms = rooms_of_node(&nodes[0], "earlier:", 1, 2).await;
    one.post(&says(&rooms[0], "ada", "first")).await;
    let mut slot = cmd("CLUSTER");
    slot.arg("KEYSLOT").arg(":unsettled");
    let slot: u16 = slot
        .query_async(&mut by_hand(&nodes[0]).await)
        .await
        .unwrap();
    let serving = usize::from(slot > 5_460) + usize::from(slot > 10_922);
    let mut redis = by_hand(&nodes[serving]).await;
    let (seconds, _): (u64, u64) = cmd("TIME").query_async(&mut redis).await.unwrap();
    for room in &rooms {
        let mut put = cmd("ZADD");
        put.arg("earlier:{:unsettled}")
            .arg(seconds * 1_000_000 - 60_000_000)
            .arg(room);
        let _: u64 = put.query_async(&mut redis).await.unwrap();
    }
    let listed = two.unsettled(100, "the server").await.unwrap();
    assert_eq!(listed.len(), 3, "one is on both lists: {listed:?}");
    eventually("all is settled, on either list", async || {
        let listed = two.unsettled(100, "the server").await.unwrap();
        for room in &listed {
            two.settled(room).await.unwrap();
        }
        listed.is_empty()
    })
    .await;
    // With another database they are compared again, and again settled.
    assert_eq!(two.unsettled(100, "a replica").await.unwrap().len(), 3);
    eventually("all is settled again", async || {
        let listed = two.unsettled(100, "a replica").await.unwrap();
        for room in &listed {
            two.settled(room).await.unwrap();
        }
        listed.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_slot_has_moved_to_another_node() {
    let (_engines, nodes) = own_cluster().await;
    let settings = settings(&cluster_url(&nodes), "moved:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let rooms = rooms_of_node(&nodes[0], "moved:", 1, 2).await;
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut bob = two.listen(&names).await;
    all_heard(&*one, &mut bob, &rooms).await;
    let before = two.tail(&rooms[0], 0, 10).await.unwrap();

    let (mut from, mut to) = (by_hand(&nodes[0]).await, by_hand(&nodes[2]).await);
    let slot = slot_of(&mut from, "moved:", &rooms[0]).await;
    let from_id: String = cmd("CLUSTER")
        .arg("MYID")
        .query_async(&mut from)
        .await
        .unwrap();
    let to_id: String = cmd("CLUSTER")
        .arg("MYID")
        .query_async(&mut to)
        .await
        .unwrap();
    let set_slot = |what: &str, id: &str| {
        let mut set = cmd("CLUSTER");
        set.arg("SETSLOT").arg(slot).arg(what).arg(id);
        set
    };
    let _: () = set_slot("IMPORTING", &from_id)
        .query_async(&mut to)
        .await
        .unwrap();
    let _: () = set_slot("MIGRATING", &to_id)
        .query_async(&mut from)
        .await
        .unwrap();
    let mut keys = cmd("CLUSTER");
    keys.arg("GETKEYSINSLOT").arg(slot).arg(100);
    let keys: Vec<String> = keys.query_async(&mut from).await.unwrap();
    assert!(!keys.is_empty());
    let port = nodes[2].rsplit(':').next().unwrap();
    let mut migrate = cmd("MIGRATE");
    migrate
        .arg("127.0.0.1")
        .arg(port)
        .arg("")
        .arg(0)
        .arg(5_000)
        .arg("KEYS")
        .arg(keys);
    let _: String = migrate.query_async(&mut from).await.unwrap();

    // Half moved: the old node sends askers on.
    let asked = two.tail(&rooms[0], 0, 10).await.unwrap();
    assert_eq!(asked, before);
    one.post(&says(&rooms[0], "ada", "on the move")).await;

    for node in [&mut to, &mut from] {
        let _: () = set_slot("NODE", &to_id).query_async(node).await.unwrap();
    }
    bob.gap(&rooms[0]).await;
    let missed = two.tail(&rooms[0], before.latest, 10).await.unwrap();
    assert!(missed.reaches_back && missed.messages[0].message == "on the move");
    one.post(&says(&rooms[0], "ada", "arrived")).await;
    bob.hears("arrived").await;
    let after = two.tail(&rooms[0], 0, 10).await.unwrap();
    assert_eq!(after.messages.len(), before.messages.len() + 2);
}
