//! What administrators do, and that nobody else does it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{chat::Chat, edges::until};

fn names(listing: &Value, of: &str) -> Vec<String> {
    let all = listing[of].as_array().unwrap().iter();
    all.map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn nobody_but_administrators_administers() {
    let chat = Chat::start().await;
    let bob = chat.registers("bob").await;
    for path in ["users", "rooms", "usage", "audit"] {
        let path = format!("/api/admin/{path}");
        bob.get(&path).await.is_problem(403, "forbidden");
        chat.someone()
            .get(&path)
            .await
            .is_problem(401, "unauthorized");
    }
    let (user, off) = ("/api/admin/users/bob", json!({ "admin": true }));
    bob.patch(user, off.clone())
        .await
        .is_problem(403, "forbidden");
    bob.delete(user).await.is_problem(403, "forbidden");
    chat.someone()
        .patch(user, off)
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn people_and_rooms_are_listed_by_pages() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    chat.makes_administrator("ada").await;
    for name in ["bob", "carol"] {
        let person = chat.registers(name).await;
        let room = json!({ "name": format!("{name}s-room"), "private": true });
        person
            .post("/api/rooms", room)
            .await
            .is(StatusCode::CREATED);
    }
    let page = ada.get("/api/admin/users?limit=2").await;
    assert_eq!(
        names(&page.is(StatusCode::OK).body, "users"),
        ["ada", "bob"]
    );
    assert_eq!(page.body["next"], "bob");
    let first = &page.body["users"][0];
    assert_eq!(
        (&first["admin"], &first["disabled"]),
        (&json!(true), &json!(false))
    );
    let page = ada.get("/api/admin/users?after=bob").await;
    assert_eq!(names(&page.body, "users"), ["carol"]);
    assert_eq!(page.body["users"][0]["rooms"], 1);
    assert!(page.body.get("next").is_none());
    let rooms = ada.get("/api/admin/rooms").await;
    assert_eq!(
        names(&rooms.is(StatusCode::OK).body, "rooms"),
        ["bobs-room", "carols-room"]
    );
    // That it is there does not let anybody in.
    ada.get("/api/rooms/bobs-room")
        .await
        .is_problem(404, "not_found");
    for bad in [
        "users?limit=0",
        "users?after=No+Name",
        "rooms?limit=0",
        "audit?limit=0",
    ] {
        let refused = ada.get(&format!("/api/admin/{bad}")).await;
        refused.is_problem(400, "bad_request");
    }
}

#[tokio::test]
async fn a_disabled_account_is_out_everywhere_until_it_is_enabled() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    chat.makes_administrator("ada").await;
    chat.elsewhere(&bob).get("/api/me").await.is(StatusCode::OK);
    let path = "/api/admin/users/bob";
    ada.patch(path, json!({}))
        .await
        .is_problem(400, "bad_request");
    ada.patch(path, json!({ "disabled": "yes" }))
        .await
        .is_problem(400, "bad_request");
    let nobody = ada
        .patch("/api/admin/users/nobody", json!({ "disabled": true }))
        .await;
    nobody.is_problem(404, "not_found");
    let off = ada.patch(path, json!({ "disabled": true })).await;
    let standing = json!({ "name": "bob", "admin": false, "disabled": true, "deleted": false, "program": false });
    assert_eq!(off.is(StatusCode::OK).body, standing);
    bob.get("/api/me").await.is_problem(401, "unauthorized");
    until("the other edge has heard it", async || {
        chat.elsewhere(&bob).get("/api/me").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    let refused = chat.someone().logs_in("bob").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text.contains("disabled"), "{}", refused.text);
    ada.patch(path, json!({ "disabled": false }))
        .await
        .is(StatusCode::OK);
    chat.logs_in("bob")
        .await
        .get("/api/me")
        .await
        .is(StatusCode::OK);
    // What was ended stays ended.
    bob.get("/api/me").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn rights_that_were_lost_a_moment_ago_are_worth_nothing() {
    let chat = Chat::start().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    chat.makes_administrator("ada").await;
    chat.makes_administrator("bob").await;
    bob.get("/api/admin/users").await.is(StatusCode::OK);
    let demoted = ada
        .patch("/api/admin/users/bob", json!({ "admin": false }))
        .await;
    demoted.is(StatusCode::OK);
    let late = bob
        .patch("/api/admin/users/ada", json!({ "disabled": true }))
        .await;
    late.is_problem(403, "forbidden");
    let last = ada
        .patch("/api/admin/users/ada", json!({ "admin": false }))
        .await;
    last.is_problem(403, "forbidden");
    assert!(
        last.text.contains("nobody would administer"),
        "{}",
        last.text
    );
    ada.delete("/api/admin/users/ada")
        .await
        .is_problem(403, "forbidden");
    ada.delete("/api/admin/users/bob")
        .await
        .is(StatusCode::NO_CONTENT);
    ada.delete("/api/admin/users/bob")
        .await
        .is_problem(404, "not_found");
    bob.get("/api/me").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn what_was_done_and_what_the_models_did_is_told() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    chat.registers("bob").await;
    chat.makes_administrator("ada").await;
    ada.patch("/api/admin/users/bob", json!({ "disabled": true }))
        .await
        .is(StatusCode::OK);
    let log = ada.get("/api/admin/audit").await;
    let entries = log.is(StatusCode::OK).body["entries"].as_array().unwrap();
    let told = |n: usize| ["actor", "deed", "subject"].map(|field| entries[n][field].clone());
    assert_eq!(told(0), [json!("ada"), json!("disabled"), json!("bob")]);
    assert_eq!(
        told(1),
        [json!(null), json!("made administrator"), json!("ada")]
    );
    humantime::parse_rfc3339(entries[0]["at"].as_str().unwrap()).expect("RFC 3339");
    let page = ada.get("/api/admin/audit?limit=1").await;
    let next = page.body["next"].as_u64().unwrap();
    let page = ada.get(&format!("/api/admin/audit?before={next}")).await;
    assert_eq!(page.body["entries"].as_array().unwrap().len(), 1);

    let usage = ada
        .get("/api/admin/usage?by=user,day&since=2026-01-01")
        .await;
    assert_eq!(usage.is(StatusCode::OK).body["sums"], json!([]));
    assert_eq!(usage.body["since"], "2026-01-01");
    for bad in ["by=mood", "since=yesterday", "until=2026-02-30"] {
        let refused = ada.get(&format!("/api/admin/usage?{bad}")).await;
        refused.is_problem(400, "bad_request");
    }
}
