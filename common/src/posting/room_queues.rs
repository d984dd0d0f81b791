//! What waits to be appended, room by room. While one step of a room is on its way to the live engine the next ones
//! gather here, and then go together: the more is said in a room, the less each message costs.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use super::{Completion, places::Place};
use crate::{envelope::ReplyLog, live::AppendRequest, queue::Route, traces::Span};

/// The most messages of one step, and about the most bytes of their text: the live engine does nothing else meanwhile.
const STEP_MESSAGES: usize = 64;
const STEP_BYTES: usize = 64 * 1024;

/// A message that waits to be appended.
pub(super) struct QueuedPost {
    pub(super) request: AppendRequest,
    pub(super) pending: PendingPost,
}

/// What it needs when it is.
pub(super) struct PendingPost {
    pub(super) route: Route,
    pub(super) reply: Option<ReplyLog>,
    /// From now on until it has its place, if it is traced.
    pub(super) place: Span,
    pub(super) completion: Completion,
    pub(super) _place_on_the_way: Place,
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

/// The rooms' queues. Each is there while somebody works it off.
#[derive(Default)]
pub(super) struct RoomQueues {
    by_room: Mutex<HashMap<String, VecDeque<QueuedPost>>>,
}

impl RoomQueues {
    fn by_room(&self) -> MutexGuard<'_, HashMap<String, VecDeque<QueuedPost>>> {
        self.by_room.lock()
    }

    /// Puts a message at the end of its room's queue. True if nobody works that off yet.
    pub(super) fn join(&self, room: &str, waiting: QueuedPost) -> bool {
        let mut by_room = self.by_room();
        if let Some(queue) = by_room.get_mut(room) {
            queue.push_back(waiting);
            return false;
        }
        by_room.insert(room.to_owned(), VecDeque::from([waiting]));
        true
    }

    /// Frees everyone in a room's queue if whoever works it off dies: they hear that the process stops, and the next message
    /// begins a new queue.
    pub(super) fn watch(self: &Arc<Self>, room: &str) -> Watch {
        Watch {
            queues: Arc::clone(self),
            room: room.to_owned(),
        }
    }

    /// What goes together next. None, and the queue is gone, if nothing waits.
    pub(super) fn next(&self, room: &str) -> Option<(Vec<AppendRequest>, Vec<PendingPost>)> {
        let mut by_room = self.by_room();
        let queue = by_room.get_mut(room)?;
        if queue.is_empty() {
            by_room.remove(room);
            return None;
        }
        let mut bytes = 0;
        let fits = queue.iter().take(STEP_MESSAGES).take_while(|waiting| {
            let is_first = bytes == 0;
            bytes += waiting.request.message.message.len();
            is_first || bytes <= STEP_BYTES
        });
        let count = fits.count();
        Some(
            queue
                .drain(..count)
                .map(|one| (one.request, one.pending))
                .unzip(),
        )
    }

    /// Takes everyone out of a room's queue.
    pub(super) fn clear(&self, room: &str) -> VecDeque<QueuedPost> {
        self.by_room()
            .get_mut(room)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{super::places::Places, *};
    use crate::{
        live::BotRole,
        wire::{Kind, NewMessage},
    };

    fn says(text: String) -> QueuedPost {
        let place = Places::new(1).take("ada", text.len()).ok();
        let message = NewMessage {
            room: "lobby".into(),
            id: Uuid::new_v4(),
            sender: "ada".into(),
            kind: Kind::User,
            message: text,
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
        };
        QueuedPost {
            request: AppendRequest::new(message, BotRole::None),
            pending: PendingPost {
                route: Route::Persist,
                reply: None,
                place: Span::NONE,
                completion: Completion::new(drop),
                _place_on_the_way: place.expect("it is free"),
            },
        }
    }

    fn step(queues: &RoomQueues) -> Option<Vec<String>> {
        let (requests, pending) = queues.next("lobby")?;
        assert_eq!(requests.len(), pending.len());
        Some(
            requests
                .into_iter()
                .map(|one| one.message.message)
                .collect(),
        )
    }

    #[test]
    fn what_gathers_goes_together_in_its_order_and_one_alone_works_it_off() {
        let queues = RoomQueues::default();
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let begins = texts
            .iter()
            .map(|text| queues.join("lobby", says(text.clone())));
        assert_eq!(begins.filter(|begins| *begins).count(), 1);
        assert!(queues.join("attic", says("elsewhere".into())));
        assert_eq!(step(&queues).as_deref(), Some(&texts[..STEP_MESSAGES]));
        assert!(!queues.join("lobby", says("late".into())));
        let rest = step(&queues).expect("there are more");
        assert_eq!(
            (rest.len(), rest.last().map(String::as_str)),
            (37, Some("late"))
        );
        assert_eq!(step(&queues), None);
        assert!(queues.join("lobby", says("anew".into())));
    }

    #[test]
    fn a_step_is_bounded_in_bytes_and_one_that_is_larger_goes_alone() {
        let queues = RoomQueues::default();
        for bytes in [STEP_BYTES + 1, STEP_BYTES / 2, STEP_BYTES / 2, 1] {
            queues.join("lobby", says("x".repeat(bytes)));
        }
        let sizes = std::iter::from_fn(|| step(&queues)).map(|step| step.len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn if_whoever_works_a_line_off_dies_the_room_begins_anew() {
        let queues = Arc::new(RoomQueues::default());
        queues.join("lobby", says("lost".into()));
        let dying = std::thread::spawn({
            let queues = Arc::clone(&queues);
            move || {
                let _watch = queues.watch("lobby");
                panic!("as a test");
            }
        });
        assert!(dying.join().is_err());
        assert!(queues.join("lobby", says("anew".into())));
    }
}
