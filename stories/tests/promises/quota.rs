//! The quota is the whole fleet's: workers that are killed neither exceed it nor take their part of it along.

use std::time::Duration;

use stories::{Chat, PATIENCE, Person, Setup, until};

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_while_they_use_the_quota_up() {
    let mut chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    chat.model
        .behave("quota rpm=6 delay=500ms pace=1ms")
        .expect("an order");
    let settings = [
        ("GEMINI_MODELS", "only".to_owned()),
        ("BOT_RPM", "6".to_owned()),
        ("BOT_DEADLINE", "300".to_owned()),
    ];
    for name in ["first", "second", "third"] {
        let worker = chat.service("bot-worker", name, &settings);
        worker.ready().await;
        chat.workers.push(worker);
    }
    // Each in the room of their own, where the bot answers everything.
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve", "may", "ian", "joe", "kim"] {
        let mut person = Person::register(&chat.url(0), name).await;
        person.connects().await;
        person.joins(name, None).await;
        let question = person.says("what is two plus two?").await;
        people.push((person, question));
    }
    let asked = chat
        .model
        .requests_when(PATIENCE, |calls| calls.len() >= 2)
        .await;
    assert!(asked.is_some(), "the model is asked");
    chat.workers.truncate(1);
    // What the killed ones had asked is asked once more, and two minutes are enough for all of it.
    for (person, question) in &people {
        let is_reply = |message: &serde_json::Value| message["reply_to"] == question.to_string();
        let reply = until("the answer", Duration::from_secs(180), async || {
            person.messages().into_iter().find(is_reply)
        })
        .await;
        assert_eq!(reply["kind"], "bot", "{reply}");
    }
    let exceeded = chat.model.quota().exceeded;
    assert!(exceeded <= 1, "exceeded {exceeded} times");
}
