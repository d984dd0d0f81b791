//! A room's past in two places, and the words to lay it out there.

use std::sync::{Arc, Mutex};

use common::{
    envelope::Envelope,
    live::{AppendRequest, Appended, BotRole, Live, Unsettled},
    posting::Poster,
    queue::{Queue, QueueName, Verdict},
    store::{Messages, Store},
    timeline::{Comparison, Timeline},
    wire::{Kind, Message, NewMessage, Seq},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use seam_fakes::FaultyStore;
use tempfile::TempDir;
use uuid::Uuid;

/// The room of every story.
pub(crate) const ROOM: &str = "lobby";

/// The most messages that are said, or written, in one step.
const STEP: usize = 500;

/// The engines, and the line that is made of them.
pub(crate) struct Past {
    pub live: Arc<dyn Live>,
    pub store: Arc<FaultyStore>,
    pub queue: Arc<EmbeddedQueue>,
    pub timeline: Timeline,
    _folder: TempDir,
}

impl Past {
    pub(crate) async fn none() -> Past {
        Past::with(EmbeddedLive::new()).await
    }

    pub(crate) async fn with(live: Arc<dyn Live>) -> Past {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = EmbeddedQueue::open(folder.path(), 0)
            .await
            .expect("a queue");
        let store = SqliteStore::open(folder.path()).await.expect("a store");
        let store = FaultyStore::over(store);
        let poster = Poster::new(live.clone(), queue.clone(), store.clone());
        Past {
            timeline: Timeline::new(live.clone(), store.clone(), poster),
            live,
            store,
            queue,
            _folder: folder,
        }
    }

    /// Messages that only the database has: said long ago, one at each of these places.
    pub(crate) async fn lies_in_store(
        &self,
        places: impl IntoIterator<Item = Seq>,
    ) -> Vec<Message> {
        let messages: Vec<Message> = places.into_iter().map(|seq| said().at(seq, 0)).collect();
        is_written(&self.store, &messages).await;
        messages
    }

    /// Messages come into the database.
    pub(crate) async fn is_written(&self, messages: &[Message]) {
        is_written(&self.store, messages).await;
    }

    /// All of these are in the database, some of them perhaps before.
    pub(crate) async fn is_written_by_now(&self, messages: &[Message]) {
        let batch: Vec<Envelope> = messages
            .iter()
            .map(|message| Envelope::new(message.clone(), None))
            .collect();
        self.store.write(&batch).await.expect("the store answers");
    }

    /// What comes of comparing the room in a round.
    pub(crate) async fn compared_in(&self, round: u64) -> Comparison {
        let server = self.store.server().await.expect("the store answers");
        let room = Unsettled {
            room: ROOM.to_owned(),
            version: 0,
            round,
        };
        let compared = self.timeline.repair(&room, &server).await;
        compared.expect("both answer")
    }

    /// Whether the stream has nothing that the database lacks.
    pub(crate) async fn is_whole(&self) -> bool {
        self.compared_in(1).await.is_whole
    }

    /// From now on somebody writes what is in the queue, all but what this says no to. Returns what was taken.
    pub(crate) async fn is_persisted(
        &self,
        wanted: impl Fn(&Message) -> bool + Send + 'static,
    ) -> Arc<Mutex<Vec<Message>>> {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let persist = self.queue.consume(QueueName::Persist, 100).await;
        let (store, seen) = (self.store.clone(), Arc::clone(&taken));
        tokio::spawn(async move {
            while let Some(delivery) = persist.next().await {
                let envelope = Envelope::read(&delivery.payload).expect("an envelope");
                let message = envelope.message.clone();
                if wanted(&message) {
                    store.write(&[envelope]).await.expect("the store answers");
                }
                seen.lock().expect("not poisoned").push(message);
                let settled = persist.settle(vec![delivery.receipt], Verdict::Ack).await;
                settled.expect("the queue answers");
            }
        });
        taken
    }

    /// From now on no message can be read from the database.
    pub(crate) fn loses_its_store(&self) {
        self.store.faults.away(true);
    }

    /// Somebody edits a message or, without a text, deletes it; only the stream has that yet.
    pub(crate) async fn is_changed(&self, message: &Message, text: Option<&str>) -> Message {
        self.is_changed_after(message, text, 0).await
    }

    /// The same, where the stream knows of nothing before the place `floor`.
    pub(crate) async fn is_changed_after(
        &self,
        message: &Message,
        text: Option<&str>,
        floor: Seq,
    ) -> Message {
        let event = NewMessage {
            kind: match text {
                Some(_) => Kind::Edited,
                None => Kind::Deleted,
            },
            of: Some(message.id),
            message: text.unwrap_or_default().to_owned(),
            ..said()
        };
        match self.live.append(&event, Some(floor)).await {
            Ok(Appended::New(event)) => event,
            other => panic!("it is new, and this was answered: {other:?}"),
        }
    }

    /// Messages that only the stream has yet, the first of which comes after the place `floor`.
    pub(crate) async fn is_said(&self, count: usize, floor: Seq) -> Vec<Message> {
        is_said(&*self.live, count, floor).await
    }
}

fn said() -> NewMessage {
    NewMessage {
        room: ROOM.to_owned(),
        id: Uuid::now_v7(),
        sender: "ada".to_owned(),
        kind: Kind::User,
        message: "hello".to_owned(),
        reply_to: None,
        of: None,
        grounding: Default::default(),
    }
}

pub(crate) async fn is_said(live: &dyn Live, count: usize, floor: Seq) -> Vec<Message> {
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        let step = STEP.min(count - messages.len());
        let offers: Vec<AppendRequest> = (0..step)
            .map(|_| AppendRequest::new(said(), BotRole::None))
            .collect();
        let placed = live.append_all(ROOM, &offers, Some(floor)).await;
        for placed in placed.expect("the live engine answers") {
            match placed {
                Appended::New(message) => messages.push(message),
                other => panic!("it is new, and this was answered: {other:?}"),
            }
        }
    }
    messages
}

pub(crate) async fn is_written(store: &FaultyStore, messages: &[Message]) {
    for step in messages.chunks(STEP) {
        let batch: Vec<Envelope> = step
            .iter()
            .map(|message| Envelope::new(message.clone(), None))
            .collect();
        let written = store.write(&batch).await.expect("the store answers");
        assert_eq!(written.new, batch.len());
    }
}

/// Which messages these are.
pub(crate) fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(|message| message.id).collect()
}
