//! P7: Gemini slow, down or out of quota never slows or stops people talking to each other.

use std::time::Instant;

use stories::{Chat, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn people_talk_while_two_hundred_questions_hang() {
    let chat = Chat::with(Setup {
        settings: vec![("BOT_CONCURRENCY", "4".to_owned())],
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    let exchange = async |ada: &mut stories::Person, tag: &str| {
        let began = Instant::now();
        for n in 0..50 {
            ada.says_and_is_acked(&format!("{tag} {n}")).await;
        }
        bob.hears("ada", &format!("{tag} 49")).await;
        began.elapsed()
    };
    let quiet = exchange(&mut ada, "quiet").await;
    chat.model.behave("hang").expect("an order");
    // In four rooms, since the bot answers one question at a time in each.
    for room in ["first", "second", "third", "fourth"] {
        let [mut asker] = chat.join(&format!("{room}-room"), [room]).await;
        for n in 0..50 {
            asker.says(&format!("@bot question {n}")).await;
        }
    }
    let asked = chat
        .model
        .requests_when(stories::PATIENCE, |calls| calls.len() >= 4)
        .await;
    assert!(asked.is_some(), "as many as may be are hanging");
    let hanging = exchange(&mut ada, "hanging").await;
    // The model answers none of them; a chat that waited for it would take a deadline, not a blink.
    assert!(
        hanging < quiet * 10 + std::time::Duration::from_secs(5),
        "{quiet:?} became {hanging:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_talk_without_any_worker_and_the_question_waits() {
    let mut chat = Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    let (question, _) = ada.says_and_is_acked("@bot what is two plus two?").await;
    ada.says_and_is_acked("nobody there?").await;
    bob.hears("ada", "nobody there?").await;
    chat.workers
        .push(chat.service("bot-worker", "late-worker", &[]));
    let reply = bob.gets_reply_to(question).await;
    assert_eq!(reply["kind"], "bot", "{reply}");
}
