//! What is read on one device is read on all.

use chat_client::{ChatSocket, Client};
use common::store::Rooms;
use serde_json::{Value, json};

use crate::{
    chat::{Chat, is_still_there},
    edges::until,
};

async fn reads(person: &mut ChatSocket, seq: u64) {
    person
        .sends(json!({"type": "read", "room": "lobby", "seq": seq}))
        .await;
}

/// What the list says of the lobby.
async fn lobby(person: &Client) -> Value {
    let listed = person.get("/api/rooms").await.body;
    let rooms = listed["rooms"].as_array().unwrap().iter();
    let lobby = rooms.into_iter().find(|room| room["name"] == "lobby");
    lobby.unwrap().clone()
}

#[tokio::test]
async fn what_is_read_on_one_device_is_read_on_all() {
    let chat = Chat::start().await;
    let (ada, _) = chat.logs_in("ada").await;
    let mut messages = Vec::new();
    for number in 0..5 {
        messages.push(chat.says("lobby", "owner", &number.to_string()).await);
    }
    chat.persists(&messages).await;
    let places: Vec<u64> = messages.iter().map(|message| message.seq).collect();
    let mut laptop = ada.connects("/ws/chat/lobby").await;
    let mut phone = ada.at(&chat.urls[1]).connects("/ws").await;
    let mut bob = chat.in_lobby("bob").await;
    laptop.hears("joined").await;
    // It has not been in the lobby yet, so far as anybody knows.
    assert_eq!(lobby(&ada).await["unread"], 0);

    reads(&mut laptop, places[1]).await;
    let told = phone.hears("read").await;
    assert_eq!(
        told,
        json!({"type": "read", "room": "lobby", "seq": places[1]})
    );
    let listed = lobby(&ada).await;
    assert_eq!(
        (&listed["read"], &listed["unread"]),
        (&json!(places[1]), &json!(3))
    );

    // It never goes back, nor beyond what was said.
    let before = chat.store.faults.calls("mark_read");
    reads(&mut phone, places[0]).await;
    until("what is older is written", async || {
        chat.store.faults.calls("mark_read") > before
    })
    .await;
    reads(&mut phone, places[4] + 1_000_000_000).await;
    assert_eq!(laptop.hears("read").await["seq"], places[4]);
    until("it is in the list", async || {
        let listed = lobby(&ada).await;
        (&listed["read"], &listed["unread"]) == (&json!(places[4]), &json!(0))
    })
    .await;
    is_still_there(&mut bob).await;
    is_still_there(&mut laptop).await;
}

#[tokio::test]
async fn what_is_read_again_and_again_is_written_once_in_a_while() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let message = chat.says("lobby", "owner", "hi").await;
    let before = chat.store.faults.calls("mark_read");
    for back in (0..500).rev() {
        reads(&mut ada, message.seq - back).await;
    }
    is_still_there(&mut ada).await;
    until("it is written", async || {
        chat.store.faults.calls("mark_read") > before
    })
    .await;
    let writes = chat.store.faults.calls("mark_read") - before;
    assert!(writes < 50, "{writes}");
}

#[tokio::test]
async fn what_cannot_be_written_waits_and_what_is_wrong_is_said() {
    let chat = Chat::start().await;
    let (ada, _) = chat.logs_in("ada").await;
    let mut socket = ada.connects("/ws/chat/lobby").await;
    socket.hears("joined").await;
    let message = chat.says("lobby", "owner", "hi").await;
    socket.hears("message").await;
    chat.store.faults.away(true);
    reads(&mut socket, message.seq).await;
    is_still_there(&mut socket).await;
    chat.store.faults.away(false);
    until("it is written", async || {
        lobby(&ada).await["read"] == message.seq
    })
    .await;

    chat.opens("secret", true).await;
    for (frame, code) in [
        (json!({"type": "read", "room": "lobby"}), "bad_request"),
        (
            json!({"type": "read", "room": "lobby", "seq": "all"}),
            "bad_request",
        ),
        (json!({"type": "read", "seq": 1}), "bad_request"),
        (
            json!({"type": "read", "room": "secret", "seq": 1}),
            "not_found",
        ),
        (
            json!({"type": "read", "room": "nowhere", "seq": 1}),
            "not_found",
        ),
    ] {
        socket.sends(frame).await;
        assert_eq!(socket.is_refused().await, code);
    }
}

#[tokio::test]
async fn a_draining_edge_writes_what_was_read() {
    let mut chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let message = chat.says("lobby", "owner", "hi").await;
    ada.hears("message").await;
    reads(&mut ada, message.seq).await;
    is_still_there(&mut ada).await;
    chat.edges.stop.cancel();
    for edge in std::mem::take(&mut chat.edges.running) {
        edge.await.unwrap().unwrap();
    }
    let listed = chat.store.rooms_listed("ada", None, 10).await.unwrap();
    let lobby = listed.iter().find(|room| room.name == "lobby").unwrap();
    assert_eq!(lobby.read, message.seq);
}
