//! P9: overload, an outage behind, bad input: the sender gets an error with a code, and when to try again.

use private_engines::Engine;
use serde_json::json;
use stories::{Chat, PATIENCE, Setup, until};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_away_is_said_at_once_and_forgotten_when_it_is_back() {
    let chat = Chat::with(Setup {
        workers: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    ada.says_and_is_acked("before").await;
    chat.engines().kill(Engine::RabbitMq).await;
    until(
        "the edge knows that RabbitMQ is gone",
        PATIENCE,
        async || (chat.edges[0].readiness().await == Some(503)).then_some(()),
    )
    .await;
    let refused = ada.says("into the void").await;
    let error = ada.is_refused("unavailable").await;
    assert_eq!(error["id"], refused.to_string());
    assert!(
        error["retry_after_ms"]
            .as_u64()
            .is_some_and(|after| after > 0),
        "{error}"
    );
    // What was refused was not shown either: nobody saw a message that nobody keeps.
    assert!(
        bob.messages()
            .iter()
            .all(|message| message["id"] != refused.to_string())
    );
    chat.engines().start_engine(Engine::RabbitMq).await;
    let edges = [chat.url(0)];
    let kept = ada.says_until_acked("after", &edges).await;
    bob.hears("ada", "after").await;
    crate::assert_kept(&chat, &bob, &[kept]).await;
    chat.edges[0].ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_away_stops_nobody_from_talking() {
    let chat = Chat::with(Setup {
        workers: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    let mut acked = vec![ada.says_and_is_acked("before").await];
    chat.engines().kill(Engine::MariaDb).await;
    for n in 0..20 {
        acked.push(
            ada.says_and_is_acked(&format!("without a database {n}"))
                .await,
        );
    }
    bob.hears("ada", "without a database 19").await;
    chat.engines().start_engine(Engine::MariaDb).await;
    crate::assert_kept(&chat, &bob, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_told_when_to_come_back() {
    let settings = vec![
        ("USER_MESSAGES_PER_SECOND", "5".to_owned()),
        ("USER_MESSAGES_BURST", "10".to_owned()),
    ];
    let chat = Chat::with(Setup {
        workers: 0,
        settings,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    for n in 0..60 {
        ada.says(&format!("flood {n}")).await;
    }
    let error = ada.is_refused("rate_limited").await;
    assert!(
        error["retry_after_ms"]
            .as_u64()
            .is_some_and(|after| after > 0),
        "{error}"
    );
    // Others are not limited by it, and neither is she after a while.
    bob.says_and_is_acked("I am calm").await;
    let edges = [chat.url(0)];
    ada.says_until_acked("so am I", &edges).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_the_socket_stays_open() {
    let chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let nonsense = [
        (Message::text("{"), "bad_request"),
        (Message::text("[]"), "bad_request"),
        (
            Message::text(json!({"message": 7, "room": "lobby"}).to_string()),
            "bad_request",
        ),
        (
            Message::text(json!({"message": "  ", "room": "lobby"}).to_string()),
            "bad_request",
        ),
        (
            Message::text(json!({"message": "no room"}).to_string()),
            "bad_request",
        ),
        (
            Message::text(json!({"type": "dance"}).to_string()),
            "bad_request",
        ),
        (
            Message::text(r#"{"message":"\ud800","room":"lobby"}"#),
            "bad_request",
        ),
        (Message::binary(vec![0, 159, 146, 150]), "bad_request"),
        (
            Message::text(json!({"type": "join", "room": "nowhere"}).to_string()),
            "not_found",
        ),
        (
            Message::text(json!({"message": "x".repeat(4_001), "room": "lobby"}).to_string()),
            "too_large",
        ),
        (
            Message::text(json!({"message": "x".repeat(1_000_000), "room": "lobby"}).to_string()),
            "too_large",
        ),
    ];
    for (frame, code) in nonsense {
        let errors = |frames: Vec<serde_json::Value>| {
            frames
                .iter()
                .filter(|frame| frame["type"] == "error")
                .count()
        };
        let before = errors(ada.frames());
        let short: String = frame
            .to_text()
            .unwrap_or("binary")
            .chars()
            .take(60)
            .collect();
        ada.sends_raw(frame).await;
        until(&format!("an answer to {short}"), PATIENCE, async || {
            (errors(ada.frames()) > before).then_some(())
        })
        .await;
        let error = ada
            .frames()
            .into_iter()
            .rfind(|frame| frame["type"] == "error")
            .expect("an error");
        assert_eq!(error["code"], code, "{short}: {error}");
    }
    // NUL is a character like others.
    ada.says_and_is_acked("a\0b").await;
    ada.hears("ada", "a\0b").await;
}
