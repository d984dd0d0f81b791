//! The door: who may come in, with which invitation, and what whoever stands before it is told.

use chat_client::{Client, HttpAnswer, PASSWORD};
use common::store::{Actor, StandingChanges};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::chat::Chat;

impl Chat {
    /// Somebody who administers the server, also where nobody may register.
    pub(crate) async fn keeper(&self, name: &str) -> Client {
        // Made as the operator does it: what is kept is the hash of another's password.
        let open = Chat::start().await;
        open.registers(name).await;
        let hash = open.store.password_hash(name).await.unwrap().unwrap();
        self.store.create_user(name, &hash).await.unwrap();
        self.makes_administrator(name).await;
        self.logs_in(name).await
    }

    pub(crate) async fn makes_administrator(&self, name: &str) {
        let changes = StandingChanges {
            admin: Some(true),
            ..StandingChanges::default()
        };
        let store = &self.store;
        store
            .change_standing(Actor::Operator, name, changes)
            .await
            .unwrap();
    }

    /// Somebody asks for an account with an invitation.
    pub(crate) async fn comes_by(&self, token: &str, name: &str) -> HttpAnswer {
        let body = json!({ "username": name, "password": PASSWORD, "invite": token });
        self.someone().post("/api/register", body).await
    }
}

/// The token of an invitation that is made here.
async fn invites(client: &Client, what: Value) -> String {
    let made = client.post("/api/invites", what).await;
    made.is(StatusCode::CREATED);
    made.body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_open_door_is_open() {
    let chat = Chat::start().await;
    let door = chat.someone().get("/api/door").await;
    assert_eq!(
        door.is(StatusCode::OK).body,
        json!({ "registration": "open", "passwords": true })
    );
    let ada = chat.registers("ada").await;
    let me = ada.get("/api/me").await;
    assert_eq!(
        (&me.body["admin"], &me.body["may_invite"]),
        (&json!(false), &json!(true))
    );
    // The first who comes is nothing more than the second.
    ada.get("/api/admin/users")
        .await
        .is_problem(403, "forbidden");
    // An invitation that is worth nothing is said to be.
    let refused = chat.comes_by("00", "bob").await;
    refused.is_problem(403, "forbidden");
    assert!(
        refused.text.contains("no such invitation"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn by_invitation_alone_one_comes_in_by_one() {
    let chat = Chat::start_with(&["--registration", "invite"]).await;
    let door = chat.someone().get("/api/door").await;
    assert_eq!(door.body["registration"], "invite");
    let ada = chat.keeper("ada").await;
    // Nothing is told of names, nor of passwords.
    for name in ["bob", "ada", "!"] {
        let refused = chat.someone().registers(name).await;
        refused.is_problem(403, "forbidden");
        assert!(refused.text.contains("by invitation"), "{}", refused.text);
    }
    let made = ada.post("/api/invites", json!({})).await;
    let invite = &made.is(StatusCode::CREATED).body;
    let token = invite["token"].as_str().unwrap();
    assert_eq!(invite["link"], format!("/#invite={token}"));
    assert_eq!(
        (&invite["uses"], &invite["made_by"]),
        (&json!(1), &json!("ada"))
    );
    chat.comes_by(token, "bob").await.is(StatusCode::OK);
    let refused = chat.comes_by(token, "carol").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text.contains("used up"), "{}", refused.text);
    // Whoever came may ask others in, and sees their own invitations alone.
    let bob = chat.logs_in("bob").await;
    let token = invites(&bob, json!({ "uses": 2, "expires_in": 60 })).await;
    chat.comes_by(&token, "carol").await.is(StatusCode::OK);
    let listed = bob.get("/api/invites").await;
    let listed = listed.body["invites"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["used"], &listed[0]["uses"]),
        (&json!(1), &json!(2))
    );
    assert!(!listed[0].to_string().contains(&token), "it is shown once");
    let all = ada.get("/api/invites").await;
    assert_eq!(all.body["invites"].as_array().unwrap().len(), 2);
    // Withdrawn by whoever may.
    let path = format!("/api/invites/{}", listed[0]["id"].as_str().unwrap());
    let carol = chat.logs_in("carol").await;
    carol.delete(&path).await.is_problem(404, "not_found");
    bob.delete(&path).await.is(StatusCode::NO_CONTENT);
    bob.delete(&path).await.is_problem(404, "not_found");
    let refused = chat.comes_by(&token, "dave").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text.contains("withdrawn"), "{}", refused.text);
}

#[tokio::test]
async fn a_closed_door_opens_from_within_alone() {
    let chat = Chat::start_with(&["--registration", "closed"]).await;
    let ada = chat.keeper("ada").await;
    chat.someone()
        .registers("bob")
        .await
        .is_problem(403, "forbidden");
    let token = invites(&ada, json!({ "admin": true, "uses": 1 })).await;
    chat.comes_by(&token, "bob").await.is(StatusCode::OK);
    let bob = chat.logs_in("bob").await;
    assert_eq!(bob.get("/api/me").await.body["admin"], true);
    let token = invites(&bob, json!({})).await;
    chat.comes_by(&token, "carol").await.is(StatusCode::OK);
    let carol = chat.logs_in("carol").await;
    assert_eq!(carol.get("/api/me").await.body["may_invite"], false);
    carol
        .post("/api/invites", json!({}))
        .await
        .is_problem(403, "forbidden");
    // What an administrator gave is worth nothing when they are none any more.
    let token = invites(&bob, json!({})).await;
    let demoted = ada
        .patch("/api/admin/users/bob", json!({ "admin": false }))
        .await;
    demoted.is(StatusCode::OK);
    chat.comes_by(&token, "dave")
        .await
        .is_problem(403, "forbidden");
}

#[tokio::test]
async fn an_invitation_may_lead_into_a_room() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let room = json!({ "name": "secrets", "private": true });
    ada.post("/api/rooms", room).await.is(StatusCode::CREATED);
    let into = json!({ "room": "secrets" });
    bob.post("/api/invites", into.clone())
        .await
        .is_problem(404, "not_found");
    let token = invites(&ada, into.clone()).await;
    chat.comes_by(&token, "carol").await.is(StatusCode::OK);
    let carol = chat.logs_in("carol").await;
    carol.get("/api/rooms/secrets").await.is(StatusCode::OK);
    // A member is not its owner.
    carol
        .post("/api/invites", into)
        .await
        .is_problem(403, "forbidden");
}

#[tokio::test]
async fn what_is_asked_of_an_invitation_is_looked_at() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for bad in [
        json!({ "uses": 0 }),
        json!({ "uses": 1_001 }),
        json!({ "uses": -1 }),
        json!({ "expires_in": 0 }),
        json!({ "expires_in": 366 * 24 * 3_600 }),
        json!({ "expires_in": "a day" }),
        json!({ "room": "No Room" }),
    ] {
        ada.post("/api/invites", bad)
            .await
            .is_problem(400, "bad_request");
    }
    let nowhere = json!({ "room": "nowhere" });
    ada.post("/api/invites", nowhere)
        .await
        .is_problem(404, "not_found");
    let keeper = json!({ "admin": true });
    ada.post("/api/invites", keeper)
        .await
        .is_problem(403, "forbidden");
    ada.delete("/api/invites/none")
        .await
        .is_problem(404, "not_found");
    chat.someone()
        .post("/api/invites", json!({}))
        .await
        .is_problem(401, "unauthorized");
    let odd = json!({ "username": "bob", "password": PASSWORD, "invite": 5 });
    chat.someone()
        .post("/api/register", odd)
        .await
        .is_problem(400, "bad_request");
}
