//! Who may connect, and who may go on listening.

use chat_client::{ChatSocket, Client, PATIENCE};
use common::{
    live::{Control, Live, LiveEvent, Signal},
    store::{Accounts, Messages, RoomChanges, RoomKeeper, Rooms},
};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::{
    chat::{Chat, is_still_there},
    edges::until,
};

#[tokio::test]
async fn a_socket_needs_a_session_an_allowed_page_and_a_room_one_may_see() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let (ada, _) = chat.logs_in("ada").await;
    let nobody = chat.someone();
    for stranger in [&nobody, &nobody.with_token("ada", "nonsense")] {
        stranger
            .is_kept_out("/ws")
            .await
            .is_problem(401, "unauthorized");
    }
    let elsewhere = ada.with("origin", "https://evil.example");
    elsewhere
        .is_kept_out("/ws")
        .await
        .is_problem(403, "forbidden");
    for room in ["secret", "no-such-room", "Not%20A%20Name", "%FF"] {
        let path = format!("/ws/chat/{room}");
        ada.is_kept_out(&path).await.is_problem(404, "not_found");
    }
    let no_place = ada.is_kept_out("/ws/chat/lobby?after=now").await;
    no_place.is_problem(400, "bad_request");
    let own = nobody
        .with("cookie", &format!("session={}", ada.token))
        .with("origin", &nobody.server);
    own.opens("/ws/chat/lobby").await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_sockets_and_no_more() {
    let chat = Chat::start_with(&["--sockets-max=2"]).await;
    let (client, _) = chat.logs_in("ada").await;
    let first = client.connects("/ws").await;
    let _second = client.connects("/ws").await;
    let third = client.is_kept_out("/ws").await;
    third.is_problem(503, "unavailable");
    drop(first);
    until("a place is free again", async || {
        client.opens("/ws").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_private_room_is_not_there_for_others() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let mut ada = chat.connects("ada", "/ws").await;
    for frame in [
        json!({"type": "join", "room": "secret"}),
        json!({"type": "join", "room": "no-such-room"}),
        json!({"type": "typing", "room": "secret"}),
        json!({"type": "stop", "room": "secret", "id": Uuid::now_v7()}),
    ] {
        ada.sends(frame).await;
        assert_eq!(ada.is_refused().await, "not_found");
    }
    chat.store.create_user("bob", "no hash").await.unwrap();
    chat.store.add_member("secret", "bob").await.unwrap();
    let room = "secret".to_owned();
    chat.signals(Signal::Control(Control::RoomChanged { room }))
        .await;
    let mut bob = chat.connects("bob", "/ws").await;
    until("bob is let in", async || {
        let join = json!({"type": "join", "room": "secret"});
        bob.sends(join).await;
        bob.hears_one_of(&["joined", "error"]).await["type"] == "joined"
    })
    .await;
}

#[tokio::test]
async fn a_revoked_session_loses_its_sockets_on_every_edge_and_no_other() {
    let chat = Chat::start().await;
    let (client, session) = chat.logs_in("ada").await;
    let mut tabs = Vec::new();
    for edge in 0..2 {
        tabs.push(client.at(&chat.urls[edge]).connects("/ws/chat/lobby").await);
    }
    let mut phone = chat.in_lobby("ada").await;
    chat.store.end_session("ada", session).await.unwrap();
    chat.signals(Signal::Control(Control::SessionRevoked { session }))
        .await;
    for tab in &mut tabs {
        assert_eq!(tab.is_closed().await, 4401);
    }
    is_still_there(&mut phone).await;
    client.is_kept_out("/ws").await.is(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_revocation_that_was_not_heard_is_found_when_the_line_is_back() {
    let chat = Chat::start().await;
    let (client, session) = chat.logs_in("ada").await;
    let mut ada = client.connects("/ws/chat/lobby").await;
    let mut bob = chat.in_lobby("bob").await;
    chat.store.end_session("ada", session).await.unwrap();
    // The database is away at that very moment, so it has to be asked again.
    chat.store.faults.away(true);
    chat.live
        .tells(LiveEvent::ControlGap { is_another: false })
        .await;
    until("the edge has heard it", async || {
        bob.says("hi").await;
        bob.hears_one_of(&["ack", "error"]).await["code"] == "unavailable"
    })
    .await;
    chat.store.faults.away(false);
    assert_eq!(ada.is_closed().await, 4401);
    until("bob may talk again", async || {
        bob.says("hi").await;
        bob.hears_one_of(&["ack", "error"]).await["type"] == "ack"
    })
    .await;
}

async fn listeners(chat: &Chat) -> (ChatSocket, ChatSocket) {
    chat.opens("secret", true).await;
    for name in ["ada", "bob"] {
        chat.store.create_user(name, "no hash").await.unwrap();
        chat.store.add_member("secret", name).await.unwrap();
    }
    let (mut ada, mut bob) = (chat.in_lobby("ada").await, chat.in_lobby("bob").await);
    ada.joins("secret", None).await;
    bob.joins("secret", None).await;
    chat.says("secret", "owner", "among us").await;
    assert_eq!(ada.hears_texts(1).await, bob.hears_texts(1).await);
    (ada, bob)
}

#[tokio::test]
async fn who_is_no_member_any_more_hears_nothing_more() {
    let chat = Chat::start().await;
    let (mut ada, mut bob) = listeners(&chat).await;
    chat.store
        .remove_member("secret", "ada", "ada")
        .await
        .unwrap();
    chat.signals(Signal::Control(Control::RoomChanged {
        room: "secret".into(),
    }))
    .await;
    let error = ada.hears("error").await;
    assert_eq!(error["code"], "not_found");
    assert!(error["message"].as_str().unwrap().contains("secret"));
    chat.says("secret", "owner", "without ada").await;
    assert_eq!(bob.hears_texts(1).await, ["without ada"]);
    chat.says("lobby", "owner", "to all").await;
    assert_eq!(ada.hears_texts(1).await, ["to all"]);
    ada.sends(json!({"message": "let me in", "room": "secret"}))
        .await;
    assert_eq!(ada.is_refused().await, "not_found");
}

#[tokio::test]
async fn a_change_that_was_not_heard_is_found_when_the_line_is_back() {
    let chat = Chat::start().await;
    let (mut ada, mut bob) = listeners(&chat).await;
    chat.store
        .remove_member("secret", "ada", "ada")
        .await
        .unwrap();
    chat.live
        .tells(LiveEvent::ControlGap { is_another: false })
        .await;
    assert_eq!(ada.is_refused().await, "not_found");
    chat.says("secret", "owner", "without ada").await;
    assert_eq!(bob.hears_texts(1).await, ["without ada"]);
}

#[tokio::test]
async fn a_public_room_that_turns_private_keeps_its_members() {
    let chat = Chat::start().await;
    let (mut ada, mut bob) = (chat.in_lobby("ada").await, chat.in_lobby("bob").await);
    chat.store.add_member("lobby", "bob").await.unwrap();
    let private = RoomChanges {
        private: Some(true),
        ..RoomChanges::default()
    };
    chat.store
        .change_room("lobby", &private, RoomKeeper::Owner("owner"))
        .await
        .unwrap();
    chat.signals(Signal::Control(Control::RoomChanged {
        room: "lobby".into(),
    }))
    .await;
    assert_eq!(ada.is_refused().await, "not_found");
    is_still_there(&mut bob).await;
}

#[tokio::test]
async fn a_stop_goes_to_whoever_writes_the_reply() {
    let chat = Chat::start().await;
    let (_subscriber, mut events) = Live::subscriber(&*chat.live, 16);
    let mut ada = chat.in_lobby("ada").await;
    let reply = Uuid::now_v7();
    ada.sends(json!({"type": "stop", "room": "lobby", "id": reply}))
        .await;
    let heard = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap();
    let stop = Control::StopReply {
        room: "lobby".into(),
        reply,
        by: "ada".into(),
    };
    assert_eq!(heard, Some(LiveEvent::Control(stop)));
}

#[tokio::test]
async fn strangers_are_told_that_an_edge_is_not_ready_and_not_why() {
    let chat = Chat::start().await;
    chat.live.faults.away(true);
    until("the edge is not ready", async || {
        let answer = chat.edges.someone().get("/readyz").await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.text, "not ready\n");
        }
        answer.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

#[tokio::test]
async fn beyond_so_many_sessions_the_longest_unused_ends_everywhere() {
    let chat = Chat::start_with(&["--user-sessions=3"]).await;
    let mut sessions = vec![Client::register(&chat.urls[0], "ada").await];
    for _ in 0..2 {
        sessions.push(Client::log_in(&chat.urls[0], "ada").await);
    }
    let mut sockets = Vec::new();
    for session in &sessions {
        let elsewhere = session.at(&chat.urls[1]);
        sockets.push(elsewhere.connects("/ws/chat/lobby").await);
    }
    let bob = Client::register(&chat.urls[0], "bob").await;
    let fourth = Client::log_in(&chat.urls[0], "ada").await;
    assert_eq!(sockets[0].is_closed().await, 4401);
    sessions[0]
        .is_kept_out("/ws")
        .await
        .is(StatusCode::UNAUTHORIZED);
    for session in [&sessions[1], &sessions[2], &fourth, &bob] {
        session.get("/api/me").await.is(StatusCode::OK);
    }
    let listed = fourth.get("/api/sessions").await;
    assert_eq!(listed.body["sessions"].as_array().unwrap().len(), 3);
    for socket in &mut sockets[1..] {
        is_still_there(socket).await;
    }
}

#[tokio::test]
async fn a_session_ends_when_it_is_as_old_as_one_may_get() {
    let chat = Chat::start_with(&["--session-max-days=2"]).await;
    let ada = Client::register(&chat.urls[0], "ada").await;
    let listed = ada.get("/api/sessions").await.body;
    let time = |name: &str| {
        let time = listed["sessions"][0][name].as_str().unwrap();
        humantime::parse_rfc3339(time).unwrap()
    };
    let life = time("expires_at")
        .duration_since(time("created_at"))
        .unwrap();
    assert_eq!(life.as_secs(), 2 * 24 * 60 * 60);
    let again = chat.someone().logs_in("ada").await;
    let cookie = again.header("set-cookie");
    assert!(
        cookie.contains("Max-Age=172800") || cookie.contains("Max-Age=172799"),
        "{cookie}"
    );
}

#[tokio::test]
async fn who_is_banned_leaves_a_public_room_on_every_edge() {
    let chat = Chat::start().await;
    let (owner, _) = chat.logs_in("owner").await;
    let (client, _) = chat.logs_in("ada").await;
    let mut here = client.connects("/ws/chat/lobby").await;
    let mut there = client.at(&chat.urls[1]).connects("/ws/chat/lobby").await;
    let mut bob = chat.in_lobby("bob").await;
    for socket in [&mut here, &mut there] {
        socket.hears("joined").await;
    }
    let banned = owner.put("/api/rooms/lobby/bans/ada").await;
    banned.is(StatusCode::NO_CONTENT);
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.is_refused().await, "not_found");
        for frame in [
            json!({"type": "join", "room": "lobby"}),
            json!({"message": "let me in", "room": "lobby"}),
        ] {
            socket.sends(frame).await;
            assert_eq!(socket.is_refused().await, "not_found");
        }
    }
    let kept_out = client.is_kept_out("/ws/chat/lobby").await;
    kept_out.is_problem(404, "not_found");
    is_still_there(&mut bob).await;
}

#[tokio::test]
async fn a_room_that_is_deleted_is_left_on_every_edge_in_the_middle_of_a_talk() {
    let chat = Chat::start().await;
    let (owner, _) = chat.logs_in("owner").await;
    let mut ada = chat.in_lobby("ada").await;
    let (client, _) = chat.logs_in("bob").await;
    let mut bob = client.at(&chat.urls[1]).connects("/ws/chat/lobby").await;
    bob.hears("joined").await;
    let deleting = owner.delete("/api/rooms/lobby");
    let talking = async {
        for number in 0..200 {
            ada.says(&format!("a secret {number}")).await;
            bob.says(&format!("a secret {number}")).await;
        }
    };
    let (deleted, ()) = tokio::join!(deleting, talking);
    deleted.is(StatusCode::NO_CONTENT);
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.is_refused().await, "not_found");
        socket.sends(json!({"type": "join", "room": "lobby"})).await;
        while socket.hears("error").await["code"] != "not_found" {}
    }
    let tail = chat.live.tail("lobby", 0, 1_000).await.unwrap();
    assert_eq!(tail.messages, []);
    assert_eq!(chat.store.latest("lobby").await.unwrap(), 0);
}
