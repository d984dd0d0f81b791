//! What people do with their own account: another password, logging out everywhere, links, leaving for good.

use chat_client::{Client, HttpAnswer, PASSWORD};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{chat::Chat, edges::until};

const ANOTHER: &str = "garlic and sapphires";

async fn changes(client: &Client, current: &str, password: &str) -> HttpAnswer {
    let body = json!({ "current": current, "password": password });
    client.post("/api/password", body).await
}

async fn logs_in_with(chat: &Chat, name: &str, password: &str) -> HttpAnswer {
    let body = json!({ "username": name, "password": password });
    chat.someone().post("/api/login", body).await
}

/// Whether a session is worth nothing at either edge.
async fn is_out(chat: &Chat, client: &Client) {
    until("both edges have heard it", async || {
        let here = client.get("/api/me").await.status;
        let there = chat.elsewhere(client).get("/api/me").await.status;
        [here, there] == [StatusCode::UNAUTHORIZED; 2]
    })
    .await;
}

async fn leaves(client: &Client, password: &str, messages: &str) -> HttpAnswer {
    let body = json!({ "password": password, "messages": messages });
    let called = client.try_call(Method::DELETE, "/api/me", Some(body)).await;
    called.unwrap()
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_not_this_one() {
    let chat = Chat::start().await;
    let (here, there) = (chat.registers("ada").await, chat.logs_in("ada").await);
    chat.elsewhere(&there)
        .get("/api/me")
        .await
        .is(StatusCode::OK);
    changes(&here, "wrong words", ANOTHER)
        .await
        .is_problem(401, "unauthorized");
    changes(&here, PASSWORD, "12345678")
        .await
        .is_problem(400, "bad_request");
    changes(&here, PASSWORD, "short")
        .await
        .is_problem(400, "bad_request");
    there.get("/api/me").await.is(StatusCode::OK);
    changes(&here, PASSWORD, ANOTHER)
        .await
        .is(StatusCode::NO_CONTENT);
    is_out(&chat, &there).await;
    here.get("/api/me").await.is(StatusCode::OK);
    logs_in_with(&chat, "ada", PASSWORD)
        .await
        .is_problem(401, "unauthorized");
    logs_in_with(&chat, "ada", ANOTHER).await.is(StatusCode::OK);
    changes(&chat.someone(), PASSWORD, ANOTHER)
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn of_two_who_change_a_password_at_once_one_is_told() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let elsewhere = chat.elsewhere(&ada);
    let (one, other) = tokio::join!(
        changes(&ada, PASSWORD, ANOTHER),
        changes(&elsewhere, PASSWORD, "yet another phrase"),
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    // The later one either finds another password kept than it has checked, or has checked the new one.
    assert!(matches!(statuses, [204, 409] | [204, 401]), "{statuses:?}");
}

#[tokio::test]
async fn a_wrong_current_password_cannot_be_guessed_without_end() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for _ in 0..10 {
        changes(&ada, "wrong words", ANOTHER)
            .await
            .is_problem(401, "unauthorized");
    }
    changes(&ada, PASSWORD, ANOTHER)
        .await
        .is_problem(429, "rate_limited");
    leaves(&ada, PASSWORD, "keep")
        .await
        .is_problem(429, "rate_limited");
}

#[tokio::test]
async fn who_logs_out_everywhere_stays_in_here() {
    let chat = Chat::start().await;
    let (here, there) = (chat.registers("ada").await, chat.logs_in("ada").await);
    let out = here.post("/api/logout-everywhere", json!({})).await;
    out.is(StatusCode::NO_CONTENT);
    is_out(&chat, &there).await;
    here.get("/api/me").await.is(StatusCode::OK);
}

#[tokio::test]
async fn a_link_sets_a_new_password_once_and_lets_in() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    chat.makes_administrator("ada").await;
    let path = "/api/admin/users/bob/reset";
    bob.post(path, json!({})).await.is_problem(403, "forbidden");
    let nobody = ada.post("/api/admin/users/nobody/reset", json!({})).await;
    nobody.is_problem(404, "not_found");
    let made = ada.post(path, json!({})).await;
    let made = &made.is(StatusCode::CREATED).body;
    let token = made["token"].as_str().unwrap();
    assert_eq!(made["link"], format!("/#reset={token}"));
    let resets = async |token: &str, password: &str| {
        let body = json!({ "token": token, "password": password });
        chat.someone().post("/api/reset", body).await
    };
    resets(token, "12345678")
        .await
        .is_problem(400, "bad_request");
    resets("00", ANOTHER).await.is_problem(403, "forbidden");
    let done = resets(token, ANOTHER).await;
    assert_eq!(done.is(StatusCode::OK).body["user"], "bob");
    is_out(&chat, &bob).await;
    let bob = chat
        .someone()
        .with_token("bob", done.body["token"].as_str().unwrap());
    bob.get("/api/me").await.is(StatusCode::OK);
    let again = resets(token, PASSWORD).await;
    again.is_problem(403, "forbidden");
    assert!(again.text.contains("used already"), "{}", again.text);
    logs_in_with(&chat, "bob", ANOTHER).await.is(StatusCode::OK);
}

#[tokio::test]
async fn who_leaves_is_gone_and_nobody_takes_their_name() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    leaves(&bob, "wrong words", "keep")
        .await
        .is_problem(401, "unauthorized");
    leaves(&bob, PASSWORD, "burn")
        .await
        .is_problem(400, "bad_request");
    let gone = leaves(&bob, PASSWORD, "keep").await;
    assert_eq!(gone.is(StatusCode::NO_CONTENT).cookie(), "");
    is_out(&chat, &bob).await;
    logs_in_with(&chat, "bob", PASSWORD)
        .await
        .is_problem(401, "unauthorized");
    chat.someone()
        .registers("bob")
        .await
        .is_problem(409, "bad_request");
    // Nobody is left to administer: the last one stays.
    chat.makes_administrator("ada").await;
    leaves(&ada, PASSWORD, "keep")
        .await
        .is_problem(403, "forbidden");
    ada.get("/api/me").await.is(StatusCode::OK);
}
