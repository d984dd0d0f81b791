//! Deletions that only a live server had which is lost: acked, and in the database, but the server that took over has the
//! text still. So what the database has as deleted is taken out of the streams again and again: what was deleted lately at
//! every look, and what was deleted within a day at the first one, since nobody knows what happened before, and when
//! another server was heard of. A server that has heard of a deletion is only asked for a word.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use common::{
    live::LiveError,
    store::StoreError,
    wire::{Seq, now_seq},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::services::Services;

/// How far back each look reaches: longer than persisters are behind, as a rule.
const LATELY: Duration = Duration::from_secs(600);

/// How far back it reaches after another server was heard of: what a server that was brought back from a copy may lack.
const BEFORE_ANOTHER_SERVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a lost server had appended is handed to the queue within this time of its loss, unless the broker was away.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);

/// How long a look waits for a word of the persisters.
const NOTE_PATIENCE: Duration = Duration::from_secs(2);

/// How many are read at a time.
const PAGE: usize = 500;

/// How far this edge has to look back.
pub(crate) struct LostDeletions {
    /// When another server was heard of, until all that the one before it had was written, and looked for.
    another_since: Mutex<Option<Instant>>,
    has_looked: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl LostDeletions {
    pub(crate) fn new() -> LostDeletions {
        LostDeletions {
            another_since: Mutex::default(),
            has_looked: AtomicBool::new(false),
        }
    }

    /// Another server is behind some room, or all, than a moment ago.
    pub(crate) fn server_replaced(&self, now: Instant) {
        *self.another_since.lock() = Some(now);
    }

    /// Takes out of the streams what they should not have any more. Returns of how many messages that was.
    ///
    /// # Errors
    /// [`LookError`] if an engine is away; the next look begins anew.
    pub(crate) async fn look(&self, services: &Services) -> Result<usize, LookError> {
        let another = *self.another_since.lock();
        let is_all_written = match another {
            // A deletion that is still in the queue when it is looked for would not be found: before, not after.
            Some(since) => {
                let published = since + PUBLISHED_WITHIN;
                let written = services.poster.all_is_written(published, NOTE_PATIENCE);
                written.await.is_ok()
            }
            None => false,
        };
        let back = match another {
            None if self.has_looked.load(Ordering::Relaxed) => LATELY,
            _ => BEFORE_ANOTHER_SERVER,
        };
        let since = now_seq().saturating_sub(back.as_micros() as Seq);
        let scrubbed = scrub_since(services, since).await?;
        self.has_looked.store(true, Ordering::Relaxed);
        if is_all_written {
            let mut another_since = self.another_since.lock();
            if *another_since == another {
                *another_since = None;
            }
        }
        Ok(scrubbed)
    }
}

async fn scrub_since(services: &Services, mut since: Seq) -> Result<usize, LookError> {
    let mut scrubbed = 0;
    let mut failed = None;
    loop {
        let page = services.store.deleted_since(since, PAGE).await?;
        let is_last = page.len() < PAGE;
        if let Some(last) = page.last() {
            // The places of several rooms may be the same.
            since = last.deleted.max(since + u64::from(last.deleted == since));
        }
        let mut by_room: BTreeMap<String, Vec<(Uuid, Seq)>> = BTreeMap::new();
        for message in page {
            let of_room = by_room.entry(message.room).or_default();
            of_room.push((message.id, message.deleted));
        }
        for (room, deleted) in by_room {
            // A part of the live engine may be away, and the next room lie on another.
            let count = match services.live.scrub(&room, &deleted).await {
                Ok(count) => count,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            if count > 0 {
                tracing::warn!(
                    room,
                    messages = count,
                    "deleted, and the live engine had lost that: their text is gone from there now"
                );
            }
            scrubbed += count;
        }
        if is_last {
            return failed.map_or(Ok(scrubbed), |error| Err(error.into()));
        }
    }
}
