//! P4: a client that comes back gets everything after its last place, in order, none twice.

use private_engines::Engine;
use stories::{Chat, PATIENCE, Person, Setup, assert_one_order, until};

async fn has_heard(person: &Person, count: usize) -> Vec<serde_json::Value> {
    until(
        &format!("{} has heard {count} messages", person.name),
        PATIENCE,
        async || {
            let messages = person.messages();
            (messages.len() >= count).then_some(messages)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_comes_back_at_another_edge_while_others_talk() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    for n in 0..10 {
        ada.says_and_is_acked(&format!("before {n}")).await;
    }
    let mut heard = has_heard(&bob, 10).await;
    let last = bob.last_seq();
    bob.leaves();
    for n in 0..50 {
        ada.says_and_is_acked(&format!("meanwhile {n}")).await;
    }
    bob.moves_to(&chat.url(1));
    bob.connects().await;
    // She goes on talking while he comes back.
    let coming_back = async {
        bob.joins("lobby", Some(last)).await;
        has_heard(&bob, 100).await
    };
    let talking = async {
        for n in 0..50 {
            ada.says_and_is_acked(&format!("after {n}")).await;
        }
    };
    let (missed, ()) = tokio::join!(coming_back, talking);
    heard.extend(missed);
    assert_eq!(heard.len(), 110);
    assert_one_order(&heard);
    assert_eq!(heard, ada.history().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_too_much_is_told_to_load_the_history() {
    let chat = Chat::with(Setup {
        workers: 0,
        // All of it may come within a second.
        settings: vec![("USER_MESSAGES_BURST", "2000".to_owned())],
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    ada.says_and_is_acked("the first").await;
    has_heard(&bob, 1).await;
    let last = bob.last_seq();
    bob.leaves();
    let mut said = Vec::new();
    for n in 0..1_100 {
        said.push(ada.says(&format!("line {n}")).await);
        if n % 100 == 99 {
            ada.is_acked(said[n]).await;
        }
    }
    for id in &said {
        ada.is_acked(*id).await;
    }
    bob.connects().await;
    let joined = bob.joins("lobby", Some(last)).await;
    assert_eq!(joined["complete"], false, "{joined}");
    assert_eq!(joined["seq"].as_u64(), Some(ada.last_seq()));
    assert_eq!(bob.history().await.len(), 1_101);
    // He is in the room all the same.
    ada.says("welcome back").await;
    bob.hears("ada", "welcome back").await;
    assert_eq!(bob.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_and_comes_back_empty_and_nobody_notices() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let [mut bob] = chat.join_at(1, "lobby", ["bob"]).await;
    let [mut cleo] = chat.join_at(1, "lobby", ["cleo"]).await;
    for n in 0..20 {
        ada.says_and_is_acked(&format!("before {n}")).await;
    }
    has_heard(&cleo, 20).await;
    let last = cleo.last_seq();
    cleo.leaves();
    let before_wipe = ada.says_and_is_acked("just before").await;
    crate::assert_kept(&chat, &ada, &[before_wipe]).await;
    chat.engines().kill(Engine::Redis).await;
    chat.engines().wipe(Engine::Redis).await;
    chat.engines().start_engine(Engine::Redis).await;
    let edges = [chat.url(0)];
    for n in 0..20 {
        ada.says_until_acked(&format!("after {n}"), &edges).await;
    }
    let heard = has_heard(&bob, 41).await;
    assert_one_order(&heard);
    cleo.connects().await;
    cleo.joins("lobby", Some(last)).await;
    let missed = has_heard(&cleo, 21).await;
    assert_eq!(missed, heard[20..], "who was away gets what the others saw");
    bob.says("still here").await;
    cleo.hears("bob", "still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_freezes_and_thaws_and_the_gap_is_filled() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let [bob] = chat.join_at(1, "lobby", ["bob"]).await;
    ada.says_and_is_acked("before").await;
    chat.engines().freeze(Engine::Redis).await;
    let id = ada.says("into the ice").await;
    ada.is_refused("unavailable").await;
    chat.engines().thaw(Engine::Redis).await;
    let edges = [chat.url(0)];
    for n in 0..20 {
        ada.says_until_acked(&format!("after {n}"), &edges).await;
    }
    ada.says_as(id, "into the ice").await;
    ada.is_acked(id).await;
    let heard = has_heard(&bob, 22).await;
    assert_one_order(&heard);
    assert_eq!(heard, bob.history().await);
}
