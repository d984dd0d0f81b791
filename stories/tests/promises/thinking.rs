//! A model that thinks, with real processes around it: workers that are killed meanwhile, what is in the log then, and what a
//! room has chosen.

use common::{
    envelope::reply_id,
    store::usage::{UsageAsked, UsageBy},
};
use serde_json::{Value, json};
use stories::{Chat, PATIENCE, Person, Setup, until};
use uuid::Uuid;

/// The attempts at a reply that were seen to think.
fn thinking(person: &Person, question: Uuid) -> Vec<u64> {
    let is_it = |frame: &Value| {
        frame["type"] == "draft"
            && frame["reply_to"] == question.to_string()
            && frame["thinking"] == true
    };
    let frames = person.frames().into_iter().filter(is_it);
    frames
        .map(|frame| frame["attempt"].as_u64().expect("a number"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_while_the_model_thinks() {
    let mut chat = Chat::with(Setup {
        workers: 1,
        ..Setup::default()
    })
    .await;
    let room = "thinkers";
    let [mut ada] = chat.join(room, ["ada-thinks"]).await;
    chat.model
        .behave_next(["think=60s", "think=60s", "think=2s pace=1ms say=four"])
        .expect("orders");
    let question = ada.says("@bot what is two plus two?").await;
    for killed in 0..2 {
        let asked = chat
            .model
            .requests_when(PATIENCE, |calls| calls.len() > killed);
        asked.await.expect("the model was asked");
        let seen = ada.waits_for("it thinks", |frame| {
            frame["reply_to"] == question.to_string() && frame["thinking"] == true
        });
        assert_eq!(seen.await["text"], "");
        until("this attempt is seen to think", PATIENCE, async || {
            (thinking(&ada, question).len() > killed).then_some(())
        })
        .await;
        chat.workers[killed].kill();
        let next = chat.service("bot-worker", &format!("worker-after-{killed}"), &[]);
        chat.workers.push(next);
    }
    // Whoever comes in the middle of the third attempt is told that it thinks.
    chat.model
        .requests_when(PATIENCE, |calls| calls.len() == 3)
        .await
        .expect("a third call");
    until("the third attempt is seen to think", PATIENCE, async || {
        (thinking(&ada, question).len() > 2).then_some(())
    })
    .await;
    let [bob] = chat.join(room, ["bob-comes-late"]).await;
    let reply = ada.gets_reply_to(question).await;
    assert_eq!(
        (&reply["kind"], &reply["message"]),
        (&json!("bot"), &json!("four"))
    );
    assert_eq!(thinking(&bob, question).len(), 1, "told on joining");
    let attempts = thinking(&ada, question);
    assert!(
        attempts.is_sorted_by(|a, b| a < b) && attempts.len() == 3,
        "{attempts:?}"
    );
    let replies = ada.history().await.into_iter();
    let replies = replies.filter(|message| message["reply_to"] == question.to_string());
    assert_eq!(replies.count(), 1, "one reply");

    // What the attempt that came to an end has used is in the log, to the token.
    let used = chat.model.requests()[2].used;
    assert!(used.tokens_thought > 0, "{used:?}");
    let database = chat.database().await;
    let asked = UsageAsked {
        by: vec![UsageBy::Room],
        since: "2000-01-01".into(),
        until: "9999-12-31".into(),
    };
    let sum = until("the reply is in the log", PATIENCE, async || {
        let sums = database.usage(&asked).await.ok()?;
        sums.into_iter().find(|sum| sum.room == room)
    })
    .await;
    assert_eq!(sum.requests, 1);
    assert_eq!(sum.tokens_in.cast_unsigned(), used.tokens_in);
    assert_eq!(sum.tokens_out.cast_unsigned(), used.tokens_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_chooses_its_model_and_what_that_looked_up_goes_with_its_answer() {
    let chat = Chat::with(Setup {
        settings: vec![
            (
                "GEMINI_MODELS",
                "gemini-3.8-flash,gemini-3.5-flash=The quick one".to_owned(),
            ),
            ("BOT_SEARCH", "on".to_owned()),
        ],
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lookers", ["ada-looks"]).await;
    let offered = ada.client.get("/api/bot").await.body;
    assert_eq!(offered["search"], true);
    assert_eq!(offered["models"][0]["name"], "Gemini 3.8 Flash");
    assert_eq!(
        offered["models"][1],
        json!({"id": "gemini-3.5-flash", "name": "The quick one"})
    );
    let wanted = json!({"model": "gemini-3.5-flash", "thinking": "high", "search": true});
    let changed = ada.client.patch("/api/rooms/lookers", wanted).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    chat.model.behave("pace=1ms search=2").expect("an order");
    let question = ada.says("@bot what is new?").await;
    let reply = ada.gets_reply_to(question).await;
    assert_eq!(reply["sources"][1]["title"], "Page 2", "{reply}");
    let call = chat.model.requests().pop().expect("a call");
    assert_eq!(call.model, "gemini-3.5-flash");
    let thinking = &call.body()["generationConfig"]["thinkingConfig"];
    assert_eq!(thinking["thinkingLevel"], "HIGH");
    let id = reply_id("lookers", question);
    until(
        "the answer is in the database, with its sources",
        PATIENCE,
        async || {
            let database = chat.database().await;
            let kept = common::store::Messages::find(&*database, "lookers", id)
                .await
                .ok()??;
            (kept.grounding.sources.len() == 2).then_some(())
        },
    )
    .await;
    let path = format!("/api/rooms/lookers/messages/{id}/suggestions");
    assert!(ada.client.get(&path).await.text.contains("query 2"));
    let deletion = ada.change(Uuid::now_v7(), id, None);
    ada.sends(&deletion).await;
    ada.waits_for("the deletion", |frame| frame["type"] == "deleted")
        .await;
    assert_eq!(ada.client.get(&path).await.status, 404);
    let gone = ada
        .history()
        .await
        .into_iter()
        .find(|one| one["id"] == id.to_string());
    let gone = gone.expect("its place");
    assert_eq!(
        (&gone["deleted"], &gone["sources"]),
        (&json!(true), &Value::Null)
    );
}
