//! What others have for one socket: rooms with news, answers, and the word to close. Whoever puts something in wakes
//! the socket once, however much there is; a socket that is busy finds it when it is done.
//!
//! Bounded by what puts things in: one mark per room it is in, one answer per thing it asked for and is counted for
//! ([`super::connection`]).

use axum::extract::ws::Utf8Bytes;
use common::wire::{Seq, ServerFrame};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    closing::Closing,
    connection::{Done, Refusal},
    replay::{Replay, ReplaySlot},
    room::Membership,
};

/// An answer to something that a socket asked for.
pub(super) enum Note {
    /// A room was joined.
    Joined {
        sub: u32,
        membership: Membership,
        replay: Replay,
        slot: Option<ReplaySlot>,
    },
    /// A room was not joined, or must be left.
    Lost { sub: u32, refusal: Refusal },
    /// What was missed in a room, for one who was too slow.
    CaughtUp {
        sub: u32,
        replay: Replay,
        slot: Option<ReplaySlot>,
    },
    /// A message is kept, or not.
    Posted {
        queue: u32,
        id: Uuid,
        bytes: usize,
        outcome: Result<Seq, Refusal>,
    },
    /// A call is done.
    TaskDone {
        id: Option<Uuid>,
        outcome: Result<Done, Refusal>,
    },
    /// Something that every socket of the person is told.
    Told(ServerFrame),
    /// A frame for this socket alone.
    Frame { sub: u32, frame: Utf8Bytes },
}

/// One socket's inbox.
pub(super) struct Inbox {
    /// The socket's own, among all edges.
    pub(super) socket: u64,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            socket: rand::random(),
            waiting: Mutex::default(),
            wake: Notify::default(),
        }
    }
}

/// What is in it.
#[derive(Default)]
pub(super) struct Waiting {
    /// Rooms with news, each once.
    pub(super) dirty: Vec<u32>,
    pub(super) notes: Vec<Note>,
    pub(super) closing: Option<Closing>,
    /// The socket is gone; nothing is kept for it any more.
    gone: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// A room has news.
    pub(super) fn mark(&self, sub: u32) {
        let mut waiting = self.waiting();
        let is_first = waiting.dirty.is_empty();
        waiting.dirty.push(sub);
        drop(waiting);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// An answer.
    pub(super) fn put(&self, note: Note) {
        let mut waiting = self.waiting();
        if waiting.gone {
            drop(waiting);
            // Outside the lock: what is in it may take itself out of a room.
            drop(note);
            return;
        }
        waiting.notes.push(note);
        drop(waiting);
        self.wake.notify_one();
    }

    /// The socket is to close; the first reason stands, unless the session is gone, which cannot wait for a drain.
    pub(super) fn close(&self, closing: Closing) {
        let mut waiting = self.waiting();
        if waiting.closing.is_none() || closing == Closing::SessionGone {
            waiting.closing = Some(closing);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Whether it is to close.
    pub(super) fn closing(&self) -> Option<Closing> {
        self.waiting().closing
    }

    /// Takes what is there. The vector handed in is swapped for the one that is there, so that both are used again; notes
    /// are too large to keep room for them in every socket.
    pub(super) fn take(&self, dirty: &mut Vec<u32>) -> (Vec<Note>, Option<Closing>) {
        let mut waiting = self.waiting();
        std::mem::swap(&mut waiting.dirty, dirty);
        (std::mem::take(&mut waiting.notes), waiting.closing)
    }

    /// Waits until something was put in. May return once too often, never once too seldom.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The socket is gone.
    pub(super) fn discard(&self) {
        let mut waiting = self.waiting();
        waiting.gone = true;
        let left = std::mem::take(&mut *waiting);
        waiting.gone = true;
        drop(waiting);
        drop(left);
    }
}
