//! A store that is ready for one story, and the words the stories are told in.

use std::sync::Arc;

use async_trait::async_trait;
use common::{
    envelope::{Envelope, ReplyLog},
    store::{
        Store,
        usage::{UsageAsked, UsageSum},
    },
    wire::{Kind, Message},
};
use uuid::Uuid;

/// An engine of the store with nothing in it, and a way to its rows past the store.
#[async_trait]
pub trait StoreUnderTest: Send + Sync + 'static {
    fn store(&self) -> Arc<dyn Store>;

    /// Sums over the log of replies, by a process that only asks for that.
    async fn usage(&self, asked: &UsageAsked) -> Vec<UsageSum>;

    /// Runs a statement past the store.
    async fn execute(&self, sql: String);

    /// A number that a statement gives, past the store.
    async fn count(&self, sql: &'static str) -> i64;
}

/// An empty store, and a way to its rows past the store.
pub struct Side {
    pub store: Arc<dyn Store>,
    engine: Box<dyn StoreUnderTest>,
}

impl Side {
    pub fn of(engine: impl StoreUnderTest) -> Side {
        Side {
            store: engine.store(),
            engine: Box::new(engine),
        }
    }

    pub async fn usage(&self, asked: &UsageAsked) -> Vec<UsageSum> {
        self.engine.usage(asked).await
    }

    pub async fn execute(&self, sql: String) {
        self.engine.execute(sql).await;
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        self.engine.count(sql).await
    }
}

/// A message of ada's, as the queue brings it.
pub fn said(room: &str, seq: u64, text: &str) -> Envelope {
    said_as(room, seq, Uuid::now_v7(), text)
}

pub fn said_as(room: &str, seq: u64, id: Uuid, text: &str) -> Envelope {
    let message = Message {
        room: room.to_owned(),
        seq,
        prev: 0,
        id,
        sender: "ada".to_owned(),
        kind: Kind::User,
        message: text.to_owned(),
        reply_to: None,
        of: None,
        grounding: Default::default(),
        edited: None,
        deleted: false,
    };
    Envelope::new(message, None)
}

/// An edit of a message, by its author.
pub fn edits(changed: &Envelope, seq: u64, text: &str) -> Envelope {
    changes(Kind::Edited, changed, seq, text)
}

/// A deletion of a message, by its author.
pub fn deletes(changed: &Envelope, seq: u64) -> Envelope {
    changes(Kind::Deleted, changed, seq, "")
}

fn changes(kind: Kind, changed: &Envelope, seq: u64, text: &str) -> Envelope {
    let changed = &changed.message;
    let message = Message {
        seq,
        id: Uuid::now_v7(),
        kind,
        message: text.to_owned(),
        reply_to: None,
        of: Some(changed.id),
        ..changed.clone()
    };
    Envelope::new(message, None)
}

/// What the stream has of a message, or an edit, whose text is erased.
pub fn erased(envelope: &Envelope) -> Envelope {
    let mut message = envelope.message.clone();
    message.message.clear();
    message.deleted = !message.kind.is_change();
    Envelope::new(message, None)
}

/// The bot's answer to a message, with how it came about.
pub fn answered(request: &Envelope, seq: u64, text: &str) -> Envelope {
    let request = &request.message;
    let message = Message {
        seq,
        id: common::envelope::reply_id(&request.room, request.id),
        sender: "bot".to_owned(),
        kind: Kind::Bot,
        message: text.to_owned(),
        reply_to: Some(request.id),
        ..request.clone()
    };
    let log = ReplyLog {
        request: request.id,
        user: request.sender.clone(),
        model: "gemini-flash".to_owned(),
        attempts: 2,
        tokens_in: 120,
        tokens_out: 30,
        first_token_ms: Some(400),
        total_ms: 850,
        cost_micros: Some(111),
        outcome: "answered".to_owned(),
        details: Default::default(),
    };
    Envelope::new(message, Some(log))
}

/// What a page of history shows of it.
pub fn texts(page: &[Message]) -> Vec<&str> {
    page.iter()
        .map(|message| message.message.as_str())
        .collect()
}

pub fn seqs(page: &[Message]) -> Vec<u64> {
    page.iter().map(|message| message.seq).collect()
}
