//! P11: private rooms are seen by their members alone, live and in history; a revoked session's sockets close on every
//! edge at once.

use common::store::Messages;
use reqwest::StatusCode;
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
    let made = ada.post("/api/rooms", room).await;
    made.is(StatusCode::CREATED);
    ada.connects().await;
    bob.connects().await;
    ada.joins("secrets", None).await;
    ada.says_and_is_acked("only for us").await;

    bob.sends(&json!({ "type": "join", "room": "secrets" }))
        .await;
    bob.is_refused("not_found").await;
    bob.sends(&json!({ "room": "secrets", "message": "let me in" }))
        .await;
    let history = bob.get("/api/rooms/secrets/messages").await;
    history.is(StatusCode::NOT_FOUND);

    let let_in = ada.put("/api/rooms/secrets/members/bob").await;
    assert!(let_in.status.is_success(), "{let_in:?}");
    stories::until("bob may come in", stories::PATIENCE, async || {
        let history = bob.get("/api/rooms/secrets/messages").await;
        history.status.is_success().then_some(())
    })
    .await;
    bob.joins("secrets", Some(0)).await;
    bob.hears("ada", "only for us").await;

    let put_out = ada.delete("/api/rooms/secrets/members/bob").await;
    assert!(put_out.status.is_success(), "{put_out:?}");
    stories::until("bob is out", stories::PATIENCE, async || {
        let history = bob.get("/api/rooms/secrets/messages").await;
        (history.status == StatusCode::NOT_FOUND).then_some(())
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
    let mut tab = Person::from(laptop.at(&chat.url(2)));
    tab.connects().await;
    let listed = laptop.get("/api/sessions").await;
    let sessions = listed.body["sessions"].as_array().expect("sessions");
    let current = sessions
        .iter()
        .find(|session| session["current"] == true)
        .expect("one is current");
    let path = format!("/api/sessions/{}", current["id"].as_str().expect("an id"));
    let revoked = phone.delete(&path).await;
    assert!(revoked.status.is_success(), "{revoked:?}");
    assert_eq!(laptop.is_closed().await, 4401);
    assert_eq!(tab.is_closed().await, 4401);
    let me = tab.get("/api/me").await;
    me.is(StatusCode::UNAUTHORIZED);
    assert!(
        tab.connects_to("/ws").await.is_err(),
        "the upgrade is refused"
    );
    phone.joins("ada", None).await;
    phone.says_and_is_acked("I am still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_deleted_in_the_middle_of_a_talk_and_nothing_of_it_comes_back() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        persisters: 2,
        ..Setup::default()
    })
    .await;
    let mut ada = Person::register(&chat.url(0), "ada").await;
    let mut bob = Person::register(&chat.url(1), "bob").await;
    ada.makes_room("plans").await.is(StatusCode::CREATED);
    for person in [&mut ada, &mut bob] {
        person.connects().await;
        person.joins("plans", None).await;
    }
    for number in 0..50 {
        ada.says_and_is_acked(&format!("a secret {number}")).await;
    }
    let deleting = Person::from(ada.at(&chat.url(0)));
    let talking = async {
        for number in 0..300 {
            bob.says(&format!("another secret {number}")).await;
        }
    };
    let (deleted, ()) = tokio::join!(deleting.delete("/api/rooms/plans"), talking);
    deleted.is(StatusCode::NO_CONTENT);
    for person in [&ada, &bob] {
        person.is_refused("not_found").await;
        let history = person.get("/api/rooms/plans/messages").await;
        history.is(StatusCode::NOT_FOUND);
    }
    // What the persisters had in hand at that moment is found a few seconds later.
    let store = chat.database().await;
    stories::until("all of it is gone", stories::PATIENCE, async || {
        let latest = store.latest("plans").await.ok()?;
        (latest == 0).then_some(())
    })
    .await;
    bob.joins("bob", None).await;
    bob.says_and_is_acked("what comes later").await;
    stories::until("the persisters go on", stories::PATIENCE, async || {
        let latest = store.latest("bob").await.ok()?;
        (latest > 0).then_some(())
    })
    .await;
    assert_eq!(store.latest("plans").await.expect("an answer"), 0);
    ada.makes_room("plans").await.is(StatusCode::CONFLICT);
}
