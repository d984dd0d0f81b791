//! Many devices, each listed and revocable, on every edge at once.

use reqwest::StatusCode;
use serde_json::Value;

use crate::{chat::Chat, edges::until};

fn ids(listing: &Value, current: bool) -> Vec<String> {
    let sessions = listing["sessions"].as_array().unwrap().iter();
    let sessions = sessions.filter(|session| session["current"] == current);
    sessions
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_device_is_listed() {
    let chat = Chat::start().await;
    let telephone = chat.someone().with("user-agent", &"Telephone ".repeat(50));
    telephone.registers("ada").await.is(StatusCode::OK);
    let desk = chat.logs_in("ada").await;
    chat.registers("bob").await;
    let me = desk.get("/api/me").await;
    let listing = desk.get("/api/sessions").await;
    let sessions = listing.is(StatusCode::OK).body["sessions"]
        .as_array()
        .unwrap();
    assert_eq!(sessions.len(), 2, "{}", listing.text);
    assert_eq!(
        ids(&listing.body, true),
        [me.body["session"].as_str().unwrap()]
    );
    let telephone = sessions
        .iter()
        .find(|session| session["current"] == false)
        .unwrap();
    assert_eq!(telephone["device"].as_str().unwrap().chars().count(), 200);
    for time in ["created_at", "last_seen_at", "expires_at"] {
        let time = telephone[time].as_str().unwrap();
        humantime::parse_rfc3339(time).expect("RFC 3339");
    }
}

#[tokio::test]
async fn who_logs_out_is_out_at_every_edge() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    // Both edges have seen the session, and remember it.
    ada.get("/api/me").await.is(StatusCode::OK);
    chat.elsewhere(&ada).get("/api/me").await.is(StatusCode::OK);
    let out = ada.post("/api/logout", serde_json::json!({})).await;
    out.is(StatusCode::NO_CONTENT);
    assert_eq!(out.cookie(), "");
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    ada.get("/api/me").await.is_problem(401, "unauthorized");
    until("the other edge heard of it", async || {
        chat.elsewhere(&ada).get("/api/me").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(
        ada.post("/api/logout", serde_json::json!({}))
            .await
            .cookie(),
        "",
        "cleared, though there was no session any more"
    );
}

#[tokio::test]
async fn a_device_can_be_thrown_out_from_another() {
    let chat = Chat::start().await;
    let lost = chat.registers("ada").await;
    chat.elsewhere(&lost)
        .get("/api/me")
        .await
        .is(StatusCode::OK);
    let desk = chat.logs_in("ada").await;
    let [lost_id] = ids(&desk.get("/api/sessions").await.body, false)
        .try_into()
        .unwrap();

    let bob = chat.registers("bob").await;
    bob.delete(&format!("/api/sessions/{lost_id}"))
        .await
        .is_problem(404, "not_found");
    lost.get("/api/me").await.is(StatusCode::OK);

    desk.delete(&format!("/api/sessions/{lost_id}"))
        .await
        .is(StatusCode::NO_CONTENT);
    lost.get("/api/me").await.is_problem(401, "unauthorized");
    until("the other edge heard of it", async || {
        chat.elsewhere(&lost).get("/api/me").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    desk.get("/api/me").await.is(StatusCode::OK);
    desk.delete(&format!("/api/sessions/{lost_id}"))
        .await
        .is_problem(404, "not_found");
    desk.delete("/api/sessions/none")
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_see() {
    let chat = Chat::start().await;
    let strangers = [
        chat.someone(),
        chat.someone().with("authorization", "Bearer 00"),
        chat.someone().with("authorization", "Basic YWRhOmFkYQ=="),
        chat.someone().with("cookie", "session="),
    ];
    for stranger in strangers {
        for path in [
            "/api/me",
            "/api/sessions",
            "/api/rooms",
            "/api/rooms/lobby/messages",
        ] {
            let answer = stranger.get(path).await;
            assert_eq!(
                answer
                    .is_problem(401, "unauthorized")
                    .header("www-authenticate"),
                "Bearer"
            );
        }
    }
}

#[tokio::test]
async fn a_named_token_is_never_passed_over_for_the_cookie() {
    let chat = Chat::start().await;
    let answer = chat.someone().registers("ada").await;
    let both = chat
        .someone()
        .with("cookie", &format!("session={}", answer.cookie()));
    both.get("/api/me").await.is(StatusCode::OK);
    both.with("authorization", "Bearer wrong")
        .get("/api/me")
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn what_other_headers_and_cookies_say_is_passed_over() {
    let chat = Chat::start().await;
    let token = chat.someone().registers("ada").await.cookie().to_owned();
    let ours = format!("session={token}");
    for (headers, what) in [
        (
            vec![
                ("authorization", &b"Basic YWRhOmFkYQ=="[..]),
                ("cookie", ours.as_bytes()),
            ],
            "Basic",
        ),
        (
            vec![
                ("authorization", b"Negotiate \xff\xfe"),
                ("cookie", ours.as_bytes()),
            ],
            "bytes in Authorization",
        ),
        (
            vec![("authorization", b"basic"), ("cookie", ours.as_bytes())],
            "no credentials",
        ),
        (
            vec![(
                "cookie",
                &[b"theme=\xe9\xff; ", ours.as_bytes(), b"; x=\xc3"].concat(),
            )],
            "bytes in other cookies",
        ),
        (
            vec![
                ("cookie", b"a=b"),
                ("cookie", ours.as_bytes()),
                ("cookie", b"c=d"),
            ],
            "several headers",
        ),
        (
            vec![("cookie", &[b"a=b, ", ours.as_bytes()].concat())],
            "joined with a comma",
        ),
        (
            vec![("cookie", &[b"session=old; ", ours.as_bytes()].concat())],
            "twice",
        ),
        (
            vec![("cookie", &[b"session=; x; =; ", ours.as_bytes()].concat())],
            "an empty one",
        ),
        (
            vec![("cookie", format!("session=\"{token}\"").as_bytes())],
            "in quotes",
        ),
        (
            vec![("cookie", format!(" a=b;session = {token} ").as_bytes())],
            "blanks",
        ),
        (
            vec![
                ("authorization", b"Basic eA=="),
                ("authorization", format!("bearer  {token}").as_bytes()),
            ],
            "two of Authorization",
        ),
    ] {
        let status = raw_get(&chat.urls[0], "/api/me", &headers).await;
        assert_eq!(status, 200, "{what}");
    }
}

/// The status of a call with headers of any bytes.
async fn raw_get(url: &str, path: &str, headers: &[(&str, &[u8])]) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = url.trim_start_matches("http://");
    let mut call =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        call.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    call.extend(b"\r\n");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(&call).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer)
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
