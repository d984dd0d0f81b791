//! P1: when a sender has its ack, the message will be in the database exactly once, whatever dies next.

use private_engines::Engine;
use stories::{Chat, Direction, Setup};

use crate::{assert_kept, talk};

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_killed_right_after_its_ack() {
    let setup = Setup {
        edges: 2,
        workers: 0,
        persisters: 0,
        ..Setup::default()
    };
    let mut chat = Chat::with(setup).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let [bob] = chat.join_at(1, "lobby", ["bob"]).await;
    let kept = ada.says_and_is_acked("remember this").await;
    chat.edges[0].kill();
    bob.hears("ada", "remember this").await;
    // Nobody has written it to the database yet: only the queue has it.
    chat.persisters
        .push(chat.service("persister", "late-persister", &[]));
    assert_kept(&chat, &bob, &[kept]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_and_every_service_dies_in_the_middle_of_traffic() {
    let setup = Setup {
        edges: 2,
        workers: 0,
        persisters: 2,
        own_engines: true,
        ..Setup::default()
    };
    let chat = Chat::with(setup).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let [mut bob] = chat.join_at(1, "lobby", ["bob"]).await;
    let edges = [chat.url(0), chat.url(1)];
    let away_from_the_first = [chat.url(1), chat.url(0)];

    let chaos = async {
        let engines = chat.engines();
        for round in 0..2 {
            for engine in [Engine::RabbitMq, Engine::MariaDb, Engine::Redis] {
                engines.kill(engine).await;
                if engine == Engine::Redis && round == 1 {
                    engines.wipe(Engine::Redis).await;
                }
                engines.start_engine(engine).await;
            }
            let (edge, persister) = (&chat.edges[round % 2], &chat.persisters[round % 2]);
            edge.kill();
            persister.kill();
            edge.start_again();
            persister.start_again();
            edge.ready().await;
            persister.ready().await;
        }
    };
    let talking = async {
        tokio::join!(
            talk(&mut ada, 150, &edges),
            talk(&mut bob, 150, &away_from_the_first)
        )
    };
    let ((), (mut acked, more)) = tokio::join!(chaos, talking);
    acked.extend(more);
    assert!(bob.comes_back().await);
    // A message that was under way when Redis came back empty may have been acked at its second place and be stored at
    // its first; all others are where their senders were told.
    let history = bob.history().await;
    let place = |id: &uuid::Uuid| {
        let found: Vec<u64> = history
            .iter()
            .filter(|message| message["id"] == id.to_string())
            .map(|message| message["seq"].as_u64().expect("a seq"))
            .collect();
        assert_eq!(
            found.len(),
            1,
            "{id} is in the history {} times",
            found.len()
        );
        found[0]
    };
    let moved: Vec<_> = acked.iter().filter(|(id, seq)| place(id) != *seq).collect();
    assert!(
        moved.len() <= 2,
        "only what was under way with the wiped Redis may move: {moved:?}"
    );
    acked.retain(|(id, seq)| place(id) == *seq);
    assert_kept(&chat, &bob, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_is_killed_between_its_commit_and_its_ack() {
    let chat = Chat::with(Setup {
        persisters: 0,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let (persister, wire) = chat
        .service_on_a_wire("persister", "persister-on-a-wire")
        .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    // It takes deliveries and writes them, but its acks do not get through.
    let first = ada.says_and_is_acked("before").await;
    assert_kept(&chat, &ada, &[first]).await;
    wire.hold(Direction::ToEngine);
    let second = ada.says_and_is_acked("written, not acked").await;
    assert_kept(&chat, &ada, &[first, second]).await;
    persister.kill();
    wire.cut();
    let other = chat.service("persister", "other-persister", &[]);
    other.ready().await;
    let third = ada.says_and_is_acked("after").await;
    assert_kept(&chat, &ada, &[first, second, third]).await;
    stories::until(
        "the second copy was seen and changed nothing",
        stories::PATIENCE,
        async || (other.metric("chinwag_persist_duplicates_total").await >= 1.0).then_some(()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_killed_between_the_confirm_and_its_ack() {
    let mut chat = Chat::with(Setup {
        edges: 1,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let (edge, wire) = chat.service_on_a_wire("ws-edge", "edge-on-a-wire").await;
    chat.edges.push(edge);
    let [bob] = chat.join_at(0, "lobby", ["bob"]).await;
    let [mut ada] = chat.join_at(1, "lobby", ["ada"]).await;
    // The message gets to the queue, its confirm does not get back.
    wire.hold(Direction::ToService);
    let id = ada.says("is it kept?").await;
    let shown = bob.hears("ada", "is it kept?").await;
    let seq = shown["seq"].as_u64().expect("a seq");
    assert_kept(&chat, &bob, &[(id, seq)]).await;
    chat.edges[1].kill();
    // She sends the same id elsewhere, and takes the old place.
    ada.moves_to(&chat.url(0));
    assert!(ada.comes_back().await);
    ada.says_as(id, "is it kept?").await;
    assert_eq!(ada.is_acked(id).await, seq);
    assert_kept(&chat, &bob, &[(id, seq)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persisters_on_one_queue_write_everything_once() {
    let chat = Chat::with(Setup {
        workers: 0,
        persisters: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    let mut said = Vec::new();
    for n in 0..200 {
        said.push(ada.says(&format!("ada {n}")).await);
        said.push(bob.says(&format!("bob {n}")).await);
    }
    let mut acked = Vec::new();
    for (n, id) in said.into_iter().enumerate() {
        let sender = if n % 2 == 0 { &ada } else { &bob };
        acked.push((id, sender.is_acked(id).await));
    }
    assert_kept(&chat, &ada, &acked).await;
}
