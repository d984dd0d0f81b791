//! The worker on the embedded engines, which are what the all-in-one runs on: from a message to the reply in `persist`.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::{Envelope, reply_id},
    live::Live,
    posting::Poster,
    queue::{Consumer, Queue, QueueName, Route, Verdict},
    quota::QuotaLimits,
    store::{Accounts, Store},
    wire::{Kind, NewMessage},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, EmbeddedQuota, SqliteStore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{models::practice, scene::settings_for};

const PATIENCE: Duration = Duration::from_secs(20);

async fn next_envelope(persist: &dyn Consumer) -> Envelope {
    let delivery = tokio::time::timeout(PATIENCE, persist.next())
        .await
        .unwrap()
        .unwrap();
    persist
        .settle(vec![delivery.receipt], Verdict::Ack)
        .await
        .unwrap();
    Envelope::read(&delivery.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_ones_own_room_is_answered_even_if_it_waited_for_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let practice = practice().await;
    let live: Arc<dyn Live> = EmbeddedLive::new();
    let embedded_queue = EmbeddedQueue::open(folder.path(), 0).await.unwrap();
    let queue: Arc<dyn Queue> = embedded_queue.clone();
    let sqlite = SqliteStore::open(folder.path()).await.unwrap();
    sqlite.create_user("ada", "hash").await.unwrap();
    let store: Arc<dyn Store> = sqlite;

    let poster = Poster::new(live.clone(), queue.clone(), store.clone());
    let new = NewMessage {
        room: "ada".into(),
        id: Uuid::now_v7(),
        sender: "ada".into(),
        kind: Kind::User,
        message: "what is two plus two?".into(),
        reply_to: None,
        of: None,
        stopped_by: None,
        grounding: Default::default(),
    };
    let question = poster
        .post(new, Route::PersistAndAsk, None)
        .await
        .unwrap()
        .message;
    let persist = queue.consume(QueueName::Persist, 10).await;
    assert_eq!(next_envelope(&*persist).await.message, question);

    // With the same question in the queue twice, as after a confirm that was lost.
    let again = Envelope::new(question.clone(), None).to_bytes();
    queue
        .publish(Route::PersistAndAsk, 0, question.id, again)
        .await
        .unwrap();
    next_envelope(&*persist).await;

    let stop = CancellationToken::new();
    let worker = bot_worker::run(
        live.clone(),
        queue.clone(),
        store.clone(),
        EmbeddedQuota::new(QuotaLimits::default()),
        settings_for(&practice, &[]),
        stop.clone(),
    );
    let worker = tokio::spawn(worker);
    let kept = next_envelope(&*persist).await;
    assert_eq!(kept.message.id, reply_id("ada", question.id));
    assert_eq!(
        (kept.message.kind, kept.message.reply_to),
        (Kind::Bot, Some(question.id))
    );
    assert!(
        kept.message.message.contains("four"),
        "{}",
        kept.message.message
    );
    assert_eq!(kept.reply.unwrap().outcome, "answered");

    stop.cancel();
    tokio::time::timeout(PATIENCE, worker)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(practice.requests().len(), 1);
    let shown = live.tail("ada", 0, 10).await.unwrap().messages;
    assert_eq!(shown, [question, kept.message]);
    embedded_queue.close().await;
}
