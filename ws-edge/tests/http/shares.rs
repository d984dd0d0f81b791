//! What one address and one person may take of an edge, and that others do not go without.

use std::net::Ipv4Addr;

use common::store::Room;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    chat::Chat,
    edges::until,
    raw::{call, connect_from, is_over},
};

const EVES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ADAS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Calls by many at one address, each told by a header.
const BEHIND_A_PROXY: &str = "--client-address-header=x-forwarded-for";

#[tokio::test]
async fn an_address_has_so_many_connections_and_another_address_has_its_own() {
    let chat = Chat::start_with(&["--address-connections=20"]).await;
    let url = &chat.urls[0];
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect_from(EVES, url).await);
    }
    let refused = call(&mut connect_from(EVES, url).await, "/healthz", "").await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    for part in [
        "retry-after: 5",
        "application/problem+json",
        r#""code":"rate_limited""#,
        "ADDRESS_CONNECTIONS, 20",
    ] {
        assert!(refused.contains(part), "no {part} in {refused}");
    }
    let heard = call(&mut connect_from(ADAS, url).await, "/healthz", "").await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    drop(held.pop());
    until("one more gets in", async || {
        let heard = call(&mut connect_from(EVES, url).await, "/healthz", "").await;
        heard.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn an_address_opens_so_many_connections_a_second_and_further_ones_are_just_closed() {
    let chat = Chat::start_with(&["--address-requests-per-second=2"]).await;
    let url = &chat.urls[0];
    let mut opened = Vec::new();
    for _ in 0..60 {
        opened.push(connect_from(EVES, url).await);
    }
    let last = opened.last_mut().expect("sixty");
    assert!(is_over(last).await);
    assert!(!is_over(&mut opened[0]).await);
    let heard = call(&mut connect_from(ADAS, url).await, "/healthz", "").await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test]
async fn behind_a_proxy_each_address_has_so_many_sockets_and_calls_and_the_proxy_any_number() {
    let chat = Chat::start_with(&[BEHIND_A_PROXY, "--address-connections=3"]).await;
    let ada = chat.registers("ada").await;
    let at = |address: &str| ada.with("x-forwarded-for", address);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(at("192.0.2.1").connects("/ws").await);
    }
    let refused = at("192.0.2.1").is_kept_out("/ws").await;
    refused.is_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "5");
    assert!(refused.text.contains("ADDRESS_CONNECTIONS"));
    let refused = at("192.0.2.1").get("/api/me").await;
    refused.is_problem(429, "rate_limited");
    // They come over the same proxy, from a single address.
    for n in 2..20 {
        let other = at(&format!("192.0.2.{n}"));
        sockets.push(other.connects("/ws").await);
        other.get("/api/me").await.is(StatusCode::OK);
    }
    drop(sockets);
    until("the places are free", async || {
        at("192.0.2.1").opens("/ws").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_address_calls_so_often_and_still_sees_the_page() {
    let chat = Chat::start_with(&[BEHIND_A_PROXY, "--address-requests-per-second=2"]).await;
    let eve = chat.someone().with("x-forwarded-for", "192.0.2.1");
    for _ in 0..20 {
        eve.get("/api/rooms").await.is_problem(401, "unauthorized");
    }
    let refused = eve.get("/api/rooms").await;
    refused.is_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text.contains("ADDRESS_REQUESTS_PER_SECOND, 2"));
    eve.is_kept_out("/ws").await.is_problem(429, "rate_limited");
    for path in ["/", "/healthz", "/readyz", "/web/app.js", "/rooms/lobby"] {
        eve.get(path).await.is(StatusCode::OK);
    }
    // However often a load balancer asks.
    for _ in 0..100 {
        eve.get("/readyz").await.is(StatusCode::OK);
    }
    let ada = chat.someone().with("x-forwarded-for", "192.0.2.2");
    ada.get("/api/rooms").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_site_of_many_ipv6_networks_calls_four_times_as_often_and_not_sixty_thousand_times() {
    let chat = Chat::start_with(&[BEHIND_A_PROXY, "--address-requests-per-second=1"]).await;
    let mut heard = 0;
    for n in 0..100 {
        let address = format!("2001:db8:0:{n:x}::1");
        let answer = chat.someone().with("x-forwarded-for", &address);
        heard += usize::from(answer.get("/api/me").await.status == StatusCode::UNAUTHORIZED);
    }
    // Some come back while it calls.
    assert!((40..80).contains(&heard), "{heard}");
    let ada = chat.someone().with("x-forwarded-for", "2001:db8:1::1");
    ada.get("/api/me").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_person_calls_so_often_and_others_at_the_same_address_as_often() {
    let chat = Chat::start_with(&["--user-requests-per-second=3"]).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let mut refused = None;
    for _ in 0..200 {
        // Who asks which rooms there are.
        let answer = ada.get("/api/rooms/secret").await;
        if answer.status != StatusCode::NOT_FOUND {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it comes to an end");
    refused.is_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.text.contains("USER_REQUESTS_PER_SECOND, 3"));
    ada.is_kept_out("/ws").await.is_problem(429, "rate_limited");
    bob.get("/api/me").await.is(StatusCode::OK);
}

#[tokio::test]
async fn a_long_list_of_rooms_is_worth_many_calls() {
    let chat = Chat::start_with(&["--user-requests-per-second=1"]).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    for n in 0..400 {
        let room = Room {
            name: format!("room-{n}"),
            owner: "bob".to_owned(),
            ..Room::default()
        };
        chat.store.create_room(&room).await.unwrap();
    }
    for _ in 0..3 {
        ada.get("/api/rooms?limit=10").await.is(StatusCode::OK);
    }
    // That is as much as twenty further ones.
    ada.get("/api/rooms?limit=1000").await.is(StatusCode::OK);
    ada.get("/api/me").await.is_problem(429, "rate_limited");
    bob.get("/api/me").await.is(StatusCode::OK);
}

#[tokio::test]
async fn a_page_with_three_hundred_rooms_loads() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let calls = (0..300).map(|_| ada.get("/api/rooms/ada/messages?limit=50"));
    for answer in futures_util::future::join_all(calls).await {
        answer.is(StatusCode::OK);
    }
    ada.post("/api/rooms", json!({"name": "one-more"}))
        .await
        .is(StatusCode::CREATED);
}
