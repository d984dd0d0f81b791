//! The live engine loses something, or goes away and comes back: who is connected notices nothing.

use std::sync::atomic::Ordering::SeqCst;

use common::live::LiveEvent;
use serde_json::json;

use crate::chat::{Chat, is_still_there};

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
