//! A client written for the project that Chinwag replaces works unchanged.

use serde_json::json;
use stories::{Chat, Person};

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_connects_sends_and_receives() {
    talks(Chat::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_talks_to_the_all_in_one() {
    talks(Chat::all_in_one().await).await;
}

async fn talks(chat: Chat) {
    let mut alice = Person::register(&chat.url(0), "alice").await;
    alice
        .connects_to("/ws/chat/alice/")
        .await
        .expect("the edge takes the socket");
    alice.sends(&json!({ "message": "hi" })).await;
    let own = alice.hears("alice", "hi").await;
    assert_eq!(own["room"], "alice");
    let answer = alice.hears("bot", "").await;
    assert_eq!(answer["reply_to"], own["id"]);
    assert!(!answer["message"].as_str().expect("text").is_empty());
}
