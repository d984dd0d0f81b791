//! P11: private rooms are seen by their members alone, live and in history; a revoked session's sockets close on every
//! edge at once.

use common::store::{Messages, Rooms};
use reqwest::{Method, StatusCode};
use serde_json::json;
use stories::{Chat, Direction, PATIENCE, Person, Proxy, Setup, until};

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
    until("bob may come in", PATIENCE, async || {
        let history = bob.get("/api/rooms/secrets/messages").await;
        history.status.is_success().then_some(())
    })
    .await;
    bob.joins("secrets", Some(0)).await;
    bob.hears("ada", "only for us").await;

    let put_out = ada.delete("/api/rooms/secrets/members/bob").await;
    assert!(put_out.status.is_success(), "{put_out:?}");
    until("bob is out", PATIENCE, async || {
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

/// A room is deleted while people talk in it. The edge that does it is killed in the middle, and so is a persister: all are put
/// out at once, on both edges, and nothing of the room comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_deleted_is_gone_at_once_and_stays_so_whoever_dies() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        persisters: 2,
        ..Setup::default()
    })
    .await;
    let word = format!("secret{}", uuid::Uuid::new_v4().simple());
    let mut ada = Person::register(&chat.url(0), "ada").await;
    let mut bob = Person::register(&chat.url(1), "bob").await;
    let mut eve = Person::register(&chat.url(1), "eve").await;
    ada.makes_room("plans").await.is(StatusCode::CREATED);
    for person in [&mut ada, &mut bob, &mut eve] {
        person.connects().await;
        person.joins("plans", None).await;
    }
    for number in 0..40 {
        ada.says_and_is_acked(&format!("{word} {number}")).await;
    }
    // Where nobody dies, all are put out at once.
    ada.makes_room("sketches").await.is(StatusCode::CREATED);
    for person in [&mut ada, &mut bob, &mut eve] {
        person.joins("sketches", None).await;
    }
    ada.delete("/api/rooms/sketches")
        .await
        .is(StatusCode::NO_CONTENT);
    for person in [&ada, &bob, &eve] {
        person.is_refused("not_found").await;
    }
    bob.room = "plans".into();
    let refusals = |person: &Person| {
        let errors = person
            .frames()
            .into_iter()
            .filter(|frame| frame["code"] == "not_found");
        errors.count()
    };
    let before = refusals(&eve);

    // The edge that is asked for it has its Redis on a wire: it dies when the room is nobody's any more, and before it has
    // told anybody and erased it.
    let redis = chat.setting("REDIS_URL").to_owned();
    let wire = Proxy::to(Proxy::host_of(&redis)).await;
    let settings = [("REDIS_URL", wire.instead_of(&redis))];
    let edge = chat.service("ws-edge", "dies-in-the-middle", &settings);
    edge.ready().await;
    let there = Person::from(ada.at(&format!("http://{}", edge.listen)));
    there
        .get("/api/rooms/plans/messages")
        .await
        .is(StatusCode::OK);
    wire.hold(Direction::ToEngine);
    let deleting = tokio::spawn(async move {
        there
            .try_call(Method::DELETE, "/api/rooms/plans", None)
            .await
    });
    let database = chat.database().await;
    let talking = async {
        for number in 0..100 {
            bob.says(&format!("{word} and {number} more")).await;
        }
    };
    let killing = async {
        until("the room is nobody's", PATIENCE, async || {
            let room = database.room("plans").await.ok()?;
            room.is_none().then_some(())
        })
        .await;
        edge.kill();
        chat.persisters[0].kill();
    };
    tokio::join!(talking, killing);
    wire.cut();
    drop(deleting.await);
    chat.persisters[0].start_again();
    // Whoever finds what was begun tells them.
    until(
        "who says nothing is put out as well",
        PATIENCE,
        async || (refusals(&eve) > before).then_some(()),
    )
    .await;
    for person in [&bob, &eve] {
        until("it is not seen any more", PATIENCE, async || {
            let history = person.get("/api/rooms/plans/messages").await;
            (history.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }
    crate::everywhere::is_nowhere(&chat, &word).await;
    bob.joins("bob", None).await;
    bob.says_and_is_acked("what comes later").await;
    until("the persisters go on", PATIENCE, async || {
        let latest = database.latest("bob").await.ok()?;
        (latest > 0).then_some(())
    })
    .await;
    assert_eq!(database.latest("plans").await.expect("an answer"), 0);
    ada.makes_room("plans").await.is(StatusCode::CONFLICT);
}
