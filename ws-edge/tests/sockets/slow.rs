//! Slow readers: they delay nobody, cost a bounded amount of memory, and are caught up when they read again.

use chat_client::{PATIENCE, assert_in_order};
use futures_util::{StreamExt, future::join_all};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    chat::{Chat, is_still_there},
    edges::until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_never_reads_delays_nobody_and_misses_nothing_that_was_kept_for_it() {
    let chat = Chat::start_with(&[
        "--user-messages-per-second=100000",
        "--user-messages-burst=100000",
    ])
    .await;
    let mut slow = chat.in_lobby("slow").await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    // More than the kernel keeps for one who does not read.
    let text = "x".repeat(4_000);
    let talk = async {
        for _ in 0..3_000 {
            ada.says(&text).await;
            ada.hears("ack").await;
        }
        ada.says("the end").await;
    };
    let listen = async {
        let mut heard: Vec<Value> = Vec::new();
        loop {
            let message = bob.hears("message").await;
            let is_end = message["message"] == "the end";
            heard.push(message);
            if is_end {
                return heard;
            }
        }
    };
    let ((), heard) = tokio::join!(talk, listen);
    assert_in_order(&heard);
    assert_eq!(heard.len(), 3_001);
    // Now it reads: an unbroken line, or the word that too much was missed and the latest from there on.
    let mut line: Vec<Value> = Vec::new();
    let mut was_told = false;
    while line.last().is_none_or(|last| last["message"] != "the end") {
        let frame = slow.next().await.expect("still open");
        match frame["type"].as_str().unwrap() {
            "message" => line.push(frame),
            "joined" => {
                assert_eq!(frame["complete"], false);
                was_told = true;
                if frame["seq"] == heard.last().unwrap()["seq"] {
                    break;
                }
            }
            _ => {}
        }
    }
    assert_in_order(&line);
    assert!(
        was_told || line.len() == heard.len(),
        "{} of {} and not a word",
        line.len(),
        heard.len()
    );
    is_still_there(&mut slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_has_much_to_hear_is_told_that_the_edge_goes_all_the_same() {
    let chat = Chat::start().await;
    let mut slow = chat.in_lobby("slow").await;
    let mut ada = chat.in_lobby("ada").await;
    // More than the kernel keeps for one who does not read, and less than the edge does.
    let text = "x".repeat(4_000);
    for _ in 0..18 {
        join_all((0..100).map(|_| chat.says("lobby", "bob", &text))).await;
        for _ in 0..100 {
            ada.hears("message").await;
        }
    }
    chat.stop.cancel();
    assert_eq!(ada.is_closed().await, 1012);
    let mut line: Vec<Value> = Vec::new();
    let code = loop {
        let next = timeout(PATIENCE, slow.connection.next()).await;
        match next.expect("it is closed") {
            Some(Ok(Message::Text(frame))) => {
                line.push(serde_json::from_str(&frame).expect("a frame"));
            }
            Some(Ok(Message::Close(close))) => break close.map(|close| u16::from(close.code)),
            other => panic!("{other:?} after {} frames", line.len()),
        }
    };
    assert_eq!(code, Some(1012));
    assert!(line.len() < 1_800, "the rest is got from another edge");
    line.retain(|frame| frame["type"] == "message");
    assert_in_order(&line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_takes_nothing_for_too_long_is_cut_off() {
    let chat = Chat::start_with(&["--ping-ms=500", "--sockets-max=1"]).await;
    let _stuck = chat.in_lobby("stuck").await;
    let (client, _) = chat.logs_in("ada").await;
    let text = "x".repeat(4_000);
    until("its place is free", async || {
        for _ in 0..50 {
            chat.says("lobby", "bob", &text).await;
        }
        client.opens("/ws").await.is_ok()
    })
    .await;
}
