//! The live engine loses something, or goes away and comes back: who is connected notices nothing.

use std::sync::atomic::Ordering::SeqCst;

use chat_client::ChatSocket;
use common::{live::LiveEvent, wire::Message};
use serde_json::json;

use crate::{
    chat::{Chat, is_still_there},
    edges::new_message,
};

#[tokio::test]
async fn a_missing_link_is_read_from_the_stream_before_anything_is_shown() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    chat.says("lobby", "bob", "one").await;
    assert_eq!(ada.hears_texts(1).await, ["one"]);
    chat.live.loses_messages.store(true, SeqCst);
    chat.says("lobby", "bob", "two").await;
    chat.says("lobby", "bob", "three").await;
    // A signal behind them on the same line: once it is here, they were lost.
    ada.sends(json!({"type": "typing", "room": "lobby"})).await;
    ada.hears("typing").await;
    chat.live.loses_messages.store(false, SeqCst);
    chat.says("lobby", "bob", "four").await;
    assert_eq!(ada.hears_texts(3).await, ["two", "three", "four"]);
}

#[tokio::test]
async fn after_a_break_what_was_missed_is_read_as_soon_as_that_is_possible() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    chat.live.loses_messages.store(true, SeqCst);
    chat.says("lobby", "bob", "one").await;
    chat.says("lobby", "bob", "two").await;
    ada.sends(json!({"type": "typing", "room": "lobby"})).await;
    ada.hears("typing").await;
    chat.live.loses_messages.store(false, SeqCst);
    chat.live.faults.away(true);
    chat.live
        .tells(LiveEvent::Gap {
            room: "lobby".into(),
            is_another: false,
        })
        .await;
    // Meanwhile other rooms go on, and so does this socket.
    ada.sends(json!({"message": "hi"})).await;
    assert_eq!(ada.is_refused().await, "unavailable");
    chat.live.faults.away(false);
    chat.says("lobby", "bob", "three").await;
    assert_eq!(ada.hears_texts(3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_room_that_cannot_be_opened_is_refused_and_can_be_joined_later() {
    let chat = Chat::start().await;
    let mut ada = chat.connects("ada", "/ws").await;
    chat.live.faults.away(true);
    ada.sends(json!({"type": "join", "room": "lobby"})).await;
    let error = ada.hears("error").await;
    assert_eq!(error["code"], "unavailable");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    chat.live.faults.away(false);
    ada.joins("lobby", None).await;
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn while_the_database_is_away_people_go_on_talking() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    ada.says("before").await;
    assert_eq!(bob.hears_texts(1).await, ["before"]);
    chat.store.faults.away(true);
    ada.says("meanwhile").await;
    assert_eq!(bob.hears_texts(1).await, ["meanwhile"]);
}

/// The server behind the lobby is replaced by another, on all edges.
async fn the_server_is_replaced(chat: &Chat) {
    let room = "lobby".into();
    chat.live
        .tells(LiveEvent::Gap {
            room,
            is_another: true,
        })
        .await;
}

/// A message that was shown elsewhere, just after another: the old server alone had it.
fn lost_after(before: &Message, text: &str) -> Message {
    new_message("lobby", "cleo", text).at(before.seq + 1, before.seq)
}

async fn history(chat: &Chat, name: &str) -> Vec<String> {
    let (client, _) = chat.logs_in(name).await;
    let read = client
        .history("lobby", chat_client::PATIENCE, |_| false)
        .await;
    let texts = read
        .unwrap()
        .into_iter()
        .map(|message| message["message"].as_str().unwrap().to_owned());
    texts.collect()
}

/// Somebody in the lobby who has heard one message, and that.
async fn ada_has_heard_one(chat: &Chat) -> (ChatSocket, Message) {
    let mut ada = chat.in_lobby("ada").await;
    let one = chat.says("lobby", "bob", "one").await;
    assert_eq!(ada.hears_texts(1).await, ["one"]);
    chat.persists(std::slice::from_ref(&one)).await;
    (ada, one)
}

#[tokio::test]
async fn what_the_old_server_had_last_is_shown_in_its_order() {
    let chat = Chat::start().await;
    let (mut ada, one) = ada_has_heard_one(&chat).await;
    the_server_is_replaced(&chat).await;
    // The new one knows nothing of it, and goes on from what it has.
    chat.says("lobby", "bob", "three").await;
    chat.persists(&[lost_after(&one, "two")]).await;
    assert_eq!(ada.hears_texts(2).await, ["two", "three"]);
    // Nor does silence keep it from coming.
    let last = chat.says("lobby", "bob", "four").await;
    assert_eq!(ada.hears_texts(1).await, ["four"]);
    chat.persists(&[lost_after(&last, "five")]).await;
    assert_eq!(ada.hears_texts(1).await, ["five"]);
}

#[tokio::test]
async fn what_comes_too_late_for_its_order_sends_the_readers_to_the_history_once() {
    let chat = Chat::start().await;
    let (mut ada, one) = ada_has_heard_one(&chat).await;
    the_server_is_replaced(&chat).await;
    let three = chat.says("lobby", "bob", "three").await;
    assert_eq!(ada.hears_texts(1).await, ["three"]);
    chat.persists(&[lost_after(&one, "two")]).await;
    let joined = ada.hears("joined").await;
    assert_eq!(
        (&joined["room"], &joined["complete"]),
        (&json!("lobby"), &json!(false))
    );
    assert_eq!(joined["seq"], json!(three.seq));
    assert_eq!(history(&chat, "dan").await, ["one", "two", "three"]);
    chat.says("lobby", "bob", "four").await;
    let next = ada.hears_one_of(&["message", "joined"]).await;
    assert_eq!(next["message"], "four", "and goes on after that");
    // Who comes back with a place before it gets it in its order, who may have passed it is told as well.
    let mut early = chat.connects("eve", "/ws").await;
    assert_eq!(early.joins("lobby", Some(one.seq)).await["complete"], true);
    assert_eq!(early.hears_texts(3).await, ["two", "three", "four"]);
    let mut between = chat.connects("fay", "/ws").await;
    assert_eq!(
        between.joins("lobby", Some(one.seq + 2)).await["complete"],
        false
    );
    let mut later = chat.connects("gus", "/ws").await;
    assert_eq!(
        later.joins("lobby", Some(three.seq)).await["complete"],
        true
    );
}

#[tokio::test]
async fn who_was_away_while_the_server_was_replaced_gets_what_the_old_one_had_last() {
    let chat = Chat::start().await;
    let one = chat.says("lobby", "bob", "one").await;
    chat.persists(std::slice::from_ref(&one)).await;
    chat.persists(&[lost_after(&one, "two")]).await;
    // The stream looks whole.
    chat.says("lobby", "bob", "three").await;
    let mut ada = chat.connects("ada", "/ws").await;
    assert_eq!(ada.joins("lobby", Some(one.seq)).await["complete"], true);
    assert_eq!(ada.hears_texts(2).await, ["two", "three"]);
}

#[tokio::test]
async fn while_the_database_is_away_too_what_the_new_server_has_is_shown() {
    let chat = Chat::start().await;
    let (mut ada, one) = ada_has_heard_one(&chat).await;
    // The new server does not even have what she heard last.
    let first = one.seq;
    chat.live.around_reads(move |_, read| {
        Box::pin(async move {
            let mut tail = read.await?;
            tail.messages.retain(|message| message.seq > first);
            tail.reaches_back = false;
            Ok(tail)
        })
    });
    chat.store.faults.away(true);
    the_server_is_replaced(&chat).await;
    chat.says("lobby", "bob", "three").await;
    assert_eq!(ada.hears_texts(1).await, ["three"]);
    chat.store.faults.away(false);
    chat.persists(&[lost_after(&one, "two")]).await;
    assert_eq!(ada.hears("joined").await["complete"], false);
}
