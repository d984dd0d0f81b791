//! P13: a minute after a deletion its text is nowhere, whoever dies at whichever step, and nothing brings it back.

use std::time::Duration;

use serde_json::Value;
use stories::{Chat, Direction, PATIENCE, Person, Setup, until};
use uuid::Uuid;

use crate::{
    everywhere::{is_nowhere, places_of},
    talk,
};

/// A word that nobody else says.
fn secret() -> String {
    format!("secret{}", Uuid::new_v4().simple())
}

/// Says the word, and in an edit once more.
async fn tells(person: &mut Person, word: &str, edges: &[String]) -> Uuid {
    let text = format!("the word is {word}");
    let (id, _) = person.says_until_acked(&text, edges).await;
    let text = format!("the word was {word}, they say");
    person.changes_until_acked(id, Some(&text), edges).await;
    id
}

/// Neither the history nor what one is sent who comes back has the word.
async fn is_not_shown(chat: &Chat, word: &str) {
    for edge in 0..chat.edges.len() {
        let name = format!("late-{}", Uuid::new_v4().simple());
        let mut late = Person::register(&chat.url(edge), &name[..12]).await;
        late.connects().await;
        let joined = late.joins("lobby", Some(0)).await;
        let latest = joined["seq"].clone();
        let is_latest = |frame: &Value| frame["seq"] == latest && frame["type"] != "joined";
        late.waits_for("the latest", is_latest).await;
        let shown = [late.frames(), late.history().await].concat();
        assert!(!Value::from(shown).to_string().contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_is_deleted_in_the_middle_of_traffic_is_nowhere_whoever_dies() {
    let chat = Chat::start().await;
    let [mut bob] = chat.join("lobby", ["bob"]).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let url = [chat.url(0)];
    let words: [String; 5] = std::array::from_fn(|_| secret());
    let [plain, late, held, unsure, redelivered] = &words;

    // With others talking.
    let telling = async {
        let of = tells(&mut ada, plain, &url).await;
        let places = places_of(&chat, plain).await;
        let in_redis = places.iter().any(|place| place.starts_with("Redis"));
        assert!(in_redis, "the search finds it: {places:?}");
        ada.changes_until_acked(of, None, &url).await;
    };
    tokio::join!(telling, talk(&mut bob, 30, &url));

    // The persister is away meanwhile, and has all of it before it when it comes.
    chat.persisters[0].kill();
    let of = tells(&mut ada, late, &url).await;
    ada.changes_until_acked(of, None, &url).await;
    chat.persisters[0].start_again();

    // The edge dies after it showed the deletion, before it handed it over and before it was told that it did.
    for (word, name, direction) in [
        (held, "before-the-queue", Direction::ToEngine),
        (unsure, "before-the-confirm", Direction::ToService),
    ] {
        let (edge, wire) = chat.service_on_a_wire("ws-edge", name).await;
        ada.leaves();
        let of = tells(&mut ada, word, &[format!("http://{}", edge.listen)]).await;
        let id = Uuid::now_v7();
        wire.hold(direction);
        let frame = ada.change(id, of, None);
        ada.sends(&frame).await;
        let event = id.to_string();
        bob.waits_for("the deletion", |frame| frame["id"] == event)
            .await;
        edge.kill();
        wire.cut();
        if direction == Direction::ToService {
            // As a good client does; the other one never comes back, and another edge finds what is missing.
            ada.leaves();
            ada.moves_to(&url[0]);
            assert!(ada.comes_back().await);
            ada.sends(&frame).await;
            ada.is_acked(id).await;
        }
    }
    ada.leaves();

    // A persister dies between its commit and its ack: what it had comes again, after the deletion was written.
    chat.persisters[0].kill();
    let (persister, wire) = chat
        .service_on_a_wire("persister", "persister-on-a-wire")
        .await;
    tells(&mut ada, "an example", &url).await;
    wire.hold(Direction::ToEngine);
    let of = tells(&mut ada, redelivered, &url).await;
    until("it is written", PATIENCE, async || {
        let places = places_of(&chat, redelivered).await;
        places
            .iter()
            .any(|place| place.contains("messages"))
            .then_some(())
    })
    .await;
    ada.changes_until_acked(of, None, &url).await;
    persister.kill();
    wire.cut();
    chat.persisters[0].start_again();
    chat.persisters[0].ready().await;

    let (_, last) = ada.says_until_acked("that was all", &url).await;
    until("all is written", Duration::from_secs(60), async || {
        let history = bob.history().await;
        history
            .iter()
            .any(|message| message["seq"] == last)
            .then_some(())
    })
    .await;
    for word in &words {
        is_nowhere(&chat, word).await;
        is_not_shown(&chat, word).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_deleted_while_it_is_answered_is_nowhere_whichever_worker_dies() {
    let mut chat = Chat::with(Setup {
        workers: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let url = [chat.url(0)];
    for kills in [false, true] {
        let word = secret();
        let calls = chat.model.requests().len();
        // It says the word in its answer, at length.
        let order = format!("pace=50ms say=\"{}\"", format!("{word} ").repeat(60));
        chat.model.behave_next([&*order]).expect("an order");
        let question = ada.says(&format!("@bot what is {word}?")).await;
        ada.is_acked(question).await;
        let shown = |frame: &Value| {
            let text = frame["text"].as_str().unwrap_or_default();
            frame["type"] == "draft" && text.contains(&word)
        };
        ada.waits_for("the draft", shown).await;
        ada.changes_until_acked(question, None, &url).await;
        if kills {
            for worker in &chat.workers {
                worker.kill();
            }
            chat.workers.clear();
            chat.workers
                .push(chat.service("bot-worker", "another", &[]));
        }
        // The next one has its turn, and the model is told nothing of it.
        let next = ada.says("@bot what is two plus two?").await;
        let reply = ada.gets_reply_to(next).await;
        assert_eq!(reply["kind"], "bot", "{reply}");
        let requests = chat.model.requests();
        let told: String = requests[calls + 1..]
            .iter()
            .map(|call| call.body().to_string())
            .collect();
        assert!(!told.contains(&word), "{told}");
        is_nowhere(&chat, &word).await;
        is_not_shown(&chat, &word).await;
        let history = ada.history().await;
        let is_reply = |message: &&Value| message["reply_to"] == question.to_string();
        assert_eq!(history.iter().find(is_reply), None);
    }
}
