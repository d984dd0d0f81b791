//! A reply as it grows, and how it is stopped; and one request at a time in a room.

use std::time::Duration;

use common::{
    live::Control,
    queue::Verdict,
    wire::{Kind, Message, ServerFrame},
};
use seam_fakes::Fault;

use crate::scene::Scene;

/// One draft, as everyone in the room sees it.
#[derive(Debug)]
pub(crate) struct Shown {
    attempt: u32,
    offset: usize,
    text: String,
}

pub(crate) fn drafts(seen: &[ServerFrame], question: &Message) -> Vec<Shown> {
    let of = |frame: &ServerFrame| {
        let ServerFrame::Draft {
            room,
            id,
            reply_to,
            attempt,
            offset,
            text,
            waiting: None,
            ..
        } = frame.clone()
        else {
            return None;
        };
        if reply_to != question.id {
            return None;
        }
        let reply = common::envelope::reply_id(&room, reply_to);
        assert_eq!((&room, id), (&question.room, reply));
        Some(Shown {
            attempt,
            offset,
            text,
        })
    };
    seen.iter().filter_map(of).collect()
}

/// What a client has on its screen after these drafts.
pub(crate) fn screen(drafts: &[Shown]) -> String {
    let mut now = (0, String::new());
    for draft in drafts {
        if draft.attempt > now.0 {
            now = (draft.attempt, String::new());
        }
        if draft.attempt == now.0 {
            let kept: String = now.1.chars().take(draft.offset).collect();
            assert_eq!(kept.chars().count(), draft.offset, "no hole");
            now.1 = kept + &draft.text;
        }
    }
    now.1
}

pub(crate) fn words(count: usize) -> String {
    (0..count)
        .map(|n| format!("wört{n}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn a_reply_is_shown_as_it_grows() {
    let scene = Scene::with_worker(&[]).await;
    scene
        .practice
        .behave(&format!("pace=20ms say=\"{}\"", words(90)))
        .unwrap();
    let question = scene.asks("count").await;
    let reply = scene.reply_to(&question).await;
    let shown = drafts(&scene.drafts(), &question);
    assert!(shown.len() >= 5, "{}", shown.len());
    // 30 pieces in 600 ms are at most 25 drafts a second, and the first at once.
    assert!(shown.len() <= 20, "{}", shown.len());
    assert!(
        reply.message.starts_with(&screen(&shown)),
        "{}",
        screen(&shown)
    );
    assert!(shown[0].text.chars().count() < 40);
}

#[tokio::test]
async fn a_later_attempt_begins_anew_under_a_higher_number() {
    let scene = Scene::with_worker(&[]).await;
    let text = words(30);
    let cut = format!("pace=20ms cut after=4 say=\"{text}\"");
    let well = format!("pace=20ms say=\"{text}\"");
    scene
        .practice
        .behave_next([cut.as_str(), well.as_str()])
        .unwrap();
    let question = scene.said("lobby", "ada", "count").await;
    scene.deliver(&question, 3).await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(
        (reply.kind, reply.message.as_str()),
        (Kind::Bot, text.as_str())
    );
    let mut attempts: Vec<u32> = drafts(&scene.drafts(), &question)
        .iter()
        .map(|draft| draft.attempt)
        .collect();
    attempts.dedup();
    assert_eq!(attempts, [301, 302]);
}

#[tokio::test]
async fn a_reply_that_is_stopped_is_what_is_there() {
    let scene = Scene::with_worker(&[]).await;
    scene
        .practice
        .behave(&format!("pace=30ms say=\"{}\"", words(900)))
        .unwrap();
    let question = scene.asks("count").await;
    let seen = scene
        .drafts_when(|seen| Some(screen(&drafts(seen, &question))).filter(|text| text.len() > 40));
    let seen = seen.await;
    let reply = common::envelope::reply_id("lobby", question.id);
    scene
        .control(Control::StopReply {
            room: "lobby".into(),
            reply,
        })
        .await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Bot);
    assert!(
        reply.message.starts_with(seen.trim_end()) && reply.message.len() < 2_000,
        "{}",
        reply.message
    );
    assert_eq!(scene.queue.settled_when(1).await, [Verdict::Ack]);
    assert_eq!(
        scene.persisted()[0].reply.as_ref().unwrap().outcome,
        "stopped"
    );
    assert!(
        scene
            .practice
            .requests_when(Duration::from_secs(5), |calls| calls[0].hung_up)
            .await
            .is_some()
    );
}

#[tokio::test]
async fn a_reply_stopped_before_its_first_word_says_so() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("hang").unwrap();
    let question = scene.asks("count").await;
    let waiting = scene.asks("and then?").await;
    scene
        .practice
        .requests_when(Duration::from_secs(5), |calls| !calls.is_empty())
        .await
        .unwrap();
    // The one that waits for its turn can be stopped as well.
    for request in [&waiting, &question] {
        let reply = common::envelope::reply_id("lobby", request.id);
        scene
            .control(Control::StopReply {
                room: "lobby".into(),
                reply,
            })
            .await;
        let reply = scene.reply_to(request).await;
        assert_eq!(
            (reply.kind, reply.message.as_str()),
            (Kind::Fallback, "Stopped, before I had said anything.")
        );
    }
    assert_eq!(scene.practice.requests().len(), 1);
}

#[tokio::test]
async fn a_slow_engine_costs_drafts_and_not_the_answer() {
    let scene = Scene::with_worker(&[]).await;
    let slow = Fault::Takes(Duration::from_secs(30));
    scene.live.faults.on("draft", slow);
    scene
        .practice
        .behave(&format!("pace=1ms say=\"{}\"", words(90)))
        .unwrap();
    let asked = std::time::Instant::now();
    let question = scene.asks("count").await;
    assert_eq!(scene.reply_to(&question).await.message, words(90));
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert!(
        drafts(&scene.drafts(), &question).is_empty(),
        "none comes after the reply"
    );
}

#[tokio::test]
async fn in_one_room_one_request_at_a_time_and_in_order() {
    let scene = Scene::with_worker(&[]).await;
    scene.add_room("elsewhere", "").await;
    scene.practice.behave("delay=100ms").unwrap();
    let mut questions: Vec<Message> = Vec::new();
    for n in 0..5 {
        questions.push(scene.asks(&format!("what is {n} plus {n}?")).await);
    }
    for question in &questions {
        scene.reply_to(question).await;
    }
    let calls = scene.practice.requests();
    assert_eq!(calls.iter().map(|call| call.under_way).max(), Some(1));
    let replies: Vec<_> = scene
        .messages("lobby")
        .await
        .iter()
        .filter_map(|message| message.reply_to)
        .collect();
    assert_eq!(
        replies,
        questions
            .iter()
            .map(|question| question.id)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn rooms_do_not_wait_for_each_other() {
    let scene = Scene::with_worker(&[]).await;
    scene.add_room("elsewhere", "").await;
    scene.practice.behave_next(["hang"]).unwrap();
    scene.asks("hello?").await;
    scene
        .practice
        .requests_when(Duration::from_secs(5), |calls| !calls.is_empty())
        .await
        .unwrap();
    let other = scene.said("elsewhere", "ada", "hello?").await;
    scene.deliver(&other, 1).await;
    assert_eq!(scene.reply_to(&other).await.kind, Kind::Bot);
}
