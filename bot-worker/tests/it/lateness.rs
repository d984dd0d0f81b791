//! When a request's time is over, and by which clock.

use std::time::{Duration, Instant};

use common::wire::{Kind, Seq, now_seq};
use seam_fakes::FaultyQuota;

use crate::scene::Scene;

#[tokio::test]
async fn whoever_waits_for_a_slot_until_the_deadline_gets_the_fallback_too() {
    let scene = Scene::with_worker(&["--bot-deadline", "2", "--bot-concurrency", "1"]).await;
    scene.practice.behave("hang").unwrap();
    let rooms: Vec<String> = (0..20).map(|n| format!("room-{n}")).collect();
    let asked = Instant::now();
    let mut questions = Vec::new();
    for room in &rooms {
        scene.add_room(room, "").await;
        let question = scene.said(room, "ada", "hello?").await;
        scene.deliver(&question, 1).await;
        questions.push(question);
    }
    for question in &questions {
        assert_eq!(scene.reply_to(question).await.kind, Kind::Fallback);
    }
    assert!(
        asked.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        scene
            .practice
            .requests()
            .iter()
            .map(|call| call.under_way)
            .max(),
        Some(1)
    );
}

#[tokio::test]
async fn a_request_that_comes_too_late_gets_the_fallback_at_once() {
    let scene = Scene::with_worker(&["--bot-deadline", "1"]).await;
    let question = scene.said("lobby", "ada", "what is two plus two?").await;
    // It waited behind others for as long as that.
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.deliver(&question, 1).await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Fallback, "{}", reply.message);
    assert!(reply.message.contains("waiting"), "{}", reply.message);
    assert_eq!(scene.practice.requests().len(), 0);
}

#[tokio::test]
async fn it_does_not_matter_how_the_machines_clocks_are_set() {
    const BEHIND: Duration = Duration::from_secs(3_600);
    let mut scene = Scene::set().await;
    scene.quota = FaultyQuota::behind(scene.quota.clone(), BEHIND);
    // Another worker was there before, so that it counts from when it was posted.
    scene.quota.workers("another").await.unwrap();
    let posted = now_seq() - BEHIND.as_micros() as Seq;
    let question = scene
        .stored("lobby", "ada", "what is two plus two?", posted)
        .await;
    scene.start(&[]);
    scene.deliver(&question, 1).await;
    assert_eq!(scene.reply_to(&question).await.kind, Kind::Bot);
}

#[tokio::test]
async fn a_request_gets_no_second_deadline_from_a_worker_that_came_while_others_ran() {
    let mut scene = Scene::set().await;
    scene.quota.workers("another").await.unwrap();
    let question = scene.said("lobby", "ada", "what is two plus two?").await;
    // The other one had it for as long as that, and hands it back.
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.start(&["--bot-deadline", "1"]);
    scene.deliver(&question, 2).await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Fallback, "{}", reply.message);
    assert_eq!(scene.practice.requests().len(), 0);
}
