//! What is edited or deleted while the bot is at it, or before it is asked.

use common::{
    envelope::reply_id,
    live::{Control, turns::Turns},
    queue::Verdict,
    store::{Accounts, Actor, People},
    wire::{Kind, Message},
};

use crate::{
    drafts::{drafts, screen, words},
    scene::{PATIENCE, Scene},
};

/// The answer is long enough that something can happen meanwhile.
fn at_length() -> String {
    format!("pace=30ms say=\"{}\"", words(900))
}

/// Somebody has asked, and the answer has begun to show.
async fn is_being_answered(scene: &Scene, text: &str) -> Message {
    let question = scene.asks(text).await;
    let seen = scene
        .drafts_when(|seen| Some(screen(&drafts(seen, &question))).filter(|text| text.len() > 40));
    seen.await;
    question
}

/// What the model was told with a call.
fn told(scene: &Scene, call: usize) -> String {
    scene.practice.requests()[call].body()["contents"].to_string()
}

async fn calls(scene: &Scene, count: usize) {
    let called = scene
        .practice
        .requests_when(PATIENCE, |calls| calls.len() >= count);
    assert!(called.await.is_some(), "the model is called");
}

async fn has_no_reply(scene: &Scene, question: &Message) {
    let messages = scene.messages(&question.room).await;
    let is_reply = |message: &&Message| message.reply_to == Some(question.id);
    assert_eq!(messages.iter().find(is_reply), None);
    assert_eq!(scene.live.draft_snapshot("lobby").await.unwrap(), None);
}

#[tokio::test]
async fn a_question_that_is_edited_while_it_is_answered_has_its_new_text_answered() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave_next([&*at_length()]).unwrap();
    let question = is_being_answered(&scene, "what is two plus two?").await;
    scene.edits(&question, "what is three plus three?").await;
    let reply = scene.reply_to(&question).await;
    assert!(reply.message.contains("six"), "{}", reply.message);
    assert_eq!(reply.id, reply_id("lobby", question.id));
    assert!(told(&scene, 1).contains("three plus three"));
    assert!(!told(&scene, 1).contains("two plus two"));
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    assert!(scene.practice.requests()[0].hung_up);
    let shown = drafts(&scene.drafts(), &question);
    // It begins anew on the screen.
    assert!(reply.message.starts_with(&screen(&shown)), "{shown:?}");
    scene.assert_one_reply(&question).await;
}

#[tokio::test]
async fn before_the_first_word_it_is_the_same() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave_next(["hang"]).unwrap();
    let question = scene.asks("what is two plus two?").await;
    let waiting = scene.asks("what is four plus four?").await;
    calls(&scene, 1).await;
    // One that waits is told to the model as it is when its turn has come.
    scene.edits(&waiting, "what is five plus five?").await;
    scene.edits(&question, "what is three plus three?").await;
    let replies = [
        scene.reply_to(&question).await,
        scene.reply_to(&waiting).await,
    ];
    assert!(replies[0].message.contains("six"), "{replies:?}");
    assert!(replies[1].message.contains("ten"), "{replies:?}");
    assert_eq!(scene.practice.requests().len(), 3);
    let told: String = (1..3).map(|call| told(&scene, call)).collect();
    assert!(!told.contains("two plus two") && !told.contains("four plus four"));
}

#[tokio::test]
async fn a_model_is_not_told_the_name_of_somebody_who_is_gone() {
    let scene = Scene::with_worker(&[]).await;
    scene.store.create_user("bob", "").await.unwrap();
    let operator = Actor::Operator;
    let deleted = scene.store.delete_account(operator, "bob", None, false);
    deleted.await.unwrap().unwrap();
    scene.stored("lobby", "bob", "I leave", 1).await;
    scene.said("lobby", "bob", "farewell").await;
    let question = scene.asks("who was that?").await;
    scene.reply_to(&question).await;
    let told = told(&scene, 0);
    assert!(told.contains("deleted user: farewell"), "{told}");
    assert!(!told.contains("bob"), "{told}");
}

#[tokio::test]
async fn an_edit_of_a_question_that_has_its_answer_asks_nobody() {
    let scene = Scene::with_worker(&[]).await;
    let question = scene.asks("what is two plus two?").await;
    let reply = scene.reply_to(&question).await;
    scene.queue.settled_when(1).await;
    scene.edits(&question, "what is three plus three?").await;
    scene.deliver(&question, 2).await;
    scene.queue.settled_when(2).await;
    assert_eq!(scene.practice.requests().len(), 1);
    assert_eq!(scene.reply_to(&question).await, reply);
    scene.assert_one_reply(&question).await;
}

#[tokio::test]
async fn a_question_that_is_deleted_while_it_is_answered_gets_no_reply() {
    for order in [&*at_length(), "hang"] {
        let scene = Scene::with_worker(&[]).await;
        scene.practice.behave_next([order]).unwrap();
        let question = match order {
            "hang" => scene.asks("what is two plus two?").await,
            _ => is_being_answered(&scene, "what is two plus two?").await,
        };
        calls(&scene, 1).await;
        scene.deletes(&question).await;
        assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
        has_no_reply(&scene, &question).await;
        // Nor when it is delivered once more, and the next one has the turn.
        scene.deliver(&question, 2).await;
        scene.queue.settled_when(2).await;
        let next = scene.asks("what is three plus three?").await;
        scene.reply_to(&next).await;
        assert!(!told(&scene, 1).contains("two plus two"));
        has_no_reply(&scene, &question).await;
        assert_eq!(scene.practice.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_question_that_is_deleted_before_its_turn_gets_no_reply_either() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave_next(["hang"]).unwrap();
    let first = scene.asks("what is two plus two?").await;
    calls(&scene, 1).await;
    let [second, third] = [scene.asks("one").await, scene.asks("two").await];
    scene.deletes(&second).await;
    scene.deletes(&third).await;
    // Whoever does not wait for its turn finds that there is nothing to stop.
    let stop = |question: &Message| Control::StopReply {
        room: "lobby".into(),
        reply: reply_id("lobby", question.id),
        by: "eve".into(),
    };
    scene.control(stop(&third)).await;
    let reply = scene.reply_to(&first).await;
    assert_eq!(reply.kind, Kind::Bot, "{}", reply.message);
    let settled = scene.queue.settled_when(3).await;
    assert!(settled.iter().all(|verdict| *verdict == Verdict::Ack));
    for question in [&second, &third] {
        has_no_reply(&scene, question).await;
    }
}

#[tokio::test]
async fn whoever_was_told_a_text_that_is_deleted_since_begins_anew_without_it() {
    let scene = Scene::with_worker(&[]).await;
    let secret = scene.said("lobby", "bob", "the word is xylophone").await;
    scene.edits(&secret, "the word is zither").await;
    scene.said("lobby", "bob", "hm").await;
    scene.practice.behave_next([&*at_length()]).unwrap();
    let question = is_being_answered(&scene, "what is two plus two?").await;
    scene.deletes(&secret).await;
    let reply = scene.reply_to(&question).await;
    assert!(reply.message.contains("four"), "{}", reply.message);
    assert!(told(&scene, 0).contains("zither"));
    for word in ["zither", "xylophone", "wört"] {
        assert!(!told(&scene, 1).contains(word), "{word}");
    }
    assert!(told(&scene, 1).contains("hm"));
    scene.assert_one_reply(&question).await;
}

#[tokio::test]
async fn the_model_is_told_the_newest_texts_and_nothing_that_is_deleted() {
    let scene = Scene::with_worker(&[]).await;
    let kept = scene.said("lobby", "ada", "ahoy").await;
    let gone = scene.said("lobby", "bob", "never mind").await;
    // As it is once the database has the messages, and not yet what has become of them.
    for message in [&kept, &gone] {
        scene.keeps(message).await;
    }
    scene.edits(&kept, "ahoi").await;
    scene.deletes(&gone).await;
    let question = scene.asks("what is two plus two?").await;
    scene.reply_to(&question).await;
    let told = told(&scene, 0);
    assert!(told.contains("ahoi") && !told.contains("ahoy"), "{told}");
    assert!(
        !told.contains("never mind") && !told.contains("bob"),
        "{told}"
    );
}
