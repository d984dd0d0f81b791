//! A room's past, page by page, whether it is in the database yet or not.

use std::time::Duration;

use chat_client::HttpAnswer;
use common::{envelope::Envelope, queue::QueueName, wire::Message};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{chat::Chat, edges::new_message};

fn texts(answer: &HttpAnswer) -> Vec<&str> {
    let messages = answer.is(StatusCode::OK).body["messages"]
        .as_array()
        .unwrap()
        .iter();
    messages
        .map(|message| message["message"].as_str().unwrap())
        .collect()
}

async fn ten(chat: &Chat) -> Vec<Message> {
    let mut said = Vec::new();
    for n in 0..10 {
        said.push(chat.says("lobby", "ada", &n.to_string()).await);
    }
    said
}

#[tokio::test]
async fn pages_join_without_a_gap_over_database_and_stream() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    assert_eq!(
        ada.get("/api/rooms/lobby/messages").await.body,
        json!({ "messages": [] })
    );
    let said = ten(&chat).await;
    // Half of them has arrived, and one of the others before its turn.
    chat.persists(&said[..5]).await;
    chat.persists(&said[7..8]).await;

    let get = async |query: &str| ada.get(&format!("/api/rooms/lobby/messages{query}")).await;
    let seq = |n: usize| said[n].seq;
    assert_eq!(
        texts(&get("").await),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    assert_eq!(texts(&get("?limit=3").await), ["7", "8", "9"]);
    assert_eq!(
        texts(&get(&format!("?limit=3&before={}", seq(7))).await),
        ["4", "5", "6"]
    );
    assert_eq!(
        texts(&get(&format!("?limit=3&after={}", seq(3))).await),
        ["4", "5", "6"]
    );
    assert_eq!(texts(&get("?after=0&limit=2").await), ["0", "1"]);
    assert_eq!(
        texts(&get(&format!("?after={}&before={}", seq(2), seq(6))).await),
        ["3", "4", "5"]
    );
    assert_eq!(
        texts(&get(&format!("?after={}&before={}&limit=2", seq(2), seq(6))).await),
        ["3", "4"]
    );
    assert_eq!(
        texts(&get(&format!("?before={}", seq(0))).await),
        Vec::<&str>::new()
    );
    assert_eq!(
        texts(&get(&format!("?after={}", seq(9))).await),
        Vec::<&str>::new()
    );
    assert_eq!(
        texts(&get(&format!("?after={}", u64::MAX)).await),
        Vec::<&str>::new()
    );
    assert_eq!(
        texts(&get(&format!("?before={}&limit=100000", u64::MAX)).await).len(),
        10
    );
}

#[tokio::test]
async fn each_message_is_as_on_the_wire() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let said = ten(&chat).await;
    chat.persists(&said).await;
    let page = ada.get("/api/rooms/lobby/messages").await;
    for (message, shown) in said.iter().zip(page.body["messages"].as_array().unwrap()) {
        let frame: Value = serde_json::from_str(&message.frame()).unwrap();
        assert_eq!(shown, &frame);
    }
}

#[tokio::test]
async fn a_page_is_never_larger_than_its_limit() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    for n in 0..201 {
        chat.says("lobby", "ada", &n.to_string()).await;
    }
    assert_eq!(texts(&ada.get("/api/rooms/lobby/messages").await).len(), 50);
    assert_eq!(
        texts(&ada.get("/api/rooms/lobby/messages?limit=999").await).len(),
        200
    );
}

#[tokio::test]
async fn what_cannot_be_a_page_is_refused_in_words() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=many",
        "before=yesterday",
        "after=-5",
        "after=1.5",
    ] {
        let answer = ada.get(&format!("/api/rooms/ada/messages?{query}")).await;
        answer.is_problem(400, "bad_request");
    }
    ada.get("/api/rooms/ada/messages?colour=green")
        .await
        .is(StatusCode::OK);
    for room in ["nowhere", "No%20Where", "%FF", "..%2f.."] {
        ada.get(&format!("/api/rooms/{room}/messages"))
            .await
            .is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_long_page_is_compressed_for_who_wants_it() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    for n in 0..20 {
        chat.says(
            "ada",
            "ada",
            &format!("the same words again and again, {n}"),
        )
        .await;
    }
    let page = ada
        .with("accept-encoding", "gzip")
        .get("/api/rooms/ada/messages")
        .await;
    assert_eq!(page.is(StatusCode::OK).header("content-encoding"), "gzip");
    let page = ada.get("/api/rooms/ada/messages").await;
    assert_eq!(page.header("content-encoding"), "");
}

/// P2: a process showed a message and died before it handed it over. Nobody ever reads the room, and it is kept.
#[tokio::test]
async fn what_was_shown_is_handed_over_though_nobody_looks() {
    let chat = Chat::start().await;
    chat.registers("ada").await;
    let persist = chat.queue.consume(QueueName::Persist, 10).await;
    let shown = new_message("ada", "ada", "hello");
    chat.live.append(&shown, Some(0)).await.unwrap();
    let server = chat.store.server().await.unwrap();
    let unsettled = async || chat.live.unsettled(10, &server).await.unwrap();
    assert_eq!(unsettled().await.len(), 1);

    // It may be on its way for half a minute; then the next look, every quarter of a minute or so, finds it missing. What
    // comes first is a note, by which the edge learns that the persisters are not behind.
    let patience = Duration::from_secs(75);
    let handed_over = async {
        loop {
            let delivery = persist.next().await.unwrap();
            let message = Envelope::read(&delivery.payload).unwrap().message;
            if message.room == "ada" {
                return message;
            }
            chat.persists(&[message]).await;
        }
    };
    let handed_over = tokio::time::timeout(patience, handed_over).await;
    let message = handed_over.expect("it is handed over");
    assert_eq!(message.id, shown.id);
    assert_eq!(unsettled().await.len(), 1);

    chat.persists(&[message]).await;
    let settled = async {
        while !unsettled().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let settled = tokio::time::timeout(patience, settled).await;
    settled.expect("what is in the database is let go");
}
