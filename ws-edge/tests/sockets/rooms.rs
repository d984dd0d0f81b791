//! Being in rooms: hearing what is said there, who is there, and who types.

use common::live::Signal;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    chat::{Chat, is_still_there},
    edges::until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_says_all_hear_on_every_edge() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let (client, _) = chat.logs_in("bob").await;
    let mut bob = client.at(&chat.urls[1]).connects("/ws").await;
    let joined = bob.joins("lobby", None).await;
    assert_eq!(
        (&joined["room"], &joined["seq"], &joined["complete"]),
        (&json!("lobby"), &json!(0), &json!(true))
    );
    ada.says("hello").await;
    let ack = ada.hears("ack").await;
    for person in [&mut ada, &mut bob] {
        // The sender's own copy may have come before the ack.
        if person.name == "ada" {
            continue;
        }
        let message = person.hears("message").await;
        assert_eq!(message["message"], "hello");
        assert_eq!(
            (&message["sender"], &message["kind"], &message["room"]),
            (&json!("ada"), &json!("user"), &json!("lobby"))
        );
        assert_eq!((&message["id"], &message["seq"]), (&ack["id"], &ack["seq"]));
    }
}

#[tokio::test]
async fn a_socket_begins_with_welcome_then_joined() {
    let chat = Chat::start().await;
    let (client, _) = chat.logs_in("ada").await;
    for path in ["/ws/chat/lobby", "/ws/chat/lobby/"] {
        let mut ada = client.opens(path).await.unwrap();
        let welcome = ada.next().await.unwrap();
        assert_eq!(
            welcome,
            json!({"type": "welcome", "user": "ada", "protocol": 1, "ping_ms": 25_000})
        );
        assert_eq!(ada.next().await.unwrap()["type"], "joined");
    }
}

#[tokio::test]
async fn everyone_has_a_room_of_their_own() {
    let chat = Chat::start().await;
    let mut ada = chat.connects("ada", "/ws/chat/ada").await;
    ada.says("dear diary").await;
    assert_eq!(ada.hears_texts(1).await, ["dear diary"]);
}

#[tokio::test]
async fn a_room_that_is_left_is_not_heard_any_more() {
    let chat = Chat::start().await;
    chat.opens("other", false).await;
    let mut ada = chat.in_lobby("ada").await;
    ada.joins("other", None).await;
    ada.sends(json!({"type": "leave", "room": "lobby"})).await;
    is_still_there(&mut ada).await;
    chat.says("lobby", "bob", "unheard").await;
    chat.says("other", "bob", "heard").await;
    let mut texts = ada.hears_texts(1).await;
    if texts == ["still here"] {
        texts = ada.hears_texts(1).await;
    }
    assert_eq!(texts, ["heard"]);
}

#[tokio::test]
async fn two_tabs_of_one_user_hear_the_same() {
    let chat = Chat::start().await;
    let (client, _) = chat.logs_in("ada").await;
    let mut first = client.connects("/ws/chat/lobby").await;
    let mut second = client.connects("/ws/chat/lobby").await;
    first.hears("joined").await;
    second.hears("joined").await;
    first.says("hi").await;
    assert_eq!(first.hears_texts(1).await, second.hears_texts(1).await);
}

#[tokio::test]
async fn a_hundred_sockets_are_one_subscription_per_edge() {
    let chat = Chat::start().await;
    let (client, _) = chat.logs_in("ada").await;
    let mut all = Vec::new();
    for n in 0..100 {
        let mut socket = client
            .at(&chat.urls[n % 2])
            .connects("/ws/chat/lobby")
            .await;
        socket.hears("joined").await;
        all.push(socket);
    }
    assert_eq!(chat.live.faults.calls("subscribe"), 2);
    chat.says("lobby", "bob", "to all").await;
    for socket in &mut all {
        assert_eq!(socket.hears_texts(1).await, ["to all"]);
    }
}

#[tokio::test]
async fn who_is_there_is_told_to_who_comes_and_to_who_is_there() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    assert_eq!(ada.hears("presence").await["users"], json!(["ada"]));
    let (client, _) = chat.logs_in("bob").await;
    let mut bob = client.at(&chat.urls[1]).connects("/ws/chat/lobby").await;
    assert_eq!(bob.hears("presence").await["users"], json!(["ada", "bob"]));
    while ada.hears("presence").await["users"] != json!(["ada", "bob"]) {}
    drop(bob);
    while ada.hears("presence").await["users"] != json!(["ada"]) {}
    // A second tab changes nothing, and is told all the same.
    let (client, _) = chat.logs_in("ada").await;
    let mut tab = client.connects("/ws/chat/lobby").await;
    assert_eq!(tab.hears("presence").await["users"], json!(["ada"]));
}

#[tokio::test]
async fn typing_is_shown_to_others_and_not_too_often() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    for _ in 0..5 {
        ada.sends(json!({"type": "typing", "room": "lobby"})).await;
    }
    ada.says("done").await;
    assert_eq!(
        bob.hears("typing").await,
        json!({"type": "typing", "room": "lobby", "user": "ada"})
    );
    loop {
        let frame = bob.next().await.unwrap();
        assert_ne!(frame["type"], "typing");
        if frame["type"] == "message" {
            break;
        }
    }
}

#[tokio::test]
async fn drafts_pass_through_as_they_are() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let draft = json!({"type": "draft", "room": "lobby", "text": "fo"});
    let frame = draft.to_string().into();
    chat.signals(Signal::Room {
        room: "lobby".into(),
        frame,
    })
    .await;
    assert_eq!(ada.hears("draft").await, draft);
}

#[tokio::test]
async fn an_invitation_is_told_to_every_socket_of_who_is_invited() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let (owner, _) = chat.logs_in("owner").await;
    let mut bob = chat.in_lobby("bob").await;
    let (client, _) = chat.logs_in("bob").await;
    let mut elsewhere = client.at(&chat.urls[1]).connects("/ws").await;
    let mut eve = chat.in_lobby("eve").await;
    for _ in 0..2 {
        let invited = owner.put("/api/rooms/secret/members/bob").await;
        invited.is(StatusCode::NO_CONTENT);
    }
    for socket in [&mut bob, &mut elsewhere] {
        let frame = socket.hears("invited").await;
        let expected = json!({"type": "invited", "room": "secret", "by": "owner"});
        assert_eq!(frame, expected);
    }
    // Once, and nobody else.
    for socket in [&mut bob, &mut eve] {
        socket.says("hi").await;
        let next = socket.hears_one_of(&["invited", "ack"]).await;
        assert_eq!(next["type"], "ack", "{next}");
    }
}

#[tokio::test]
async fn who_joins_takes_the_invitation_with_one_write() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let (owner, _) = chat.logs_in("owner").await;
    let (client, _) = chat.logs_in("bob").await;
    let invited = owner.put("/api/rooms/secret/members/bob").await;
    invited.is(StatusCode::NO_CONTENT);
    let is_invited = async || {
        let room = client.get("/api/rooms/secret").await;
        room.is(StatusCode::OK).body.get("invited_by").is_some()
    };
    assert!(is_invited().await);
    let mut bob = client.at(&chat.urls[1]).connects("/ws").await;
    bob.joins("secret", None).await;
    until("it is taken", async || !is_invited().await).await;
    for _ in 0..20 {
        bob.joins("secret", None).await;
        bob.joins("lobby", None).await;
    }
    assert_eq!(chat.store.faults.calls("take_invitation"), 1);
    // Each time that a room's members changed, on each of two edges, and not for each join.
    let asked = chat.store.faults.calls("invited");
    assert!(asked <= 4, "{asked} questions for 42 joins");
}
