//! One request, one reply: what the worker does with deliveries, engines that are away, and models that fail.

use std::time::{Duration, Instant};

use bot_worker::ATTEMPTS_MAX;
use common::{
    envelope::reply_id,
    queue::{Route, Verdict},
    wire::{Kind, Message},
};
use uuid::Uuid;

use crate::scene::{PATIENCE, Scene};

#[tokio::test]
async fn a_question_has_its_answer_in_the_room_and_in_the_queue_and_is_acked() {
    let scene = Scene::with_worker(&["--bot-prices", "first=1/2"]).await;
    let question = scene.asks("what is two plus two?").await;
    let reply = scene.reply_to(&question).await;
    assert_eq!((reply.kind, reply.sender.as_str()), (Kind::Bot, "bot"));
    assert_eq!(reply.id, reply_id("lobby", question.id));
    assert!(reply.message.contains("four"), "{}", reply.message);
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    let kept = scene.persisted();
    assert_eq!(kept[0].message, reply);
    let log = kept[0].reply.clone().unwrap();
    assert_eq!(
        (
            log.request,
            log.model.as_str(),
            log.attempts,
            log.outcome.as_str()
        ),
        (question.id, "first", 1, "answered")
    );
    assert!(log.tokens_in > 0 && log.tokens_out > 0);
    let cost = u64::from(log.tokens_in) + 2 * u64::from(log.tokens_out);
    assert_eq!((log.user.as_str(), log.cost_micros), ("ada", Some(cost)));
    assert!(
        log.first_token_ms
            .is_some_and(|first| first <= log.total_ms)
    );
}

#[tokio::test]
async fn the_model_is_told_who_said_what_before() {
    let scene = Scene::set().await;
    scene.add_room("ship", "a pirate").await;
    for (sender, text) in [
        ("ada", "forget me"),
        ("ada", "/reset"),
        ("ada", "ahoy"),
        ("bot", "Arr."),
        ("bob", "hm"),
    ] {
        scene.said("ship", sender, text).await;
    }
    let question = scene.said("ship", "ada", "what now?").await;
    scene.said("ship", "eve", "too late").await;
    let mut scene = scene;
    scene.start(&[]);
    scene.deliver(&question, 1).await;
    scene.reply_to(&question).await;
    let body = scene.practice.requests()[0].body();
    let parts: Vec<String> = body["contents"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|turn| turn["parts"].as_array().unwrap())
        .map(|part| part["text"].as_str().unwrap().to_owned())
        .collect();
    // Each begins a line.
    assert_eq!(parts, ["ada: ahoy", "Arr.", "bob: hm\n", "ada: what now?"]);
    let system = body["systemInstruction"]["parts"][0]["text"]
        .as_str()
        .unwrap();
    assert!(system.contains("ship") && system.contains("a pirate"));
}

#[tokio::test]
async fn a_request_delivered_again_is_found_answered_and_the_model_is_not_asked() {
    let scene = Scene::with_worker(&[]).await;
    let question = scene.asks("what is two plus two?").await;
    let first = scene.reply_to(&question).await;
    scene.queue.settled_when(1).await;
    scene.deliver(&question, 2).await;
    assert_eq!(
        scene.queue.settled_when(2).await,
        [Verdict::Ack, Verdict::Ack]
    );
    assert_eq!(scene.practice.requests().len(), 1);
    scene.assert_one_reply(&question).await;
    // The first attempt may have died before `persist` had it: it is handed over once more, as it was shown.
    let kept = scene.persisted();
    assert_eq!((kept.len(), &kept[1].message), (2, &first));
    assert_eq!(kept[1].reply.as_ref().unwrap().outcome, "recovered");
}

#[tokio::test]
async fn a_reply_that_only_the_database_knows_is_enough() {
    let scene = Scene::with_worker(&[]).await;
    let question = scene.said("lobby", "ada", "hello?").await;
    let mut reply = question.clone();
    (reply.id, reply.seq, reply.kind, reply.sender) = (
        reply_id("lobby", question.id),
        question.seq + 1,
        Kind::Bot,
        "bot".into(),
    );
    scene.keeps(&reply).await;
    scene.deliver(&question, 2).await;
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    assert_eq!(scene.practice.requests().len(), 0);
    assert!(scene.persisted().is_empty());
}

#[tokio::test]
async fn a_second_delivery_while_the_first_is_answered_is_the_same_work() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("delay=300ms").unwrap();
    let question = scene.asks("hello?").await;
    scene
        .practice
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await
        .unwrap();
    scene.deliver(&question, 2).await;
    assert_eq!(
        scene.queue.settled_when(2).await,
        [Verdict::Ack, Verdict::Ack]
    );
    assert_eq!(scene.practice.requests().len(), 1);
    scene.assert_one_reply(&question).await;
}

#[tokio::test]
async fn a_request_that_a_dozen_restarts_handed_back_is_answered_all_the_same() {
    let scene = Scene::with_worker(&[]).await;
    let question = scene.said("lobby", "ada", "what is two plus two?").await;
    scene.deliver(&question, 13).await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
}

#[tokio::test]
async fn a_request_delivered_too_often_gets_the_fallback_unasked() {
    let scene = Scene::with_worker(&[]).await;
    let question = scene.said("lobby", "ada", "hello?").await;
    scene.deliver(&question, ATTEMPTS_MAX).await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Fallback);
    assert_eq!(scene.practice.requests().len(), 0);
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_dead_letter_and_a_bot_is_left_alone() {
    let scene = Scene::with_worker(&[]).await;
    let route = Route::PersistAndAsk;
    let broken = scene
        .queue
        .delivers(route, Uuid::now_v7(), "no envelope".into(), 1);
    broken.await.unwrap();
    let settled = scene.queue.settled_when(1).await;
    assert!(
        matches!(&settled[0], Verdict::DeadLetter(reason) if reason.contains("no envelope")),
        "{settled:?}"
    );
    let nowhere = scene.said("nowhere", "ada", "hello?").await;
    scene.deliver(&nowhere, 1).await;
    let settled = scene.queue.settled_when(2).await;
    assert!(
        matches!(&settled[1], Verdict::DeadLetter(reason) if reason.contains("nowhere")),
        "{settled:?}"
    );
    let bots = scene.said("lobby", "bot", "hello, me?").await;
    scene.deliver(&bots, 1).await;
    assert_eq!(scene.queue.settled_when(3).await[2], Verdict::Ack);
    assert_eq!(scene.practice.requests().len(), 0);
}

#[tokio::test]
async fn a_command_is_answered_without_the_model() {
    let scene = Scene::with_worker(&["--bot-fallback", "away"]).await;
    for (command, answer) in [("@bot /reset", "afresh"), ("/help", "`/reset` makes me")] {
        let reply = scene.reply_to(&scene.asks(command).await).await;
        assert_eq!(reply.kind, Kind::Bot, "{command} is no failure");
        assert!(reply.message.contains(answer), "{}", reply.message);
    }
    assert_eq!(scene.practice.requests().len(), 0);
}

#[tokio::test]
async fn a_reply_waits_until_it_can_be_posted_and_only_then_is_the_request_acked() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("delay=200ms").unwrap();
    let question = scene.asks("what is two plus two?").await;
    scene
        .practice
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await
        .unwrap();
    scene.queue.faults.away(true);
    scene.live.faults.away(true);
    scene
        .practice
        .requests_when(PATIENCE, |calls| calls[0].ended)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(scene.queue.settled().is_empty());
    scene.queue.faults.away(false);
    scene.live.faults.away(false);
    let reply = scene.reply_to(&question).await;
    assert!(reply.message.contains("four"));
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    assert_eq!(scene.practice.requests().len(), 1);
}

#[tokio::test]
async fn without_the_database_the_bot_answers_from_the_question_alone() {
    let scene = Scene::with_worker(&[]).await;
    scene.store.faults.away(true);
    scene.said("lobby", "bob", "before").await;
    let question = scene.asks("what is two plus two?").await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
    assert_eq!(
        scene.practice.requests()[0].text,
        "ada: what is two plus two?"
    );
}

#[tokio::test]
async fn a_failing_model_is_tried_again_and_then_the_next() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave_next(["503", "drop", "ok"]).unwrap();
    let question = scene.asks("what is two plus two?").await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
    let models = |scene: &Scene| -> Vec<String> {
        scene
            .practice
            .requests()
            .into_iter()
            .map(|call| call.model)
            .collect()
    };
    assert_eq!(models(&scene), ["first"; 3]);
    scene.practice.behave_for_model("first", "429-day").unwrap();
    let question = scene.asks("and three?").await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
    assert_eq!(models(&scene)[3..], ["first", "second"]);
    // It is known by now that the first has nothing left for today.
    let question = scene.asks("and four?").await;
    scene.reply_to(&question).await;
    assert_eq!(models(&scene)[5..], ["second"]);
}

#[tokio::test]
async fn a_named_delay_is_kept_to_and_one_beyond_the_deadline_not_waited_for() {
    let scene = Scene::with_worker(&["--gemini-models", "only", "--bot-deadline", "5"]).await;
    scene.practice.behave_next(["429 retry=600ms"]).unwrap();
    let question = scene.asks("what is two plus two?").await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
    let calls = scene.practice.requests();
    assert!(
        calls[1].at - calls[0].at >= 600_000,
        "{} µs",
        calls[1].at - calls[0].at
    );
    scene.practice.behave("429 retry=30s").unwrap();
    let asked = Instant::now();
    let question = scene.asks("and three?").await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Fallback);
    assert!(reply.message.contains("quota"), "{}", reply.message);
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn whatever_the_model_does_there_is_a_reply_in_time() {
    for (order, words) in [
        ("hang", "too long"),
        ("stall after=0", "too long"),
        ("503", "trouble"),
        ("garbage", "trouble"),
        ("403", "key"),
        ("404", "exist"),
        ("block", "safety"),
    ] {
        let scene = Scene::with_worker(&["--bot-deadline", "2"]).await;
        scene.practice.behave(order).unwrap();
        let asked = Instant::now();
        let question = scene.asks("hello?").await;
        let reply = scene.reply_to(&question).await;
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{order}: {:?}",
            asked.elapsed()
        );
        assert_eq!(reply.kind, Kind::Fallback, "{order}: {}", reply.message);
        assert!(reply.message.contains(words), "{order}: {}", reply.message);
        assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    }
}

#[tokio::test]
async fn the_fallback_has_the_text_that_was_set() {
    let scene = Scene::with_worker(&["--bot-fallback", "The bot is out to lunch."]).await;
    scene.practice.behave("400").unwrap();
    let question = scene.asks("hello?").await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(
        (reply.kind, reply.message.as_str()),
        (Kind::Fallback, "The bot is out to lunch.")
    );
}

#[tokio::test]
async fn what_was_written_before_it_broke_off_is_better_than_an_excuse() {
    let scene = Scene::with_worker(&["--bot-deadline", "2"]).await;
    scene
        .practice
        .behave("say=\"one two three four five six seven eight nine ten\" cut after=2")
        .unwrap();
    let question = scene.asks("count").await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Bot);
    assert!(
        reply.message.starts_with("one two three") && reply.message.ends_with("breaks off here.)*"),
        "{}",
        reply.message
    );
}

#[tokio::test]
async fn a_model_that_never_says_that_it_ended_is_asked_once_more_and_then_believed() {
    let scene = Scene::with_worker(&[]).await;
    scene
        .practice
        .behave("say=\"two and two is four\" no-finish")
        .unwrap();
    let reply = scene.reply_to(&scene.asks("two plus two?").await).await;
    assert_eq!(
        (reply.kind, reply.message.as_str()),
        (Kind::Bot, "two and two is four")
    );
    assert_eq!(scene.practice.requests().len(), 2);
    // Both calls were paid for.
    scene.queue.settled_when(1).await;
    let log = scene.persisted()[0].reply.clone().unwrap();
    assert_eq!((log.attempts, log.outcome.as_str()), (2, "answered"));
    let once = Scene::with_worker(&[]).await;
    once.practice.behave("say=\"two and two is four\"").unwrap();
    once.reply_to(&once.asks("two plus two?").await).await;
    once.queue.settled_when(1).await;
    let of_one = once.persisted()[0].reply.clone().unwrap();
    assert_eq!(
        (log.tokens_in, log.tokens_out),
        (2 * of_one.tokens_in, 2 * of_one.tokens_out)
    );
    assert_eq!(log.cost_micros, of_one.cost_micros.map(|cost| 2 * cost));
}

#[tokio::test]
async fn a_question_that_no_model_answers_is_asked_a_few_times_and_its_asker_told_so() {
    for order in ["no-text", "no-text finish=MALFORMED_FUNCTION_CALL"] {
        let scene = Scene::with_worker(&[]).await;
        scene.practice.behave(order).unwrap();
        let reply = scene.reply_to(&scene.asks("hello?").await).await;
        assert_eq!(reply.kind, Kind::Fallback);
        assert!(
            reply.message.contains("in other words"),
            "{}",
            reply.message
        );
        let calls = scene.practice.requests();
        let models: Vec<&str> = calls.iter().map(|call| call.model.as_str()).collect();
        assert_eq!(models, ["first", "first", "second"], "{order}");
    }
}

/// Ten rooms of one person's ask what fails like this, over and over, and another person asks something else.
async fn one_persons_failures_cost_another_nothing(order: &str) {
    let scene = Scene::with_worker(&["--gemini-models", "only"]).await;
    let ask_in = async |room: &str, user: &str, text: &str| {
        let question = scene.said(room, user, text).await;
        scene.deliver(&question, 1).await;
        question
    };
    scene.add_room("bobs", "").await;
    let asked = Instant::now();
    let question = ask_in("bobs", "bob", "what is two plus two?").await;
    scene.reply_to(&question).await;
    let alone = asked.elapsed();
    for round in 0..3 {
        for n in 0..10 {
            let room = format!("adas-{n}");
            if round == 0 {
                scene.add_room(&room, "").await;
            }
            ask_in(&room, "ada", &format!("{round}? [[practice: {order}]]")).await;
        }
    }
    // As many as open a circuit.
    let failed = scene
        .practice
        .requests_when(PATIENCE, |calls| calls.len() > 6);
    assert!(failed.await.is_some(), "{order}");
    let asked = Instant::now();
    let question = ask_in("bobs", "bob", "what is two plus two?").await;
    let reply = scene.reply_to(&question).await;
    let beside = asked.elapsed();
    assert!(
        reply.kind == Kind::Bot && reply.message.contains("four"),
        "{order}: {}",
        reply.message
    );
    // An open circuit costs two seconds at least.
    let limit = alone * 3 / 2 + Duration::from_millis(1_300);
    assert!(
        beside < limit,
        "{order}: {beside:?} beside them, {alone:?} alone"
    );
}

#[tokio::test]
async fn a_question_without_an_answer_costs_another_person_nothing() {
    one_persons_failures_cost_another_nothing("no-text finish=MALFORMED_FUNCTION_CALL").await;
}

#[tokio::test]
async fn a_question_at_which_the_model_breaks_costs_another_person_nothing() {
    one_persons_failures_cost_another_nothing("500").await;
}

#[tokio::test]
async fn a_code_block_in_which_it_broke_off_is_closed_before_the_note() {
    let scene = Scene::with_worker(&["--bot-deadline", "2"]).await;
    scene
        .practice
        .behave("say=\"So:\\n\\n~~~rust\\nfn main() { call() } and more of it\\n~~~\" cut after=2")
        .unwrap();
    let reply = scene.reply_to(&scene.asks("how?").await).await;
    assert!(
        reply.message.starts_with("So:\n\n~~~rust\nfn main()")
            && reply
                .message
                .ends_with("\n~~~\n\n*(The answer breaks off here.)*"),
        "{}",
        reply.message
    );
}

#[tokio::test]
async fn a_quota_is_kept_and_whoever_would_wait_too_long_is_told_so() {
    let flags = [
        "--gemini-models",
        "only",
        "--bot-rpm",
        "1",
        "--bot-deadline",
        "3",
    ];
    let scene = Scene::with_worker(&flags).await;
    let mut kinds = Vec::new();
    let mut questions: Vec<Message> = Vec::new();
    for n in 0..3 {
        let room = format!("room-{n}");
        scene.add_room(&room, "").await;
        let question = scene.said(&room, "ada", "hello?").await;
        scene.deliver(&question, 1).await;
        questions.push(question);
    }
    for question in &questions {
        kinds.push(scene.reply_to(question).await.kind);
    }
    assert_eq!(
        kinds.iter().filter(|kind| **kind == Kind::Bot).count(),
        1,
        "{kinds:?}"
    );
    assert_eq!(scene.practice.requests().len(), 1);
}

#[tokio::test]
async fn draining_finishes_what_is_begun_and_hands_back_the_rest() {
    let scene = Scene::with_worker(&["--bot-concurrency", "1"]).await;
    scene.add_room("elsewhere", "").await;
    scene.practice.behave("delay=500ms").unwrap();
    let begun = scene.asks("what is two plus two?").await;
    scene
        .practice
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await
        .unwrap();
    let waiting = scene.said("elsewhere", "ada", "and three?").await;
    scene.deliver(&waiting, 1).await;
    // It has to be taken to be handed back; what was not taken stays where it is.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let scene = scene.stops().await;
    assert_eq!(scene.reply_to(&begun).await.kind, Kind::Bot);
    assert_eq!(scene.queue.settled(), [Verdict::HandBack, Verdict::Ack]);
    assert_eq!(scene.practice.requests().len(), 1);
}

#[tokio::test]
async fn what_does_not_end_while_draining_is_handed_back() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("hang").unwrap();
    let question = scene.asks("hello?").await;
    scene
        .practice
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await
        .unwrap();
    let scene = scene.stops().await;
    assert_eq!(scene.queue.settled(), [Verdict::HandBack]);
    let messages = scene.messages("lobby").await;
    assert!(
        messages
            .iter()
            .all(|message| message.reply_to != Some(question.id))
    );
    assert!(
        scene
            .practice
            .requests_when(PATIENCE, |calls| calls[0].hung_up)
            .await
            .is_some()
    );
}
