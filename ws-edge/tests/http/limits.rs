//! How often one may fail, and that nobody is locked out by others' failures.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chat_client::{Client, HttpAnswer};
use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{chat::Chat, edges::until};

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

/// Somebody who calls from this address, by what the proxy says.
fn from(chat: &Chat, address: &str) -> Client {
    chat.someone().with("x-forwarded-for", address)
}

/// The value of the cookie that a device is known by.
fn device(answer: &HttpAnswer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter();
    let cookie = cookies
        .filter_map(|cookie| cookie.to_str().ok()?.strip_prefix("device="))
        .next()
        .expect("a cookie `device`");
    for part in [
        "; HttpOnly",
        "; SameSite=Lax",
        "; Path=/",
        "; Max-Age=31536000",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_many_registrations_waits_behind_themselves() {
    let flags = [&BEHIND_A_PROXY[..], &["--address-registrations-per-hour=0"]].concat();
    let chat = Chat::start_with(&flags).await;
    from(&chat, "192.0.2.9")
        .registers("ada")
        .await
        .is(StatusCode::OK);
    let (hashed, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for number in 0..400 {
        // From networks of one /48: to whoever waits, these are one as well.
        let eve = from(&chat, &format!("2001:db8:7:{:x}::1", number % 50));
        let (hashed, refused) = (Arc::clone(&hashed), Arc::clone(&refused));
        flood.spawn(async move {
            match eve.registers(&format!("eve-{number}-x")).await.status {
                StatusCode::OK => hashed.fetch_add(1, Ordering::SeqCst),
                StatusCode::TOO_MANY_REQUESTS => refused.fetch_add(1, Ordering::SeqCst),
                other => panic!("{other}"),
            }
        });
    }
    until("the flood has begun", async || {
        hashed.load(Ordering::SeqCst) > 2
    })
    .await;
    let goes_on = || hashed.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst) < 400;
    let mut rounds = 0;
    while rounds < 4 && goes_on() {
        let before = hashed.load(Ordering::SeqCst);
        let ada = from(&chat, &format!("192.0.2.{rounds}"));
        ada.logs_in("ada").await.is(StatusCode::OK);
        let meanwhile = hashed.load(Ordering::SeqCst) - before;
        // Those that were being hashed, one whose turn came first, and some while her session was made.
        assert!(meanwhile <= 25, "{meanwhile} others were heard before her");
        rounds += usize::from(goes_on());
    }
    assert!(rounds > 0, "the flood was over too soon to tell");
    // On a large machine all of them may wait.
    let cores = std::thread::available_parallelism().unwrap().get();
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused > 0 || cores > 4, "all of the flood had a place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_device_is_not_locked_out_with_the_others() {
    let chat = Chat::start_with(&BEHIND_A_PROXY).await;
    let known = device(
        from(&chat, "192.0.2.9")
            .registers("ada")
            .await
            .is(StatusCode::OK),
    );
    let bobs = device(
        from(&chat, "192.0.2.9")
            .registers("bob")
            .await
            .is(StatusCode::OK),
    );
    // From 40 networks, until all that may be guessed was.
    let guessed = async || {
        loop {
            // Fewer at once than may wait.
            let guesses = (0..40).map(|network| {
                let eve = from(&chat, &format!("2001:db8:{network:x}::1"));
                async move { eve.post("/api/login", guess("ada")).await.status }
            });
            let statuses = futures_util::future::join_all(guesses).await;
            if statuses
                .iter()
                .all(|status| *status == StatusCode::TOO_MANY_REQUESTS)
            {
                return;
            }
        }
    };
    guessed().await;
    // And again before each look, since every ten seconds one attempt is heard, whosever it is.
    let is_locked_out = async |stranger: &Client| {
        until("a stranger is not heard", async || {
            guessed().await;
            stranger.logs_in("ada").await.status == StatusCode::TOO_MANY_REQUESTS
        })
        .await;
    };
    let elsewhere = from(&chat, "198.51.100.1");
    is_locked_out(&elsewhere).await;
    let with = |device: &str| elsewhere.with("cookie", &format!("theme=dark; device={device}"));
    let let_in = with(&known).logs_in("ada").await;
    assert_eq!(
        device(let_in.is(StatusCode::OK)),
        known,
        "it stays known by the same value"
    );
    // Nobody else's device will do, and none that nobody gave out.
    for unknown in [&bobs, "", &"0".repeat(64)] {
        is_locked_out(&with(unknown)).await;
    }
    let others = with(&known).logs_in("bob").await;
    assert_ne!(device(others.is(StatusCode::OK)), known, "it is ada's");
    let planted = with(&"0".repeat(64)).logs_in("bob").await;
    assert_ne!(
        device(planted.is(StatusCode::OK)),
        "0".repeat(64),
        "eve may have put it there"
    );

    // A stolen one is worth ten guesses, as any address is.
    let mut guesses = 0;
    let limited = loop {
        let answer = with(&known).post("/api/login", guess("ada")).await;
        match answer.status {
            StatusCode::UNAUTHORIZED => guesses += 1,
            _ => break answer,
        }
    };
    limited.is_problem(429, "rate_limited");
    assert_eq!(guesses, 10);
    with(&known)
        .logs_in("ada")
        .await
        .is_problem(429, "rate_limited");
}

#[tokio::test]
async fn an_address_registers_so_many_accounts_within_an_hour() {
    let flags = [&BEHIND_A_PROXY[..], &["--address-registrations-per-hour=2"]].concat();
    let chat = Chat::start_with(&flags).await;
    let registers = async |address: &str, name: &str| from(&chat, address).registers(name).await;
    for name in ["eve-one", "eve-two"] {
        registers("2001:db8:7:1::1", name).await.is(StatusCode::OK);
    }
    let limited = registers("2001:db8:7:1:ffff::1", "eve-three").await;
    limited.is_problem(429, "rate_limited");
    assert!(limited.text.contains("within an hour"), "{}", limited.text);
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    registers("192.0.2.1", "ada").await.is(StatusCode::OK);
    from(&chat, "2001:db8:7:1::1")
        .logs_in("ada")
        .await
        .is(StatusCode::OK);
    // Of a /48 there are ten times as many, however many networks are in it.
    for number in 2..20 {
        let eve = registers(
            &format!("2001:db8:7:{number}::1"),
            &format!("eve-{number}-b"),
        )
        .await;
        eve.is(StatusCode::OK);
    }
    let limited = registers("2001:db8:7:77::1", "eve-four").await;
    limited.is_problem(429, "rate_limited");
    registers("2001:db8:8:1::1", "bob").await.is(StatusCode::OK);
}

#[tokio::test]
async fn the_right_password_is_not_worth_all_cores_either() {
    let chat = Chat::start_with(&BEHIND_A_PROXY).await;
    chat.registers("eve").await;
    let mut let_in = 0;
    let limited = loop {
        let eve = from(&chat, &format!("2001:db8:7:{let_in:x}::1"));
        let answer = eve.logs_in("eve").await;
        match answer.status {
            StatusCode::OK => let_in += 1,
            _ => break answer,
        }
    };
    limited.is_problem(429, "rate_limited");
    // A few come back while it logs in.
    assert!((100..130).contains(&let_in), "{let_in}");
    from(&chat, "192.0.2.1")
        .logs_in("eve")
        .await
        .is(StatusCode::OK);
}
