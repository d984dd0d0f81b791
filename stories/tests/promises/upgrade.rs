//! An upgrade as `docs/running.md` has it, while people talk and ask: the schema, then the persisters, the workers and the edges, one
//! after the other, so that programs of two versions stand beside each other at every step.
//!
//! `./test upgrade` builds the version before and runs this with it. Everywhere else both versions are the present one, and it is a
//! restart of all services in that order: two cores cannot build everything twice for every change.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use serde_json::Value;
use stories::{Chat, PATIENCE, Person, Process, Setup, Version, assert_one_order, run, until};
use tokio::{
    sync::watch,
    time::{Duration, sleep},
};
use uuid::Uuid;

use crate::assert_kept;

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_replaced_in_its_turn_while_people_talk_and_ask() {
    let is_another = Version::Before.is_another();
    let which = if is_another { "another" } else { "the same" };
    eprintln!("the version before is {which} build");
    let mut chat = Chat::with(Setup {
        edges: 2,
        workers: 2,
        persisters: 2,
        version: Version::Before,
        ..Setup::default()
    })
    .await;
    let edges = [chat.url(0), chat.url(1)];
    let others = [chat.url(1), chat.url(0)];
    let [mut ada, mut reader] = chat.join("lobby", ["ada", "carol"]).await;
    let [mut bob, mut dora] = chat.join_at(1, "lobby", ["bob", "dora"]).await;
    chat.model.behave("delay=300ms pace=5ms").expect("an order");

    let acked: [AtomicUsize; 3] = Default::default();
    let (end, ended) = watch::channel(false);
    let upgrading = async {
        all_go_on(&acked).await;
        let (migrated, said) = run("persister", &["migrate"], &chat.environment);
        assert!(migrated.success(), "persister migrate: {said}");
        all_go_on(&acked).await;
        let in_turn = chat.persisters.iter_mut().chain(&mut chat.workers);
        for process in in_turn.chain(&mut chat.edges) {
            replace(process).await;
            all_go_on(&acked).await;
        }
        end.send_replace(true);
    };
    let ((), from_ada, from_bob, questions, heard) = tokio::join!(
        upgrading,
        talks_on(&mut ada, &edges, &acked[0], ended.clone()),
        talks_on(&mut bob, &others, &acked[1], ended.clone()),
        asks_on(&mut dora, &others, &acked[2], ended.clone()),
        reads_on(&mut reader, &others, ended),
    );

    // What was acked is kept, and who only read has heard every message in its order, whichever version showed it.
    assert!(reader.comes_back().await);
    let acked = [&from_ada[..], &from_bob, &questions].concat();
    assert_kept(&chat, &reader, &acked).await;
    assert_one_order(&heard);
    let heard: HashSet<&str> = heard.iter().filter_map(|it| it["id"].as_str()).collect();
    let missed = acked
        .iter()
        .filter(|(id, _)| !heard.contains(id.to_string().as_str()));
    assert_eq!(missed.count(), 0, "of {} messages", acked.len());
    let ids: HashSet<Uuid> = acked.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), acked.len());

    // Each question has one answer, and it is the model's.
    until("every question has its answer", PATIENCE, async || {
        let history = reader.history().await;
        let answers = |id: &Uuid| {
            let replies = history.iter().filter(|it| it["reply_to"] == id.to_string());
            let kinds: Vec<&Value> = replies.map(|it| &it["kind"]).collect();
            assert!(kinds.len() <= 1, "{id} has {kinds:?}");
            kinds.iter().filter(|kind| **kind == "bot").count()
        };
        questions
            .iter()
            .all(|(id, _)| answers(id) == 1)
            .then_some(())
    })
    .await;

    // The present version has found nothing in the other's words that it cannot read, and nothing became a dead letter.
    let (listed, letters) = run("persister", &["dead-letters", "list"], &chat.environment);
    assert!(listed.success() && !letters.contains("lobby"), "{letters}");
    for process in chat
        .persisters
        .iter()
        .chain(&chat.workers)
        .chain(&chat.edges)
    {
        process.assert_running();
        let log = process.log();
        // The client library of RabbitMQ complains when its socket ends, also where a process ends because it was told to.
        let ours =
            |line: &&str| !line.contains(" io_loop: ") && !line.contains(" Connection error ");
        let errors = log
            .lines()
            .filter(|line| line.contains(" ERROR "))
            .filter(ours);
        let errors: Vec<&str> = errors.collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", process.name());
    }
}

/// SIGTERM, and the present program in its place.
async fn replace(process: &mut Process) {
    let status = process.terminate().await;
    assert!(status.success(), "{}: {status}", process.name());
    process.becomes(Version::Present);
    process.start_again();
    process.ready().await;
}

/// Both versions work beside each other until everybody has had something acked that they began meanwhile.
async fn all_go_on(acked: &[AtomicUsize; 3]) {
    let now = || acked.each_ref().map(|count| count.load(Relaxed));
    let before = now();
    until("everybody is acked twice more", PATIENCE, async || {
        let go_on = now().iter().zip(before).all(|(now, then)| *now >= then + 2);
        go_on.then_some(())
    })
    .await;
}

async fn talks_on(
    person: &mut Person,
    edges: &[String],
    count: &AtomicUsize,
    ended: watch::Receiver<bool>,
) -> Vec<(Uuid, u64)> {
    let mut acked = Vec::new();
    while !*ended.borrow() {
        let text = format!("{} says {}", person.name, acked.len());
        acked.push(person.says_until_acked(&text, edges).await);
        count.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(10)).await;
    }
    acked
}

async fn asks_on(
    person: &mut Person,
    edges: &[String],
    count: &AtomicUsize,
    ended: watch::Receiver<bool>,
) -> Vec<(Uuid, u64)> {
    let mut asked = Vec::new();
    while !*ended.borrow() {
        let text = format!("@bot {}", crate::sum(asked.len()));
        asked.push(person.says_until_acked(&text, edges).await);
        count.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(500)).await;
    }
    asked
}

/// Reads as a good client does, at whichever edge is there, from where it was; returns all that it heard.
async fn reads_on(
    person: &mut Person,
    edges: &[String],
    ended: watch::Receiver<bool>,
) -> Vec<Value> {
    let mut heard = Vec::new();
    let mut changes = 0;
    loop {
        let mut waiting = ended.clone();
        let code = tokio::select! {
            code = person.is_closed() => Some(code),
            _ = waiting.wait_for(|ended| *ended) => None,
        };
        let last = person.last_seq();
        if code.is_none() {
            // What was acked last is heard by everybody a moment later.
            until("the reader has heard all", PATIENCE, async || {
                let all = person.history().await;
                let latest = all.last().and_then(|it| it["seq"].as_u64());
                (latest <= Some(person.last_seq())).then_some(())
            })
            .await;
        }
        heard.extend(person.messages());
        if code.is_none() {
            return heard;
        }
        assert_eq!(code, Some(1012), "an edge that goes says so");
        let last = last.max(
            heard
                .last()
                .map_or(0, |it| it["seq"].as_u64().expect("a seq")),
        );
        until("another edge takes the reader", PATIENCE, async || {
            changes += 1;
            person.moves_to(&edges[changes % edges.len()]);
            person.connects_to("/ws").await.ok()
        })
        .await;
        let joined = person.joins("lobby", Some(last)).await;
        assert_eq!(joined["complete"], true, "{joined}");
    }
}
