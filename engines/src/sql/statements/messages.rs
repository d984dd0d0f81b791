//! Every message, in statements that both engines understand.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use async_trait::async_trait;
use common::{
    envelope::{Envelope, ReplyLog},
    store::{
        DeletedMessage, LookedUp, Messages, SentAt, SentPage, StoreError, WriteError, Written,
    },
    wire::{Kind, Message, Seq},
};
use uuid::Uuid;

use super::{
    Connection, ThisStore,
    changes::{MessageRow, apply, deleted_among, deleted_of, read_messages, scrub},
    dialect, retention,
};
use crate::sql::{
    batch::{BySize, lists, runs},
    call::{reading, transaction, writing},
    columns::column,
    failure::Failure,
};

const INSERT_MESSAGES: &str =
    "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) VALUES ";
const MESSAGE: &str = "(?, ?, ?, ?, ?, ?, ?)";

/// For messages that are thought to be new.
static INSERT_NEW: BySize = BySize::new(INSERT_MESSAGES, MESSAGE, ", ", "");

/// For messages some of which another writer may write at the same time.
static INSERT_ABSENT: BySize = BySize::new(INSERT_MESSAGES, MESSAGE, ", ", dialect::IF_ABSENT);

static INSERT_REPLIES: BySize = BySize::new(
    "INSERT INTO replies (room, id, request, user, day, model, attempts, tokens_in, tokens_out, first_token_ms, total_ms, \
     cost_micros, outcome) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ", ",
    dialect::IF_ABSENT,
);

static INSERT_STOPS: BySize = BySize::new(
    "INSERT INTO reply_stops (room, id, stopped_by) VALUES ",
    "(?, ?, ?)",
    ", ",
    dialect::IF_ABSENT,
);

static INSERT_DETAILS: BySize = BySize::new(
    "INSERT INTO reply_details (room, id, day, tokens_cached, tokens_thought, searches, estimated) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?)",
    ", ",
    dialect::IF_ABSENT,
);

static INSERT_GROUNDINGS: BySize = BySize::new(
    "INSERT INTO message_groundings (room, id, grounding) VALUES ",
    "(?, ?, ?)",
    ", ",
    dialect::IF_ABSENT,
);

/// What a row takes in a statement beside its text, at most: names, ids, numbers, and its place in the statement's own text.
const MESSAGE_BYTES: usize = 320;
const REPLY_BYTES: usize = 640;

/// How many messages of all are looked through for a page of one sender's: some 20 ms.
const PIECE_ROWS: i64 = 20_000;

/// No room's name begins like this, nor with anything behind it.
const BEHIND_ALL_ROOMS: &str = "~";

/// A message of a batch, on its way to its row.
struct Row<'a> {
    position: usize,
    envelope: &'a Envelope,
}

impl<'a> Row<'a> {
    fn message(&self) -> &'a Message {
        &self.envelope.message
    }

    fn key(&self) -> (&'a str, Uuid) {
        (&self.message().room, self.message().id)
    }

    /// What it takes in a statement, at most.
    fn bytes(&self) -> usize {
        self.message().message.len() + MESSAGE_BYTES
    }

    fn reply(&self) -> Option<(&'a Message, &'a ReplyLog)> {
        Some((self.message(), self.envelope.reply.as_ref()?))
    }

    fn stop(&self) -> Option<(&'a Message, &'a str)> {
        Some((self.message(), self.message().stopped_by.as_deref()?))
    }

    fn event(&self) -> Option<&'a Message> {
        let message = self.message();
        message.kind.is_change().then_some(message)
    }
}

/// The batch in the order of the table's key: every writer locks rows in the same order.
fn in_key_order(batch: &[Envelope]) -> Result<Vec<Row<'_>>, WriteError> {
    let mut rows: Vec<Row> = batch
        .iter()
        .enumerate()
        .map(|(position, envelope)| Row { position, envelope })
        .collect();
    if let Some(row) = rows
        .iter()
        .find(|row| i64::try_from(row.message().seq).is_err())
    {
        let seq = row.message().seq;
        return Err(WriteError::Rejected(format!("{seq} is no seq of a room")));
    }
    rows.sort_by(|one, other| {
        let [one, other] = [one.message(), other.message()];
        (&one.room, one.seq).cmp(&(&other.room, other.seq))
    });
    Ok(rows)
}

/// Inserts messages with one of the two statements above, of no more bytes than the engine takes.
async fn insert(
    db: &mut Connection,
    statement: &'static BySize,
    rows: &[&Row<'_>],
    takes: usize,
) -> Result<(), Failure> {
    let bytes: Vec<usize> = rows.iter().map(|row| row.bytes()).collect();
    if let Some(bytes) = bytes.iter().find(|bytes| **bytes > takes) {
        // The engine would only hang up.
        return Err(Failure::Rejected(format!(
            "a message takes {bytes} bytes in a statement, and max_allowed_packet is {takes}"
        )));
    }
    for run in runs(&bytes, takes) {
        let mut query = sqlx::query(statement.sql(run.len()));
        for row in &rows[run] {
            let message = row.message();
            query = query
                .bind(&*message.room)
                .bind(column(message.seq))
                .bind(message.id)
                .bind(&*message.sender)
                .bind(column_kind(message).as_str())
                .bind(&*message.message)
                .bind(message.of.or(message.reply_to));
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// What the row of a message says of its kind. What makes it an event is said beside it: see `migrations/`.
fn column_kind(message: &Message) -> Kind {
    match message.kind.is_change() {
        true => Kind::User,
        false => message.kind,
    }
}

/// What goes wrong with the log of replies for reasons unknown is the log's trouble, never a message's: it waits.
fn of_the_log(error: sqlx::Error) -> Failure {
    match Failure::from(error) {
        Failure::Unexplained(why) => Failure::Away(why),
        other => other,
    }
}

/// Inserts how replies came about; what is there already is left as it is.
async fn insert_replies(
    db: &mut Connection,
    replies: &[(&Message, &ReplyLog)],
    takes: usize,
) -> Result<(), Failure> {
    for run in runs(&vec![REPLY_BYTES; replies.len()], takes) {
        let mut query = sqlx::query(INSERT_REPLIES.sql(run.len()));
        for (message, reply) in &replies[run] {
            query = query
                .bind(&*message.room)
                .bind(message.id)
                .bind(reply.request)
                .bind(&*reply.user)
                .bind(day(message))
                .bind(&*reply.model)
                .bind(i64::from(reply.attempts))
                .bind(i64::from(reply.tokens_in))
                .bind(i64::from(reply.tokens_out))
                .bind(reply.first_token_ms.map(column))
                .bind(column(reply.total_ms))
                .bind(reply.cost_micros.map(column))
                .bind(&*reply.outcome);
        }
        query.execute(&mut *db).await.map_err(of_the_log)?;
    }
    let details: Vec<_> = replies
        .iter()
        .filter(|(_, reply)| !reply.details.is_plain())
        .collect();
    for run in runs(&vec![REPLY_BYTES; details.len()], takes) {
        let mut query = sqlx::query(INSERT_DETAILS.sql(run.len()));
        for (message, reply) in &details[run] {
            query = query
                .bind(&*message.room)
                .bind(message.id)
                .bind(day(message))
                .bind(i64::from(reply.details.tokens_cached))
                .bind(i64::from(reply.details.tokens_thought))
                .bind(i64::from(reply.details.searches))
                .bind(reply.details.estimated);
        }
        query.execute(&mut *db).await.map_err(of_the_log)?;
    }
    Ok(())
}

/// Inserts what answers stand on; what is there already is left as it is. What has no text any more stands on nothing.
async fn insert_groundings(
    db: &mut Connection,
    messages: impl Iterator<Item = &Message>,
    takes: usize,
) -> Result<(), Failure> {
    let grounded: Vec<(&Message, String)> = messages
        .filter(|message| !message.grounding.is_empty() && !message.message.is_empty())
        .filter_map(|message| Some((message, serde_json::to_string(&message.grounding).ok()?)))
        .collect();
    // One that the engine would not take in a statement is left out: the answer is worth more than that.
    let grounded: Vec<_> = grounded
        .into_iter()
        .filter(|(_, json)| json.len() + MESSAGE_BYTES <= takes)
        .collect();
    let bytes: Vec<usize> = grounded
        .iter()
        .map(|(_, json)| json.len() + MESSAGE_BYTES)
        .collect();
    for run in runs(&bytes, takes) {
        let mut query = sqlx::query(INSERT_GROUNDINGS.sql(run.len()));
        for (message, json) in &grounded[run] {
            query = query.bind(&*message.room).bind(message.id).bind(json);
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Inserts who stopped replies; what is there already is left as it is.
async fn insert_stops(
    db: &mut Connection,
    stops: &[(&Message, &str)],
    takes: usize,
) -> Result<(), Failure> {
    for run in runs(&vec![MESSAGE_BYTES; stops.len()], takes) {
        let mut query = sqlx::query(INSERT_STOPS.sql(run.len()));
        for (message, stopped_by) in &stops[run] {
            query = query
                .bind(&*message.room)
                .bind(message.id)
                .bind(*stopped_by);
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// The message's day, such as `2026-11-22`, in UTC.
fn day(message: &Message) -> String {
    let mut day = message.at();
    day.truncate("2026-11-22".len());
    day
}

/// Which of these (room, id) are stored.
async fn stored(
    db: &mut Connection,
    keys: &[(&str, Uuid)],
    takes: usize,
) -> Result<HashSet<(String, Uuid)>, Failure> {
    let mut stored = HashSet::new();
    for list in lists(keys, takes) {
        let mut query = sqlx::query_as(dialect::STORED_MESSAGES.sql(list.len()));
        for (room, id) in list {
            query = query.bind(id).bind(room);
        }
        stored.extend(query.fetch_all(&mut *db).await?);
    }
    Ok(stored)
}

/// What is stored under these (room, id).
struct Stored {
    contents: HashMap<(String, Uuid), Content>,
    /// Whether nothing was there before.
    is_new: bool,
}

/// What tells one message from another under the same id.
#[derive(sqlx::FromRow)]
struct Content {
    room: String,
    id: Uuid,
    seq: i64,
    sender: String,
    message: String,
    reply_to: Option<Uuid>,
    event: Option<String>,
    target: Option<Uuid>,
}

impl Content {
    /// Whether it was inserted a moment ago as an event's row, and nothing says yet that it is one.
    fn is_new_row_of(&self, event: &Message) -> bool {
        self.event.is_none() && event.of.is_some() && self.reply_to == event.of
    }

    /// A text that was taken away, there or here, or that was read in a newer state, is no other message's.
    fn is_of(&self, message: &Message, is_new: bool) -> bool {
        let word = message.kind.is_change().then(|| message.kind.as_str());
        let same_text = self.message == message.message
            || self.message.is_empty()
            || message.message.is_empty()
            || message.edited.is_some();
        let same_event = self.event.as_deref() == word && self.target == message.of
            || is_new && self.is_new_row_of(message);
        self.sender == message.sender && same_event && same_text
    }
}

impl Stored {
    async fn under(
        db: &mut Connection,
        keys: &[(&str, Uuid)],
        is_new: bool,
        takes: usize,
    ) -> Result<Stored, Failure> {
        let mut contents = HashMap::new();
        for list in lists(keys, takes) {
            let mut query = sqlx::query_as(dialect::STORED_CONTENTS.sql(list.len()));
            for (room, id) in list {
                query = query.bind(id).bind(room);
            }
            let rows: Vec<Content> = query.fetch_all(&mut *db).await?;
            let by_key = |content: Content| ((content.room.clone(), content.id), content);
            contents.extend(rows.into_iter().map(by_key));
        }
        Ok(Stored { contents, is_new })
    }

    /// Whether it is stored in the place that it has here: an event that was stored under another one before counts there.
    fn has_in_place(&self, row: &Row) -> bool {
        let (room, id) = row.key();
        let content = self.contents.get(&(room.to_owned(), id));
        content.is_some_and(|content| content.seq == column(row.message().seq))
    }

    /// Whether a message is stored, if perhaps in another place; none if nothing is under its id.
    fn has(&self, row: &Row) -> Option<bool> {
        let (room, id) = row.key();
        let content = self.contents.get(&(room.to_owned(), id))?;
        Some(content.is_of(row.message(), self.is_new))
    }
}

impl ThisStore {
    /// The way of nearly every batch: nothing of it is there. Fails with [`Failure::Duplicate`] if something is. (The
    /// engines could be told to pass over what is there, but MySQL then does not say that it did: the driver asks it to
    /// count rows that were found as rows that were changed.)
    async fn write_new(&self, rows: &[Row<'_>]) -> Result<Written, Failure> {
        let takes = self.takes();
        let messages: Vec<&Row> = rows.iter().collect();
        let replies: Vec<_> = rows.iter().filter_map(Row::reply).collect();
        let stops: Vec<_> = rows.iter().filter_map(Row::stop).collect();
        let events: Vec<_> = rows.iter().filter_map(Row::event).collect();
        let bytes: Vec<usize> = rows.iter().map(Row::bytes).collect();
        let is_grounded = |row: &Row| !row.message().grounding.is_empty();
        let is_plain = replies.is_empty() && stops.is_empty() && events.is_empty();
        let one_statement =
            is_plain && rows.len().is_power_of_two() && !rows.iter().any(is_grounded);
        if one_statement && runs(&bytes, takes).len() == 1 {
            // A statement alone is a transaction, without the way to the engine and back for its begin and commit.
            writing!(self, |db| {
                insert(db, &INSERT_NEW, &messages, takes).await
            })
            .await?;
        } else {
            transaction!(self, |db| {
                insert(db, &INSERT_NEW, &messages, takes).await?;
                insert_groundings(db, rows.iter().map(Row::message), takes).await?;
                insert_replies(db, &replies, takes).await?;
                insert_stops(db, &stops, takes).await?;
                apply(db, &events, takes).await
            })
            .await?;
        }
        Ok(Written {
            new: rows.len(),
            conflicts: Vec::new(),
        })
    }

    /// The way of a batch some of which is there: looks what is missing and inserts that. Another writer may do the
    /// same at the same time, so who is stored in the end is looked up again.
    async fn write_missing(&self, rows: &[Row<'_>]) -> Result<Written, Failure> {
        let takes = self.takes();
        let keys: Vec<_> = rows.iter().map(Row::key).collect();
        let written = transaction!(self, |db| {
            let before = Stored::under(db, &keys, false, takes).await?;
            let missing: Vec<&Row> = rows
                .iter()
                .filter(|row| before.has(row).is_none())
                .collect();
            insert(db, &INSERT_ABSENT, &missing, takes).await?;

            let missing_keys: Vec<_> = missing.iter().map(|row| row.key()).collect();
            let after = Stored::under(db, &missing_keys, true, takes).await?;
            let is_stored = |row: &&Row| before.has(row).or(after.has(row)) == Some(true);
            // A message may have come without its log, by read repair: the log is written whenever it comes.
            let replies: Vec<_> = rows
                .iter()
                .filter(is_stored)
                .filter_map(Row::reply)
                .collect();
            insert_replies(db, &replies, takes).await?;
            let written = missing.iter().filter(|row| is_stored(row));
            insert_groundings(db, written.map(|row| row.message()), takes).await?;
            let stored = || rows.iter().filter(is_stored);
            let stops: Vec<_> = stored().filter_map(Row::stop).collect();
            insert_stops(db, &stops, takes).await?;
            let in_place =
                stored().filter(|row| before.has_in_place(row) || after.has_in_place(row));
            let events: Vec<_> = in_place.filter_map(Row::event).collect();
            apply(db, &events, takes).await?;
            let erased = stored().map(Row::message).filter(|one| one.deleted);
            let erased: Vec<_> = erased.map(|one| (one.room.clone(), one.id)).collect();
            scrub(db, &erased, takes).await?;

            // Its place is another's, or its id.
            let lost = rows.iter().filter(|row| !is_stored(row));
            let mut conflicts: Vec<usize> = lost.map(|row| row.position).collect();
            conflicts.sort_unstable();
            Ok(Written {
                new: after.contents.len(),
                conflicts,
            })
        })
        .await;
        if rows.iter().any(|row| row.message().deleted) {
            self.note_remains();
        }
        written
    }
}

impl ThisStore {
    /// Takes the text away from what was written of messages that are deleted by now: their deletion may have been written
    /// before them, or at the same time by somebody else. Always after the commit: see `changes.rs`.
    async fn leave_out_deleted(&self, rows: &[Row<'_>]) -> Result<(), Failure> {
        let takes = self.takes();
        let written: Vec<&Message> = rows.iter().map(Row::message).collect();
        let deleted = reading!(self, |db| { deleted_among(db, &written, takes).await });
        let deleted = deleted.await?;
        if deleted.is_empty() {
            return Ok(());
        }
        transaction!(self, |db| { scrub(db, &deleted, takes).await }).await?;
        self.note_remains();
        Ok(())
    }
}

/// Rows in order, each linked to the one before it, the first to `prev`.
fn linked(rows: impl Iterator<Item = MessageRow>, mut prev: i64) -> Result<Vec<Message>, Failure> {
    rows.map(|row| {
        let before = std::mem::replace(&mut prev, row.seq);
        row.after(before)
    })
    .collect()
}

#[async_trait]
impl Messages for ThisStore {
    async fn write(&self, batch: &[Envelope]) -> Result<Written, WriteError> {
        if batch.is_empty() {
            return Ok(Written::default());
        }
        let rows = in_key_order(batch)?;
        let written = match self.write_new(&rows).await {
            Err(Failure::Duplicate) => self.write_missing(&rows).await?,
            written => written?,
        };
        self.leave_out_deleted(&rows).await?;
        Ok(written)
    }

    async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let page = reading!(self, |db| {
            let after = column(after);
            let gone = retention::gone_until(db, room, after).await?;
            let rows = sqlx::query_as::<_, MessageRow>(read_messages!(
                "WHERE m.room = ? AND m.seq > ? ORDER BY m.seq LIMIT ?"
            ))
            .bind(room)
            .bind(after.max(gone))
            .bind(column(limit as u64))
            .fetch_all(&mut *db)
            .await?;
            let Some(first) = rows.first() else {
                return Ok(Vec::new());
            };
            let query = "SELECT COALESCE(MAX(seq), 0) FROM messages WHERE room = ? AND seq < ?";
            let query = sqlx::query_scalar(query).bind(room).bind(first.seq);
            let prev: i64 = query.fetch_one(db).await?;
            linked(rows.into_iter(), if prev > gone { prev } else { 0 })
        });
        Ok(page.await?)
    }

    async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let page = reading!(self, |db| {
            // One more than asked for: the seq before the first.
            let mut rows = sqlx::query_as::<_, MessageRow>(read_messages!(
                "WHERE m.room = ? AND m.seq < ? AND e.kind IS NULL ORDER BY m.seq DESC LIMIT ?"
            ))
            .bind(room)
            .bind(column(before))
            .bind(column(limit as u64).saturating_add(1))
            .fetch_all(&mut *db)
            .await?;
            if let Some(oldest) = rows.last() {
                let gone = retention::gone_until(db, room, oldest.seq).await?;
                rows.retain(|row| row.seq > gone);
            }
            let earlier = if rows.len() > limit { rows.pop() } else { None };
            linked(rows.into_iter().rev(), earlier.map_or(0, |row| row.seq))
        });
        Ok(page.await?)
    }

    async fn latest(&self, room: &str) -> Result<Seq, StoreError> {
        let latest = reading!(self, |db| {
            let query = "SELECT COALESCE(MAX(seq), 0) FROM messages WHERE room = ?";
            let latest = sqlx::query_scalar(query).bind(room);
            let latest: i64 = latest.fetch_one(&mut *db).await?;
            let is_gone = latest <= retention::gone_until(db, room, latest).await?;
            Ok(if is_gone { 0 } else { latest.cast_unsigned() })
        });
        Ok(latest.await?)
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, StoreError> {
        let found = reading!(self, |db| {
            let row =
                sqlx::query_as::<_, MessageRow>(read_messages!("WHERE m.id = ? AND m.room = ?"))
                    .bind(id)
                    .bind(room)
                    .fetch_optional(&mut *db)
                    .await?;
            let Some(row) = row else { return Ok(None) };
            let is_gone = row.seq <= retention::gone_until(db, room, row.seq).await?;
            if is_gone {
                Ok(None)
            } else {
                row.after(0).map(Some)
            }
        });
        Ok(found.await?)
    }

    async fn deleted(
        &self,
        messages: &[(String, Uuid)],
    ) -> Result<HashSet<(String, Uuid)>, StoreError> {
        let keys: Vec<_> = messages.iter().map(|(room, id)| (&**room, *id)).collect();
        let takes = self.takes();
        let deleted = reading!(self, |db| { deleted_of(db, &keys, takes).await });
        Ok(deleted.await?.into_iter().collect())
    }

    async fn deleted_since(
        &self,
        since: Seq,
        limit: usize,
    ) -> Result<Vec<DeletedMessage>, StoreError> {
        let deleted = reading!(self, |db| {
            let query = sqlx::query_as::<_, (String, Uuid, i64)>(
                "SELECT room, id, deleted_seq FROM message_states WHERE deleted_seq >= ? ORDER BY deleted_seq LIMIT ?",
            );
            // 0 is the place of no deletion.
            let query = query.bind(column(since.max(1)));
            Ok(query.bind(column(limit as u64)).fetch_all(db).await?)
        });
        let deleted = deleted.await?.into_iter();
        let deleted = deleted.map(|(room, id, deleted)| DeletedMessage {
            room,
            id,
            deleted: deleted.cast_unsigned(),
        });
        Ok(deleted.collect())
    }

    async fn deletions(&self) -> Result<(u64, u64), StoreError> {
        let deletions = reading!(self, |db| {
            let query = "SELECT (SELECT COUNT(*) FROM message_states WHERE deleted_seq > 0), \
                 (SELECT COUNT(*) FROM deleted_rooms) + \
                 (SELECT COUNT(*) FROM room_retention WHERE gone_until > 0)";
            let (messages, rooms): (i64, i64) = sqlx::query_as(query).fetch_one(db).await?;
            Ok((messages.unsigned_abs(), rooms.unsigned_abs()))
        });
        Ok(deletions.await?)
    }

    async fn by_sender(
        &self,
        sender: &str,
        after: &SentAt,
        limit: usize,
    ) -> Result<SentPage, StoreError> {
        let seq = column(after.seq);
        let page = reading!(self, |db| {
            let end: Option<(String, i64)> = sqlx::query_as(dialect::END_OF_PIECE)
                .bind(&*after.room)
                .bind(&*after.room)
                .bind(seq)
                .bind(PIECE_ROWS)
                .fetch_optional(&mut *db)
                .await?;
            let (last_room, last_seq) = match &end {
                Some((room, seq)) => (&**room, *seq),
                None => (BEHIND_ALL_ROOMS, 0),
            };
            let mut rows = sqlx::query_as::<_, MessageRow>(dialect::SENT_IN_PIECE)
                .bind(&*after.room)
                .bind(&*after.room)
                .bind(seq)
                .bind(last_room)
                .bind(last_room)
                .bind(last_seq)
                .bind(sender)
                .bind(column(limit as u64).saturating_add(1))
                .fetch_all(&mut *db)
                .await?;
            let is_cut = rows.len() > limit;
            rows.truncate(limit);
            let cut = rows.last().filter(|_| is_cut).map(MessageRow::place);
            let next = cut.or(end);
            let mut gone = HashMap::new();
            for row in &rows {
                let (room, seq) = row.place();
                if let Entry::Vacant(unknown) = gone.entry(room) {
                    let until = retention::gone_until(db, unknown.key(), seq).await?;
                    unknown.insert(until);
                }
            }
            rows.retain(|row| {
                let (room, seq) = row.place();
                gone.get(&room).is_none_or(|until| seq > *until)
            });
            let messages: Result<Vec<Message>, Failure> =
                rows.into_iter().map(|row| row.after(0)).collect();
            let mut messages = messages?;
            messages.retain(|message| !message.deleted);
            Ok(SentPage {
                messages,
                next: next.map(|(room, seq)| SentAt {
                    room,
                    seq: seq.cast_unsigned(),
                }),
            })
        });
        Ok(page.await?)
    }

    async fn look_up(&self, room: &str, ids: &[Uuid]) -> Result<LookedUp, StoreError> {
        let keys: Vec<_> = ids.iter().map(|id| (room, *id)).collect();
        let takes = self.takes();
        let looked_up = reading!(self, |db, server| {
            let stored = stored(db, &keys, takes).await?;
            let existing = stored.into_iter().map(|(_, id)| id).collect();
            Ok(LookedUp { existing, server })
        });
        Ok(looked_up.await?)
    }
}
