//! P15: whoever floods waits behind oneself.

use std::time::{Duration, Instant};

use stories::{Chat, PATIENCE, Person, Setup, until};
use uuid::Uuid;

/// How long the model takes. The part of an answer's time that is ours is small beside it, on a busy machine too.
const MODEL: Duration = Duration::from_secs(5);
/// The part of that time alone that an answer may take.
const AT_MOST: f64 = 1.5;

async fn chat(workers: usize, model: Duration, more: &[(&'static str, &str)]) -> Chat {
    let mut settings = vec![
        ("BOT_CONCURRENCY", "4".to_owned()),
        ("USER_MESSAGES_PER_SECOND", "1000000".to_owned()),
        ("USER_MESSAGES_BURST", "1000000".to_owned()),
    ];
    settings.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let chat = Chat::with(Setup {
        workers,
        settings,
        ..Setup::default()
    })
    .await;
    let order = format!("delay={}s", model.as_secs());
    chat.model.behave(&order).expect("an order");
    chat
}

/// Somebody in their own room, where the bot answers everything.
async fn at_home(chat: &Chat, name: &str) -> Person {
    let mut person = Person::register(&chat.url(0), name).await;
    person.connects().await;
    person.joins(name, None).await;
    person
}

/// How long one answer of the model takes.
async fn waits(person: &mut Person) -> Duration {
    let asked = Instant::now();
    let question = person.says("what is two plus two?").await;
    let reply = person.gets_reply_to(question).await;
    assert_eq!(reply["kind"], "bot", "{reply}");
    asked.elapsed()
}

/// Asks so many questions at once, and returns their ids.
async fn floods(person: &mut Person, questions: usize) -> Vec<Uuid> {
    let mut asked = Vec::new();
    for n in 0..questions {
        asked.push(person.says(&format!("what is {n} plus {n}?")).await);
    }
    person.is_acked(asked[questions - 1]).await;
    asked
}

/// Somebody asks again and again beside those who flood, while they go on, and waits as if they were alone.
async fn somebody_waits_as_if_alone(chat: &Chat, flooders: &mut [Person]) {
    let mut eve = at_home(chat, "eve").await;
    let alone = waits(&mut eve).await;
    for flooder in &mut *flooders {
        floods(flooder, 290).await;
    }
    for _ in 0..2 {
        for flooder in &mut *flooders {
            floods(flooder, 5).await;
        }
        let beside = waits(&mut eve).await;
        assert!(
            beside <= alone.mul_f64(AT_MOST),
            "{beside:?} beside the flood, {alone:?} alone"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_anothers_flood_in_one_room() {
    let chat = chat(1, MODEL, &[]).await;
    let mut ada = [at_home(&chat, "ada").await];
    somebody_waits_as_if_alone(&chat, &mut ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_over_all_workers_and_with_a_quota() {
    let chat = chat(2, MODEL, &[("BOT_RPM", "60")]).await;
    let mut flooders = Vec::new();
    for name in ["ada", "bob"] {
        flooders.push(at_home(&chat, name).await);
    }
    somebody_waits_as_if_alone(&chat, &mut flooders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_more_than_can_be_answered_is_told_so_at_once_and_when_to_ask_again() {
    let chat = chat(1, Duration::from_secs(2), &[]).await;
    let mut ada = at_home(&chat, "ada").await;
    // By these it is known how long an answer takes.
    for _ in 0..4 {
        waits(&mut ada).await;
    }
    let began = Instant::now();
    let asked = floods(&mut ada, 100).await;
    let last = ada.gets_reply_to(asked[99]).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "not at its deadline"
    );
    assert_eq!(last["kind"], "fallback");
    let words = last["message"].as_str().expect("a text");
    assert!(words.contains("ask again in about"), "{words}");
    // What can be answered in time is, in the order of the questions.
    for question in &asked[..3] {
        let reply = ada.gets_reply_to(*question).await;
        assert_eq!(reply["kind"], "bot", "{reply}");
    }
    until("each has one reply", 2 * PATIENCE, async || {
        let replies = ada.messages();
        let replies = replies.iter().filter(|message| {
            let to = message["reply_to"].as_str();
            asked.iter().any(|id| to == Some(&id.to_string()))
        });
        (replies.count() == asked.len()).then_some(())
    })
    .await;
}
