//! P12: an edit or a deletion is an event in the room's one order: acked when it is on disk, and applied exactly once
//! whatever comes first.

use std::{collections::HashMap, time::Duration};

use private_engines::Engine;
use serde_json::{Value, json};
use stories::{Chat, Person, Setup, until};
use uuid::Uuid;

/// What is to become of messages, by what was acked: the text, or none if it is deleted.
type Ledger = HashMap<String, Option<String>>;

/// Says so many things; edits all of them, some twice, and deletes some. Returns what is left of them.
async fn edits(person: &mut Person, count: usize, edges: &[String]) -> Ledger {
    let mut ledger = Ledger::new();
    for n in 0..count {
        let (id, _) = person.says_until_acked(&format!("draft {n}"), edges).await;
        let mut text = format!("edited {n}");
        person.changes_until_acked(id, Some(&text), edges).await;
        if n % 2 == 0 {
            text = format!("edited twice {n}");
            person.changes_until_acked(id, Some(&text), edges).await;
        }
        let is_deleted = n % 3 == 0;
        if is_deleted {
            person.changes_until_acked(id, None, edges).await;
        }
        ledger.insert(id.to_string(), (!is_deleted).then_some(text));
    }
    ledger
}

/// What a client has on its screen after these frames, or this history.
fn screen<'a>(frames: impl IntoIterator<Item = &'a Value>) -> Ledger {
    let mut screen = Ledger::new();
    for frame in frames {
        let text = || Some(frame["message"].as_str().expect("a text").to_owned());
        let key = |field: &str| frame[field].as_str().expect("an id").to_owned();
        match frame["type"].as_str() {
            Some("message") => {
                let is_deleted = frame["deleted"] == json!(true);
                screen.insert(key("id"), text().filter(|_| !is_deleted));
            }
            Some("edited") => {
                if let Some(Some(said)) = screen.get_mut(&key("of")) {
                    text().unwrap_or_default().clone_into(said);
                }
            }
            Some("deleted") => drop(screen.insert(key("of"), None)),
            _ => {}
        }
    }
    screen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_and_every_service_dies_while_messages_are_changed() {
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
    let changing = async {
        tokio::join!(
            edits(&mut ada, 40, &edges),
            edits(&mut bob, 40, &away_from_the_first)
        )
    };
    let ((), (mut ledger, more)) = tokio::join!(chaos, changing);
    ledger.extend(more);
    assert!(bob.comes_back().await);
    let what = "the history has the newest state";
    until(what, Duration::from_secs(90), async || {
        let history = bob.history().await;
        (screen(&history) == ledger).then_some(())
    })
    .await;
    // Whoever was away for all of it, at either edge.
    for edge in 0..2 {
        let mut eve = Person::register(&chat.url(edge), &format!("eve-{edge}")).await;
        eve.connects().await;
        let joined = eve.joins("lobby", Some(0)).await;
        assert_eq!(joined["complete"], true);
        let latest = joined["seq"].clone();
        eve.waits_for("the latest", |frame| {
            frame["seq"] == latest && frame["type"] != "joined"
        })
        .await;
        assert_eq!(screen(&eve.frames()), ledger);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_its_edge_showed_and_never_handed_over_is_kept_all_the_same() {
    let mut chat = Chat::start().await;
    let (edge, wire) = chat.service_on_a_wire("ws-edge", "edge-on-a-wire").await;
    chat.edges.push(edge);
    let [bob] = chat.join_at(0, "lobby", ["bob"]).await;
    let [mut ada] = chat.join_at(1, "lobby", ["ada"]).await;
    let (edited, _) = ada.says_and_is_acked("one").await;
    let (deleted, _) = ada.says_and_is_acked("two").await;
    wire.hold(stories::Direction::ToEngine);
    for (of, text) in [(edited, Some("one, edited")), (deleted, None)] {
        let frame = ada.change(Uuid::now_v7(), of, text);
        ada.sends(&frame).await;
        let of = of.to_string();
        bob.waits_for("the change", |frame| frame["of"] == of).await;
    }
    chat.edges[1].kill();
    wire.cut();
    // Nobody sends them again: another edge finds that they are missing.
    let database = chat.database().await;
    let what = "the database has the newest state";
    until(what, Duration::from_secs(90), async || {
        use common::store::Messages as _;
        let find = async |id| database.find("lobby", id).await.ok().flatten();
        let (edited, deleted) = (find(edited).await?, find(deleted).await?);
        (edited.message == "one, edited" && deleted.deleted).then_some(())
    })
    .await;
}
