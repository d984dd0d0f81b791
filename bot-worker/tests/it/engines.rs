//! The embedded engines around workers, each behind a network that can fail, and the words for what happens there.

use std::sync::Arc;

use common::{
    envelope::{Envelope, reply_id},
    live::{Appended, Control, Live, LiveEvent, Signal, Subscriber},
    names::BOT,
    queue::Route,
    store::{Accounts, BotPolicy, Messages, Room, Rooms, StoreError},
    wire::{Kind, Message, NewMessage, Seq, ServerFrame},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use seam_fakes::{FaultyLive, FaultyQueue, FaultyStore};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use crate::fleet::PATIENCE;

/// More messages than any room here has.
const ALL: usize = 10_000;

/// What workers share.
pub(crate) struct Surroundings {
    pub live: Arc<FaultyLive>,
    pub queue: Arc<FaultyQueue>,
    pub store: Arc<FaultyStore>,
    /// A process that is in all rooms.
    onlooker: Arc<dyn Subscriber>,
    /// The drafts that it saw; it changes with each message too.
    drafts: watch::Receiver<Vec<ServerFrame>>,
    _folder: TempDir,
}

impl Surroundings {
    pub(crate) async fn new() -> Surroundings {
        let folder = tempfile::tempdir().unwrap();
        let live = FaultyLive::over(EmbeddedLive::new());
        let queue = FaultyQueue::over(EmbeddedQueue::open(folder.path(), 0).await.unwrap());
        let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
        store.create_user("ada", "").await.unwrap();
        let (onlooker, mut events) = live.subscriber(ALL);
        let (seen, drafts) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let draft = match event {
                    LiveEvent::Signal { frame, .. } => serde_json::from_slice(&frame).ok(),
                    _ => None,
                };
                seen.send_modify(|drafts: &mut Vec<ServerFrame>| drafts.extend(draft));
            }
        });
        Surroundings {
            live,
            queue,
            store,
            onlooker,
            drafts,
            _folder: folder,
        }
    }

    /// A room in which the bot answers everything, if it is not there yet.
    pub(crate) async fn add_room(&self, name: &str, persona: &str) {
        let room = Room {
            name: name.into(),
            bot: BotPolicy::Always,
            persona: persona.into(),
            owner: "ada".into(),
            ..Room::default()
        };
        match self.store.create_room(&room).await {
            Ok(()) | Err(StoreError::Taken) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A message that has its place in the room, in the stream alone.
    pub(crate) async fn said(&self, room: &str, sender: &str, text: &str) -> Message {
        self.onlooker.subscribe(room).await.unwrap();
        let appended = self.live.append(&new(room, sender, text), Some(0)).await;
        match appended.unwrap() {
            Appended::New(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Its author gives a message another text.
    pub(crate) async fn edits(&self, message: &Message, text: &str) -> Message {
        self.changes(message, Kind::Edited, text).await
    }

    /// Its author deletes a message.
    pub(crate) async fn deletes(&self, message: &Message) -> Message {
        self.changes(message, Kind::Deleted, "").await
    }

    async fn changes(&self, message: &Message, kind: Kind, text: &str) -> Message {
        let event = NewMessage {
            kind,
            of: Some(message.id),
            ..new(&message.room, &message.sender, text)
        };
        match self.live.append(&event, Some(0)).await.unwrap() {
            Appended::New(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// Another worker has posted the reply to a question.
    pub(crate) async fn replies_to(&self, question: &Message, text: &str) -> Message {
        let reply = NewMessage {
            id: reply_id(&question.room, question.id),
            reply_to: Some(question.id),
            ..new(&question.room, BOT, text)
        };
        match self.live.append(&reply, Some(0)).await.unwrap() {
            Appended::New(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// A message at this place, in the database alone.
    pub(crate) async fn stored(&self, room: &str, sender: &str, text: &str, seq: Seq) -> Message {
        self.onlooker.subscribe(room).await.unwrap();
        let message = new(room, sender, text).at(seq, 0);
        self.keeps(&message).await;
        message
    }

    /// The message comes into the database.
    pub(crate) async fn keeps(&self, message: &Message) {
        let envelope = Envelope::new(message.clone(), None);
        self.store.write(&[envelope]).await.unwrap();
    }

    /// The question comes out of `bot.requests`, for the `attempt`th time.
    pub(crate) async fn deliver(&self, question: &Message, attempt: u32) {
        let payload = Envelope::new(question.clone(), None).to_bytes();
        let delivered = self
            .queue
            .delivers(Route::PersistAndAsk, question.id, payload, attempt);
        delivered.await.unwrap();
    }

    /// What the workers gave to `persist`.
    pub(crate) fn persisted(&self) -> Vec<Envelope> {
        let payloads = self.queue.published();
        payloads
            .iter()
            .map(|payload| Envelope::read(payload).unwrap())
            .collect()
    }

    /// What is in a room's stream.
    pub(crate) async fn messages(&self, room: &str) -> Vec<Message> {
        self.live.tail(room, 0, ALL).await.unwrap().messages
    }

    pub(crate) async fn control(&self, control: Control) {
        self.live.signal(&Signal::Control(control)).await.unwrap();
    }

    /// The drafts that were shown in all rooms.
    pub(crate) fn drafts(&self) -> Vec<ServerFrame> {
        self.drafts.borrow().clone()
    }

    /// Waits until the drafts that were shown are as wanted.
    pub(crate) async fn drafts_when<T>(&self, wanted: impl Fn(&[ServerFrame]) -> Option<T>) -> T {
        let mut drafts = self.drafts.clone();
        let seen = drafts.wait_for(|drafts| wanted(drafts).is_some());
        let seen = timeout(PATIENCE, seen).await.expect("the drafts come");
        wanted(&seen.unwrap()).unwrap()
    }

    pub(crate) async fn reply_to(&self, request: &Message) -> Message {
        let mut changes = self.drafts.clone();
        let seen = async {
            loop {
                changes.borrow_and_update();
                let messages = self.messages(&request.room).await;
                let is_reply = |message: &Message| message.reply_to == Some(request.id);
                if let Some(reply) = messages.into_iter().find(is_reply) {
                    return reply;
                }
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, seen).await.expect("a reply comes")
    }
}

fn new(room: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        room: room.into(),
        id: Uuid::now_v7(),
        sender: sender.into(),
        kind: if sender == "bot" {
            Kind::Bot
        } else {
            Kind::User
        },
        message: text.into(),
        reply_to: None,
        of: None,
        stopped_by: None,
        grounding: Default::default(),
    }
}
