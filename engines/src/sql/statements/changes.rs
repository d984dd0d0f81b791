//! What edits and deletions do to the messages that they change, in statements that both engines understand.
//!
//! They may be written before their message, twice, or by two writers at once, and come to the same: a message's state is kept
//! beside it, of which the newest edit wins by its place and a deletion over everything. What is deleted loses its text where it
//! lies. Who writes a message does not lock its state for that; each writer looks after its commit whether something of what it
//! wrote is deleted, and of two at once the one that commits last sees the other's rows.

use std::collections::HashSet;

use common::wire::{Grounding, Kind, Message, Seq};
use uuid::Uuid;

use super::{Connection, dialect};
use crate::sql::{
    batch::{BySize, lists, runs},
    columns::column,
    failure::Failure,
};

static INSERT_EVENTS: BySize = BySize::new(
    "INSERT INTO message_events (room, id, kind, target) VALUES ",
    "(?, ?, ?, ?)",
    ", ",
    dialect::IF_ABSENT,
);

static MERGE_STATES: BySize = BySize::new(
    "INSERT INTO message_states (room, id, edited_seq, deleted_seq, message) VALUES ",
    "(?, ?, ?, ?, ?)",
    ", ",
    dialect::MERGE_STATE,
);

/// What was deleted since a place, whichever room it is in. Hardly ever anything was, since the messages of a batch are new.
const DELETED_SINCE: &str =
    "SELECT room, id FROM message_states WHERE deleted_seq >= ? ORDER BY deleted_seq LIMIT 256";
const DELETED_SINCE_MAX: usize = 256;

/// What a row takes in a statement beside its text, at most.
const ROW_BYTES: usize = 320;

/// A message by its room and id.
pub(super) type Key<'a> = (&'a str, Uuid);

/// Notes events, whose own rows are written: that they are events, and what becomes of the messages that they change.
pub(super) async fn apply(
    db: &mut Connection,
    events: &[&Message],
    takes: usize,
) -> Result<(), Failure> {
    let targets: Vec<(&Message, Uuid)> = events
        .iter()
        .filter_map(|event| Some((*event, event.of?)))
        .collect();
    if targets.is_empty() {
        return Ok(());
    }
    for run in runs(&vec![ROW_BYTES; targets.len()], takes) {
        let mut query = sqlx::query(INSERT_EVENTS.sql(run.len()));
        for (event, target) in &targets[run] {
            query = query
                .bind(&*event.room)
                .bind(event.id)
                .bind(event.kind.as_str())
                .bind(*target);
        }
        query.execute(&mut *db).await?;
    }
    // In the order of the key, in which every writer locks them.
    let mut by_target = targets.clone();
    by_target.sort_by_key(|(event, target)| (event.room.as_str(), *target, event.seq));
    let text = |event: &Message| event.message.len() + ROW_BYTES;
    let bytes: Vec<usize> = by_target.iter().map(|(event, _)| text(event)).collect();
    for run in runs(&bytes, takes) {
        let mut query = sqlx::query(MERGE_STATES.sql(run.len()));
        for (event, target) in &by_target[run] {
            let (edited, deleted, message) = match event.kind {
                Kind::Deleted => (0, column(event.seq), ""),
                _ => (column(event.seq), 0, &*event.message),
            };
            query = query
                .bind(&*event.room)
                .bind(*target)
                .bind(edited)
                .bind(deleted)
                .bind(message);
        }
        query.execute(&mut *db).await?;
    }
    let targets: Vec<Key> = targets
        .iter()
        .map(|(event, target)| (event.room.as_str(), *target))
        .collect();
    let deleted = deleted_of(db, &targets, takes).await?;
    scrub(db, &deleted, takes).await
}

/// Which of these messages are deleted.
pub(super) async fn deleted_of(
    db: &mut Connection,
    keys: &[Key<'_>],
    takes: usize,
) -> Result<Vec<(String, Uuid)>, Failure> {
    let mut deleted: Vec<(String, Uuid)> = Vec::new();
    for list in lists(keys, takes) {
        let mut query = sqlx::query_as(dialect::DELETED_STATES.sql(list.len()));
        for (room, id) in list {
            query = query.bind(room).bind(id);
        }
        deleted.extend(query.fetch_all(&mut *db).await?);
    }
    deleted.sort_unstable();
    deleted.dedup();
    Ok(deleted)
}

/// Which of the messages that these are, or change, are deleted: what of them has a text must lose it.
pub(super) async fn deleted_among(
    db: &mut Connection,
    written: &[&Message],
    takes: usize,
) -> Result<Vec<(String, Uuid)>, Failure> {
    let changed = written
        .iter()
        .filter_map(|event| Some((event.room.as_str(), event.of?)));
    let mut asked: Vec<Key> = changed.collect();
    // Nothing is deleted before it is said.
    let messages = || written.iter().filter(|message| message.of.is_none());
    if let Some(oldest) = messages().map(|message| message.seq).min() {
        let since: Vec<(String, Uuid)> = sqlx::query_as(DELETED_SINCE)
            .bind(column(oldest))
            .fetch_all(&mut *db)
            .await?;
        if since.len() == DELETED_SINCE_MAX {
            asked.extend(messages().map(|message| (message.room.as_str(), message.id)));
        } else if !since.is_empty() {
            let since: HashSet<Key> = since.iter().map(|(room, id)| (&**room, *id)).collect();
            let keys = messages().map(|message| (message.room.as_str(), message.id));
            asked.extend(keys.filter(|key| since.contains(key)));
        }
    }
    deleted_of(db, &asked, takes).await
}

/// Takes the text away from messages, and from all their edits.
pub(super) async fn scrub(
    db: &mut Connection,
    deleted: &[(String, Uuid)],
    takes: usize,
) -> Result<(), Failure> {
    let messages: Vec<Key> = deleted.iter().map(|(room, id)| (&**room, *id)).collect();
    let mut edits: Vec<(String, Uuid)> = Vec::new();
    for list in lists(&messages, takes) {
        let mut query = sqlx::query_as(dialect::EVENTS_OF.sql(list.len()));
        for (room, target) in list {
            query = query.bind(room).bind(target);
        }
        edits.extend(query.fetch_all(&mut *db).await?);
    }
    let edits = edits.iter().map(|(room, id)| (&**room, *id));
    let mut rows: Vec<Key> = messages.iter().copied().chain(edits).collect();
    rows.sort_unstable();
    rows.dedup();
    for list in lists(&rows, takes) {
        let mut query = sqlx::query(dialect::SCRUB_MESSAGES.sql(list.len()));
        for (room, id) in list {
            query = query.bind(id).bind(room);
        }
        query.execute(&mut *db).await?;
    }
    // What an answer stands on tells what it said.
    for list in lists(&messages, takes) {
        let mut query = sqlx::query(dialect::DELETE_GROUNDINGS.sql(list.len()));
        for (room, id) in list {
            query = query.bind(room).bind(id);
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// What is read of a message: its row, what it is, and its newest state. An event is read without a state: nothing changes it.
macro_rules! read_messages {
    ($rest:literal) => {
        concat!(
            "SELECT m.room, m.seq, m.id, m.sender, m.kind, m.message, m.reply_to, e.kind AS event, \
             s.edited_seq, s.deleted_seq, s.message AS newest, g.grounding FROM messages m \
             LEFT JOIN message_events e ON e.room = m.room AND e.id = m.id \
             LEFT JOIN message_states s ON s.room = m.room AND s.id = m.id \
             LEFT JOIN message_groundings g ON m.kind = 'bot' AND g.room = m.room AND g.id = m.id ",
            $rest
        )
    };
}
pub(super) use read_messages;

/// A row of [`read_messages`].
#[derive(sqlx::FromRow)]
pub(super) struct MessageRow {
    room: String,
    pub(super) seq: i64,
    id: Uuid,
    sender: String,
    kind: String,
    message: String,
    reply_to: Option<Uuid>,
    event: Option<String>,
    edited_seq: Option<i64>,
    deleted_seq: Option<i64>,
    newest: Option<String>,
    grounding: Option<String>,
}

impl MessageRow {
    pub(super) fn place(&self) -> (String, i64) {
        (self.room.clone(), self.seq)
    }

    /// In its newest state. No message is empty but one whose text was taken away.
    pub(super) fn after(self, prev: i64) -> Result<Message, Failure> {
        let word = self.event.as_deref().unwrap_or(&self.kind);
        let kind = Kind::from_word(word).ok_or_else(|| {
            Failure::Away(format!("the message {} is of an unknown kind", self.id))
        })?;
        let mut message = Message {
            room: self.room,
            seq: self.seq.cast_unsigned(),
            prev: prev.cast_unsigned(),
            id: self.id,
            sender: self.sender,
            kind,
            message: self.message,
            reply_to: self.reply_to,
            of: None,
            // What cannot be read is left out: the answer stands for itself.
            grounding: self
                .grounding
                .and_then(|json| serde_json::from_str(&json).ok())
                .unwrap_or_default(),
            edited: None,
            deleted: false,
        };
        if kind.is_change() {
            message.of = message.reply_to.take();
            return Ok(message);
        }
        let edited = self.edited_seq.filter(|seq| *seq > 0);
        message.deleted = self.deleted_seq.is_some_and(|seq| seq > 0) || message.message.is_empty();
        match (edited, self.newest) {
            _ if message.deleted => {
                message.message.clear();
                message.grounding = Grounding::default();
            }
            (Some(seq), Some(newest)) => {
                message.edited = Some(Seq::try_from(seq).unwrap_or_default());
                message.deleted = newest.is_empty();
                message.message = newest;
            }
            _ => (),
        }
        if message.deleted {
            message.edited = None;
        }
        Ok(message)
    }
}
