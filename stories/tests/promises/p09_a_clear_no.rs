//! P9: overload, an outage behind, bad input: the sender gets an error with a code, and when to try again.

use std::{
    collections::HashSet,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use private_engines::Engine;
use serde_json::{Value, json};
use stories::{Chat, PATIENCE, Setup, until};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::other_database::client_flags;

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
async fn an_alarm_of_rabbitmq_is_named_and_nobody_hurries_it() {
    let chat = Chat::with(Setup {
        workers: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    let mut kept = vec![ada.says_and_is_acked("before").await];
    chat.engines().alarm(true).await;
    // The broker tells whoever publishes, and takes no more than that. It is shown, and so it is kept when that is over.
    let first = ada.says("into the alarm").await;
    until("the edge names the alarm", PATIENCE, async || {
        let (status, obstacles) = chat.edges[0].obstacles().await?;
        (status == 503 && obstacles.contains("RabbitMQ's alarm")).then_some(())
    })
    .await;

    // One who does not wait is told to, the longer the longer it lasts, and never twice the same.
    let begun = Instant::now();
    let mut waits = Vec::new();
    while begun.elapsed() < Duration::from_secs(12) {
        let id = bob.says("and now?").await.to_string();
        let is_it = |frame: &Value| frame["type"] == "error" && frame["id"] == id;
        let refusal = bob.waits_for("bob is refused", is_it).await;
        assert_eq!(refusal["code"], "unavailable");
        waits.push(refusal["retry_after_ms"].as_u64().expect("a time"));
        sleep(Duration::from_millis(50)).await;
    }
    let (early, late) = (waits[0], waits[waits.len() - 1]);
    assert!(
        (1_000..2_000).contains(&early) && (2_500..6_000).contains(&late),
        "{waits:?}"
    );
    let different: HashSet<&u64> = waits.iter().collect();
    assert!(different.len() > waits.len() / 2, "{waits:?}");
    let logged = |words| chat.edges[0].log().matches(words).count();
    assert_eq!(logged("not kept"), 1, "however many are refused");

    chat.engines().alarm(false).await;
    let edges = [chat.url(0)];
    let shown = bob.hears("ada", "into the alarm").await;
    kept.push((first, shown["seq"].as_u64().expect("a seq")));
    for n in 0..5 {
        kept.push(ada.says_until_acked(&format!("after it {n}"), &edges).await);
    }
    crate::assert_kept(&chat, &bob, &kept).await;
    assert!(kept.is_sorted_by_key(|(_, seq)| *seq), "{kept:?}");
    chat.edges[0].ready().await;
    until("the log says how many were refused", PATIENCE, async || {
        ada.says_and_is_acked("still there").await;
        (logged("messages are kept again") == 1).then_some(())
    })
    .await;
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

/// Long enough for what waits to be missed by those who look for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_named_and_nothing_is_taken_for_lost() {
    let chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    let database = chat.setting("DATABASE_URL");
    let mut lock = Command::new("bash");
    lock.arg("-c").arg(format!(
        "exec mariadb {} {}",
        client_flags(database),
        database.rsplit('/').next().expect("a database")
    ));
    let mut lock = lock
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a client");
    // It holds the lock as long as its standard input is open.
    let mut orders = lock.stdin.take().expect("it is piped");
    writeln!(orders, "LOCK TABLES messages READ;").expect("it reads");
    let processes = [&chat.edges[0], &chat.persisters[0]];
    for process in processes {
        until(
            "it says that nothing can be written",
            PATIENCE,
            async || {
                let (status, obstacles) = process.obstacles().await?;
                (status == 503 && obstacles.contains("store")).then_some(())
            },
        )
        .await;
    }
    let mut acked = Vec::new();
    for n in 0..30 {
        acked.push(ada.says_and_is_acked(&format!("written later {n}")).await);
    }
    until(
        "they are missed, and left alone",
        3 * PATIENCE,
        async || {
            let told = chat.edges[0].log().contains("the persisters are behind");
            told.then_some(())
        },
    )
    .await;
    drop(orders);
    let unlocked = spawn_blocking(move || lock.wait()).await;
    assert!(unlocked.expect("it ran").expect("it ended").success());
    crate::assert_kept(&chat, &bob, &acked).await;
    for process in processes {
        process.ready().await;
    }
    // All of it had waited in the queue all the time, and nobody put it there once more.
    let repaired = chat.edges[0]
        .metric("chinwag_repaired_messages_total")
        .await;
    let duplicates = chat.persisters[0]
        .metric("chinwag_persist_duplicates_total")
        .await;
    assert_eq!((repaired, duplicates), (0.0, 0.0));
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
        let errors = |frames: Vec<Value>| {
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
