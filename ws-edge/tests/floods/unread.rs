//! Answers that nobody reads: they end, and hold no more than a share of the memory until then. Who reads slowly gets
//! all of it.

use std::{net::Ipv4Addr, time::Duration};

use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    chat::Chat,
    edges::until,
    raw::{call, connect_from},
};

const EVES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A room whose latest page is as large as a page can be.
async fn large_room(chat: &Chat) -> chat_client::Client {
    let ada = chat.registers("ada").await;
    ada.post("/api/rooms", json!({"name": "large", "bot": "off"}))
        .await
        .is(StatusCode::CREATED);
    let mut messages = Vec::new();
    for _ in 0..200 {
        messages.push(chat.says("large", "ada", &"\u{1}".repeat(4_000)).await);
    }
    chat.persists(&messages).await;
    ada
}

/// Asks for it.
async fn asks(url: &str, token: &str) -> TcpStream {
    let mut stream = connect_from(EVES, url).await;
    let call = format!(
        "GET /api/rooms/large/messages?limit=200 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(call.as_bytes()).await.unwrap();
    stream
}

/// What this process holds in memory, in MiB.
fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kib.expect("a number") / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_who_ask_for_much_and_read_nothing_hold_little_and_keep_nobody_from_reading() {
    let chat = Chat::start().await;
    let ada = large_room(&chat).await;
    let bob = chat.registers("bob").await;
    let eve = chat.registers("eve").await;
    let page = "/api/rooms/large/messages?limit=200";
    bob.get(page).await.is(StatusCode::OK);
    let before = resident_mib();
    let mut unread = Vec::new();
    for _ in 0..200 {
        unread.push(asks(&chat.urls[0], &eve.token).await);
    }
    // While they wait, others read.
    let began = Instant::now();
    for _ in 0..5 {
        bob.get(page).await.is(StatusCode::OK);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let held = resident_mib().saturating_sub(before);
    assert!(held < 200, "{held} MiB are held");
    // Nor does it keep the same person from what is small.
    eve.get("/api/me").await.is(StatusCode::OK);
    drop(ada);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_ends_and_one_that_is_read_slowly_does_not() {
    // Stuck after two seconds.
    let chat = Chat::start_with(&["--ping-ms=100", "--address-connections=3"]).await;
    let ada = large_room(&chat).await;
    let url = chat.urls[0].clone();
    let _unread = [asks(&url, &ada.token).await, asks(&url, &ada.token).await];
    let mut slow = asks(&url, &ada.token).await;
    let read_slowly = async {
        let (mut read, began) = (0, Instant::now());
        let mut some = vec![0; 256 * 1024];
        // Five seconds for what is not in the kernel's buffers.
        while began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(500)).await;
            read += slow.read(&mut some).await.unwrap();
        }
        while read < 4_000_000 {
            let more = timeout(Duration::from_secs(5), slow.read(&mut some)).await;
            let more = more.expect("it goes on").unwrap();
            assert!(more > 0, "it was cut off after {read} bytes");
            read += more;
        }
    };
    read_slowly.await;
    // The places of the other two are free again, though their clients are still there: by the edge's own clock, and
    // not the kernel's, which takes a minute.
    let began = Instant::now();
    until("their places are free", async || {
        let mut streams = [asks(&url, &ada.token).await, asks(&url, &ada.token).await];
        let mut heard = 0;
        for stream in &mut streams {
            let mut some = [0; 12];
            let read = timeout(Duration::from_secs(6), stream.read_exact(&mut some)).await;
            heard += usize::from(matches!(read, Ok(Ok(_))) && some.ends_with(b" 200"));
        }
        heard == 2
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_page_of_megabytes_counts_as_many_calls() {
    let chat = Chat::start_with(&["--user-requests-per-second=5"]).await;
    let ada = large_room(&chat).await;
    let page = "/api/rooms/large/messages?limit=200";
    ada.get(page).await.is(StatusCode::OK);
    let refused = ada.get(page).await;
    refused.is_problem(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((5..=11).contains(&seconds), "{seconds}");
    // A page of what people write counts as one.
    let bob = chat.registers("bob").await;
    for _ in 0..40 {
        bob.get("/api/rooms/bob/messages?limit=200")
            .await
            .is(StatusCode::OK);
    }
}

/// What the kernel holds of a connection on the edge's side, as it is written in its table; none if it is gone. (Connections
/// that were closed in order and are waited for once more by the kernel hold nothing.)
fn is_held(url: &str, client: &TcpStream) -> bool {
    let edge = url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let (edge, client) = (
        format!(":{edge:04X}"),
        format!(":{:04X}", client.local_addr().unwrap().port()),
    );
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next().is_some_and(|local| local.ends_with(&edge));
        let remote = columns.next().is_some_and(|peer| peer.ends_with(&client));
        let unread = columns.nth(1).map(|queues| !queues.starts_with("00000000"));
        local && remote && unread.unwrap_or(false)
    })
}

/// Asks for some of it once, on a connection whose own side holds next to nothing.
async fn asks_once(url: &str, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = url.trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let call = format!(
        "GET /api/rooms/large/messages?limit=4 HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(call.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_of_a_connection_goes_with_it() {
    // Stuck after two seconds.
    let chat = Chat::start_with(&["--ping-ms=100"]).await;
    let ada = large_room(&chat).await;
    let url = chat.urls[0].clone();
    let (cut_off, closed) = (
        asks(&url, &ada.token).await,
        asks_once(&url, &ada.token).await,
    );
    for stream in [&cut_off, &closed] {
        until("it is answered", async || is_held(&url, stream)).await;
    }
    // The kernel alone would keep it for a minute.
    let began = Instant::now();
    for stream in [&cut_off, &closed] {
        until("it is gone", async || !is_held(&url, stream)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    // Who takes a while gets all of it, and an end in order.
    let mut slow = asks_once(&url, &ada.token).await;
    until("it is answered", async || is_held(&url, &slow)).await;
    sleep(Duration::from_secs(1)).await;
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 90_000, "{}", answer.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_counts_until_its_last_bytes_are_taken() {
    let chat = Chat::start_with(&["--address-connections=3"]).await;
    let ada = large_room(&chat).await;
    let url = chat.urls[1].clone();
    let mut closed = Vec::new();
    for _ in 0..3 {
        closed.push(asks_once(&url, &ada.token).await);
    }
    for stream in &closed {
        until("it is answered", async || is_held(&url, stream)).await;
    }
    let is_let_in = async || {
        let mut stream = connect_from(Ipv4Addr::LOCALHOST, &url).await;
        call(&mut stream, "/healthz", "Connection: close\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    };
    assert!(!is_let_in().await, "three are there");
    let mut answer = Vec::new();
    closed[0].read_to_end(&mut answer).await.unwrap();
    until("one more is let in", is_let_in).await;
}
