//! How far the persisters have come, for whoever misses a message in the database: whether it is lost, or waits in `persist`
//! like everything else. A note of this process goes the way of a message; when it is in the database, so is what was
//! published before it. While the database is away, or the persisters are or lag behind, the note is not there, and nothing
//! is missed that they hold. Why so: `docs/decisions/what-a-lagging-replica-lacks.md`.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{PostError, TRY_AGAIN_AFTER};
use crate::{
    envelope::Envelope,
    queue::{Queue, Route},
    store::{NOTES_ROOM, Store},
    wire::{Kind, Message, Seq, now_seq},
};

/// A note that is not there after this was waiting behind others: the persisters are behind.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// How often it is seen whether a note is there, while somebody waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing is believed after a late note, or after an engine was away: longer than a persister pauses between two
/// attempts, and one attempt takes. Another one may have written the note, while that one still holds an older batch.
const GRACE: Duration = Duration::from_secs(15);

/// How far the persisters have come, as far as this process knows.
pub(super) struct Progress {
    /// Where its notes are: nobody's room, and no other process's.
    room: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was published before this time has been written.
    until: Option<Instant>,
    /// On its way.
    note: Option<Note>,
    /// Not before this is anything believed again.
    not_before: Option<Instant>,
}

/// One in each partition of the queue.
struct Note {
    ids: Vec<Uuid>,
    sent: Instant,
    is_late: bool,
}

/// What was seen of a note.
enum Look {
    /// It is in the database, and with it what was published before this time.
    Written(Instant),
    /// It was sent a moment ago.
    NotYet,
    /// It took long, or still does.
    Late,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            room: format!("{NOTES_ROOM}{}", Uuid::now_v7().simple()),
            state: Mutex::default(),
        }
    }

    /// Returns if all that was published before this time has been written, by now at the latest.
    ///
    /// # Errors
    /// [`PostError::Unavailable`] if that is not known, after `patience` at the latest where the engines answer.
    pub(super) async fn reached(
        &self,
        time: Instant,
        patience: Duration,
        queue: &Arc<dyn Queue>,
        store: &Arc<dyn Store>,
    ) -> Result<(), PostError> {
        let state = timeout(patience, self.state.lock()).await;
        let mut state = state.map_err(|_| behind())?;
        let is_reached = |until: Option<Instant>| until.is_some_and(|until| until >= time);
        if is_reached(state.until) {
            return Ok(());
        }
        let looked = self.look(&mut state.note, patience, queue, store).await;
        let is_believed = state.not_before.is_none_or(|at| Instant::now() >= at);
        match looked {
            Ok(Look::Written(until)) if is_believed => state.until = Some(until),
            Ok(Look::Written(_) | Look::NotYet) => (),
            Ok(Look::Late) | Err(_) => state.not_before = Some(Instant::now() + GRACE),
        }
        looked?;
        if !is_reached(state.until) {
            return Err(behind());
        }
        Ok(())
    }

    /// An engine was away a moment ago.
    pub(super) async fn distrust(&self) {
        self.state.lock().await.not_before = Some(Instant::now() + GRACE);
    }

    /// Looks whether the note is there that is on its way; if none is, sends one first.
    async fn look(
        &self,
        on_its_way: &mut Option<Note>,
        patience: Duration,
        queue: &Arc<dyn Queue>,
        store: &Arc<dyn Store>,
    ) -> Result<Look, PostError> {
        let note = match on_its_way {
            Some(note) => note,
            None => on_its_way.insert(self.send(queue).await?),
        };
        let until = Instant::now() + patience;
        loop {
            let there = store.existing(&self.room, &note.ids).await?;
            if note.ids.iter().all(|id| there.contains(id)) {
                let look = match note.is_late {
                    true => Look::Late,
                    false => Look::Written(note.sent),
                };
                *on_its_way = None;
                return Ok(look);
            }
            note.is_late |= note.sent.elapsed() >= LATE_AFTER;
            if note.is_late {
                return Ok(Look::Late);
            }
            if Instant::now() >= until {
                return Ok(Look::NotYet);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn send(&self, queue: &Arc<dyn Queue>) -> Result<Note, PostError> {
        // By a clock that nobody sets, and before it is published: what it says of others is true then.
        let sent = Instant::now();
        let partitions = 0..queue.partitions();
        let sending = partitions.map(|partition| self.send_to(queue, partition));
        Ok(Note {
            ids: try_join_all(sending).await?,
            sent,
            is_late: false,
        })
    }

    async fn send_to(&self, queue: &Arc<dyn Queue>, partition: usize) -> Result<Uuid, PostError> {
        let message = Message {
            room: self.room.clone(),
            // Each has a place of its own in that room.
            seq: now_seq() + partition as Seq,
            prev: 0,
            id: Uuid::now_v7(),
            sender: "chinwag".into(),
            kind: Kind::User,
            message: "how far the persisters have come".into(),
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
            edited: None,
            deleted: false,
        };
        let payload = Envelope::around(&message.frame(), None, None);
        queue
            .publish(Route::Persist, partition, message.id, payload)
            .await?;
        Ok(message.id)
    }
}

/// Waits until all that was acked until now is in the database: a note of ours goes the way of a message and is there. Says what it
/// waits for, each time that it is not known yet.
///
/// # Errors
/// The last reason, when `patience` is over.
pub async fn all_acked_is_written(
    queue: &Arc<dyn Queue>,
    store: &Arc<dyn Store>,
    patience: Duration,
    mut told: impl FnMut(&PostError),
) -> Result<(), PostError> {
    let (progress, now) = (Progress::new(), Instant::now());
    loop {
        match progress.reached(now, LATE_AFTER, queue, store).await {
            Ok(()) => return Ok(()),
            Err(error) if now.elapsed() >= patience => return Err(error),
            Err(error) => told(&error),
        }
        sleep(LATE_AFTER / 2).await;
    }
}

fn behind() -> PostError {
    PostError::Unavailable {
        why: "the persisters are behind".into(),
        retry_after: TRY_AGAIN_AFTER,
    }
}
