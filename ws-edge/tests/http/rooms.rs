//! Making rooms, changing them, and who may see them.

use chat_client::Client;
use reqwest::StatusCode;
use serde_json::json;

use crate::{chat::Chat, edges::until};

async fn names_seen_by(person: &Client) -> Vec<String> {
    let rooms = person.get("/api/rooms").await;
    let rooms = rooms.body["rooms"].as_array().unwrap().iter();
    rooms
        .map(|room| room["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_room_is_as_it_was_asked_for() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let lobby = ada
        .post("/api/rooms", json!({ "name": "lobby", "colour": "green" }))
        .await;
    let expected = json!({ "name": "lobby", "private": false, "bot": "mention", "persona": "", "owner": "ada" });
    assert_eq!(lobby.is(StatusCode::CREATED).body, expected);
    let location = lobby.header("location");
    assert_eq!(location, "/api/rooms/lobby");
    assert_eq!(ada.get(location).await.body, lobby.body);
    let den = json!({ "name": "den", "private": true, "bot": "off", "persona": " a pirate " });
    let den = ada.post("/api/rooms", den).await;
    let expected = json!({ "name": "den", "private": true, "bot": "off", "persona": "a pirate", "owner": "ada" });
    assert_eq!(den.is(StatusCode::CREATED).body, expected);

    let bob = chat.registers("bob").await;
    assert_eq!(names_seen_by(&ada).await, ["ada", "den", "lobby"]);
    assert_eq!(names_seen_by(&bob).await, ["bob", "lobby"]);
}

#[tokio::test]
async fn rooms_and_users_share_their_names() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    chat.registers("bob").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    for name in ["lobby", "bob", "bot", "b0t", "everyone"] {
        ada.makes_room(name).await.is_problem(409, "bad_request");
    }
    let long = "a".repeat(65);
    for name in ["ab", "Lobby", "a b", "../etc", &long] {
        ada.makes_room(name).await.is_problem(400, "bad_request");
    }
}

#[tokio::test]
async fn what_is_no_room_is_refused_in_words() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let bad = [
        json!({}),
        json!({ "name": 7 }),
        json!({ "name": "den", "private": "yes" }),
        json!({ "name": "den", "bot": "sometimes" }),
        json!({ "name": "den", "persona": ["a", "b"] }),
        json!(["den"]),
        json!("den"),
    ];
    for body in bad {
        ada.post("/api/rooms", body)
            .await
            .is_problem(400, "bad_request");
    }
    let persona = "p".repeat(2_001);
    ada.post("/api/rooms", json!({ "name": "den", "persona": persona }))
        .await
        .is_problem(413, "too_large");
    assert_eq!(names_seen_by(&ada).await, ["ada"]);
}

#[tokio::test]
async fn changes_of_different_things_at_the_same_moment_are_all_kept() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    for round in 0..20 {
        let bot = ["off", "always"][round % 2];
        let persona = format!("pirate {round}");
        let private = round % 2 == 0;
        let (one, two, three) = tokio::join!(
            ada.patch("/api/rooms/lobby", json!({ "bot": bot })),
            ada.patch("/api/rooms/lobby", json!({ "persona": persona })),
            ada.patch("/api/rooms/lobby", json!({ "private": private })),
        );
        for changed in [one, two, three] {
            changed.is(StatusCode::OK);
        }
        let expected = json!({ "name": "lobby", "private": private, "bot": bot, "persona": persona, "owner": "ada" });
        assert_eq!(ada.get("/api/rooms/lobby").await.body, expected);
    }
}

#[tokio::test]
async fn the_owner_alone_changes_a_room() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    bob.patch("/api/rooms/lobby", json!({ "bot": "off" }))
        .await
        .is_problem(403, "forbidden");
    let changed = ada.patch("/api/rooms/lobby", json!({ "bot": "off" })).await;
    let expected =
        json!({ "name": "lobby", "private": false, "bot": "off", "persona": "", "owner": "ada" });
    assert_eq!(changed.is(StatusCode::OK).body, expected);
    let changed = ada
        .patch(
            "/api/rooms/lobby",
            json!({ "private": true, "persona": "a pirate" }),
        )
        .await;
    let expected = json!({ "name": "lobby", "private": true, "bot": "off", "persona": "a pirate", "owner": "ada" });
    assert_eq!(changed.is(StatusCode::OK).body, expected);
    ada.patch("/api/rooms/lobby", json!({ "private": 1 }))
        .await
        .is_problem(400, "bad_request");
    // Now he may not even see it.
    bob.patch("/api/rooms/lobby", json!({ "bot": "always" }))
        .await
        .is_problem(404, "not_found");
    ada.patch("/api/rooms/nowhere", json!({ "bot": "always" }))
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn ones_own_room_stays_private() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.patch("/api/rooms/ada", json!({ "private": false }))
        .await
        .is_problem(403, "forbidden");
    let changed = ada
        .patch("/api/rooms/ada", json!({ "private": true, "bot": "off" }))
        .await;
    assert_eq!(changed.is(StatusCode::OK).body["bot"], "off");
}

#[tokio::test]
async fn a_private_room_is_seen_by_its_members_at_every_edge() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.post("/api/rooms", json!({ "name": "den", "private": true }))
        .await
        .is(StatusCode::CREATED);
    chat.says("den", "ada", "psst").await;
    let there = chat.elsewhere(&bob);
    let past = "/api/rooms/den/messages";
    bob.get(past).await.is_problem(404, "not_found");
    there.get(past).await.is_problem(404, "not_found");

    ada.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    ada.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    assert_eq!(
        bob.get(past).await.is(StatusCode::OK).body["messages"][0]["message"],
        "psst"
    );
    until("the other edge lets him in", async || {
        there.get(past).await.status == StatusCode::OK
    })
    .await;
    assert_eq!(names_seen_by(&bob).await, ["bob", "den"]);
    for person in [&ada, &bob] {
        let members = person.get("/api/rooms/den/members").await;
        assert_eq!(
            members.is(StatusCode::OK).body,
            json!({ "members": ["bob"] })
        );
    }

    ada.delete("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    bob.get(past).await.is_problem(404, "not_found");
    bob.get("/api/rooms/den/members")
        .await
        .is_problem(404, "not_found");
    until("the other edge keeps him out", async || {
        there.get(past).await.status == StatusCode::NOT_FOUND
    })
    .await;
    ada.delete("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn members_are_the_owners_affair_but_anyone_may_go() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let eve = chat.registers("eve").await;
    ada.post("/api/rooms", json!({ "name": "den", "private": true }))
        .await
        .is(StatusCode::CREATED);
    eve.put("/api/rooms/den/members/eve")
        .await
        .is_problem(404, "not_found");
    ada.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    bob.put("/api/rooms/den/members/eve")
        .await
        .is_problem(403, "forbidden");
    ada.put("/api/rooms/den/members/nobody")
        .await
        .is_problem(404, "not_found");
    ada.put("/api/rooms/den/members/No%20Body")
        .await
        .is_problem(404, "not_found");
    ada.delete("/api/rooms/den/members/nobody")
        .await
        .is_problem(404, "not_found");
    ada.put("/api/rooms/den/members/eve")
        .await
        .is(StatusCode::NO_CONTENT);
    eve.delete("/api/rooms/den/members/bob")
        .await
        .is_problem(403, "forbidden");
    eve.delete("/api/rooms/den/members/ada")
        .await
        .is_problem(403, "forbidden");
    eve.delete("/api/rooms/den/members/eve")
        .await
        .is(StatusCode::NO_CONTENT);
    assert_eq!(names_seen_by(&eve).await, ["eve"]);
}

#[tokio::test]
async fn a_room_that_becomes_private_or_public_is_so_at_every_edge() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let (past, there) = ("/api/rooms/lobby/messages", chat.elsewhere(&bob));
    there.get(past).await.is(StatusCode::OK);
    ada.patch("/api/rooms/lobby", json!({ "private": true }))
        .await
        .is(StatusCode::OK);
    bob.get(past).await.is_problem(404, "not_found");
    until("it is closed there", async || {
        there.get(past).await.status == StatusCode::NOT_FOUND
    })
    .await;
    ada.patch("/api/rooms/lobby", json!({ "private": false }))
        .await
        .is(StatusCode::OK);
    bob.get(past).await.is(StatusCode::OK);
    until("it is open there", async || {
        there.get(past).await.status == StatusCode::OK
    })
    .await;
}
