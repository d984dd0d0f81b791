//! What one person may take of the sockets, and how much of a message that is not there yet is held.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chat_client::{ChatSocket, PATIENCE};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_tungstenite::MaybeTlsStream;
use uuid::Uuid;

use crate::{
    chat::{Chat, is_still_there},
    edges::until,
};

fn stream(socket: &mut ChatSocket) -> &mut TcpStream {
    match socket.connection.get_mut() {
        MaybeTlsStream::Plain(stream) => stream,
        _ => unreachable!("no TLS here"),
    }
}

#[tokio::test]
async fn a_person_has_so_many_sockets_and_others_have_theirs() {
    let chat = Chat::start_with(&["--user-sockets=3"]).await;
    let (ada, _) = chat.logs_in("ada").await;
    let (ada_elsewhere, _) = chat.logs_in("ada").await;
    let first = ada.connects("/ws").await;
    let _second = ada.connects("/ws").await;
    let _third = ada_elsewhere.connects("/ws").await;
    for client in [&ada, &ada_elsewhere] {
        let refused = client.is_kept_out("/ws").await;
        refused.is_problem(429, "rate_limited");
        assert!(refused.text.contains("USER_SOCKETS, 3"), "{}", refused.text);
        assert_eq!(refused.header("retry-after"), "10");
    }
    chat.connects("bob", "/ws").await;
    drop(first);
    until("one more is let in", async || {
        ada.opens("/ws").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_last_sockets_are_for_people_who_have_none() {
    let chat = Chat::start_with(&["--sockets-max=20", "--user-sockets=0"]).await;
    let (eve, _) = chat.logs_in("eve").await;
    let mut held = Vec::new();
    for _ in 0..18 {
        held.push(eve.connects("/ws").await);
    }
    let refused = eve.is_kept_out("/ws").await;
    refused.is_problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    held.push(chat.connects("ada", "/ws").await);
    held.push(chat.connects("bob", "/ws").await);
    let (carol, _) = chat.logs_in("carol").await;
    carol
        .is_kept_out("/ws")
        .await
        .is_problem(503, "unavailable");
}

#[tokio::test]
async fn a_message_that_never_ends_closes_the_socket_though_there_are_signs_of_life() {
    // There within two seconds.
    let chat = Chat::start_with(&["--ping-ms=900"]).await;
    let mut eve = chat.in_lobby("eve").await;
    let feed = stream(&mut eve);
    // The first fragment of a text.
    feed.write_all(&[0x01, 0x81, 0, 0, 0, 0, b'{'])
        .await
        .unwrap();
    let began = Instant::now();
    let took = loop {
        // One more fragment, and a ping.
        let more = [0x00, 0x81, 0, 0, 0, 0, b' ', 0x89, 0x80, 0, 0, 0, 0];
        if feed.write_all(&more).await.is_err() {
            break began.elapsed();
        }
        sleep(Duration::from_millis(50)).await;
        // Pongs, and at last a close frame with 1008.
        let mut some = [0; 4096];
        let read = feed.read(&mut some).await.unwrap_or(0);
        let is_close = |four: &[u8]| four[0] == 0x88 && four[2..] == 1008_u16.to_be_bytes();
        if read == 0 || some[..read].windows(4).any(is_close) {
            break began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "it goes on and on");
    };
    assert!(took > Duration::from_secs(1), "it was given some time");
    // Who is only slow is heard.
    let mut ada = chat.in_lobby("ada").await;
    let feed = stream(&mut ada);
    for byte in [
        &[0x01, 0x81, 0, 0, 0, 0, b'{'][..],
        &[0x80, 0x81, 0, 0, 0, 0, b'}'],
    ] {
        feed.write_all(byte).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(ada.is_refused().await, "bad_request");
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn messages_that_are_too_large_and_not_there_yet_are_held_of_a_few_sockets_only() {
    let chat = Chat::start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut eve = chat.in_lobby("eve").await;
        feeds_a_large_one(&mut eve).await;
        held.push(eve);
    }
    let mut eve = chat.in_lobby("eve").await;
    sleep(Duration::from_millis(200)).await;
    feeds_a_large_one(&mut eve).await;
    assert_eq!(eve.is_refused().await, "too_large");
    assert_eq!(eve.is_closed().await, 1009);
    // Somebody else's has its place, and hers when the others are gone.
    let mut ada = chat.in_lobby("ada").await;
    ada.says(&"a".repeat(500_000)).await;
    assert_eq!(ada.is_refused().await, "too_large");
    is_still_there(&mut ada).await;
    drop(held);
    until("her next one is read", async || {
        let mut eve = chat.in_lobby("eve").await;
        eve.says(&"a".repeat(500_000)).await;
        eve.is_refused().await == "too_large" && eve.send(&json!({"type": "pong"})).await.is_ok()
    })
    .await;
}

/// 200,000 bytes of a message of a million.
async fn feeds_a_large_one(socket: &mut ChatSocket) {
    let mut frame = vec![0x81, 0xFF, 0, 0, 0, 0, 0, 0x0F, 0x42, 0x40, 0, 0, 0, 0];
    frame.resize(frame.len() + 200_000, b' ');
    stream(socket).write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_never_completes_takes_no_place() {
    let chat = Chat::start_with(&["--sockets-max=1", "--ping-ms=900"]).await;
    let (eve, _) = chat.logs_in("eve").await;
    let mut connections = Vec::new();
    for body in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        let address = chat.urls[0].trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{body}\r\n",
            eve.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        connections.push((stream, String::from_utf8_lossy(&status).into_owned()));
    }
    let (ada, _) = chat.logs_in("ada").await;
    until("the place is free", async || ada.opens("/ws").await.is_ok()).await;
    assert!(
        connections
            .iter()
            .all(|(_, status)| status == "HTTP/1.1 400"),
        "{connections:?}"
    );
}

#[tokio::test]
async fn many_sockets_are_no_way_to_show_that_one_types_without_end() {
    let chat = Chat::start().await;
    let mut bob = chat.in_lobby("bob").await;
    let (eve, _) = chat.logs_in("eve").await;
    let mut sockets = Vec::new();
    for _ in 0..90 {
        let mut socket = eve.connects("/ws/chat/lobby").await;
        socket.hears("joined").await;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        socket
            .sends(json!({"type": "typing", "room": "lobby"}))
            .await;
    }
    for socket in &mut sockets {
        // What it sent before has been dealt with.
        is_still_there(socket).await;
    }
    chat.says("lobby", "bob", "the end").await;
    let mut typed = 0;
    loop {
        let frame = bob.next().await.expect("open");
        if frame["message"] == "the end" {
            break;
        }
        typed += usize::from(frame["type"] == "typing");
    }
    assert!((1..80).contains(&typed), "{typed}");
}

#[tokio::test]
async fn stopping_replies_again_and_again_is_limited_as_messages_are() {
    let chat = Chat::start_with(&["--user-messages-per-second=1", "--user-messages-burst=5"]).await;
    let mut eve = chat.in_lobby("eve").await;
    for _ in 0..20 {
        let stop = json!({"type": "stop", "room": "lobby", "id": Uuid::now_v7()});
        eve.sends(stop).await;
    }
    assert_eq!(eve.is_refused().await, "rate_limited");
}

#[tokio::test]
async fn a_person_who_has_many_rooms_read_keeps_nobody_waiting() {
    let chat = Chat::start().await;
    let missed = chat.says("lobby", "bob", "missed").await;
    let (eves, reads) = (7, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&reads);
    // Each read of hers takes for ever.
    chat.live.around_reads(move |after, read| {
        if after == eves {
            counted.fetch_add(1, Ordering::SeqCst);
            return Box::pin(pending());
        }
        read
    });
    let mut eve = chat.connects("eve", "/ws").await;
    for n in 0..40 {
        let room = format!("room-{n}");
        chat.opens(&room, false).await;
        eve.sends(json!({"type": "join", "room": room, "after": eves}))
            .await;
    }
    until("hers are read", async || reads.load(Ordering::SeqCst) >= 4).await;
    let mut ada = chat.connects("ada", "/ws").await;
    ada.joins("lobby", Some(missed.seq - 1)).await;
    assert_eq!(ada.hears_texts(1).await, ["missed"]);
    assert_eq!(reads.load(Ordering::SeqCst), 4);
}
