//! Thousands of connections that do nothing, and calls that never come to their end.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    chat::Chat,
    raw::{call, connect_from, is_over},
};

const EVES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ADAS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

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
    // Log-ins are small, and heard; at the same address one is told that there is no more room for what is large.
    for (from, length, status) in [
        (ADAS, 0, "HTTP/1.1 401"),
        (EVES, 0, "HTTP/1.1 401"),
        (ADAS, 10_000, "HTTP/1.1 401"),
        (EVES, 10_000, "HTTP/1.1 429"),
    ] {
        let body = r#"{"username":"nobody","password":"12345678"}"#;
        let body = format!("{body:<length$}");
        let head = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = connect_from(from, url).await;
        let call = format!("POST /api/login HTTP/1.1\r\nHost: here\r\n{head}");
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status);
    }
}
