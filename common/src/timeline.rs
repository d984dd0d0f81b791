//! A room's past as one line: the database, and the stream's tail for what is not there yet. History, resume and the
//! bot's context read it; read repair falls out of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    live::{Live, LiveError, STREAM_MAX_MESSAGES, Tail},
    posting::Poster,
    store::{Store, StoreError},
    wire::{Message, Seq, now_seq},
};

/// The most messages a client that comes back is sent over its socket; one that missed more loads the history.
pub const RESUME_MAX_MESSAGES: usize = 1_000;

/// The most messages in one page of history.
pub const PAGE_MAX_MESSAGES: usize = 200;

/// What the stream has had for this long and the database has not is handed to `persist` again.
pub const REPAIR_AFTER: Duration = Duration::from_secs(30);

/// Reads rooms' pasts.
#[derive(Clone)]
pub struct Timeline {
    live: Arc<dyn Live>,
    store: Arc<dyn Store>,
    poster: Poster,
}

/// A piece of a room's past that reaches from a place up to now, or as far as the limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// In order, without a gap if `complete`.
    pub messages: Vec<Message>,
    /// False if there is more than the limit between the place and now; `messages` is empty then.
    pub complete: bool,
    /// The latest place in the room.
    pub latest: Seq,
}

/// Why a past cannot be read just now.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The store is away, and the stream alone does not have it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The live engine is away, and what is not in the database yet would be missing.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// Messages between the newest in the store and the oldest in the stream are still in the queue: the store lags.
    #[error("the store lags behind: some messages of this room are still on their way to it")]
    Behind,
}

impl Timeline {
    /// One for this process.
    pub fn new(live: Arc<dyn Live>, store: Arc<dyn Store>, poster: Poster) -> Timeline {
        Timeline {
            live,
            store,
            poster,
        }
    }

    /// Everything after a place, up to now: what a client that comes back has missed. While the stream reaches back to
    /// the place, the database is not asked.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn resume(&self, room: &str, after: Seq) -> Result<Resume, TimelineError> {
        let tail = self.live.tail(room, after, RESUME_MAX_MESSAGES + 1).await?;
        if tail.reaches_back {
            return Ok(within_limit(tail.messages, tail.latest));
        }
        let kept = self
            .store
            .after(room, after, RESUME_MAX_MESSAGES + 1)
            .await?;
        let latest = tail
            .latest
            .max(kept.last().map_or(0, |message| message.seq));
        if kept.len() > RESUME_MAX_MESSAGES {
            return Ok(within_limit(kept, latest));
        }
        refuse_hole(&kept, &tail, after)?;
        Ok(within_limit(merge(kept, tail.messages), latest))
    }

    /// One message by its id.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, TimelineError> {
        match self.live.find(room, id).await? {
            Some(shown) => Ok(Some(shown)),
            None => Ok(self.store.find(room, id).await?),
        }
    }

    /// The latest place in a room.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn latest(&self, room: &str) -> Result<Seq, TimelineError> {
        let tail = self.live.tail(room, Seq::MAX, 1).await?;
        if tail.latest > 0 {
            Ok(tail.latest)
        } else {
            Ok(self.store.latest(room).await?)
        }
    }

    /// A page of history: the last `limit` messages before a place.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, TimelineError> {
        let kept = self.store.before(room, before, limit).await?;
        // The stream may have messages in this page's range that the database lacks, also between two that it has.
        let oldest = if kept.len() < limit {
            0
        } else {
            kept.first().map_or(0, |message| message.seq - 1)
        };
        let tail = self.live.tail(room, oldest, STREAM_MAX_MESSAGES).await?;
        if before > tail.latest {
            refuse_hole(&kept, &tail, oldest)?;
        }
        let mut tail = tail.messages;
        tail.retain(|message| message.seq < before);
        self.repair_missing(room, &kept, &tail).await;
        let mut page = merge(kept, tail);
        page.drain(..page.len().saturating_sub(limit));
        Ok(page)
    }

    /// A page of history: the first `limit` messages after a place.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine that is needed for it is away.
    pub async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, TimelineError> {
        let kept = self.store.after(room, after, limit).await?;
        let tail = self.live.tail(room, after, STREAM_MAX_MESSAGES).await?;
        let newest = kept.last().map_or(0, |message| message.seq);
        if kept.len() < limit {
            refuse_hole(&kept, &tail, after)?;
        }
        let mut tail = tail.messages;
        if kept.len() == limit {
            tail.retain(|message| message.seq < newest);
        }
        self.repair_missing(room, &kept, &tail).await;
        let mut page = merge(kept, tail);
        page.truncate(limit);
        Ok(page)
    }

    /// Compares a room's stream with the database and hands what is missing to `persist` again. Returns whether
    /// nothing in the stream is missing, so that the room needs no second look.
    ///
    /// # Errors
    /// [`TimelineError`] if an engine is away.
    pub async fn repair(&self, room: &str) -> Result<bool, TimelineError> {
        let stream = self.live.tail(room, 0, STREAM_MAX_MESSAGES).await?.messages;
        let ids: Vec<Uuid> = stream.iter().map(|message| message.id).collect();
        let existing = self.store.existing(room, &ids).await?;
        let missing: Vec<&Message> = stream
            .iter()
            .filter(|message| !existing.contains(&message.id))
            .collect();
        self.hand_over(&missing).await;
        Ok(missing.is_empty())
    }

    async fn repair_missing(&self, room: &str, kept: &[Message], tail: &[Message]) {
        let kept: HashSet<Uuid> = kept.iter().map(|message| message.id).collect();
        let unseen: Vec<Uuid> = tail
            .iter()
            .map(|message| message.id)
            .filter(|id| !kept.contains(id))
            .collect();
        if unseen.is_empty() {
            return;
        }
        let Ok(existing) = self.store.existing(room, &unseen).await else {
            return;
        };
        let is_missing =
            |message: &&Message| !kept.contains(&message.id) && !existing.contains(&message.id);
        let missing: Vec<&Message> = tail.iter().filter(is_missing).collect();
        self.hand_over(&missing).await;
    }

    /// Hands over those of the missing that are old enough to be late and not merely on their way.
    async fn hand_over(&self, missing: &[&Message]) {
        let late = now_seq().saturating_sub(REPAIR_AFTER.as_micros() as Seq);
        for message in missing.iter().filter(|message| message.seq <= late) {
            match self.poster.repair(message).await {
                Ok(false) => {}
                Ok(true) => {
                    metrics::counter!("chinwag_repaired_messages_total").increment(1);
                    tracing::warn!(room = %message.room, seq = message.seq, id = %message.id, "shown but not in the database: handed to `persist` again");
                }
                Err(error) => {
                    tracing::warn!(room = %message.room, %error, "a repair must wait");
                    return;
                }
            }
        }
    }
}

/// A page that silently left out what is still in the queue would break the promise of no gap: better none for a while.
fn refuse_hole(kept: &[Message], tail: &Tail, after: Seq) -> Result<(), TimelineError> {
    let newest_kept = kept.last().map_or(after, |message| message.seq);
    match tail.messages.first() {
        Some(first) if !tail.reaches_back && first.prev > newest_kept => Err(TimelineError::Behind),
        _ => Ok(()),
    }
}

fn within_limit(messages: Vec<Message>, latest: Seq) -> Resume {
    if messages.len() > RESUME_MAX_MESSAGES {
        return Resume {
            messages: Vec::new(),
            complete: false,
            latest,
        };
    }
    Resume {
        messages,
        complete: true,
        latest,
    }
}

/// Two ascending pieces of one room as one: each id once (under the database's place, if the two differ), each `prev`
/// the place before it.
fn merge(kept: Vec<Message>, stream: Vec<Message>) -> Vec<Message> {
    let ids: HashSet<Uuid> = kept.iter().map(|message| message.id).collect();
    let first_prev = match (kept.first(), stream.first()) {
        (Some(kept), Some(stream)) if stream.seq < kept.seq => stream.prev,
        (Some(kept), _) => kept.prev,
        (None, Some(stream)) => stream.prev,
        (None, None) => 0,
    };
    let mut all = kept;
    all.extend(
        stream
            .into_iter()
            .filter(|message| !ids.contains(&message.id)),
    );
    all.sort_by_key(|message| message.seq);
    let mut prev = first_prev;
    for message in &mut all {
        message.prev = prev;
        prev = message.seq;
    }
    all
}
