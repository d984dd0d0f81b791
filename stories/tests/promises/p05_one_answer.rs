//! P5: each request to the bot gets exactly one reply: never a second, never none.

use std::time::Duration;

use common::envelope::reply_id;
use private_engines::Engine;
use serde_json::{Value, json};
use stories::{Chat, Direction, PATIENCE, Person, Setup, until};
use uuid::Uuid;

/// Checks that a question has one reply in the history, and that nobody who listens has heard another. A second one
/// would have to come after a message that is asked for afterwards and goes the same way.
async fn assert_one_reply(asker: &mut Person, question: Uuid) -> Value {
    let reply = asker.gets_reply_to(question).await;
    let last = asker.says("@bot and now say \"done\"").await;
    asker.gets_reply_to(last).await;
    let is_reply = |message: &&Value| message["reply_to"] == question.to_string();
    assert_eq!(asker.messages().iter().filter(is_reply).count(), 1, "heard");
    assert_eq!(
        asker.history().await.iter().filter(is_reply).count(),
        1,
        "in the history"
    );
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_after_it_asked_the_model() {
    let mut chat = Chat::start().await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave_next(["hang"]).expect("an order");
    let question = ada.says("@bot what is two plus two?").await;
    let asked = chat
        .model
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await;
    assert!(asked.is_some(), "the model was asked");
    chat.workers[0].kill();
    chat.workers
        .push(chat.service("bot-worker", "second-worker", &[]));
    let reply = assert_one_reply(&mut ada, question).await;
    assert_eq!(reply["kind"], "bot");
    assert!(
        reply["message"].as_str().expect("text").contains("four"),
        "{reply}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_dies_after_showing_a_question_and_before_the_bot_heard_of_it() {
    let mut chat = Chat::start().await;
    let (edge, wire) = chat.service_on_a_wire("ws-edge", "edge-on-a-wire").await;
    chat.edges.push(edge);
    let [mut bob] = chat.join_at(0, "lobby", ["bob"]).await;
    let [mut ada] = chat.join_at(1, "lobby", ["ada"]).await;
    wire.hold(Direction::ToEngine);
    let question = ada.says("@bot what is two plus two?").await;
    bob.hears("ada", "@bot what is two plus two?").await;
    chat.edges[1].kill();
    wire.cut();
    // Nobody sends it again, and yet it is answered: another edge finds that it went missing.
    let answered = async || {
        let history = bob.history().await;
        let is_reply = |message: &&Value| message["reply_to"] == question.to_string();
        history.iter().find(is_reply).cloned()
    };
    let reply = until(
        "the question is answered",
        Duration::from_secs(90),
        answered,
    )
    .await;
    assert_eq!(reply["kind"], "bot", "{reply}");
    assert_eq!(assert_one_reply(&mut bob, question).await, reply);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_after_it_posted_and_before_it_acked() {
    let mut chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    for (name, held) in [
        ("before-the-queue", Direction::ToEngine),
        ("before-the-confirm", Direction::ToService),
    ] {
        let (worker, wire) = chat.service_on_a_wire("bot-worker", name).await;
        let [mut ada] = chat.join(name, [name]).await;
        chat.model
            .behave_next(["delay=500ms say=\"the first attempt's text\""])
            .expect("an order");
        let calls = chat.model.requests().len();
        let question = ada.says("@bot hello?").await;
        chat.model
            .requests_when(PATIENCE, |seen| seen.len() > calls)
            .await
            .expect("the model was asked");
        wire.hold(held);
        let shown = ada.gets_reply_to(question).await;
        worker.kill();
        wire.cut();
        let other = chat.service("bot-worker", &format!("{name}-second"), &[]);
        let reply = assert_one_reply(&mut ada, question).await;
        assert_eq!(reply, shown);
        assert!(
            reply["message"]
                .as_str()
                .expect("text")
                .contains("the first attempt's text"),
            "{reply}"
        );
        let reply_id: Uuid = reply["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        crate::assert_kept(
            &chat,
            &ada,
            &[(reply_id, reply["seq"].as_u64().expect("a seq"))],
        )
        .await;
        drop(other);
        chat.model.reset();
        chat.model.behave("pace=1ms").expect("an order");
    }
    chat.workers.clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_sent_twice_at_two_edges() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave("delay=300ms").expect("an order");
    let question = ada.says("@bot what is two plus two?").await;
    let mut again = Person::log_in(&chat.url(1), "ada").await;
    again.connects().await;
    again.joins("lobby", None).await;
    again.says_as(question, "@bot what is two plus two?").await;
    let (first, second) = (ada.is_acked(question).await, again.is_acked(question).await);
    assert_eq!(first, second, "one message, one place");
    assert_one_reply(&mut ada, question).await;
    // Also long after the answer.
    again.says_as(question, "@bot what is two plus two?").await;
    assert_one_reply(&mut again, question).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_again_and_again_under_load() {
    let chat = Chat::with(Setup {
        workers: 3,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    chat.model.behave("delay=100ms pace=1ms").expect("an order");
    let mut questions = Vec::new();
    let asking = async {
        for n in 0..30 {
            let asker = if n % 2 == 0 { &mut ada } else { &mut bob };
            questions.push(asker.says(&format!("@bot what is {n} plus {n}?")).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let killing = async {
        for round in 0..6 {
            let worker = &chat.workers[round % 3];
            // A moment in which it surely holds something is not to be had from outside; any moment will do.
            tokio::time::sleep(Duration::from_millis(400)).await;
            worker.kill();
            worker.start_again();
        }
    };
    tokio::join!(asking, killing);
    for question in &questions {
        ada.gets_reply_to(*question).await;
    }
    let history = ada.history().await;
    for question in &questions {
        let replies = history
            .iter()
            .filter(|message| message["reply_to"] == question.to_string())
            .count();
        assert_eq!(replies, 1, "{question} has {replies} replies");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_again_once_for_each_reply() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    bob.moves_to(&chat.url(1));
    assert!(bob.comes_back().await);
    chat.model
        .behave_next(["block", "say=\"the second answer\""])
        .expect("orders");
    let question = ada.says("@bot what is two plus two?").await;
    let first = ada.gets_reply_to(question).await;
    assert_eq!(first["kind"], "fallback");

    // Both want another, at two edges, one of them twice: that is one more answer.
    let id: Uuid = first["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID");
    let again = json!({ "type": "again", "room": "lobby", "id": id });
    ada.sends(&again).await;
    bob.sends(&again).await;
    ada.sends(&again).await;
    for person in [&ada, &bob] {
        assert_eq!(Value::from(person.is_acked(id).await), first["seq"]);
    }
    let second = reply_id("lobby", id).to_string();
    let second = bob
        .waits_for("the second answer", |frame| {
            frame["type"] == "message" && frame["id"] == second
        })
        .await;
    assert_eq!(second["kind"], "bot");
    assert_eq!(second["reply_to"], first["reply_to"]);
    assert_eq!(second["message"], "the second answer");

    // The third is of a model that was not told of the two before.
    let id: Uuid = second["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID");
    let asked = chat.model.requests().len();
    ada.sends(&json!({ "type": "again", "room": "lobby", "id": id }))
        .await;
    let third = reply_id("lobby", id).to_string();
    ada.waits_for("the third answer", |frame| {
        frame["type"] == "message" && frame["id"] == third
    })
    .await;
    let calls = chat.model.requests();
    assert_eq!(calls.len(), asked + 1);
    let told = calls[asked].body().to_string();
    assert!(told.contains("two plus two"), "{told}");
    assert!(!told.contains("the second answer"), "{told}");

    let last = ada.says("@bot and now say \"done\"").await;
    ada.gets_reply_to(last).await;
    let is_reply = |message: &&Value| message["reply_to"] == question.to_string();
    for shown in [ada.messages(), bob.history().await] {
        assert_eq!(shown.iter().filter(is_reply).count(), 3, "{shown:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_not_asked_again_though_redis_has_forgotten_it() {
    let chat = Chat::with(Setup {
        own_engines: true,
        ..Setup::default()
    })
    .await;
    let (mut ada, asked) = crate::sixty_questions(&chat).await;
    chat.engines().kill(Engine::Redis).await;
    chat.engines().wipe(Engine::Redis).await;
    chat.engines().start_engine(Engine::Redis).await;
    // Of what was on its way nothing is certain; all of it is kept by now, as is what had been answered.
    let edges = [chat.url(0)];
    ada.says_until_acked("/help", &edges).await;
    crate::sends_again_and_is_answered_once(&chat, &mut ada, &asked).await;
}
