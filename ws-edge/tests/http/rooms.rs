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
    for name in [
        "lobby", "bob", "bot", "b0t", "everyone", "support", "b0b", "bo-b", "a-d-a",
    ] {
        ada.makes_room(name).await.is_problem(409, "bad_request");
    }
    let looks = chat.someone().registers("l0bby").await;
    looks.is_problem(409, "bad_request");
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
async fn nobody_makes_more_rooms_than_one_may() {
    let chat = Chat::start_with(&["--user-rooms=3", "--user-rooms-per-hour=2"]).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    for name in ["den", "lobby"] {
        ada.makes_room(name).await.is(StatusCode::CREATED);
    }
    // At whichever edge.
    let limited = chat.elsewhere(&ada).makes_room("attic").await;
    limited.is_problem(429, "rate_limited");
    assert!(
        limited.text.contains("2 rooms within an hour"),
        "{}",
        limited.text
    );
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    bob.makes_room("attic").await.is(StatusCode::CREATED);

    let chat = Chat::start_with(&["--user-rooms=2", "--user-rooms-per-hour=0"]).await;
    let ada = chat.registers("ada").await;
    for name in ["den", "lobby"] {
        ada.makes_room(name).await.is(StatusCode::CREATED);
    }
    let full = ada.makes_room("attic").await;
    full.is_problem(403, "forbidden");
    assert!(full.text.contains("you own 2 rooms"), "{}", full.text);
    assert!(full.text.contains("deleting"), "{}", full.text);

    let chat = Chat::start_with(&["--user-rooms=0", "--user-rooms-per-hour=0"]).await;
    let ada = chat.registers("ada").await;
    for number in 0..8 {
        let name = format!("room-{number}");
        ada.makes_room(&name).await.is(StatusCode::CREATED);
    }
}

#[tokio::test]
async fn the_list_comes_in_pages_with_ones_own_rooms_first() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    for number in 0..5 {
        let name = format!("hall-{number}");
        let room = json!({ "name": name, "persona": "p".repeat(2_000) });
        ada.post("/api/rooms", room).await.is(StatusCode::CREATED);
    }
    bob.makes_room("zoo").await.is(StatusCode::CREATED);
    ada.put("/api/rooms/hall-3/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    let said = chat.says("zoo", "bob", "hear, hear").await;
    chat.persists(std::slice::from_ref(&said)).await;

    let first = bob.get("/api/rooms?limit=3").await;
    let expected = json!({ "rooms": [
        { "name": "bob", "private": true, "bot": "always", "owner": "bob", "latest": 0, "read": 0, "unread": 0 },
        { "name": "zoo", "private": false, "bot": "mention", "owner": "bob", "latest": said.seq, "read": 0, "unread": 0 },
        { "name": "hall-3", "private": false, "bot": "mention", "owner": "ada", "latest": 0, "read": 0, "unread": 0, "invited_by": "ada" },
    ], "next": "hall-3" });
    assert_eq!(first.is(StatusCode::OK).body, expected);
    let mut read: Vec<String> = Vec::new();
    let mut path = "/api/rooms?limit=2".to_owned();
    loop {
        let page = bob.get(&path).await.body;
        let rooms = page["rooms"].as_array().unwrap();
        assert!(rooms.len() <= 2);
        read.extend(
            rooms
                .iter()
                .map(|room| room["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/rooms?limit=2&after={next}");
    }
    assert_eq!(
        read,
        [
            "bob", "zoo", "hall-3", "hall-0", "hall-1", "hall-2", "hall-4"
        ]
    );
    for bad in ["limit=0", "limit=many", "after=No%20Room"] {
        let refused = bob.get(&format!("/api/rooms?{bad}")).await;
        refused.is_problem(400, "bad_request");
    }
    bob.get("/api/rooms?limit=99999").await.is(StatusCode::OK);
}

#[tokio::test]
async fn an_invitation_is_taken_or_declined() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let eve = chat.registers("eve").await;
    let den = json!({ "name": "den", "private": true });
    ada.post("/api/rooms", den).await.is(StatusCode::CREATED);
    ada.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    let seen = bob.get("/api/rooms/den").await;
    assert_eq!(seen.is(StatusCode::OK).body["invited_by"], "ada");
    assert!(
        ada.get("/api/rooms/den")
            .await
            .body
            .get("invited_by")
            .is_none()
    );
    for _ in 0..2 {
        bob.put("/api/rooms/den/members/bob")
            .await
            .is(StatusCode::NO_CONTENT);
        assert!(
            bob.get("/api/rooms/den")
                .await
                .body
                .get("invited_by")
                .is_none()
        );
    }
    // Nobody takes what they were not offered, nor for others.
    eve.put("/api/rooms/den/members/eve")
        .await
        .is_problem(404, "not_found");
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    eve.put("/api/rooms/lobby/members/eve")
        .await
        .is_problem(403, "forbidden");
    eve.put("/api/rooms/lobby/members/bob")
        .await
        .is_problem(403, "forbidden");

    // Declined three times is an answer.
    for _ in 0..3 {
        ada.put("/api/rooms/lobby/members/eve")
            .await
            .is(StatusCode::NO_CONTENT);
        eve.delete("/api/rooms/lobby/members/eve")
            .await
            .is(StatusCode::NO_CONTENT);
    }
    let often = ada.put("/api/rooms/den/members/eve").await;
    often.is_problem(429, "rate_limited");
    assert!(!often.header("retry-after").is_empty());
    eve.get("/api/rooms/den").await.is_problem(404, "not_found");
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

#[tokio::test]
async fn a_room_has_a_title_and_a_topic() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let new = json!({ "name": "lobby", "title": " Die große Halle 🎪 " });
    let made = ada.post("/api/rooms", new).await;
    assert_eq!(
        made.is(StatusCode::CREATED).body["title"],
        "Die große Halle 🎪"
    );
    let topic = json!({ "topic": "What is new\nand what is not" });
    let changed = ada.patch("/api/rooms/lobby", topic).await;
    assert_eq!(changed.body["topic"], "What is new\nand what is not");
    assert_eq!(changed.body["title"], "Die große Halle 🎪");
    let listed = ada.get("/api/rooms").await.body;
    assert_eq!(listed["rooms"][1]["title"], "Die große Halle 🎪");
    let blank = json!({ "title": "  ", "topic": "" });
    let changed = ada.patch("/api/rooms/lobby", blank).await.body;
    let expected = json!({ "name": "lobby", "private": false, "bot": "mention", "persona": "", "owner": "ada" });
    assert_eq!(changed, expected);
    for title in [
        "a\nb",
        "a\u{0}",
        "\u{202e}nimda",
        "\u{200b}",
        "␛[1m",
        "x\u{85}y",
    ] {
        let refused = ada
            .patch("/api/rooms/lobby", json!({ "title": title }))
            .await;
        refused.is_problem(400, "bad_request");
    }
    for bad in [
        json!({ "title": "t".repeat(101) }),
        json!({ "topic": "t".repeat(501) }),
    ] {
        let refused = ada.patch("/api/rooms/lobby", bad).await;
        refused.is_problem(413, "too_large");
    }
    let refused = ada.patch("/api/rooms/lobby", json!({ "title": 7 })).await;
    refused.is_problem(400, "bad_request");
}

#[tokio::test]
async fn a_room_is_handed_over_and_its_old_owner_stays() {
    let chat = Chat::start_with(&["--user-rooms=1"]).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let den = json!({ "name": "den", "private": true });
    ada.post("/api/rooms", den).await.is(StatusCode::CREATED);
    for owner in ["bob", "nobody", "No Name"] {
        let refused = ada.patch("/api/rooms/den", json!({ "owner": owner })).await;
        refused.is_problem(409, "bad_request");
    }
    ada.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    let invited = ada.patch("/api/rooms/den", json!({ "owner": "bob" })).await;
    invited.is_problem(409, "bad_request");
    bob.put("/api/rooms/den/members/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    let own = ada.patch("/api/rooms/ada", json!({ "owner": "bob" })).await;
    own.is_problem(403, "forbidden");
    let refused = bob.patch("/api/rooms/den", json!({ "owner": "bob" })).await;
    refused.is_problem(403, "forbidden");
    // Both at once: one of them is hers no more when it comes.
    let to_bob = || ada.patch("/api/rooms/den", json!({ "owner": "bob" }));
    let (one, other) = tokio::join!(to_bob(), to_bob());
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    let refused = ada.patch("/api/rooms/den", json!({ "bot": "off" })).await;
    refused.is_problem(403, "forbidden");
    assert_eq!(ada.get("/api/rooms/den").await.body["owner"], "bob");
    let members = bob.get("/api/rooms/den/members").await.body;
    assert_eq!(members, json!({ "members": ["ada"] }));
    let stays = bob.delete("/api/rooms/den/members/bob").await;
    stays.is_problem(403, "forbidden");
    // She may make one again, and he has as many as he may.
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    chat.store.add_member("lobby", "bob").await.unwrap();
    let full = ada
        .patch("/api/rooms/lobby", json!({ "owner": "bob" }))
        .await;
    full.is_problem(403, "forbidden");
}

#[tokio::test]
async fn a_room_is_deleted_by_its_owner_alone_and_its_name_is_nobodys() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let said = chat.says("lobby", "ada", "a secret").await;
    chat.persists(&[said]).await;
    bob.delete("/api/rooms/lobby")
        .await
        .is_problem(403, "forbidden");
    for room in ["nowhere", "bob", "No%20Room"] {
        let refused = ada.delete(&format!("/api/rooms/{room}")).await;
        refused.is_problem(404, "not_found");
    }
    ada.delete("/api/rooms/ada")
        .await
        .is_problem(403, "forbidden");
    ada.delete("/api/rooms/lobby")
        .await
        .is(StatusCode::NO_CONTENT);
    assert_eq!(chat.store.latest("lobby").await.unwrap(), 0);
    for path in ["/api/rooms/lobby", "/api/rooms/lobby/messages"] {
        for person in [&ada, &chat.elsewhere(&bob)] {
            person.get(path).await.is_problem(404, "not_found");
        }
    }
    ada.delete("/api/rooms/lobby")
        .await
        .is_problem(404, "not_found");
    ada.makes_room("lobby").await.is_problem(409, "bad_request");
    let named = chat.someone().registers("lobby").await;
    named.is_problem(409, "bad_request");
}

#[tokio::test]
async fn who_is_banned_does_not_see_a_public_room() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    // Nobody can be told to administer the server by whether they can be banned.
    chat.makes_administrator("bob").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let elsewhere = chat.elsewhere(&bob);
    elsewhere
        .get("/api/rooms/lobby/messages")
        .await
        .is(StatusCode::OK);
    let refused = bob.put("/api/rooms/lobby/bans/ada").await;
    refused.is_problem(403, "forbidden");
    let refused = ada.put("/api/rooms/lobby/bans/ada").await;
    refused.is_problem(403, "forbidden");
    for name in ["nobody", "No%20Name"] {
        let path = format!("/api/rooms/lobby/bans/{name}");
        ada.put(&path).await.is_problem(404, "not_found");
        ada.delete(&path).await.is_problem(404, "not_found");
    }
    for _ in 0..2 {
        ada.put("/api/rooms/lobby/bans/bob")
            .await
            .is(StatusCode::NO_CONTENT);
    }
    let bans = ada.get("/api/rooms/lobby/bans").await.body;
    assert_eq!(bans, json!({ "bans": ["bob"] }));
    assert_eq!(names_seen_by(&bob).await, ["bob"]);
    until("the other edge knows it", async || {
        let history = elsewhere.get("/api/rooms/lobby/messages").await;
        history.status == StatusCode::NOT_FOUND
    })
    .await;
    let refused = ada.put("/api/rooms/lobby/members/bob").await;
    refused.is_problem(403, "forbidden");
    for _ in 0..2 {
        let path = "/api/rooms/lobby/bans/bob";
        ada.delete(path).await.is(StatusCode::NO_CONTENT);
    }
    assert_eq!(names_seen_by(&bob).await, ["bob", "lobby"]);
    let refused = bob.get("/api/rooms/lobby/bans").await;
    refused.is_problem(403, "forbidden");
}

#[tokio::test]
async fn a_room_keeps_what_is_said_for_as_many_days_as_its_owner_says() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let path = "/api/rooms/lobby";
    for days in [1, 30, 36_500] {
        let changed = ada.patch(path, json!({ "retention_days": days })).await;
        assert_eq!(changed.is(StatusCode::OK).body["retention_days"], days);
        // What else is changed leaves it as it is.
        let changed = ada.patch(path, json!({ "topic": "ours" })).await;
        assert_eq!(changed.body["retention_days"], days);
        assert_eq!(bob.get(path).await.body["retention_days"], days);
    }
    for bad in [
        json!(0),
        json!(-1),
        json!(36_501),
        json!(1.5),
        json!("30"),
        json!(true),
        json!([1]),
    ] {
        let refused = ada.patch(path, json!({ "retention_days": bad })).await;
        let words = refused.is_problem(400, "bad_request").body["detail"].to_string();
        assert!(words.contains("1 to 36500"), "{words}");
    }
    let days = json!({ "retention_days": 7 });
    bob.patch(path, days.clone())
        .await
        .is_problem(403, "forbidden");
    assert_eq!(ada.get(path).await.body["retention_days"], 36_500);
    let taken_away = ada.patch(path, json!({ "retention_days": null })).await;
    assert_eq!(
        taken_away.is(StatusCode::OK).body.get("retention_days"),
        None
    );
    // One's own room too.
    let own = ada.patch("/api/rooms/ada", days).await;
    assert_eq!(own.is(StatusCode::OK).body["retention_days"], 7);
}
