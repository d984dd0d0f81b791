//! Who waits for a place, room by room. While one step of a room is on its way to the live engine the next ones gather
//! here, and then go together: the more is said in a room, the less each message costs.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{PostError, Posted};
use crate::{envelope::ReplyLog, live::Offer, queue::Route};

/// The most messages of one step, and about the most bytes of their text: the live engine does nothing else meanwhile.
const STEP_MESSAGES: usize = 64;
const STEP_BYTES: usize = 64 * 1024;

/// A message that waits for its place.
pub(super) struct Waiting {
    pub(super) offer: Offer,
    pub(super) rest: Rest,
}

/// What it needs when it has it.
pub(super) struct Rest {
    pub(super) route: Route,
    pub(super) reply: Option<ReplyLog>,
    pub(super) done: oneshot::Sender<Result<Posted, PostError>>,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// See [`Lines::watch`].
pub(super) struct Watch {
    lines: Arc<Lines>,
    room: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lines.by_room().remove(&self.room);
        }
    }
}

/// The rooms' lines. Each is there while somebody works it off.
#[derive(Default)]
pub(super) struct Lines {
    by_room: Mutex<HashMap<String, VecDeque<Waiting>>>,
}

impl Lines {
    fn by_room(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Waiting>>> {
        self.by_room
            .lock()
            .expect("nothing panics while holding it")
    }

    /// Puts a message at the end of its room's line. True if nobody works that off yet.
    pub(super) fn join(&self, room: &str, waiting: Waiting) -> bool {
        let mut by_room = self.by_room();
        if let Some(line) = by_room.get_mut(room) {
            line.push_back(waiting);
            return false;
        }
        by_room.insert(room.to_owned(), VecDeque::from([waiting]));
        true
    }

    /// Frees everyone in a room's line if whoever works it off dies: they hear that the process stops, and the next message
    /// begins a new line.
    pub(super) fn watch(self: &Arc<Self>, room: &str) -> Watch {
        Watch {
            lines: Arc::clone(self),
            room: room.to_owned(),
        }
    }

    /// What goes together next. None, and the line is gone, if nothing waits.
    pub(super) fn next(&self, room: &str) -> Option<(Vec<Offer>, Vec<Rest>)> {
        let mut by_room = self.by_room();
        let line = by_room.get_mut(room)?;
        if line.is_empty() {
            by_room.remove(room);
            return None;
        }
        let mut bytes = 0;
        let fits = line.iter().take(STEP_MESSAGES).take_while(|waiting| {
            let is_first = bytes == 0;
            bytes += waiting.offer.message.message.len();
            is_first || bytes <= STEP_BYTES
        });
        let count = fits.count();
        Some(line.drain(..count).map(|one| (one.offer, one.rest)).unzip())
    }

    /// Takes everyone out of a room's line.
    pub(super) fn clear(&self, room: &str) -> VecDeque<Waiting> {
        self.by_room()
            .get_mut(room)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}
