//! What waits to be written to one socket: its own frames, and the rooms it is in, each with its cursor into that room's
//! ring. Without I/O.

use std::{collections::VecDeque, sync::Arc};

use axum::extract::ws::Utf8Bytes;
use common::wire::Seq;
use tokio::task::AbortHandle;

use super::{
    replay::{Backlog, Replay, ReplaySlot},
    ring::{Budget, Cursor, Taken},
    room::{Membership, Room},
};

/// The most frames, and about the most bytes, of one write.
const WRITE: Budget = Budget {
    frames: 64,
    bytes: 32 * 1024,
};

/// The most frames of one room before it is another room's turn.
const TURN_FRAMES: usize = 16;

/// A task that ends with what it is for.
pub(super) struct SocketTask(pub(super) AbortHandle);

impl Drop for SocketTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What waits.
#[derive(Default)]
pub(super) struct Outgoing {
    /// What is for this client alone, before everything else.
    own: VecDeque<Utf8Bytes>,
    /// By `sub`, in order. Most sockets are in one room: a map would be larger than what is in it.
    seats: Vec<Seat>,
    /// Rooms that may have something, each once, in turn.
    ready: VecDeque<u32>,
}

/// A room that the socket is in.
struct Seat {
    sub: u32,
    membership: Membership,
    cursor: Cursor,
    /// What comes before the ring goes on.
    backlog: Backlog,
    /// Held until that is sent.
    slot: Option<ReplaySlot>,
    is_ready: bool,
    catching_up: Option<SocketTask>,
}

impl Outgoing {
    /// Where a room's seat is, or would be.
    fn index(&self, sub: u32) -> Result<usize, usize> {
        self.seats.binary_search_by_key(&sub, |seat| seat.sub)
    }

    fn seat(&mut self, sub: u32) -> Option<&mut Seat> {
        let index = self.index(sub).ok()?;
        self.seats.get_mut(index)
    }

    /// A frame for this client alone.
    pub(super) fn push(&mut self, frame: Utf8Bytes) {
        self.own.push_back(frame);
    }

    /// Takes away all of those.
    pub(super) fn take_own(&mut self) -> Vec<Utf8Bytes> {
        self.own.drain(..).collect()
    }

    /// The socket is in a room now.
    pub(super) fn sit(
        &mut self,
        sub: u32,
        membership: Membership,
        backlog: Backlog,
        slot: Option<ReplaySlot>,
        cursor: Cursor,
    ) {
        let seat = Seat {
            sub,
            membership,
            cursor,
            backlog,
            slot,
            is_ready: false,
            catching_up: None,
        };
        if self.seats.is_empty() {
            self.seats.reserve_exact(1);
        }
        match self.index(sub) {
            Ok(index) => self.seats[index] = seat,
            Err(index) => self.seats.insert(index, seat),
        }
        self.make_ready(sub);
    }

    /// And no longer.
    pub(super) fn leave(&mut self, sub: u32) {
        if let Ok(index) = self.index(sub) {
            self.seats.remove(index);
        }
    }

    /// Out of all rooms.
    pub(super) fn leave_all(&mut self) {
        self.seats.clear();
    }

    /// Whether the socket is in that room.
    pub(super) fn is_in(&self, sub: u32) -> bool {
        self.index(sub).is_ok()
    }

    /// The room may have something.
    pub(super) fn make_ready(&mut self, sub: u32) {
        if let Some(seat) = self.seat(sub)
            && !seat.is_ready
            && seat.catching_up.is_none()
        {
            seat.is_ready = true;
            self.ready.push_back(sub);
        }
    }

    /// What the socket had fallen behind by is here.
    pub(super) fn caught_up(&mut self, sub: u32, replay: Replay, slot: Option<ReplaySlot>) {
        if let Some(seat) = self.seat(sub) {
            seat.catching_up = None;
            seat.backlog = replay.backlog;
            seat.slot = slot;
            seat.cursor = replay.cursor;
            self.make_ready(sub);
        }
    }

    /// What leaves with the next write: the client's own frames, then the rooms in turn. `catch_up` begins to read what
    /// comes after a `seq` in a room, in which the socket has fallen behind its ring; `start_over` where in a room it goes
    /// on whose history its client has to load.
    pub(super) fn next_batch(
        &mut self,
        mut catch_up: impl FnMut(u32, &Arc<Room>, Seq) -> SocketTask,
        mut start_over: impl FnMut(u32, &Arc<Room>),
    ) -> Vec<Utf8Bytes> {
        let mut batch = Vec::new();
        let mut budget = WRITE;
        while let Some(frame) = self.own.front() {
            if !budget.spend(frame.len(), batch.is_empty()) {
                return batch;
            }
            batch.extend(self.own.pop_front());
        }
        while budget.frames > 0
            && let Some(sub) = self.ready.pop_front()
        {
            let is_alone = self.ready.is_empty();
            let Some(seat) = self.seat(sub) else {
                continue;
            };
            let frames = if is_alone {
                budget.frames
            } else {
                budget.frames.min(TURN_FRAMES)
            };
            let mut turn = Budget {
                frames,
                bytes: budget.bytes,
            };
            let taken = seat.take(&mut turn, &mut batch);
            let used = frames - turn.frames;
            budget = Budget {
                frames: budget.frames - used,
                bytes: turn.bytes,
            };
            match taken {
                Taken::All => seat.is_ready = false,
                Taken::Part => {
                    self.ready.push_back(sub);
                    if used == 0 {
                        break;
                    }
                }
                Taken::Behind => {
                    seat.is_ready = false;
                    let task = catch_up(sub, seat.membership.room(), seat.cursor.last);
                    seat.catching_up = Some(task);
                }
                Taken::Lacking => {
                    seat.is_ready = false;
                    start_over(sub, seat.membership.room());
                }
            }
        }
        batch
    }
}

impl Seat {
    fn take(&mut self, budget: &mut Budget, batch: &mut Vec<Utf8Bytes>) -> Taken {
        // A reader that takes its time must not be sent what was deleted meanwhile.
        if self.backlog.front().is_some()
            && let Some(after) = self.backlog.drop_erased(&self.membership.room().feed())
        {
            self.slot = None;
            self.cursor.last = after;
            return Taken::Behind;
        }
        while let Some(frame) = self.backlog.front() {
            if !budget.spend(frame.len(), batch.is_empty()) {
                return Taken::Part;
            }
            batch.extend(self.backlog.pop());
        }
        self.slot = None;
        self.membership.take(&mut self.cursor, budget, batch)
    }
}

#[cfg(test)]
mod tests {
    use common::wire::{Kind, Message, NewMessage};
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{super::inbox::Inbox, *};
    use crate::socket::{
        feed::{Feed, Read},
        replay::beside_ring,
    };

    fn frame(seq: Seq, kind: Kind, of: Option<Uuid>, text: &str) -> (Seq, Utf8Bytes) {
        let new = NewMessage {
            room: "lobby".into(),
            id: Uuid::from_u128(seq.into()),
            sender: "ada".into(),
            kind,
            message: text.into(),
            reply_to: None,
            of,
            stopped_by: None,
            grounding: Default::default(),
        };
        (seq, new.at(seq, seq - 1).frame().into())
    }

    fn texts(batch: &[Utf8Bytes]) -> Vec<String> {
        let text = |frame: &Utf8Bytes| Message::from_frame(frame.as_bytes()).expect("a message");
        batch.iter().map(|frame| text(frame).message).collect()
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_reader_is_read_again_when_something_is_deleted() {
        let room = Arc::new(Room::new("lobby".into(), Feed::new(Arc::default())));
        room.feed_mut().ring.restart(4);
        let inbox = Arc::new(Inbox::default());
        let membership = room.enter(&"bob".into(), 1, &inbox);
        // More than goes with one write, so that the rest waits.
        let long = "x".repeat(WRITE.bytes);
        let missed = [&*long, "a secret", "after it"];
        let missed = missed.iter().zip(2..);
        let missed = missed.map(|(text, seq)| frame(seq, Kind::User, None, text));
        let read = Read {
            frames: missed.collect(),
            complete: true,
            latest: 4,
        };
        let replay = beside_ring(&room.feed(), 1, read);
        let mut outgoing = Outgoing::default();
        outgoing.sit(
            1,
            membership.expect("it is open"),
            replay.backlog,
            None,
            replay.cursor,
        );
        let mut caught_up = Vec::new();
        let mut next = |outgoing: &mut Outgoing| {
            let catch_up = |_, _: &Arc<Room>, after| {
                caught_up.push(after);
                SocketTask(tokio::spawn(async {}).abort_handle())
            };
            texts(&outgoing.next_batch(catch_up, |_, _| ()))
        };
        assert!(next(&mut outgoing) == [&*long], "the first alone");
        let (seq, deletion) = frame(5, Kind::Deleted, Some(Uuid::from_u128(3)), "");
        room.feed_mut()
            .ring
            .push_message(seq, deletion, Instant::now());
        assert_eq!(next(&mut outgoing), [""; 0]);
        assert_eq!(caught_up, [2], "and it goes on behind what it was sent");
    }
}
