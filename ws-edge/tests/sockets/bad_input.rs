//! Bad input: an error with a code, and the socket stays open; abuse closes it.

use chat_client::PATIENCE;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};
use uuid::Uuid;

use crate::chat::{Chat, is_still_there};

#[tokio::test]
async fn whatever_is_no_frame_gets_an_error_and_the_socket_stays_open() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "[\"send\",\"hi\",\"lobby\",null,null,null]",
        "\"hi\"",
        "42",
        "{\"message\":5}",
        "{\"message\":null}",
        "{\"message\":\"\"}",
        "{\"message\":\" \\n\\t \"}",
        "{\"message\":\"\\ud800\"}",
        "{\"message\":\"hi\",\"message\":\"twice\"}",
        "{\"message\":\"hi\",\"room\":\"No Such Name\"}",
        "{\"message\":\"hi\",\"room\":\"../etc\"}",
        "{\"message\":\"hi\",\"id\":\"not-a-uuid\"}",
        "{\"message\":\"hi\",\"id\":\"00000000-0000-0000-0000-000000000000\"}",
        "{\"message\":\"hi\",\"reply_to\":7}",
        "{\"type\":\"shout\",\"message\":\"hi\"}",
        "{\"type\":7}",
        "{\"type\":\"join\"}",
        "{\"type\":\"join\",\"room\":\"lobby\",\"after\":-1}",
        "{\"type\":\"join\",\"room\":\"lobby\",\"after\":1e400}",
        "{\"type\":\"leave\"}",
        "{\"type\":\"typing\"}",
        "{\"type\":\"stop\",\"room\":\"lobby\"}",
    ];
    for text in texts {
        ada.sends_raw(text).await;
        assert_eq!(ada.is_refused().await, "bad_request", "{text}");
    }
    let deep = "[".repeat(20_000);
    ada.sends_raw(format!("{{\"message\":{deep}")).await;
    assert_eq!(ada.is_refused().await, "bad_request");
    ada.sends_raw(vec![0, 1, 2]).await;
    assert_eq!(ada.is_refused().await, "bad_request");
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn an_error_names_the_message_it_is_about() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let id = Uuid::now_v7();
    for frame in [
        json!({"message": "", "id": id}),
        json!({"message": ["hi"], "id": id}),
    ] {
        ada.sends(frame).await;
        assert_eq!(ada.hears("error").await["id"], json!(id));
    }
    let long = "a".repeat(1_000_000);
    for text in [
        format!(r#"{{"id":"{id}","message":"{long}"}}"#),
        format!(r#"{{"message":"{long}","id":"{id}"}}"#),
    ] {
        ada.sends_raw(text).await;
        let error = ada.hears("error").await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("too_large"), &json!(id))
        );
    }
}

#[tokio::test]
async fn any_unicode_passes_unharmed() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let texts = [
        "a\u{0}b".to_owned(),
        "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467} e\u{301} \u{202E}rtl".to_owned(),
        "x\u{2028}\u{FEFF}\u{FFFF}\u{10FFFF}\u{7F}\"\\/<script>".to_owned(),
        "\u{1F44B}".repeat(4_000),
        "\u{1}".repeat(4_000),
    ];
    for text in &texts {
        ada.says(text).await;
        assert_eq!(&bob.hears_texts(1).await[0], text);
    }
    ada.says(&"\u{1F44B}".repeat(4_001)).await;
    assert_eq!(ada.is_refused().await, "too_large");
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn a_megabyte_is_too_large_and_the_socket_stays_open() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    ada.says(&"a".repeat(1_000_000)).await;
    assert_eq!(ada.is_refused().await, "too_large");
    ada.sends_raw("a".repeat(1024 * 1024)).await;
    assert_eq!(ada.is_refused().await, "too_large");
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn what_is_larger_than_is_ever_read_closes_the_socket() {
    let chat = Chat::start().await;
    let ada = chat.in_lobby("ada").await;
    // Fed by hand, so that the last words are read while the rest is still to be sent.
    let frame = Message::text("a".repeat(2 * 1024 * 1024));
    let (mut write, mut read) = ada.connection.split();
    let write = async move { drop(write.send(frame).await) };
    let read = async move {
        let (mut code, mut close) = (None, None);
        while let Some(Ok(message)) = read.next().await {
            match message {
                Message::Text(text) if text.contains("\"error\"") => {
                    code = Some(text.contains("too_large"));
                }
                Message::Close(frame) => {
                    close = frame.map(|frame| u16::from(frame.code));
                    break;
                }
                _ => {}
            }
        }
        (code, close)
    };
    let both = async {
        tokio::select! {
            // Being cut off in the middle of it is fine; the words come before that.
            biased;
            heard = read => heard,
            () = async { write.await; std::future::pending().await } => unreachable!(),
        }
    };
    assert_eq!(
        tokio::time::timeout(PATIENCE, both).await.unwrap(),
        (Some(true), Some(1009))
    );
}

#[tokio::test]
async fn ten_thousand_joins_on_one_socket_end_it() {
    let chat = Chat::start().await;
    let ada = chat.connects("ada", "/ws").await;
    let (mut write, mut read) = ada.connection.split();
    tokio::spawn(async move {
        for n in 0..10_000 {
            let frame = json!({"type": "join", "room": format!("room-{n}")}).to_string();
            if write.send(Message::text(frame)).await.is_err() {
                return;
            }
        }
    });
    let closed = async {
        while let Some(Ok(message)) = read.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| u16::from(frame.code));
            }
        }
        None
    };
    assert_eq!(
        tokio::time::timeout(PATIENCE, closed).await.unwrap(),
        Some(1008)
    );
    is_still_there(&mut chat.in_lobby("bob").await).await;
}

#[tokio::test]
async fn a_hundred_bad_frames_end_a_socket() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    for _ in 0..100 {
        ada.sends_raw("nonsense").await;
    }
    for _ in 0..100 {
        assert_eq!(ada.is_refused().await, "bad_request");
    }
    assert_eq!(ada.is_closed().await, 1008);
}

#[tokio::test]
async fn a_frame_that_never_ends_is_found_by_the_heartbeat() {
    let chat = Chat::start_with(&["--ping-ms=100"]).await;
    let mut ada = chat.in_lobby("ada").await;
    let MaybeTlsStream::Plain(stream) = ada.connection.get_mut() else {
        unreachable!("no TLS here")
    };
    // A masked text frame of 60,000 bytes, of which two come.
    stream
        .write_all(&[0x81, 0xFE, 0xEA, 0x60, 1, 2, 3, 4, 5, 6])
        .await
        .unwrap();
    assert_eq!(ada.is_closed().await, 4408);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_and_one_that_does_is_not() {
    let chat = Chat::start_with(&["--ping-ms=300"]).await;
    let mut ada = chat.in_lobby("ada").await;
    let mut silent = chat.in_lobby("bob").await;
    let answers = async {
        for _ in 0..6 {
            ada.hears("ping").await;
            ada.sends(json!({"type": "pong"})).await;
        }
    };
    let (code, ()) = tokio::join!(silent.is_closed(), answers);
    assert_eq!(code, 4408);
    is_still_there(&mut ada).await;
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_so() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let MaybeTlsStream::Plain(stream) = ada.connection.get_mut() else {
        unreachable!("no TLS here")
    };
    // Not masked.
    stream.write_all(&[0x81, 0x02, b'{', b'}']).await.unwrap();
    assert_eq!(ada.is_closed().await, 1002);
    let mut bob = chat.in_lobby("bob").await;
    let MaybeTlsStream::Plain(stream) = bob.connection.get_mut() else {
        unreachable!("no TLS here")
    };
    // A text that is not UTF-8.
    stream
        .write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xFF])
        .await
        .unwrap();
    assert_eq!(bob.is_closed().await, 1007);
}
