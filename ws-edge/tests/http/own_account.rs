//! What people do with their own account: another password, logging out everywhere, links, leaving for good.

use std::sync::Arc;

use chat_client::{Client, HttpAnswer, PASSWORD};
use reqwest::{Method, StatusCode};
use seam_fakes::{Fault, Gate};
use serde_json::{Value, json};

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

/// Somebody says something in a room, and it is in the database; something else is in the stream alone.
async fn talks(chat: &Chat, room: &str, sender: &str) {
    let kept = chat
        .says(room, sender, &format!("{sender} wrote this first"))
        .await;
    chat.persists(&[kept]).await;
    chat.says(room, sender, &format!("{sender} wrote this last"))
        .await;
}

fn texts(listing: &Value) -> Vec<(String, String)> {
    let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();
    let messages = listing["messages"].as_array().unwrap().iter();
    messages
        .map(|message| (text(message, "sender"), text(message, "message")))
        .collect()
}

#[tokio::test]
async fn one_takes_along_all_that_one_wrote_and_nothing_else() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    for (room, sender) in [("lobby", "ada"), ("lobby", "bob"), ("ada", "ada")] {
        talks(&chat, room, sender).await;
    }
    let archive = ada.get("/api/me/export").await;
    archive.is(StatusCode::OK);
    assert!(
        archive
            .header("content-disposition")
            .contains("chinwag-ada.json")
    );
    let body = &archive.body;
    assert_eq!(
        (&body["user"], &body["complete"]),
        (&json!("ada"), &json!(true))
    );
    let own = |text: &str| ("ada".to_owned(), format!("ada wrote this {text}"));
    assert_eq!(
        texts(body),
        [own("first"), own("last"), own("first"), own("last")]
    );
    assert_eq!(body["messages"][3]["room"], "lobby");
    chat.someone()
        .get("/api/me/export")
        .await
        .is_problem(401, "unauthorized");
    for _ in 0..4 {
        ada.get("/api/me/export").await.is(StatusCode::OK);
    }
    ada.get("/api/me/export")
        .await
        .is_problem(429, "rate_limited");
    bob.get("/api/me/export").await.is(StatusCode::OK);
}

#[tokio::test]
async fn an_archive_has_what_no_database_knows_yet() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    talks(&chat, "lobby", "ada").await;
    chat.says("lobby", "bob", "just now").await;
    let archive = bob.get("/api/me/export").await;
    let just_now = ("bob".to_owned(), "just now".to_owned());
    assert_eq!(texts(&archive.is(StatusCode::OK).body), [just_now]);
}

#[tokio::test]
async fn one_archive_of_a_person_is_written_at_a_time_and_for_no_page_from_elsewhere() {
    let (chat, store) = Chat::start_faulty().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    for site in ["cross-site", "same-site"] {
        let elsewhere = ada.with("sec-fetch-site", site);
        let refused = elsewhere.get("/api/me/export").await;
        refused.is_problem(403, "forbidden");
    }
    let gate = Arc::new(Gate::default());
    let hangs = Fault::Hangs(Arc::clone(&gate));
    store.faults.on_next("by_sender", hangs);
    let first = tokio::spawn({
        let ada = ada.with("sec-fetch-site", "same-origin");
        async move { ada.try_call(Method::GET, "/api/me/export", None).await }
    });
    gate.is_reached().await;
    let second = ada.get("/api/me/export").await;
    second.is_problem(429, "rate_limited");
    let others = bob.get("/api/me/export").await;
    others.is(StatusCode::OK);
    gate.opens();
    // What failed midway comes to nobody as a whole one; and is none of hers any more.
    first.await.unwrap().unwrap_err();
    ada.get("/api/me/export").await.is(StatusCode::OK);
}

#[tokio::test]
async fn who_logs_in_changes_nothing_about_who_is_gone() {
    let (chat, store) = Chat::start_faulty().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let reads = async || {
        let history = ada.get("/api/rooms/lobby/messages").await;
        history.is(StatusCode::OK);
        store.faults.calls("deleted_accounts")
    };
    let before = reads().await;
    for _ in 0..3 {
        chat.logs_in("ada").await;
        assert_eq!(reads().await, before);
    }
}

#[tokio::test]
async fn what_stays_of_somebody_who_left_bears_no_name() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    talks(&chat, "lobby", "bob").await;
    let before = ada.get("/api/rooms/lobby/messages").await;
    assert_eq!(texts(&before.body)[0].0, "bob");
    leaves(&bob, PASSWORD, "keep")
        .await
        .is(StatusCode::NO_CONTENT);
    for at in [&ada, &chat.elsewhere(&ada)] {
        until("both edges show it", async || {
            let history = at.get("/api/rooms/lobby/messages").await;
            let texts = texts(&history.body);
            texts.len() == 2 && texts.iter().all(|(sender, _)| sender == "deleted user")
        })
        .await;
    }
    // Also what a socket is sent that comes back.
    let there = chat.elsewhere(&ada);
    let mut socket = there.connects("/ws/chat/lobby?after=1").await;
    for _ in 0..2 {
        assert_eq!(socket.hears("message").await["sender"], "deleted user");
    }
}

#[tokio::test]
async fn what_somebody_takes_with_them_is_gone_and_others_stays() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    for sender in ["bob", "ada", "bob"] {
        talks(&chat, "lobby", sender).await;
    }
    leaves(&bob, PASSWORD, "delete")
        .await
        .is(StatusCode::NO_CONTENT);
    until("nothing of bob's is left", async || {
        let history = ada.get("/api/rooms/lobby/messages").await;
        let (gone, left): (Vec<_>, Vec<_>) = texts(&history.body)
            .into_iter()
            .partition(|(_, text)| text.is_empty());
        assert!(left.iter().filter(|(sender, _)| sender == "ada").count() == 2);
        gone.len() == 4 && left.len() == 2
    })
    .await;
    assert!(
        chat.store
            .deleted_accounts()
            .await
            .unwrap()
            .contains(&"bob".to_owned())
    );
}
