//! Who waits for a place, room by room. While one step of a room is on its way to the live engine the next ones gather
//! here, and then go together: the more is said in a room, the less each message costs.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::OwnedSemaphorePermit;

use super::Completion;
use crate::{envelope::ReplyLog, live::AppendRequest, queue::Route};

/// The most messages of one step, and about the most bytes of their text: the live engine does nothing else meanwhile.
const STEP_MESSAGES: usize = 64;
const STEP_BYTES: usize = 64 * 1024;

/// A message that waits for its place.
pub(super) struct QueuedPost {
    pub(super) offer: AppendRequest,
    pub(super) rest: PendingPost,
}

/// What it needs when it has it.
pub(super) struct PendingPost {
    pub(super) route: Route,
    pub(super) reply: Option<ReplyLog>,
    pub(super) completion: Completion,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// See [`RoomQueues::watch`].
pub(super) struct Watch {
    queues: Arc<RoomQueues>,
    room: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let left = self.queues.by_room().remove(&self.room);
            // Not while the lock is held: everyone in it is told.
            drop(left);
        }
    }
}

/// The rooms' lines. Each is there while somebody works it off.
#[derive(Default)]
pub(super) struct RoomQueues {
    by_room: Mutex<HashMap<String, VecDeque<QueuedPost>>>,
}

impl RoomQueues {
    fn by_room(&self) -> MutexGuard<'_, HashMap<String, VecDeque<QueuedPost>>> {
        self.by_room
            .lock()
            .expect("nothing panics while holding it")
    }

    /// Puts a message at the end of its room's line. True if nobody works that off yet.
    pub(super) fn join(&self, room: &str, waiting: QueuedPost) -> bool {
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
            queues: Arc::clone(self),
            room: room.to_owned(),
        }
    }

    /// What goes together next. None, and the line is gone, if nothing waits.
    pub(super) fn next(&self, room: &str) -> Option<(Vec<AppendRequest>, Vec<PendingPost>)> {
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
    pub(super) fn clear(&self, room: &str) -> VecDeque<QueuedPost> {
        self.by_room()
            .get_mut(room)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;
    use crate::{
        live::BotRole,
        wire::{Kind, NewMessage},
    };

    fn says(text: String) -> QueuedPost {
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned();
        let message = NewMessage {
            room: "lobby".into(),
            id: Uuid::new_v4(),
            sender: "ada".into(),
            kind: Kind::User,
            message: text,
            reply_to: None,
        };
        QueuedPost {
            offer: AppendRequest::new(message, BotRole::None),
            rest: PendingPost {
                route: Route::Persist,
                reply: None,
                completion: Completion::new(drop),
                _slot: slot.expect("it is free"),
            },
        }
    }

    fn step(queues: &RoomQueues) -> Option<Vec<String>> {
        let (offers, rests) = lines.next("lobby")?;
        assert_eq!(offers.len(), rests.len());
        Some(offers.into_iter().map(|one| one.message.message).collect())
    }

    #[test]
    fn what_gathers_goes_together_in_its_order_and_one_alone_works_it_off() {
        let lines = RoomQueues::default();
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let begins = texts
            .iter()
            .map(|text| lines.join("lobby", says(text.clone())));
        assert_eq!(begins.filter(|begins| *begins).count(), 1);
        assert!(lines.join("attic", says("elsewhere".into())));
        assert_eq!(step(&lines).as_deref(), Some(&texts[..STEP_MESSAGES]));
        assert!(!lines.join("lobby", says("late".into())));
        let rest = step(&lines).expect("there are more");
        assert_eq!(
            (rest.len(), rest.last().map(String::as_str)),
            (37, Some("late"))
        );
        assert_eq!(step(&lines), None);
        assert!(lines.join("lobby", says("anew".into())));
    }

    #[test]
    fn a_step_is_bounded_in_bytes_and_one_that_is_larger_goes_alone() {
        let lines = RoomQueues::default();
        for bytes in [STEP_BYTES + 1, STEP_BYTES / 2, STEP_BYTES / 2, 1] {
            lines.join("lobby", says("x".repeat(bytes)));
        }
        let sizes = std::iter::from_fn(|| step(&lines)).map(|step| step.len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn if_whoever_works_a_line_off_dies_the_room_begins_anew() {
        let lines = Arc::new(RoomQueues::default());
        lines.join("lobby", says("lost".into()));
        let dying = std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                let _watch = lines.watch("lobby");
                panic!("as a test");
            }
        });
        assert!(dying.join().is_err());
        assert!(lines.join("lobby", says("anew".into())));
    }
}
