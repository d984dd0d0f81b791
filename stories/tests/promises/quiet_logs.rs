//! What operators find in the log after an outage: what it was, and how often, in a few lines.

use std::time::Duration;

use private_engines::Engine;
use stories::{Chat, Person, Process, Setup};
use tokio::time::{Instant, sleep};

/// How long each engine is away.
const AWAY: Duration = Duration::from_secs(8);

/// The most warnings and errors of one process in an outage: a few of each kind that there is.
const LINES_MAX: usize = 25;

fn complaints(process: &Process) -> Vec<String> {
    let log = process.log();
    let lines = log.lines();
    let is_complaint = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ");
    lines.filter(is_complaint).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_in_a_few_lines_whatever_is_said_and_asked_meanwhile() {
    let chat = Chat::with(Setup {
        own_engines: true,
        ..Setup::default()
    })
    .await;
    for (number, engine) in [Engine::MariaDb, Engine::RabbitMq, Engine::Redis]
        .into_iter()
        .enumerate()
    {
        let room = format!("room-{number}");
        let names = ["ada", "bob"].map(|name| format!("{name}-{number}"));
        let people = chat.join(&room, [&names[0], &names[1]]).await;
        let processes = [&chat.edges[0], &chat.workers[0], &chat.persisters[0]];
        let before = processes.map(|process| complaints(process).len());
        chat.engines().kill(engine).await;
        are_busy(people, &room).await;
        chat.engines().start_engine(engine).await;
        for (process, before) in processes.iter().zip(before) {
            process.ready().await;
            let lines = complaints(process).split_off(before);
            let log = lines.join("\n");
            assert!(
                lines.len() <= LINES_MAX,
                "{} lines without {engine:?}:\n{log}",
                lines.len()
            );
        }
    }
}

/// Some hundred messages, questions, joins and calls, while an engine is away.
async fn are_busy<const N: usize>(mut people: [Person; N], room: &str) {
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < AWAY {
        for person in &mut people {
            number += 1;
            person.says(&format!("@bot number {number}")).await;
            let join = serde_json::json!({"type": "join", "room": format!("no-room-{number}")});
            person.sends(&join).await;
            person
                .sends(&serde_json::json!({"type": "typing", "room": room}))
                .await;
            let client = person.client.clone();
            let path = format!("/api/rooms/{room}/messages?before={number}");
            tokio::spawn(async move { drop(client.get(&path).await) });
        }
        sleep(Duration::from_millis(100)).await;
    }
}
