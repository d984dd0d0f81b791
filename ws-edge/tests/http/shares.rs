//! What one address and one person may take of an edge, and that others do not go without.

use std::net::Ipv4Addr;

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let mut closed = 0;
    for _ in 0..40 {
        closed += usize::from(is_over(&mut connect_from(EVES, url).await).await);
        if closed > 0 {
            break;
        }
    }
    assert_eq!(closed, 1);
    let heard = call(&mut connect_from(ADAS, url).await, "/healthz", "").await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_shut_nobody_out() {
    // Also where nothing is set for an address: whoever has the most makes room.
    let chat =
        Chat::start_with(&["--address-connections=0", "--address-requests-per-second=0"]).await;
    let url = &chat.urls[0];
    let mut held = Vec::new();
    // As many as there may be, or as this process can hold the clients' ends of.
    for _ in 0..10_000 {
        let from = Ipv4Addr::new(127, 0, 0, 3 + u8::try_from(held.len() % 5).unwrap());
        let mut stream = connect_from(from, url).await;
        let is_full = held.len() % 1_000 == 999 && is_over(&mut stream).await;
        held.push(stream);
        if is_full {
            break;
        }
    }
    for _ in 0..20 {
        let heard = call(&mut connect_from(ADAS, url).await, "/healthz", "").await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{} {heard}", held.len());
    }
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

#[tokio::test]
async fn a_body_that_never_comes_keeps_nobody_else_waiting() {
    let chat = Chat::start().await;
    let url = &chat.urls[0];
    let mut held = Vec::new();
    for _ in 0..1_100 {
        let mut stream = connect_from(EVES, url).await;
        let head = "POST /api/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // Elsewhere one logs in; at the same address one is told that there is no more room for it.
    let body = r#"{"username":"nobody","password":"12345678"}"#;
    let head = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for (from, status) in [(ADAS, "HTTP/1.1 401"), (EVES, "HTTP/1.1 429")] {
        let mut stream = connect_from(from, url).await;
        let call = format!("POST /api/login HTTP/1.1\r\nHost: here\r\n{head}");
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status);
    }
}
