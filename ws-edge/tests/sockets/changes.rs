//! Editing and deleting over a socket: acked, shown and resumed like messages, and done by those alone who may.

use std::time::Duration;

use chat_client::ChatSocket;
use common::{
    envelope::{Envelope, reply_id},
    live::{Control, Live, Signal},
    queue::{QueueName, Route},
    store::{Accounts, Actor, People, Rooms, StandingChanges},
    wire::{Kind, Message, NewMessage},
};
use seam_fakes::Fault;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{chat::Chat, edges::until};

fn edit(of: &Value, message: &str) -> Value {
    json!({"type": "edit", "room": "lobby", "id": Uuid::now_v7(), "of": of, "message": message})
}

fn delete(of: &Value) -> Value {
    json!({"type": "delete", "room": "lobby", "id": Uuid::now_v7(), "of": of})
}

/// Says something, and returns its id when it is kept.
async fn says(socket: &mut ChatSocket, text: &str) -> Value {
    let id = json!(Uuid::now_v7());
    socket.sends(json!({"message": text, "id": id})).await;
    assert_eq!(socket.hears("ack").await["id"], id);
    id
}

/// What is answered to a frame: `ack`, or the code and words of an error, which name its id.
async fn answer(socket: &mut ChatSocket, frame: Value) -> (String, String) {
    let id = frame["id"].clone();
    socket.sends(frame).await;
    let answer = socket.hears_one_of(&["ack", "error"]).await;
    assert_eq!(answer["id"], id, "{answer}");
    let text = |field: &str| answer[field].as_str().unwrap_or("ack").to_owned();
    (text("code"), text("message"))
}

async fn is_refused(socket: &mut ChatSocket, frame: Value, code: &str, words: &str) {
    let (refused, why) = answer(socket, frame).await;
    assert!(refused == code && why.contains(words), "{refused}: {why}");
}

async fn is_acked(socket: &mut ChatSocket, frame: Value) {
    assert_eq!(answer(socket, frame).await.0, "ack");
}

/// The bot has replied to somebody's question.
async fn bot_replies(chat: &Chat, question: &Value) -> Value {
    let question: Uuid = serde_json::from_value(question.clone()).unwrap();
    let new = NewMessage {
        room: "lobby".into(),
        id: reply_id("lobby", question),
        sender: "bot".into(),
        kind: Kind::Bot,
        message: "four".into(),
        reply_to: Some(question),
        of: None,
        stopped_by: None,
        grounding: Default::default(),
    };
    let posted = chat.poster.post(new, Route::Persist, None).await.unwrap();
    json!(posted.message.id)
}

#[tokio::test]
async fn an_edit_and_a_deletion_are_acked_shown_and_kept_in_the_rooms_order() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let said = says(&mut ada, "helo").await;
    let before = bob.hears("message").await["seq"].clone();
    let frame = edit(&said, " hello ");
    is_acked(&mut ada, frame.clone()).await;
    let edited = bob.hears("edited").await;
    let wanted = [
        (&edited["id"], &frame["id"]),
        (&edited["of"], &said),
        (&edited["by"], &json!("ada")),
        (&edited["message"], &json!("hello")),
        (&edited["prev"], &before),
    ];
    for (is, wanted) in wanted {
        assert_eq!(is, wanted, "{edited}");
    }
    // The same frame once more is the same event.
    ada.sends(frame.clone()).await;
    assert_eq!(ada.hears("ack").await["seq"], edited["seq"]);
    let event = delete(&said);
    is_acked(&mut ada, event.clone()).await;
    let deleted = bob.hears("deleted").await;
    assert_eq!((&deleted["of"], &deleted["by"]), (&said, &json!("ada")));
    assert_eq!(deleted["prev"], edited["seq"]);
    // Also where what it deletes is gone since, and an edit's.
    for frame in [event, frame] {
        is_acked(&mut ada, frame).await;
    }
    let taken = chat.queue.consume(QueueName::Persist, 10).await;
    for kind in [Kind::User, Kind::Edited, Kind::Edited, Kind::Deleted] {
        let payload = taken.next().await.unwrap().payload;
        assert_eq!(Envelope::read(&payload).unwrap().message.kind, kind);
    }
}

#[tokio::test]
async fn what_is_sent_in_the_same_breath_as_its_message_changes_it() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let slow = Fault::Takes(Duration::from_millis(20));
    chat.live.faults.on("append_all", slow);
    for round in 0..5 {
        let (kept, gone) = (json!(Uuid::now_v7()), json!(Uuid::now_v7()));
        let frames = [
            json!({"room": "lobby", "message": format!("helo {round}"), "id": kept}),
            edit(&kept, "hello"),
            json!({"room": "lobby", "message": "a secret", "id": gone}),
            edit(&gone, "the secret"),
            delete(&gone),
        ];
        for frame in &frames {
            ada.sends(frame.clone()).await;
        }
        // Acked in the order in which they were sent, each.
        for frame in &frames {
            let answer = ada.hears_one_of(&["ack", "error"]).await;
            assert_eq!(
                (&answer["type"], &answer["id"]),
                (&json!("ack"), &frame["id"]),
                "{answer}"
            );
        }
        for frame in &frames {
            let heard = bob.hears_one_of(&["message", "edited", "deleted"]).await;
            assert_eq!(heard["id"], frame["id"], "{heard}");
        }
    }
    // What its message was refused for is no reason to wait for ever.
    let refused = json!(Uuid::now_v7());
    chat.live.faults.away(true);
    let frames = [
        json!({"room": "lobby", "message": "not now", "id": refused}),
        edit(&refused, "nor now"),
        delete(&refused),
    ];
    for frame in &frames {
        ada.sends(frame.clone()).await;
    }
    for frame in &frames {
        let error = ada.hears("error").await;
        let told = (&error["code"], &error["id"]);
        assert_eq!(told, (&json!("unavailable"), &frame["id"]), "{error}");
    }
    chat.live.faults.away(false);
    for frame in &frames {
        is_acked(&mut ada, frame.clone()).await;
    }
}

#[tokio::test]
async fn who_was_away_sees_what_is_left_in_order_and_no_text_that_is_deleted() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let first = says(&mut ada, "first").await;
    let after = chat.live.tail("lobby", 0, 10).await.unwrap().latest;
    let secret = says(&mut ada, "a secret").await;
    is_acked(&mut ada, edit(&secret, "the secret")).await;
    is_acked(&mut ada, edit(&first, "first of all")).await;
    is_acked(&mut ada, delete(&secret)).await;
    // From the ring at the first edge, from the stream at the second.
    for edge in 0..2 {
        let (client, _) = chat.logs_in("bob").await;
        let mut bob = client
            .at(&chat.urls[edge])
            .connects(&format!("/ws/chat/lobby?after={after}"))
            .await;
        let mut heard = Vec::new();
        while heard.len() < 4 {
            heard.push(bob.hears_one_of(&["message", "edited", "deleted"]).await);
        }
        let types: Vec<_> = heard.iter().map(|frame| frame["type"].clone()).collect();
        assert_eq!(types, ["message", "edited", "edited", "deleted"]);
        assert_eq!(heard[0]["deleted"], true, "{heard:?}");
        let texts = [0, 1, 2].map(|at: usize| heard[at]["message"].clone());
        assert_eq!(texts, ["", "", "first of all"]);
        for pair in heard.windows(2) {
            assert_eq!(pair[0]["seq"], pair[1]["prev"], "{heard:?}");
        }
    }
    let (client, _) = chat.logs_in("bob").await;
    let page = client.get("/api/rooms/lobby/messages").await;
    let messages = page.body["messages"].as_array().unwrap();
    let texts: Vec<_> = messages.iter().map(|one| one["message"].clone()).collect();
    assert_eq!(texts, ["first of all", ""]);
    assert!(messages[0]["edited"].is_u64() && messages[1]["deleted"] == true);
}

#[tokio::test]
async fn an_edit_is_its_authors_alone() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let said = says(&mut ada, "what is two plus two?").await;
    let reply = bot_replies(&chat, &said).await;
    is_refused(&mut bob, edit(&said, "no"), "forbidden", "whoever wrote").await;
    is_refused(&mut ada, edit(&reply, "five"), "forbidden", "the bot").await;
    is_acked(&mut ada, edit(&said, "what is three plus three?")).await;
    is_acked(&mut ada, delete(&said)).await;
    is_refused(&mut ada, edit(&said, "hm"), "bad_request", "deleted").await;
    is_refused(&mut ada, delete(&said), "bad_request", "deleted").await;
    is_refused(&mut bob, edit(&said, "hm"), "forbidden", "whoever wrote").await;
}

#[tokio::test]
async fn a_deletion_is_the_authors_the_owners_an_askers_or_an_administrators() {
    let chat = Chat::start().await;
    chat.store.create_user("olive", "no hash").await.unwrap();
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let [one, two] = [says(&mut ada, "one?").await, says(&mut ada, "two?").await];
    let replies = [
        bot_replies(&chat, &one).await,
        bot_replies(&chat, &two).await,
    ];
    for of in [&one, &replies[0]] {
        is_refused(&mut bob, delete(of), "forbidden", "not yours").await;
    }
    is_acked(&mut ada, delete(&replies[0])).await;
    // Whoever asked may delete the answer also when the question is gone.
    is_acked(&mut ada, delete(&two)).await;
    is_acked(&mut ada, delete(&replies[1])).await;
    let owner = chat.store.room("lobby").await.unwrap().unwrap().owner;
    let mut owner = chat.in_lobby(&owner).await;
    is_acked(&mut owner, delete(&one)).await;
    is_refused(&mut owner, edit(&one, "mine"), "forbidden", "whoever wrote").await;

    let three = says(&mut ada, "three").await;
    let (root, _) = chat.logs_in("root").await;
    let changes = StandingChanges {
        admin: Some(true),
        ..StandingChanges::default()
    };
    let made = chat.store.change_standing(Actor::Operator, "root", changes);
    made.await.unwrap();
    // Their program is none.
    let token = root.post("/api/tokens", json!({"name": "cleaner"})).await;
    let token = token.body["token"].as_str().unwrap();
    let program = root.with_token("root", token);
    let mut program = program.connects("/ws/chat/lobby").await;
    program.hears("joined").await;
    is_refused(&mut program, delete(&three), "forbidden", "not yours").await;
    let mut root = root.connects("/ws/chat/lobby").await;
    root.hears("joined").await;
    is_acked(&mut root, delete(&three)).await;
}

#[tokio::test]
async fn what_is_not_in_the_room_cannot_be_changed() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let elsewhere: Message = chat.says("secret", "ada", "psst").await;
    let mut ada = chat.in_lobby("ada").await;
    let said = says(&mut ada, "hello").await;
    let event = edit(&said, "hello!");
    is_acked(&mut ada, event.clone()).await;
    let unknown = json!(Uuid::now_v7());
    // Of nobody's, of another room's, and an event, which is no message.
    for of in [&unknown, &json!(elsewhere.id), &event["id"]] {
        is_refused(&mut ada, edit(of, "hm"), "not_found", "no such message").await;
        is_refused(&mut ada, delete(of), "not_found", "no such message").await;
    }
    // A room that one may not see says nothing of what is in it.
    let mut frame = delete(&json!(elsewhere.id));
    frame["room"] = json!("secret");
    is_refused(&mut ada, frame, "not_found", "may not see it").await;
    // An event's id is no other event's, and no message's.
    for mut frame in [edit(&said, "again"), delete(&said)] {
        frame["id"] = said.clone();
        is_refused(&mut ada, frame, "bad_request", "another message").await;
    }
    let mut frame = delete(&said);
    frame["id"] = event["id"].clone();
    is_refused(&mut ada, frame, "bad_request", "another message").await;
}

#[tokio::test]
async fn a_flood_of_deletions_is_held_up_before_one_of_messages() {
    let flags = ["--user-messages-per-second=1", "--user-messages-burst=25"];
    let chat = Chat::start_with(&flags).await;
    let mut ada = chat.in_lobby("ada").await;
    let mut said = Vec::new();
    for text in ["one", "two", "three"] {
        said.push(says(&mut ada, text).await);
    }
    is_acked(&mut ada, delete(&said[0])).await;
    is_acked(&mut ada, delete(&said[1])).await;
    is_refused(&mut ada, delete(&said[2]), "rate_limited", "too many").await;
    is_acked(&mut ada, edit(&said[2], "four")).await;
}

#[tokio::test]
async fn of_an_edit_and_a_deletion_at_the_same_moment_nothing_is_left_but_that_it_is_deleted() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut owner = chat.in_lobby("owner").await;
    for round in 0..20 {
        let said = says(&mut ada, "a secret").await;
        let edited = answer(&mut ada, edit(&said, "the secret"));
        let deleted = answer(&mut owner, delete(&said));
        let ((edited, why), (deleted, _)) = tokio::join!(edited, deleted);
        assert_eq!(deleted, "ack");
        let is_late = edited == "bad_request" && why.contains("deleted");
        assert!(edited == "ack" || is_late, "{round}: {edited}: {why}");
    }
    let left = chat.live.tail("lobby", 0, 1_000).await.unwrap().messages;
    assert!(left.iter().all(|one| one.message.is_empty()), "{left:?}");
}

#[tokio::test]
async fn a_right_that_is_lost_between_the_click_and_its_arrival_is_lost() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    chat.store.create_user("bob", "no hash").await.unwrap();
    chat.store.add_member("secret", "bob").await.unwrap();
    let said = json!(chat.says("secret", "bob", "psst").await.id);
    let mut bob = chat.connects("bob", "/ws").await;
    let in_secret = |mut frame: Value| {
        frame["room"] = json!("secret");
        frame
    };
    is_acked(&mut bob, in_secret(edit(&said, "hush"))).await;
    chat.store
        .remove_member("secret", "bob", "bob")
        .await
        .unwrap();
    let room = "secret".to_owned();
    chat.signals(Signal::Control(Control::RoomChanged { room }))
        .await;
    until("bob is put out", async || {
        let frame = in_secret(edit(&said, "hush, hush"));
        answer(&mut bob, frame).await.0 == "not_found"
    })
    .await;
    is_refused(
        &mut bob,
        in_secret(delete(&said)),
        "not_found",
        "may not see",
    )
    .await;
}
