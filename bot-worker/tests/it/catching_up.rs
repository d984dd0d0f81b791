//! Catching up: what was not read, and what stands for it where a room is longer than what a model is told.

use std::time::Duration;

use common::{
    store::{Accounts, Actor, People, ReadMark, ReadMarks},
    wire::{Kind, Message},
};
use practice_model::ReceivedCall;
use tokio::time::{sleep, timeout};

use crate::scene::{PATIENCE, Scene};

/// What stands before a summary in a prompt.
const SUMMED_UP: &str = "(what was said before, summed up): ";

/// What models were told with each call, in order: to answer, or to keep the running summary.
fn told(scene: &Scene, to_keep_a_summary: bool) -> Vec<String> {
    let calls = scene.practice.requests();
    let bodies = calls.iter().map(ReceivedCall::body);
    let bodies = bodies.filter(|body| {
        let system = body["systemInstruction"].to_string();
        system.contains("running summary") == to_keep_a_summary
    });
    bodies.map(|body| body["contents"].to_string()).collect()
}

/// Asks until a summary goes along, as long as that is how it shall be, and returns what the model was told then.
async fn asks_until_summed_up(scene: &Scene) -> String {
    let asking = async {
        loop {
            scene.reply_to(&scene.asks("what was that?").await).await;
            let told = told(scene, false).pop().expect("a call");
            if told.contains(SUMMED_UP) {
                return told;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let told = timeout(2 * PATIENCE, asking).await;
    told.expect("a summary goes along")
}

/// A room with more in it than goes along, of which this is the first.
async fn long_room(scene: &Scene) -> Message {
    let first = scene.said("lobby", "bob", "the word is xylophone").await;
    for n in 0..12 {
        let text = format!("this is number {n}, and it says nothing that anybody would look for");
        scene.said("lobby", "bob", &text).await;
    }
    first
}

async fn with_a_short_context() -> Scene {
    let flags = ["--gemini-models", "only", "--bot-context-tokens", "200"];
    let scene = Scene::with_worker(&flags).await;
    scene
        .practice
        .behave("pace=0ms say=\"they like instruments\"")
        .unwrap();
    scene
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_they_have_not_read() {
    let scene = Scene::with_worker(&["--gemini-models", "only"]).await;
    let nothing = scene.reply_to(&scene.asks("/catchup").await).await;
    assert!(nothing.message.contains("nothing here"), "{nothing:?}");
    let read = scene.said("lobby", "ada", "I have read this").await;
    scene.said("lobby", "bob", "we meet at five").await;
    let mark = ReadMark {
        user: "ada".into(),
        room: "lobby".into(),
        seq: read.seq,
    };
    scene.store.mark_read(&[mark]).await.unwrap();
    for command in ["/catchup", "/summary"] {
        let summary = scene.reply_to(&scene.asks(command).await).await;
        assert_eq!(summary.kind, Kind::Bot, "{summary:?}");
    }
    let told = told(&scene, false);
    let holds = |text: &str| {
        told.iter()
            .map(|body| body.contains(text))
            .collect::<Vec<_>>()
    };
    assert_eq!(holds("we meet at five"), [true, true]);
    assert_eq!(holds("I have read this"), [false, true]);
}

#[tokio::test]
async fn what_no_longer_fits_goes_along_summed_up_until_it_is_deleted() {
    let scene = with_a_short_context().await;
    let first = long_room(&scene).await;
    let summed = asks_until_summed_up(&scene).await;
    assert!(summed.contains("they like instruments"), "{summed}");
    assert!(!summed.contains("xylophone"), "{summed}");
    let made = told(&scene, true);
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0].contains("xylophone"), "{made:?}");
    // A summary of something that is deleted is in no prompt any more, and neither is what it said in another's.
    scene.deletes(&first).await;
    scene.practice.behave("pace=0ms say=\"they meet\"").unwrap();
    scene.reply_to(&scene.asks("and now?").await).await;
    let at_once = told(&scene, false).pop().unwrap();
    assert!(!at_once.contains(SUMMED_UP), "{at_once}");
    let summed = asks_until_summed_up(&scene).await;
    assert!(
        summed.contains(&format!("{SUMMED_UP}they meet")),
        "{summed}"
    );
    let made = told(&scene, true);
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(!made[1].contains("xylophone"), "{made:?}");
    assert!(!made[1].contains(SUMMED_UP), "{made:?}");
}

#[tokio::test]
async fn a_reset_throws_the_running_summary_away() {
    let scene = with_a_short_context().await;
    long_room(&scene).await;
    asks_until_summed_up(&scene).await;
    scene.reply_to(&scene.asks("/reset").await).await;
    scene.reply_to(&scene.asks("and now?").await).await;
    let told = told(&scene, false).pop().unwrap();
    assert!(
        !told.contains(SUMMED_UP) && !told.contains("number"),
        "{told}"
    );
}

#[tokio::test]
async fn nobody_who_is_gone_is_named_by_a_running_summary() {
    let scene = with_a_short_context().await;
    scene.store.create_user("bob", "").await.unwrap();
    long_room(&scene).await;
    asks_until_summed_up(&scene).await;
    let operator = Actor::Operator;
    let deleted = scene.store.delete_account(operator, "bob", None, false);
    deleted.await.unwrap().unwrap();
    scene.practice.behave("pace=0ms say=\"they meet\"").unwrap();
    // The names of those who are gone are remembered for a moment.
    let renamed = async {
        while !asks_until_summed_up(&scene)
            .await
            .contains(&format!("{SUMMED_UP}they meet"))
        {
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(6 * PATIENCE, renamed).await.unwrap();
    let made = told(&scene, true).pop().unwrap();
    assert!(!made.contains("bob"), "{made}");
}

#[tokio::test]
async fn a_running_summary_is_not_made_without_money() {
    let flags = [
        "--gemini-models",
        "only",
        "--bot-context-tokens",
        "200",
        "--bot-budget-person-day",
        "1 token",
    ];
    let scene = Scene::with_worker(&flags).await;
    long_room(&scene).await;
    // The answer comes first, and takes all that there is.
    let answered = scene.reply_to(&scene.asks("what was that?").await).await;
    assert_eq!(answered.kind, Kind::Bot, "{answered:?}");
    let refused = scene.reply_to(&scene.asks("and now?").await).await;
    assert_eq!(refused.kind, Kind::Fallback, "{refused:?}");
    assert_eq!(scene.practice.requests().len(), 1);
}
