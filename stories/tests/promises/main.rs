//! The promises, each with the stories that would end badly if it broke. One program, so that they share one
//! set of engines; a story that breaks engines brings its own.

mod p01_acked_is_kept;
mod p02_shown_is_kept;
mod p03_one_order;
mod p04_no_gap;
mod p05_one_answer;
mod p06_bounded_wait;
mod p07_chat_is_not_the_bot;
mod p08_no_one_drags_others;
mod p09_a_clear_no;
mod p10_any_process_may_go;
mod p11_only_who_may;
mod p12_changed_is_kept;
mod p13_erased_is_gone;
mod p14_the_door_holds;
mod p15_fair_to_others;
mod p16_budgets_hold;

mod all_in_one;
mod archives;
mod backups;
mod catching_up;
mod everywhere;
mod frozen_broker;
mod least_rights;
mod metrics;
mod old_messages;
mod operators;
mod other_database;
mod persisted_changes;
mod proxies;

mod quiet_logs;
mod quota;
mod readiness;
mod redis_failover;
mod scaling;
mod seed_client;
mod single_sign_on;
mod thinking;
mod tls;
mod traces;
mod turns;
mod upgrade;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::{store::Messages, wire::Seq};
use stories::{Chat, PATIENCE, Person, until};
use uuid::Uuid;

/// Checks that every acked message is in the history and in the database exactly once, at the place its sender was
/// told, and waits for the persisters to get that far.
async fn assert_kept(chat: &Chat, reader: &Person, acked: &[(Uuid, Seq)]) {
    let database = chat.database().await;
    let room = reader.room.clone();
    until(
        &format!("{} acked messages are in the database", acked.len()),
        Duration::from_secs(90),
        async || {
            let ids: Vec<Uuid> = acked.iter().map(|(id, _)| *id).collect();
            let existing = database.existing(&room, &ids).await.ok()?;
            (existing.len() == ids.len()).then_some(())
        },
    )
    .await;
    let history = reader.history().await;
    let mut places: HashMap<String, Vec<u64>> = HashMap::new();
    for message in &history {
        places
            .entry(message["id"].to_string())
            .or_default()
            .push(message["seq"].as_u64().expect("a seq"));
    }
    for (id, seq) in acked {
        assert_eq!(
            places.get(&format!("\"{id}\"")),
            Some(&vec![*seq]),
            "{id} was acked at {seq}"
        );
    }
    let mut stored = Vec::new();
    loop {
        let after = stored
            .last()
            .map_or(0, |message: &common::wire::Message| message.seq);
        let page = database
            .after(&room, after, 200)
            .await
            .expect("the database is there");
        if page.is_empty() {
            break;
        }
        stored.extend(page);
    }
    for (id, seq) in acked {
        let places: Vec<Seq> = stored
            .iter()
            .filter(|message| message.id == *id)
            .map(|message| message.seq)
            .collect();
        assert_eq!(places, [*seq], "{id} in the database");
    }
}

/// One after the other says so many things, as good clients do, and returns what was acked.
async fn talk(person: &mut Person, count: usize, edges: &[String]) -> Vec<(Uuid, Seq)> {
    let mut acked = Vec::with_capacity(count);
    for n in 0..count {
        let text = format!("{} says {n}", person.name);
        acked.push(person.says_until_acked(&text, edges).await);
    }
    acked
}

/// Somebody asks sixty questions in their own room, of which half are answered by now.
async fn sixty_questions(chat: &Chat) -> (Person, Vec<Uuid>) {
    chat.model.behave("delay=20ms pace=0ms").expect("an order");
    let mut ada = Person::register(&chat.url(0), "ada").await;
    ada.connects().await;
    ada.joins("ada", None).await;
    let mut asked = Vec::new();
    for n in 0..60 {
        asked.push(ada.says(&sum(n)).await);
    }
    ada.gets_reply_to(asked[30]).await;
    (ada, asked)
}

fn sum(n: usize) -> String {
    format!("what is {n} plus {n}?")
}

/// Sends all of them again, as a program does that is not sure of its acks, some of them twice. Each is in the history
/// once, and has one reply; and the model is asked again for nothing that it had answered.
async fn sends_again_and_is_answered_once(chat: &Chat, ada: &mut Person, asked: &[Uuid]) {
    for again in [asked, &asked[..asked.len() / 2]] {
        for (n, question) in again.iter().enumerate() {
            ada.says_as(*question, &sum(n)).await;
        }
    }
    for question in asked {
        ada.is_acked(*question).await;
    }
    let history = until("each has its reply", PATIENCE, async || {
        let history = ada.history().await;
        let has_reply = |id: &Uuid| {
            let replies = history
                .iter()
                .filter(|message| message["reply_to"] == id.to_string());
            let replies = replies.count();
            assert!(replies <= 1, "{id} has {replies} replies");
            replies == 1
        };
        asked.iter().all(has_reply).then(|| history.clone())
    })
    .await;
    let ids: HashSet<String> = history
        .iter()
        .map(|message| message["id"].to_string())
        .collect();
    assert_eq!(ids.len(), history.len(), "no id is there twice");
    // The one that was under way may have been asked twice.
    let calls = chat.model.requests().len();
    assert!(calls <= asked.len() + 1, "{calls} calls");
}
