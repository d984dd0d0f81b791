//! What an operator meets: settings refused by name, the schema, dead letters.

use std::time::Duration;

use bytes::Bytes;
use common::{
    envelope::Envelope,
    queue::{Queue, Route},
    store::Messages,
    wire::{Kind, NewMessage, Seq},
};
use engines::rabbitmq::{RabbitQueue, RabbitSettings};
use serde_json::json;
use sqlx::Connection as _;
use stories::{Chat, PATIENCE, Setup, run, until};
use uuid::Uuid;

#[test]
fn services_refuse_to_start_without_their_engines_by_name() {
    let needs = [
        ("ws-edge", vec!["REDIS_URL", "AMQP_URL", "DATABASE_URL"]),
        ("bot-worker", vec!["REDIS_URL", "AMQP_URL", "DATABASE_URL"]),
        ("persister", vec!["AMQP_URL", "DATABASE_URL"]),
    ];
    for (binary, needed) in needs {
        let all = [
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("AMQP_URL", "amqp://127.0.0.1:1"),
            ("DATABASE_URL", "mysql://root@127.0.0.1:1/x"),
            ("GEMINI_API_KEY", "a-key"),
        ];
        for missing in needed {
            let environment: Vec<(String, String)> = all
                .iter()
                .filter(|(name, _)| *name != missing)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let (status, said) = run(binary, &[], &environment);
            assert!(!status.success(), "{binary} started without {missing}");
            let flag = missing.to_lowercase().replace('_', "-");
            assert!(
                said.contains(missing) || said.contains(&flag),
                "{binary} without {missing} said: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_whatever_is_asked_for() {
    const KEY: &str = "key-that-nobody-may-read";
    let chat = Chat::with(Setup {
        settings: vec![
            ("LOG", "trace,lapin=trace,hyper=trace".to_owned()),
            ("GEMINI_API_KEY", KEY.to_owned()),
        ],
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let question = ada.says("@bot what is two plus two?").await;
    ada.gets_reply_to(question).await;
    // As SASL sends it: a zero byte, the name, a zero byte, the password; printed as a list of numbers.
    let password = |url: &str| {
        let authority = url.split("://").nth(1)?.rsplit_once('@')?.0;
        Some(authority.split_once(':')?.1.to_owned())
    };
    let amqp = password(chat.setting("AMQP_URL")).expect("it has one");
    let bytes: Vec<String> = amqp.bytes().map(|byte| byte.to_string()).collect();
    let mut secrets = vec![KEY.to_owned(), ada.client.token.clone()];
    secrets.push(format!("0, {}", bytes.join(", ")));
    let database = password(chat.setting("DATABASE_URL")).filter(|word| !word.is_empty());
    secrets.extend(database.map(|word| format!(":{word}@")));
    let processes = chat
        .edges
        .iter()
        .chain(&chat.workers)
        .chain(&chat.persisters);
    for process in processes {
        let log = process.log();
        assert!(log.contains("DEBUG"), "it says much");
        assert!(
            !log.contains(" ERROR "),
            "a first start on empty engines is no error: {log}"
        );
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{secret}");
        }
    }
}

#[test]
fn services_refuse_what_is_no_url_or_prefix_by_name_and_keep_the_password() {
    let good = [
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("REDIS_PREFIX", "chinwag:"),
        ("AMQP_URL", "amqp://127.0.0.1:1"),
        ("DATABASE_URL", "mysql://root@127.0.0.1:1/x"),
        ("GEMINI_API_KEY", "a-key"),
    ];
    let bad = [
        ("REDIS_URL", "redis//:hushhush@127.0.0.1:1"),
        ("REDIS_URL", "redis-ring://:hushhush@127.0.0.1:1"),
        ("REDIS_PREFIX", "chat{in}wag:"),
        ("AMQP_URL", "http://me:hushhush@127.0.0.1:1"),
        ("AMQP_URL", "amqp://me:hushhush@127.0.0.1:port"),
        ("DATABASE_URL", "postgres://me:hushhush@127.0.0.1/x"),
        ("DATABASE_URL", "mysql://me:hushhush@127.0.0.1:1"),
    ];
    for binary in ["ws-edge", "bot-worker", "persister"] {
        for (name, value) in bad {
            if binary == "persister" && name.starts_with("REDIS_") {
                continue;
            }
            let with = |(known, usual): &(&str, &str)| {
                let value = if *known == name { value } else { usual };
                ((*known).to_owned(), value.to_owned())
            };
            let environment: Vec<(String, String)> = good.iter().map(with).collect();
            let (status, said) = run(binary, &[], &environment);
            assert!(!status.success(), "{binary} started with {name}={value}");
            assert!(said.contains(name), "{binary} with {value} said: {said}");
            assert!(
                !said.contains("hushhush"),
                "{binary} told the password: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_the_model_is_summed() {
    let chat = Chat::start().await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    for question in ["@bot hi", "@bot /help"] {
        let question = ada.says(question).await;
        ada.gets_reply_to(question).await;
    }
    let question = bob.says("@bot hi").await;
    bob.gets_reply_to(question).await;
    let arguments = ["usage", "--by", "room,user", "--json"];
    let sums = until("the log is in the database", PATIENCE, async || {
        let (status, said) = run("persister", &arguments, &chat.environment);
        assert!(status.success(), "{said}");
        let sums: Vec<serde_json::Value> = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let requests = sums.iter().filter_map(|sum| sum["requests"].as_u64());
        (requests.sum::<u64>() == 3).then_some(sums)
    })
    .await;
    let of_whom: Vec<_> = sums
        .iter()
        .map(|sum| {
            (
                &sum["room"],
                &sum["user"],
                &sum["requests"],
                &sum["answered"],
            )
        })
        .map(|(room, user, requests, answered)| json!([room, user, requests, answered]))
        .collect();
    assert_eq!(
        of_whom,
        [json!(["lobby", "ada", 2, 1]), json!(["lobby", "bob", 1, 1])]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_shown_replayed_and_dropped() {
    let chat = Chat::with(Setup {
        edges: 0,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let settings = RabbitSettings::at(chat.setting("AMQP_URL"));
    let queue = RabbitQueue::connect(&settings)
        .await
        .expect("the broker is there");
    let poison = Uuid::now_v7();
    queue
        .publish(
            Route::Persist,
            0,
            poison,
            Bytes::from_static(b"not an envelope"),
        )
        .await
        .expect("confirmed");
    let job = |arguments: &[&str]| {
        let arguments = [&["dead-letters"], arguments].concat();
        let (status, said) = run("persister", &arguments, &chat.environment);
        assert!(status.success(), "{arguments:?}: {said}");
        said
    };
    let id = poison.to_string();
    until("the poison is a dead letter", PATIENCE, async || {
        job(&["list"]).contains(&id).then_some(())
    })
    .await;
    let shown = job(&["show", &id]);
    for part in ["not an envelope", "persist", "no envelope", "20"] {
        assert!(shown.contains(part), "{part:?} is missing: {shown}");
    }
    // Put back, it is tried again, and comes back here.
    assert!(job(&["replay", "persist", &id]).contains('1'));
    until("it is back", Duration::from_secs(30), async || {
        job(&["list"]).contains(&id).then_some(())
    })
    .await;
    assert!(job(&["drop", "persist", "--all"]).contains('1'));
    assert!(job(&["list"]).contains("no dead letters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_written_is_found_and_the_rest_of_its_batch_is_written() {
    let chat = Chat::with(Setup {
        edges: 0,
        workers: 0,
        persisters: 0,
        ..Setup::default()
    })
    .await;
    let settings = RabbitSettings::at(chat.setting("AMQP_URL"));
    let queue = RabbitQueue::connect(&settings)
        .await
        .expect("the broker is there");
    let envelope = |seq: Seq| {
        let message = NewMessage {
            room: "lobby".into(),
            id: Uuid::now_v7(),
            sender: "ada".into(),
            kind: Kind::User,
            message: format!("at {seq}"),
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
        };
        Envelope::new(message.at(seq, 0), None)
    };
    let mut good: Vec<Envelope> = (1..=40).map(envelope).collect();
    // No place in the database is that high; one place is taken by another message already; and one the database refuses
    // in words that nobody foresaw.
    let impossible = envelope(Seq::MAX);
    let taken = envelope(7);
    let mut cursed = envelope(50);
    cursed.message.message = "cursed".into();
    let mut database = sqlx::MySqlConnection::connect(chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    let refuses = "CREATE TRIGGER refuses BEFORE INSERT ON messages FOR EACH ROW \
         IF NEW.message = 'cursed' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this'; END IF";
    let made = sqlx::raw_sql(refuses).execute(&mut database).await;
    made.expect("the trigger is made");
    let publish = async |envelope: &Envelope| {
        let id = envelope.message.id;
        queue
            .publish(Route::Persist, 0, id, envelope.to_bytes())
            .await
            .expect("confirmed");
    };
    let last = good.split_off(20);
    for envelope in good
        .iter()
        .chain([&impossible, &cursed])
        .chain(&last)
        .chain([&taken])
    {
        publish(envelope).await;
    }
    // All of it waits by now, so that it comes in one batch.
    let persister = chat.service("persister", "persister-0", &[]);
    persister.ready().await;
    let database = chat.database().await;
    let stored = until("the good rows are in the database", PATIENCE, async || {
        let stored = database.after("lobby", 0, 100).await.ok()?;
        (stored.len() == 40).then_some(stored)
    })
    .await;
    let ids: Vec<Uuid> = stored.iter().map(|message| message.id).collect();
    let expected: Vec<Uuid> = good
        .iter()
        .chain(&last)
        .map(|envelope| envelope.message.id)
        .collect();
    assert_eq!(ids, expected);
    let letters = until("all others are dead letters", PATIENCE, async || {
        let (_, said) = run("persister", &["dead-letters", "list"], &chat.environment);
        let all = [&impossible, &taken, &cursed]
            .iter()
            .all(|dead| said.contains(&dead.message.id.to_string()));
        all.then_some(said)
    })
    .await;
    for reason in ["another message has seq", "not this"] {
        assert!(letters.contains(reason), "{letters}");
    }
}
