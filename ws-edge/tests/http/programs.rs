//! Programs: their tokens, and what they post.

use chat_client::Client;
use common::{
    envelope::Envelope,
    queue::{Delivery, QueueName},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::chat::Chat;

const MESSAGES: &str = "/api/rooms/lobby/messages";

/// Somebody's program, and the token's id.
async fn program_of(person: &Client, name: &str) -> (Client, String) {
    let made = person.post("/api/tokens", json!({ "name": name })).await;
    let made = made.is(StatusCode::CREATED).body.clone();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("chinwag_"), "{token}");
    let program = person.with_token(name, token);
    (program, made["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_message_is_posted_once_and_kept_when_it_is_answered() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let id = Uuid::now_v7();
    let body = json!({ "message": "  the build is green ", "id": id });
    let posted = ada.post(MESSAGES, body.clone()).await;
    let posted = posted.is(StatusCode::OK).body.clone();
    assert_eq!(posted["id"], json!(id));
    let again = chat.elsewhere(&ada).post(MESSAGES, body).await;
    assert_eq!(again.is(StatusCode::OK).body, posted);
    let other = json!({ "message": "and so it stays", "reply_to": id });
    let other = ada
        .post(MESSAGES, other)
        .await
        .is(StatusCode::OK)
        .body
        .clone();
    assert!(other["seq"].as_u64() > posted["seq"].as_u64());
    // What the queue has is what the database will have.
    let consumer = chat.queue.consume(QueueName::Persist, 10).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let Delivery { payload, .. } = consumer.next().await.unwrap();
        kept.push(Envelope::read(&payload).unwrap().message);
    }
    let texts: Vec<&str> = kept.iter().map(|message| &*message.message).collect();
    assert_eq!(
        texts,
        [
            "the build is green",
            "the build is green",
            "and so it stays"
        ]
    );
    assert_eq!(kept[2].reply_to, Some(id));
    let history = ada.get(MESSAGES).await.body;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_message_is_refused_as_over_a_socket() {
    let chat = Chat::start_with(&["--user-bytes-per-day=5000"]).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let servers = Uuid::new_v8([7; 16]);
    for bad in [
        json!({}),
        json!({ "message": " \u{200b} " }),
        json!({ "message": 7 }),
        json!({ "message": "hi", "id": "seven" }),
        json!({ "message": "hi", "id": servers }),
        json!({ "message": "hi", "reply_to": "that" }),
    ] {
        ada.post(MESSAGES, bad).await.is_problem(400, "bad_request");
    }
    let long = json!({ "message": "a".repeat(4_001) });
    ada.post(MESSAGES, long).await.is_problem(413, "too_large");
    let (hi, id) = (json!({ "message": "hi" }), Uuid::now_v7());
    for room in ["nowhere", "bob", "No%20Room"] {
        let path = format!("/api/rooms/{room}/messages");
        let refused = ada.post(&path, hi.clone()).await;
        refused.is_problem(404, "not_found");
    }
    chat.someone()
        .post(MESSAGES, hi)
        .await
        .is_problem(401, "unauthorized");
    // Neither frames of another type, nor another room than the address's.
    let tricky = json!({ "message": "hi", "type": "join", "room": "bob", "id": id });
    ada.post(MESSAGES, tricky).await.is(StatusCode::OK);
    let taken = json!({ "message": "mine", "id": id });
    bob.post(MESSAGES, taken)
        .await
        .is_problem(409, "bad_request");
    let much = || ada.post(MESSAGES, json!({ "message": "a".repeat(3_000) }));
    much().await.is(StatusCode::OK);
    let refused = much().await;
    refused.is_problem(429, "rate_limited");
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_program_chats_by_its_token_until_that_is_revoked() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let (program, id) = program_of(&ada, " the build ").await;
    let hi = json!({ "message": "hi" });
    program.post(MESSAGES, hi.clone()).await.is(StatusCode::OK);
    assert_eq!(program.get("/api/me").await.body["user"], "ada");
    let mut socket = chat.elsewhere(&program).connects("/ws/chat/lobby").await;
    socket.hears("joined").await;

    let listed = ada.get("/api/tokens").await.body;
    let known = &listed["tokens"][0];
    assert_eq!(
        (&known["name"], &known["id"]),
        (&json!("the build"), &json!(id))
    );
    assert!(known.get("token").is_none(), "it is shown once");
    assert!(known["created_at"].is_string() && known.get("expires_at").is_none());
    let sessions = ada.get("/api/sessions").await.body;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);

    // It chats, and does nothing by which it could stay.
    let refused = [
        program.get("/api/tokens").await,
        program
            .post("/api/tokens", json!({ "name": "another" }))
            .await,
        program.get("/api/sessions").await,
        program
            .post("/api/password", json!({ "current": "a", "password": "b" }))
            .await,
        program.post("/api/logout-everywhere", json!({})).await,
        program.get("/api/admin/users").await,
        program.get("/api/invites").await,
        program.delete("/api/me").await,
        program.delete(&format!("/api/tokens/{id}")).await,
        program
            .patch("/api/rooms/lobby", json!({ "owner": "bob" }))
            .await,
        program.put("/api/rooms/lobby/members/bob").await,
        program.put("/api/rooms/lobby/bans/bob").await,
        program.delete("/api/rooms/lobby").await,
    ];
    for refused in refused {
        refused.is_problem(403, "forbidden");
    }
    let bob = chat.registers("bob").await;
    let path = format!("/api/tokens/{id}");
    bob.delete(&path).await.is_problem(404, "not_found");
    ada.delete(&path).await.is(StatusCode::NO_CONTENT);
    ada.delete(&path).await.is_problem(404, "not_found");
    assert_eq!(socket.is_closed().await, 4401);
    let gone = program.post(MESSAGES, hi).await;
    gone.is_problem(401, "unauthorized");
    ada.get("/api/me").await.is(StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_token_is_refused_in_words() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for bad in [
        json!({}),
        json!({ "name": "  " }),
        json!({ "name": "a\nb" }),
        json!({ "name": "a", "expires_in": 0 }),
        json!({ "name": "a", "expires_in": -5 }),
        json!({ "name": "a", "expires_in": 1e12 }),
        json!({ "name": "a", "expires_in": u64::MAX }),
    ] {
        let refused = ada.post("/api/tokens", bad).await;
        refused.is_problem(400, "bad_request");
    }
    let long = json!({ "name": "n".repeat(101) });
    let refused = ada.post("/api/tokens", long).await;
    refused.is_problem(413, "too_large");
    ada.delete("/api/tokens/seven")
        .await
        .is_problem(404, "not_found");
    let short = json!({ "name": "short", "expires_in": 3_600 });
    let made: Value = ada.post("/api/tokens", short).await.body.clone();
    assert!(made["expires_at"].is_string());
    let stranger = chat.someone().with_token("x", "chinwag_nonsense");
    stranger
        .get("/api/me")
        .await
        .is_problem(401, "unauthorized");
}

/// Which of the messages that were posted ask the bot, so far.
async fn asked(chat: &Chat) -> Vec<String> {
    let consumer = chat.queue.consume(QueueName::BotRequests, 100).await;
    let mut asked = Vec::new();
    // The last that is posted asks in any case.
    while asked.last().is_none_or(|text| text != LAST) {
        let Delivery { payload, .. } = consumer.next().await.unwrap();
        asked.push(Envelope::read(&payload).unwrap().message.message);
    }
    asked
}

const LAST: &str = "@bot that is all";

#[tokio::test]
async fn the_bot_is_not_asked_by_an_account_that_is_a_program_unless_the_room_says_so() {
    let chat = Chat::start().await;
    let (ada, echo) = (chat.keeper("ada").await, chat.registers("echo").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let by_itself = json!({ "program": true });
    let refused = echo.patch("/api/admin/users/echo", by_itself.clone()).await;
    refused.is_problem(403, "forbidden");
    let says = async |who: &Client, room: &str, text: &str| {
        let path = format!("/api/rooms/{room}/messages");
        who.post(&path, json!({ "message": text }))
            .await
            .is(StatusCode::OK);
    };
    says(&echo, "echo", "as a person").await;
    let marked = ada.patch("/api/admin/users/echo", by_itself).await;
    assert_eq!(marked.is(StatusCode::OK).body["program"], true);
    assert_eq!(echo.get("/api/me").await.body["program"], true);
    assert_eq!(ada.get("/api/me").await.body["program"], false);
    let listed = ada.get("/api/admin/users").await;
    let programs = listed.body["users"].as_array().unwrap().iter();
    let programs: Vec<&Value> = programs.map(|user| &user["program"]).collect();
    assert_eq!(programs, [&json!(false), &json!(true)]);
    let members = ada.get("/api/rooms/lobby/members").await;
    assert_eq!(members.body, json!({ "members": [] }));
    let members = echo.get("/api/rooms/echo/members").await;
    assert_eq!(members.body, json!({ "members": [], "programs": ["echo"] }));
    // Its tokens, the page, and sockets are the same program; everywhere.
    let (token, _) = program_of(&echo, "ci").await;
    says(&echo, "lobby", "@bot by the page").await;
    says(&token, "echo", "by a token").await;
    let there = chat.elsewhere(&echo);
    crate::edges::until("the other edge knows", async || {
        there.get("/api/me").await.body["program"] == true
    })
    .await;
    says(&there, "lobby", "@bot elsewhere").await;
    // Where the owner of the room wants it, it is answered.
    let answered = json!({ "bot_answers_programs": true });
    let refused = echo.patch("/api/rooms/lobby", answered.clone()).await;
    refused.is_problem(403, "forbidden");
    let room = ada.patch("/api/rooms/lobby", answered.clone()).await;
    assert_eq!(room.is(StatusCode::OK).body["bot_answers_programs"], true);
    says(&echo, "lobby", "@bot and now?").await;
    says(&echo, "lobby", "only so").await;
    let odd = ada
        .patch("/api/rooms/lobby", json!({ "bot_answers_programs": 1 }))
        .await;
    odd.is_problem(400, "bad_request");
    ada.patch("/api/rooms/lobby", json!({ "bot_answers_programs": false }))
        .await
        .is(StatusCode::OK);
    says(&echo, "lobby", "@bot not any more").await;
    let made = json!({ "name": "machines", "bot": "always", "bot_answers_programs": true });
    ada.post("/api/rooms", made).await.is(StatusCode::CREATED);
    says(&echo, "machines", "in a room that was made so").await;
    let unmarked = ada
        .patch("/api/admin/users/echo", json!({ "program": false }))
        .await;
    unmarked.is(StatusCode::OK);
    says(&echo, "echo", "as a person again").await;
    says(&ada, "lobby", LAST).await;
    let expected = [
        "as a person",
        "@bot and now?",
        "in a room that was made so",
        "as a person again",
        LAST,
    ];
    assert_eq!(asked(&chat).await, expected);
}
