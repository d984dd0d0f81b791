//! The one command: everything in one process, and nothing forgotten when it is killed.

use std::path::Path;

use common::{
    envelope::Envelope,
    queue::{Queue, Route},
    wire::{Kind, Message},
};
use engines::embedded::EmbeddedQueue;
use futures_util::future::join_all;
use stories::{Chat, PATIENCE, Person, assert_one_order, until};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_killed_and_started_again_and_everything_is_still_there() {
    let chat = Chat::all_in_one().await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    let question = ada.says("@bot what is two plus two?").await;
    bob.hears("bot", "four").await;
    ada.gets_reply_to(question).await;
    // A question whose answer is not there yet.
    chat.model.behave("hang").expect("an order");
    let calls = chat.model.requests().len();
    let (unanswered, _) = bob
        .says_and_is_acked("@bot what is three plus three?")
        .await;
    chat.model
        .requests_when(PATIENCE, |seen| seen.len() > calls)
        .await
        .expect("the model was asked");
    let seen = ada.messages();

    chat.edges[0].kill();
    chat.model.behave("pace=1ms").expect("an order");
    chat.edges[0].start_again();
    chat.edges[0].ready().await;

    ada.connects().await;
    ada.joins("lobby", Some(0)).await;
    let reply = ada.gets_reply_to(unanswered).await;
    assert!(
        reply["message"].as_str().expect("text").contains("six"),
        "{reply}"
    );
    let history = ada.history().await;
    assert_eq!(
        history[..seen.len()],
        seen[..],
        "the conversation is as it was"
    );
    assert_eq!(
        history
            .iter()
            .filter(|message| message["reply_to"] == unanswered.to_string())
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_not_asked_again_though_all_of_it_is_sent_again_after_a_kill() {
    let chat = Chat::all_in_one().await;
    let (mut ada, asked) = crate::sixty_questions(&chat).await;
    chat.edges[0].kill();
    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    ada.connects().await;
    ada.joins("ada", None).await;
    crate::sends_again_and_is_answered_once(&chat, &mut ada, &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acked_messages_survive_a_kill_in_the_middle_of_a_flood() {
    let chat = Chat::all_in_one().await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let mut said = Vec::new();
    for n in 0..300 {
        said.push(ada.says(&format!("line {n}")).await);
    }
    ada.is_acked(said[100]).await;
    chat.edges[0].kill();
    let acked: Vec<String> = ada
        .frames()
        .iter()
        .filter(|frame| frame["type"] == "ack")
        .map(|frame| frame["id"].to_string())
        .collect();
    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    let mut reader = Person::log_in(&chat.url(0), "ada").await;
    reader.room = "lobby".into();
    until(
        "every acked message is in the history once",
        PATIENCE,
        async || {
            let history = reader.history().await;
            let ids: Vec<String> = history
                .iter()
                .map(|message| message["id"].to_string())
                .collect();
            acked
                .iter()
                .all(|id| ids.iter().filter(|stored| *stored == id).count() == 1)
                .then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_first_is_told_all_that_was_acked_before_the_kill() {
    let chat = Chat::all_in_one().await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let (_, seq) = ada.says_and_is_acked("before").await;
    chat.edges[0].kill();
    // As many as a slow disk may leave behind: acked, and not one of them in the database.
    let folder = Path::new(chat.setting("DATA_DIR"));
    let last = acked_and_not_written(folder, seq, 20_000).await;

    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    ada.connects().await;
    let joined = ada.joins("lobby", Some(last - 900)).await;
    assert_eq!(
        (&joined["complete"], joined["seq"].as_u64()),
        (&true.into(), Some(last))
    );
    let (_, next) = ada.says_and_is_acked("after").await;
    let heard = ada.messages();
    assert_eq!(heard.len(), 901);
    assert_eq!(heard[900]["seq"].as_u64(), Some(next));
    assert_one_order(&heard);
}

/// Puts messages of ada's behind a place in the lobby into the queue, as a process does that is killed before it has
/// written them. Returns the last one's place.
async fn acked_and_not_written(folder: &Path, after: u64, count: u64) -> u64 {
    let queue = EmbeddedQueue::open(folder, 0)
        .await
        .expect("nobody uses it");
    let publishes = (after + 1..=after + count).map(|seq| {
        let id = Uuid::now_v7();
        let message = Message {
            room: "lobby".to_owned(),
            seq,
            prev: seq - 1,
            id,
            sender: "ada".to_owned(),
            kind: Kind::User,
            message: format!("line {seq}"),
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
            edited: None,
            deleted: false,
        };
        queue.publish(
            Route::Persist,
            0,
            id,
            Envelope::new(message, None).to_bytes(),
        )
    });
    for published in join_all(publishes).await {
        published.expect("the disk takes it");
    }
    queue.close().await;
    after + count
}

#[tokio::test(flavor = "multi_thread")]
async fn it_drains_on_sigterm_and_a_second_one_refuses_the_same_folder() {
    let chat = Chat::all_in_one().await;
    let data = chat.setting("DATA_DIR").to_owned();
    let address = stories::free_address().to_string();
    let settings = [
        ("DATA_DIR".to_owned(), data),
        ("LISTEN".to_owned(), address),
    ];
    let (status, said) = stories::run("chinwag", &[], &settings);
    assert!(!status.success(), "a second process took the folder");
    assert!(said.contains("another"), "{said}");
    let status = chat.edges[0].terminate().await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_runs_short_is_told_to_the_sender_and_to_the_operator() {
    let mut chat = Chat::all_in_one().await;
    chat.edges[0].kill();
    // More than any disk has.
    let settings = [("DISK_FREE_MIN_MB", u32::MAX.to_string())];
    chat.edges[0] = chat.service("chinwag", "short", &settings);
    until("it says what is in its way", PATIENCE, async || {
        let (status, obstacles) = chat.edges[0].obstacles().await?;
        (status == 503 && obstacles.contains("DISK_FREE_MIN_MB")).then_some(())
    })
    .await;
    let mut ada = Person::register(&chat.url(0), "ada").await;
    ada.connects().await;
    ada.joins("ada", None).await;
    for _ in 0..20 {
        ada.says("is there room?").await;
    }
    let refused = ada.is_refused("unavailable").await;
    assert!(refused["retry_after_ms"].is_u64(), "{refused}");
    let log = chat.edges[0].log();
    assert_eq!(log.matches("the disk runs short").count(), 1, "{log}");
}
