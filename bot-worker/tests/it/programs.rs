//! Programs that ask: in most rooms for nothing, and nowhere without end.

use common::{
    store::{Accounts, Actor, People, RoomChanges, RoomKeeper, Rooms, StandingChanges},
    wire::{Kind, Message},
};

use crate::scene::Scene;

/// With an account that is marked as a program.
async fn with_program(name: &str) -> Scene {
    let scene = Scene::with_worker(&[]).await;
    scene.store.create_user(name, "a hash").await.unwrap();
    let program = StandingChanges {
        program: Some(true),
        ..StandingChanges::default()
    };
    let marked = scene.store.change_standing(Actor::Operator, name, program);
    marked.await.unwrap();
    scene
}

async fn are_answered(scene: &Scene, are_answered: bool) {
    let changes = RoomChanges {
        bot_answers_programs: Some(are_answered),
        ..RoomChanges::default()
    };
    let changed = scene
        .store
        .change_room("lobby", &changes, RoomKeeper::Owner("ada"));
    changed.await.unwrap();
}

/// A message that an edge has sent to the bot.
async fn asks(scene: &Scene, sender: &str, text: &str) -> Message {
    let message = scene.said("lobby", sender, text).await;
    scene.deliver(&message, 1).await;
    message
}

async fn replies(scene: &Scene) -> usize {
    let messages = scene.messages("lobby").await;
    messages
        .iter()
        .filter(|message| message.kind != Kind::User)
        .count()
}

#[tokio::test]
async fn a_program_is_not_answered_whatever_way_it_came() {
    let scene = with_program("echo").await;
    asks(&scene, "echo", "@bot what is two plus two?").await;
    scene.queue.settled_when(1).await;
    // It holds nobody up, and a person in the same room is answered.
    let question = asks(&scene, "ada", "what is three plus three?").await;
    assert!(scene.reply_to(&question).await.message.contains("six"));
    assert_eq!(replies(&scene).await, 1);
    assert_eq!(
        scene.practice.requests().len(),
        1,
        "no model was asked for it"
    );
}

#[tokio::test]
async fn where_the_room_says_so_programs_are_answered_but_not_without_end() {
    let scene = with_program("echo").await;
    are_answered(&scene, true).await;
    for n in 0..10 {
        let question = asks(&scene, "echo", "what is two plus two?").await;
        assert!(
            scene.reply_to(&question).await.message.contains("four"),
            "{n}"
        );
    }
    asks(&scene, "echo", "what is two plus two?").await;
    scene.queue.settled_when(11).await;
    assert_eq!(replies(&scene).await, 10);
    // A person says something: from there on they count anew.
    let question = asks(&scene, "ada", "what is three plus three?").await;
    scene.reply_to(&question).await;
    let question = asks(&scene, "echo", "what is two plus two?").await;
    scene.reply_to(&question).await;
    are_answered(&scene, false).await;
    asks(&scene, "echo", "what is two plus two?").await;
    scene.queue.settled_when(14).await;
    assert_eq!(replies(&scene).await, 12);
}
