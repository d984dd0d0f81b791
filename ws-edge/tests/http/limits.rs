//! How often one may fail, and that nobody is locked out by others' failures.

use reqwest::StatusCode;
use serde_json::json;

use crate::chat::Chat;

fn guess(name: &str) -> serde_json::Value {
    json!({ "username": name, "password": "12345678" })
}

const BEHIND_A_PROXY: [&str; 2] = ["--client-address-header", "x-forwarded-for"];

#[tokio::test]
async fn guessing_a_password_comes_to_an_end() {
    let chat = Chat::start_with(&BEHIND_A_PROXY).await;
    chat.registers("ada").await;
    let eve = chat.someone().with("x-forwarded-for", "192.0.2.1");
    for _ in 0..10 {
        eve.post("/api/login", guess("ada"))
            .await
            .is_problem(401, "unauthorized");
    }
    let limited = eve.post("/api/login", guess("ada")).await;
    limited.is_problem(429, "rate_limited");
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    // The right one is not heard either, or she would know it by that.
    eve.logs_in("ada").await.is_problem(429, "rate_limited");
    // Ada, elsewhere, is not kept out; nor is Bob, at Eve's address; nor does Eve get further by lying about hers.
    let ada = chat.someone().with("x-forwarded-for", "192.0.2.2");
    ada.logs_in("ada").await.is(StatusCode::OK);
    chat.registers("bob").await;
    eve.logs_in("bob").await.is(StatusCode::OK);
    let liar = chat
        .someone()
        .with("x-forwarded-for", "203.0.113.9, 192.0.2.1");
    liar.post("/api/login", guess("ada"))
        .await
        .is_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_customers_whole_ipv6_network_is_one_address() {
    let chat = Chat::start_with(&BEHIND_A_PROXY).await;
    chat.registers("ada").await;
    for n in 0..10 {
        let eve = chat
            .someone()
            .with("x-forwarded-for", &format!("2001:db8:0:1::{n}"));
        eve.post("/api/login", guess("ada"))
            .await
            .is_problem(401, "unauthorized");
    }
    let eve = chat
        .someone()
        .with("x-forwarded-for", "2001:db8:0:1:ffff::1");
    eve.post("/api/login", guess("ada"))
        .await
        .is_problem(429, "rate_limited");
    let other = chat.someone().with("x-forwarded-for", "2001:db8:0:2::1");
    other.logs_in("ada").await.is(StatusCode::OK);
}

#[tokio::test]
async fn many_users_behind_one_address_log_in() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    let many = (0..30).map(|_| async { chat.someone().logs_in("ada").await.status });
    for status in futures_util::future::join_all(many).await {
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn guesses_at_once_are_no_way_around_the_limit() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    let many =
        (0..60).map(|_| async { chat.someone().post("/api/login", guess("ada")).await.status });
    let heard = futures_util::future::join_all(many).await;
    let heard = heard
        .iter()
        .filter(|status| **status == StatusCode::UNAUTHORIZED)
        .count();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(
        (10..10 + cores).contains(&heard),
        "{heard} guesses were heard"
    );
}

#[tokio::test]
async fn asking_which_names_are_taken_comes_to_an_end() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    let mut asked = 0;
    let limited = loop {
        let answer = chat.someone().registers("ada").await;
        match answer.status {
            StatusCode::CONFLICT => asked += 1,
            _ => break answer,
        }
    };
    limited.is_problem(429, "rate_limited");
    // A few come back while it asks.
    assert!((100..130).contains(&asked), "{asked}");
}
