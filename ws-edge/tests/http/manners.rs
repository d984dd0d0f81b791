//! What holds for every call: problem documents, limits, headers, and whose pages may call.

use std::time::Duration;

use chat_client::credentials;
use reqwest::StatusCode;
use serde_json::json;

use crate::chat::Chat;

#[tokio::test]
async fn whatever_is_wrong_is_said_in_a_problem_document() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for path in [
        "/api/nothing",
        "/api/",
        "/api/rooms/lobby/nothing",
        "/nothing",
        "/web/nothing.js",
        "/web/../Cargo.toml",
    ] {
        ada.get(path).await.is_problem(404, "not_found");
    }
    let wrong_method = ada.get("/api/login").await;
    assert_eq!(
        wrong_method.is_problem(405, "bad_request").header("allow"),
        "POST"
    );
    ada.delete("/api/rooms")
        .await
        .is_problem(405, "bad_request");
    for broken in [
        "",
        "{",
        "nonsense",
        "null",
        "[]",
        "{\"username\": 7, \"password\": \"12345678\"}",
        "{\"username\": \"ada\"}",
        "\u{0}",
    ] {
        let answer = ada.post_raw("/api/login", "application/json", broken).await;
        answer.is_problem(400, "bad_request");
    }
    ada.post_raw("/api/login", "application/json", vec![b'{', 0xff, 0xfe])
        .await
        .is_problem(400, "bad_request");
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let chat = Chat::start().await;
    let body = credentials("ada").to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
    ] {
        let answer = chat
            .someone()
            .post_raw("/api/register", kind, body.clone())
            .await;
        answer.is_problem(415, "bad_request");
    }
    let answer = chat
        .someone()
        .post_raw("/api/register", "Application/JSON; charset=utf-8", body)
        .await;
    answer.is(StatusCode::OK);
}

#[tokio::test]
async fn a_body_has_a_limit_told_or_not() {
    let chat = Chat::start().await;
    let long = json!({ "username": "ada", "password": "p".repeat(70_000) }).to_string();
    let told = chat
        .someone()
        .post_raw("/api/register", "application/json", long.clone())
        .await;
    told.is_problem(413, "too_large");
    let pieces: Vec<Result<String, std::io::Error>> = long
        .as_bytes()
        .chunks(1_000)
        .map(|piece| Ok(String::from_utf8_lossy(piece).into_owned()))
        .collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let untold = chat
        .someone()
        .post_raw("/api/register", "application/json", stream)
        .await;
    untold.is_problem(413, "too_large");
}

#[tokio::test]
async fn pages_from_elsewhere_change_nothing() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    let new = |name: &str| json!({ "name": name });
    let elsewhere = [
        ada.with("origin", "https://evil.example"),
        ada.with("origin", "null"),
        ada.with("origin", "http://localhost:1"),
        ada.with("sec-fetch-site", "cross-site"),
        // A name of somebody else's that was made to point here.
        ada.with("origin", "http://evil.example")
            .with("host", "evil.example"),
    ];
    for page in elsewhere {
        page.post("/api/rooms", new("lobby"))
            .await
            .is_problem(403, "forbidden");
        page.logs_in("ada").await.is_problem(403, "forbidden");
        page.post("/api/logout", json!({}))
            .await
            .is_problem(403, "forbidden");
        page.put("/api/rooms/ada/members/ada")
            .await
            .is_problem(403, "forbidden");
    }
    let own = ada
        .with("origin", &ada.server)
        .with("sec-fetch-site", "same-origin");
    own.post("/api/rooms", new("lobby"))
        .await
        .is(StatusCode::CREATED);
    ada.post("/api/rooms", new("garden"))
        .await
        .is(StatusCode::CREATED);
}

#[tokio::test]
async fn pages_that_are_named_may_call_and_no_others() {
    let chat = Chat::start_with(&[
        "--allowed-origins",
        "https://chat.example,https://Other.example",
    ])
    .await;
    let ada = chat.registers("ada").await;
    let room = |name: &str| json!({ "name": name });
    ada.with("origin", "https://chat.example")
        .post("/api/rooms", room("one"))
        .await
        .is(StatusCode::CREATED);
    ada.with("origin", "https://other.example")
        .post("/api/rooms", room("two"))
        .await
        .is(StatusCode::CREATED);
    ada.with("origin", &ada.server)
        .post("/api/rooms", room("three"))
        .await
        .is_problem(403, "forbidden");
}

#[tokio::test]
async fn every_answer_carries_the_same_walls() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for path in ["/", "/api/me", "/api/nothing", "/healthz", "/web/app.js"] {
        let answer = ada.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        let permissions = answer.header("permissions-policy");
        assert!(permissions.contains("camera=()"), "{path}: {permissions}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
        if path.starts_with("/api") {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn an_edge_says_whether_it_is_ready() {
    let chat = Chat::start().await;
    assert_eq!(
        chat.someone().get("/healthz").await.is(StatusCode::OK).text,
        "ok\n"
    );
    assert_eq!(
        chat.someone().get("/readyz").await.is(StatusCode::OK).text,
        "ready\n"
    );
}

#[tokio::test]
async fn an_edge_that_is_told_to_stop_answers_what_is_under_way_and_ends() {
    let mut chat = Chat::start().await;
    chat.registers("ada").await;
    let (chat, edges) = {
        let edges = std::mem::take(&mut chat.running);
        (&chat, edges)
    };
    // More than there are cores: some still wait for their turn.
    let calls = (0..8).map(|_| async move { chat.logs_in("ada").await.name });
    let stop = async {
        // All of them are under way when the first is answered.
        chat.logs_in("ada").await;
        chat.stop.cancel();
    };
    let (names, ()) = futures_util::future::join(futures_util::future::join_all(calls), stop).await;
    assert_eq!(names.len(), 8);
    for edge in edges {
        let ended = tokio::time::timeout(Duration::from_secs(5), edge).await;
        ended.expect("in time").unwrap().unwrap();
    }
    let address = chat.urls[0].trim_start_matches("http://");
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
}
