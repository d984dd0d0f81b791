//! What calls cost against the budgets: whatever came of them, and whoever is out of them.

use std::time::Duration;

use common::{
    envelope::{Again, Envelope, reply_id},
    live::Control,
    queue::Route,
    quota::{
        QuotaLimits,
        budgets::{Budgets, Spending, SpentView},
    },
    store::{
        Messages, People, Spendings,
        usage::{UsageAsked, UsageSum},
    },
    wire::{Kind, Message, now_seq},
};
use engines::embedded::EmbeddedQuota;
use practice_model::ReceivedCall;

use crate::scene::{PATIENCE, Scene};

/// What the practice model counts for the first three thoughts of one call, at least.
const THREE_THOUGHTS_TOKENS: u64 = 45;

async fn spent(scene: &Scene, user: &str, room: &str) -> SpentView {
    let spent = scene.quota.spent(user, Some(room), now_seq()).await;
    spent.unwrap()
}

/// Waits until that is so of what ada has used in the lobby.
async fn spent_when(scene: &Scene, what: &str, is_so: impl Fn(Spending) -> bool) -> Spending {
    let looking = async {
        loop {
            let used = spent(scene, "ada", "lobby").await.person[0];
            if is_so(used) {
                return used;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let used = tokio::time::timeout(2 * PATIENCE, looking).await;
    used.unwrap_or_else(|_| panic!("never {what}"))
}

/// What was handed to the database with the first reply, which is a moment after it is shown.
async fn first_reply(scene: &Scene) -> Envelope {
    let looking = async {
        loop {
            if let Some(reply) = scene.persisted().into_iter().next() {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reply = tokio::time::timeout(2 * PATIENCE, looking).await;
    reply.expect("a reply comes to the queue")
}

/// All that the database has.
async fn sums(scene: &Scene) -> UsageSum {
    let asked = UsageAsked {
        by: Vec::new(),
        since: "2026-01-01".into(),
        until: "9999-12-31".into(),
    };
    scene.store.usage_sums(&asked).await.unwrap().remove(0)
}

async fn asks_as(scene: &Scene, user: &str, room: &str) -> Message {
    scene.add_room(room, "").await;
    let question = scene.said(room, user, "what is two plus two?").await;
    scene.deliver(&question, 1).await;
    scene.reply_to(&question).await
}

#[tokio::test]
async fn whoever_is_out_of_their_budget_is_told_when_it_opens_and_others_go_on() {
    let flags = ["--bot-budget-person-day", "1 token"];
    let scene = Scene::with_worker(&flags).await;
    let first = scene
        .reply_to(&scene.asks("what is two plus two?").await)
        .await;
    assert_eq!(first.kind, Kind::Bot, "{}", first.message);
    spent_when(&scene, "is anything used", |used| used.tokens_in > 1).await;
    let calls = scene.practice.requests().len();
    let second = scene.reply_to(&scene.asks("and three?").await).await;
    assert_eq!(second.kind, Kind::Fallback);
    let told = &second.message;
    assert!(
        told.contains("today") && told.contains("00:00 UTC"),
        "{told}"
    );
    assert_eq!(scene.practice.requests().len(), calls, "no model is asked");
    assert_eq!(asks_as(&scene, "bob", "elsewhere").await.kind, Kind::Bot);
}

#[tokio::test]
async fn whoever_has_anothers_question_answered_again_pays_for_it_and_is_counted() {
    let flags = ["--bot-user-rpm", "1"];
    let scene = Scene::with_worker(&flags).await;
    let question = scene.asks("what is two plus two?").await;
    let mut last = scene.reply_to(&question).await;
    assert_eq!(last.kind, Kind::Bot);
    let adas = spent_when(&scene, "is one call used", |used| used.calls == 1).await;
    for wanted in [Kind::Bot, Kind::Fallback] {
        let again = Again {
            after: last.id,
            at: now_seq(),
            by: Some("eve".into()),
        };
        let (after, envelope) = (again.after, Envelope::again(question.clone(), again));
        let (route, payload) = (Route::PersistAndAsk, envelope.to_bytes());
        let delivered = scene.queue.delivers(route, after, payload, 1);
        delivered.await.unwrap();
        let next = reply_id(&question.room, after);
        let posted = async {
            loop {
                let messages = scene.messages(&question.room).await;
                if let Some(reply) = messages.into_iter().find(|one| one.id == next) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        last = tokio::time::timeout(PATIENCE, posted).await.unwrap();
        assert_eq!(last.kind, wanted, "{}", last.message);
    }
    assert_eq!(spent(&scene, "ada", "lobby").await.person[0], adas);
    assert_eq!(spent(&scene, "eve", "lobby").await.person[0].calls, 1);
    scene.queue.settled_when(3).await;
    let logs = scene.persisted().into_iter();
    let logs = logs.filter_map(|envelope| envelope.reply);
    let users: Vec<String> = logs.map(|log| log.user).collect();
    assert_eq!(users, ["ada", "eve", "eve"]);
}

#[tokio::test]
async fn thoughts_that_nobody_counted_are_paid_though_the_reply_is_stopped() {
    for (order, by, is_counted) in [
        ("think=3s silent", "ada", false),
        ("think=3s counts=last", "ada", false),
        ("think=3s", "ada", true),
        ("think=3s silent", "bob", false),
    ] {
        let flags = ["--bot-thinking", "high"];
        let scene = Scene::with_worker(&flags).await;
        scene.practice.behave(order).unwrap();
        let question = scene.asks("why?").await;
        // The first thought has come by the time at which the third is thought, and its count, where there is one.
        let has_thought = |calls: &[ReceivedCall]| {
            let thought: Vec<u64> = calls.iter().map(|call| call.used.tokens_thought).collect();
            matches!(thought[..], [tokens] if tokens >= THREE_THOUGHTS_TOKENS)
        };
        scene
            .practice
            .requests_when(PATIENCE, has_thought)
            .await
            .unwrap();
        let stop = Control::StopReply {
            room: question.room.clone(),
            reply: reply_id(&question.room, question.id),
            by: by.into(),
        };
        scene.control(stop).await;
        scene.reply_to(&question).await;
        let used = spent_when(&scene, "is the call used", |used| used.calls == 1).await;
        let log = first_reply(&scene).await.reply.unwrap();
        assert_eq!(log.details.estimated, !is_counted, "{order}: {log:?}");
        assert!(log.tokens_out < 32_768, "{order}: {log:?}");
        // Nobody empties another's budget by stopping their replies.
        let wanted = match is_counted || by != "ada" {
            true => u64::from(log.tokens_out),
            false => 32_768,
        };
        assert_eq!(used.tokens_out, wanted, "{order}, stopped by {by}");
    }
}

#[tokio::test]
async fn calls_count_whatever_came_of_them() {
    let scene = Scene::with_worker(&["--gemini-models", "only", "--bot-prices", "only=1/2"]).await;
    scene.practice.behave_next(["cut"]).unwrap();
    let reply = scene.reply_to(&scene.asks("hello?").await).await;
    assert_eq!(reply.kind, Kind::Bot);
    let both = spent_when(&scene, "are two calls used", |used| used.calls == 2).await;
    let log = first_reply(&scene).await.reply.unwrap();
    assert_eq!(
        (log.tokens_in, log.tokens_out),
        (both.tokens_in as u32, both.tokens_out as u32)
    );
    assert_eq!(log.cost_micros, Some(both.cost_micros));
    // One that is stopped in the middle.
    scene
        .practice
        .behave("say=\"one two three four five six\" pace=60s")
        .unwrap();
    let question = scene.asks("and?").await;
    let is_begun = |calls: &[ReceivedCall]| calls.len() == 3;
    scene
        .practice
        .requests_when(PATIENCE, is_begun)
        .await
        .unwrap();
    let reply = reply_id(&question.room, question.id);
    let stop = Control::StopReply {
        room: question.room.clone(),
        reply,
        by: "ada".into(),
    };
    scene.control(stop).await;
    scene.reply_to(&question).await;
    let three = spent_when(&scene, "is the third call used", |used| used.calls == 3).await;
    assert!(three.tokens_in > both.tokens_in);
}

#[tokio::test]
async fn what_is_in_no_reply_is_noted_and_the_books_are_filled_from_there() {
    let flags = [
        "--bot-budget-server-month",
        "1000000 tokens",
        "--bot-deadline",
        "30",
    ];
    let scene = Scene::with_worker(&flags).await;
    let reply = scene
        .reply_to(&scene.asks("what is two plus two?").await)
        .await;
    assert_eq!(reply.kind, Kind::Bot);
    let reply = first_reply(&scene).await;
    scene.store.write(&[reply]).await.unwrap();
    let one = spent_when(&scene, "is one call used", |used| used.calls == 1).await;
    // This one is handed back in the middle: another worker will ask anew.
    scene.practice.behave("hang").unwrap();
    scene.asks("hello?").await;
    let is_begun = |calls: &[ReceivedCall]| calls.len() == 2;
    scene
        .practice
        .requests_when(PATIENCE, is_begun)
        .await
        .unwrap();
    let scene = scene.stops().await;
    let two = spent(&scene, "ada", "lobby").await;
    assert_eq!(two.person[0].calls, 2);
    let noted = sums(&scene).await;
    assert_eq!((noted.requests, noted.calls), (1, 2));
    let tokens = |spending: Spending| (spending.tokens_in as i64, spending.tokens_out as i64);
    assert_eq!((noted.tokens_in, noted.tokens_out), tokens(two.person[0]));
    assert!(two.person[0].tokens_in > one.tokens_in);
    // Another engine, which has forgotten all.
    let quota = EmbeddedQuota::new(QuotaLimits::default());
    let past = scene.store.spent_by_log(now_seq()).await.unwrap();
    quota.fill(&past, now_seq()).await.unwrap();
    let filled = quota.spent("ada", Some("lobby"), now_seq()).await.unwrap();
    assert_eq!(
        (filled.person, filled.room, filled.server),
        (two.person, two.room, two.server)
    );
}

#[tokio::test]
async fn what_an_answer_has_used_is_noted_though_anothers_was_there_first() {
    let scene = Scene::with_worker(&["--gemini-models", "only"]).await;
    scene
        .practice
        .behave("say=\"one two three four\" pace=100ms")
        .unwrap();
    let question = scene.asks("what is two plus two?").await;
    let is_begun = |calls: &[ReceivedCall]| calls.len() == 1;
    let begun = scene.practice.requests_when(PATIENCE, is_begun).await;
    begun.unwrap();
    // An attempt that was taken for dead, and is not.
    let other = scene.replies_to(&question, "five").await;
    scene.queue.settled_when(1).await;
    spent_when(&scene, "is the call used", |used| used.calls == 1).await;
    let scene = scene.stops().await;
    scene.assert_one_reply(&question).await;
    assert_eq!(scene.reply_to(&question).await, other);
    let logs: Vec<_> = scene.persisted().into_iter().collect();
    for envelope in &logs {
        let log = envelope.reply.as_ref().unwrap();
        assert_eq!(
            (&*log.outcome, log.attempts, log.tokens_in),
            ("recovered", 0, 0)
        );
    }
    scene.store.write(&logs).await.unwrap();
    let noted = sums(&scene).await;
    let used = spent(&scene, "ada", "lobby").await.person[0];
    assert_eq!(noted.calls, 1);
    let tokens = (noted.tokens_in as u64, noted.tokens_out as u64);
    assert_eq!(tokens, (used.tokens_in, used.tokens_out));
}

#[tokio::test]
async fn without_the_books_nobody_is_asked_where_there_is_a_budget() {
    let mut scene = Scene::set().await;
    scene.store.faults.away(true);
    scene.start(&[
        "--bot-budget-room-day",
        "1000 tokens",
        "--bot-deadline",
        "4",
    ]);
    let reply = scene
        .reply_to(&scene.asks("what is two plus two?").await)
        .await;
    assert!(
        reply.message.contains("what is left of the budget"),
        "{}",
        reply.message
    );
    assert_eq!(scene.practice.requests().len(), 0);
    scene.store.faults.away(false);
    let answered =
        async { while scene.reply_to(&scene.asks("and now?").await).await.kind != Kind::Bot {} };
    tokio::time::timeout(6 * PATIENCE, answered).await.unwrap();
}
