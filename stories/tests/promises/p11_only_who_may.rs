//! P11: private rooms are seen by their members alone, live and in history; a revoked session's sockets close on every
//! edge at once.

use reqwest::{Method, StatusCode};
use serde_json::json;
use stories::{Chat, Person, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_private_room_is_seen_by_its_members_alone() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let mut ada = Person::register(&chat.url(0), "ada").await;
    let mut bob = Person::register(&chat.url(1), "bob").await;
    let room = json!({ "name": "secrets", "private": true });
    let (status, _) = ada.calls(Method::POST, "/api/rooms", Some(room)).await;
    assert_eq!(status, StatusCode::CREATED);
    ada.connects().await;
    bob.connects().await;
    ada.joins("secrets", None).await;
    ada.says_and_is_acked("only for us").await;

    bob.sends(&json!({ "type": "join", "room": "secrets" }))
        .await;
    bob.is_refused("not_found").await;
    bob.sends(&json!({ "room": "secrets", "message": "let me in" }))
        .await;
    let history = bob
        .calls(Method::GET, "/api/rooms/secrets/messages", None)
        .await;
    assert_eq!(history.0, StatusCode::NOT_FOUND);

    let (status, _) = ada
        .calls(Method::PUT, "/api/rooms/secrets/members/bob", None)
        .await;
    assert!(status.is_success(), "{status}");
    stories::until("bob may come in", stories::PATIENCE, async || {
        let (status, _) = bob
            .calls(Method::GET, "/api/rooms/secrets/messages", None)
            .await;
        status.is_success().then_some(())
    })
    .await;
    bob.joins("secrets", Some(0)).await;
    bob.hears("ada", "only for us").await;

    let (status, _) = ada
        .calls(Method::DELETE, "/api/rooms/secrets/members/bob", None)
        .await;
    assert!(status.is_success(), "{status}");
    stories::until("bob is out", stories::PATIENCE, async || {
        let (status, _) = bob
            .calls(Method::GET, "/api/rooms/secrets/messages", None)
            .await;
        (status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let heard = bob.messages().len();
    ada.says_and_is_acked("now we are alone").await;
    // A message in another room goes the same way afterwards; had he been shown the secret, it would be there by now.
    bob.joins("bob", None).await;
    bob.says_and_is_acked("to myself").await;
    bob.hears("bob", "to myself").await;
    bob.room = "secrets".into();
    assert_eq!(bob.messages().len(), heard, "{:?}", bob.messages());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_closed_on_every_edge() {
    let chat = Chat::with(Setup {
        edges: 3,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let mut phone = Person::register(&chat.url(0), "ada").await;
    phone.connects().await;
    let mut laptop = Person::log_in(&chat.url(1), "ada").await;
    laptop.connects().await;
    // The laptop's session is open on a third edge as well.
    let mut tab = Person::log_in(&chat.url(2), "ada").await;
    tab.token = laptop.token.clone();
    tab.connects().await;
    let (_, me) = laptop.calls(Method::GET, "/api/sessions", None).await;
    let sessions = me["sessions"].as_array().expect("sessions");
    let current = sessions
        .iter()
        .find(|session| session["current"] == true)
        .expect("one is current");
    let path = format!("/api/sessions/{}", current["id"].as_str().expect("an id"));
    let (status, _) = phone.calls(Method::DELETE, &path, None).await;
    assert!(status.is_success(), "{status}");
    assert_eq!(laptop.is_closed().await, 4401);
    assert_eq!(tab.is_closed().await, 4401);
    let (status, _) = tab.calls(Method::GET, "/api/me", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        tab.connects_to("/ws").await.is_err(),
        "the upgrade is refused"
    );
    phone.joins("ada", None).await;
    phone.says_and_is_acked("I am still here").await;
}
