//! Coming back: everything that was missed, in order, none twice.

use chat_client::{ChatSocket, assert_in_order};
use common::{timeline::RESUME_MAX_MESSAGES, wire::Message};
use serde_json::{Value, json};

use crate::{chat::Chat, edges::new_message};

async fn says_many(chat: &Chat, room: &str, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for n in 0..count {
        messages.push(chat.says(room, "bob", &n.to_string()).await);
    }
    messages
}

/// Hears messages until the one with this text.
async fn until_text(person: &mut ChatSocket, last: &str) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        heard.push(person.hears("message").await);
        if heard.last().unwrap()["message"] == last {
            return heard;
        }
    }
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_after_joined_and_then_goes_on() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", 20).await;
    let mut ada = chat.connects("ada", "/ws").await;
    let joined = ada.joins("lobby", Some(messages[4].seq)).await;
    assert_eq!(
        (&joined["seq"], &joined["complete"]),
        (&json!(messages[19].seq), &json!(true))
    );
    chat.says("lobby", "bob", "live").await;
    let heard = until_text(&mut ada, "live").await;
    assert_in_order(&heard);
    assert_eq!(heard.len(), 16);
    assert_eq!(
        heard[0],
        serde_json::from_str::<Value>(&messages[5].frame()).unwrap()
    );
}

#[tokio::test]
async fn the_address_may_say_where_to_go_on() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", 3).await;
    let mut ada = chat
        .connects("ada", &format!("/ws/chat/lobby?after={}", messages[0].seq))
        .await;
    assert_eq!(ada.next().await.unwrap()["type"], "joined");
    assert_eq!(ada.hears_texts(2).await, ["1", "2"]);
}

#[tokio::test]
async fn without_a_place_only_what_comes_is_heard() {
    let chat = Chat::start().await;
    says_many(&chat, "lobby", 3).await;
    let mut ada = chat.in_lobby("ada").await;
    chat.says("lobby", "bob", "live").await;
    assert_eq!(ada.hears_texts(1).await, ["live"]);
}

#[tokio::test]
async fn joining_again_sends_again_from_there() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let messages = says_many(&chat, "lobby", 3).await;
    assert_eq!(ada.hears_texts(3).await, ["0", "1", "2"]);
    ada.joins("lobby", Some(messages[1].seq)).await;
    chat.says("lobby", "bob", "live").await;
    assert_eq!(ada.hears_texts(2).await, ["2", "live"]);
}

#[tokio::test]
async fn what_the_stream_forgot_comes_from_the_database() {
    let chat = Chat::start().await;
    let old: Vec<Message> = (1..=5_u64)
        .map(|n| new_message("lobby", "bob", &n.to_string()).at(n * 1_000, (n - 1) * 1_000))
        .collect();
    chat.persists(&old).await;
    let mut ada = chat.connects("ada", "/ws").await;
    let joined = ada.joins("lobby", Some(2_000)).await;
    assert_eq!(
        (&joined["seq"], &joined["complete"]),
        (&json!(5_000), &json!(true))
    );
    assert_eq!(ada.hears_texts(3).await, ["3", "4", "5"]);
    // Who is up to date is told the latest place all the same.
    let joined = ada.joins("lobby", Some(5_000)).await;
    assert_eq!(joined["seq"], 5_000);
}

#[tokio::test]
async fn who_missed_too_much_is_told_to_load_the_history() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", RESUME_MAX_MESSAGES + 2).await;
    let latest = messages.last().unwrap().seq;
    let mut ada = chat.connects("ada", "/ws").await;
    let joined = ada.joins("lobby", Some(messages[0].seq)).await;
    assert_eq!(
        (&joined["seq"], &joined["complete"]),
        (&json!(latest), &json!(false))
    );
    chat.says("lobby", "bob", "live").await;
    assert_eq!(ada.hears_texts(1).await, ["live"]);
    // The very most that is sent.
    let joined = ada.joins("lobby", Some(messages[2].seq)).await;
    assert_eq!(joined["complete"], true);
    let heard = until_text(&mut ada, "live").await;
    assert_in_order(&heard);
    assert_eq!(heard.len(), RESUME_MAX_MESSAGES);
}

#[tokio::test]
async fn a_place_that_never_was_does_no_harm() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", 2).await;
    let mut ada = chat.connects("ada", "/ws").await;
    let joined = ada.joins("lobby", Some(u64::MAX)).await;
    assert_eq!(
        (&joined["seq"], &joined["complete"]),
        (&json!(messages[1].seq), &json!(true))
    );
    chat.says("lobby", "bob", "live").await;
    assert_eq!(ada.hears_texts(1).await, ["live"]);
}

#[tokio::test]
async fn whoever_has_seen_what_no_engine_knows_any_more_is_told_to_load_the_history() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", 2).await;
    let mut ada = chat.connects("ada", "/ws").await;
    // As after a backup was restored: the place has been, and is lost.
    let joined = ada.joins("lobby", Some(messages[1].seq + 1)).await;
    assert_eq!(
        (&joined["seq"], &joined["complete"]),
        (&json!(messages[1].seq), &json!(false))
    );
    chat.says("lobby", "bob", "live").await;
    assert_eq!(ada.hears_texts(1).await, ["live"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_joins_reads_the_stream_and_the_database_a_few_times() {
    let chat = Chat::start().await;
    let messages = says_many(&chat, "lobby", 100).await;
    let (client, _) = chat.logs_in("ada").await;
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(client.connects("/ws").await);
    }
    let before = chat.live.faults.calls("tail");
    for (n, person) in all.iter_mut().enumerate() {
        let after = messages[n % 90].seq;
        person
            .sends(json!({"type": "join", "room": "lobby", "after": after}))
            .await;
    }
    chat.says("lobby", "bob", "live").await;
    for (n, person) in all.iter_mut().enumerate() {
        let heard = until_text(person, "live").await;
        assert_in_order(&heard);
        assert_eq!(heard.len(), 100 - n % 90);
    }
    let reads = chat.live.faults.calls("tail") - before;
    assert!(reads <= 30, "{reads} reads for 100 joins");
    // Whoever comes from elsewhere may have missed what the stream does not know: a server may have been replaced.
    let asked = chat.store.faults.calls("after");
    assert!(asked <= 10, "{asked} reads of the database for 100 joins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_everybody_talks() {
    let chat = Chat::start().await;
    let first = chat.says("lobby", "bob", "first").await;
    let (client, _) = chat.logs_in("ada").await;
    let talk = async {
        for n in 0..400 {
            chat.says("lobby", "bob", &n.to_string()).await;
        }
        chat.says("lobby", "bob", "the end").await;
    };
    let come_and_go = async {
        let mut heard: Vec<Value> = Vec::new();
        let mut last = first.seq;
        for edge in (0..2).cycle() {
            let mut ada = client.at(&chat.urls[edge]).connects("/ws").await;
            ada.joins("lobby", Some(last)).await;
            for _ in 0..7 {
                let message = ada.hears("message").await;
                last = message["seq"].as_u64().unwrap();
                let is_end = message["message"] == "the end";
                heard.push(message);
                if is_end {
                    return heard;
                }
            }
        }
        unreachable!("the cycle has no end")
    };
    let ((), heard) = tokio::join!(talk, come_and_go);
    assert_in_order(&heard);
    assert_eq!(heard.len(), 401);
}
