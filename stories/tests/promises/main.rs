//! The promises P1 to P11, each with the stories that would end badly if it broke. One program, so that they share one
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

mod all_in_one;
mod frozen_broker;
mod operators;
mod quota;
mod seed_client;
mod turns;

use std::{collections::HashMap, time::Duration};

use common::{store::Messages, wire::Seq};
use stories::{Chat, Person, until};
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
