//! What rooms may choose of the bot, and what is shown along with an answer of its that looked things up.

use common::{
    live::{BotOffer, BotRole, Control, OfferedModel, Signal},
    store::Thinking,
    wire::{Kind, NewMessage, Source},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    chat::Chat,
    edges::{new_message, until},
};

async fn offers(chat: &Chat, models: &[&str], search: bool) {
    let models = models.iter().map(|id| OfferedModel {
        id: (*id).to_owned(),
        name: format!("The {id}"),
    });
    let offer = BotOffer {
        models: models.collect(),
        thinking: Thinking::Low,
        search,
    };
    let control = Signal::Control(Control::BotOffers(offer));
    chat.live.signal(&control).await.unwrap();
}

#[tokio::test]
async fn a_room_chooses_of_what_the_workers_offer() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    offers(&chat, &["one", "two"], false).await;
    let listed = json!({
        "models": [{"id": "one", "name": "The one"}, {"id": "two", "name": "The two"}],
        "thinking": "low",
        "search": false,
    });
    assert_eq!(ada.get("/api/bot").await.body, listed);
    assert_eq!(chat.elsewhere(&ada).get("/api/bot").await.body, listed);
    chat.someone()
        .get("/api/bot")
        .await
        .is_problem(401, "unauthorized");

    let change = async |change: Value| ada.patch("/api/rooms/lobby", change).await;
    for wrong in [
        json!({"model": "three"}),
        json!({"model": ""}),
        json!({"model": 3}),
        json!({"thinking": "deep"}),
        json!({"thinking": true}),
        json!({"search": true}),
        json!({"search": "yes"}),
    ] {
        change(wrong.clone()).await.is_problem(400, "bad_request");
    }
    let plain = ada.get("/api/rooms/lobby").await.body;
    let chosen = change(json!({"model": "two", "thinking": "high"})).await;
    let with = |more: Value| {
        let mut room = plain.as_object().unwrap().clone();
        room.extend(more.as_object().unwrap().clone());
        Value::Object(room)
    };
    let wanted = with(json!({"model": "two", "thinking": "high"}));
    assert_eq!(chosen.is(StatusCode::OK).body, wanted);
    assert_eq!(ada.get("/api/rooms/lobby").await.body, wanted);
    // What is left out stays, and what is null is taken back.
    offers(&chat, &["one", "two"], true).await;
    until("the news is heard", async || {
        change(json!({"search": true})).await.status == 200
    })
    .await;
    let room = change(json!({"model": null})).await;
    assert_eq!(room.body, with(json!({"thinking": "high", "search": true})));
    let room = change(json!({"thinking": null, "search": null})).await;
    assert_eq!(room.body, plain);
    let bob = chat.registers("bob").await;
    bob.patch("/api/rooms/lobby", json!({"model": "one"}))
        .await
        .is_problem(403, "forbidden");
}

#[tokio::test]
async fn as_long_as_no_worker_was_heard_a_choice_is_taken_and_nothing_is_listed() {
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let none = ada.get("/api/bot").await;
    assert_eq!(none.is(StatusCode::OK).body["models"], json!([]));
    let chosen = ada
        .patch("/api/rooms/lobby", json!({"model": "some-model"}))
        .await;
    assert_eq!(chosen.is(StatusCode::OK).body["model"], "some-model");
    ada.patch("/api/rooms/lobby", json!({"model": "two words"}))
        .await
        .is_problem(400, "bad_request");
}

#[tokio::test]
async fn what_an_answer_stands_on_is_in_history_and_its_suggestions_are_a_document_without_rights()
{
    let chat = Chat::start().await;
    let ada = chat.registers("ada").await;
    ada.makes_room("lobby").await.is(StatusCode::CREATED);
    let mut answer = NewMessage {
        kind: Kind::Bot,
        ..new_message("lobby", "bot", "Much.")
    };
    answer
        .grounding
        .add(Source::new("A page", "https://example.org/a").unwrap());
    answer
        .grounding
        .suggest("<style>a{}</style><a href=\"https://example.org/s\">more</a>");
    let id = answer.id;
    chat.live
        .append_as(&answer, Some(0), BotRole::None)
        .await
        .unwrap();
    let history = ada.get("/api/rooms/lobby/messages").await.body;
    let sources = json!([{"title": "A page", "uri": "https://example.org/a"}]);
    assert_eq!(history["messages"][0]["sources"], sources);

    let path = format!("/api/rooms/lobby/messages/{id}/suggestions");
    let shown = ada.get(&path).await;
    shown.is(StatusCode::OK);
    let policy = shown.header("content-security-policy");
    assert!(
        policy.starts_with("sandbox ") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    assert!(
        !policy.contains("allow-scripts") && !policy.contains("allow-same-origin"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
    assert!(shown.header("content-type").starts_with("text/html"));
    assert_eq!(shown.header("x-content-type-options"), "nosniff");
    let page = ada.get("/").await;
    let of_page = page.header("content-security-policy");
    assert!(of_page.contains("frame-src 'self'"), "{of_page}");

    let other = format!("/api/rooms/lobby/messages/{}/suggestions", Uuid::now_v7());
    ada.get(&other).await.is_problem(404, "not_found");
    let bob = chat.registers("bob").await;
    ada.patch("/api/rooms/lobby", json!({"private": true}))
        .await
        .is(StatusCode::OK);
    bob.get(&path).await.is_problem(404, "not_found");
}
