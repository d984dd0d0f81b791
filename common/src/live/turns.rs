//! Whose turn it is to answer in a room, and what the answer looks like so far. One request at a time, in the order in
//! which they were posted, over any number of workers; and a [`Fence`], without which nobody can write a reply.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::LiveError;
use crate::wire::{Seq, ServerFrame};

/// How long a turn holds without being renewed.
pub const TURN_LEASE: Duration = Duration::from_secs(4);

/// Whoever asked for a turn, or renewed it, within this part of [`TURN_LEASE`] is at it: asking and renewing are more
/// frequent than that.
pub const FRESH_OF_LEASE: f64 = 0.375;

/// How many of the first in a room's turn queue are looked at for one that nobody has in hand.
pub const TIMED_MAX: usize = 16;

/// The most requests that whoever asks for a turn names as being in their hands as well.
pub const IN_HAND_MAX: usize = 8;

/// How long a reply's draft so far is kept without growing: longer than a model may be silent.
pub const DRAFT_KEPT: Duration = Duration::from_secs(120);

/// Strictly one answer at a time in a room, by its requests' `seq`, over all processes; at most one attempt at a
/// reply that may show or post it.
#[async_trait]
pub trait Turns: Send + Sync + 'static {
    /// Puts a request into its room's queue, or keeps it there, and asks for the turn. Called again and again: while it
    /// waits, to ask again; once it has the turn, to renew it within [`TURN_LEASE`]. Idempotent.
    ///
    /// Whoever's turn lapsed, and whoever is before this request and not there (its worker died, or has not come to
    /// it yet), is waited for as long as `keep`, counted from when somebody first asked while it was not there; then it is
    /// passed over, and is where it was in the queue when it comes. All of those, up to [`TIMED_MAX`], are waited for
    /// together and not one after the other. There are those that are asked for, and those that whoever asks for another
    /// has [in hand](TurnRequest::in_hand).
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time. The turn may have been given all the same.
    async fn request_turn(
        &self,
        request: &TurnRequest,
        mode: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError>;

    /// Gives back a turn without a reply. With `for_good` the request leaves the queue as well; otherwise the request comes again.
    /// Does nothing for one that has lost the turn. Idempotent.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time; the turn then lapses.
    async fn release_turn(&self, request: &TurnRequest, for_good: bool) -> Result<(), LiveError>;

    /// Keeps a piece of a reply that is being written, and shows it to everyone in the room; refused without the
    /// fence. Idempotent but for the showing.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError>;

    /// How many requests of the room stand before this one, that which is being answered with them; none if it is in no
    /// queue, which is where it has been answered.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn requests_before(&self, room: &str, reply: Uuid) -> Result<Option<usize>, LiveError>;

    /// The reply that is being written in a room, as far as it has come. Whatever is shown after this call goes on
    /// from there.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError>;
}

/// A request in its room's turn queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRequest {
    /// The room.
    pub room: String,
    /// The id that the reply will have.
    pub reply: Uuid,
    /// The request's `seq`, which orders the queue.
    pub seq: Seq,
    /// Whoever asks: one attempt of one worker, by a name of its own.
    pub holder: Uuid,
    /// The fence's number is not below this: the delivery's attempt, or the number that it had already.
    pub at_least: u32,
    /// Replies to other requests of the room that whoever asks has as well, at most [`IN_HAND_MAX`]: they need not ask to
    /// be known to be there.
    pub in_hand: Vec<Uuid>,
}

/// What somebody in the queue asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnMode {
    /// The turn, when it comes.
    InOrder,
    /// To post without waiting for the turn: its time is up, or it was stopped. Refused while somebody else is at this
    /// very reply: they have renewed its turn within [`FRESH_OF_LEASE`].
    Now,
}

/// Where a request stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnStatus {
    /// It has what it wished for; every earlier attempt at the reply is fenced off.
    Granted(Fence),
    /// Others are before it.
    Waiting,
    /// The reply is in the room.
    Answered,
}

/// The right to show and post one reply. The next one that is given for the same reply has a higher number, and makes
/// this one void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Who has it.
    pub holder: Uuid,
    /// Strictly increasing for one reply.
    pub number: u32,
}

impl Fence {
    /// As one word, for an engine that keeps text.
    pub fn word(&self) -> String {
        format!("{} {}", self.number, self.holder.simple())
    }
}

/// A piece of a reply that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The room.
    pub room: String,
    /// The reply's id.
    pub reply: Uuid,
    /// The request's id.
    pub reply_to: Uuid,
    /// The right to show it.
    pub fence: Fence,
    /// A higher one begins anew.
    pub attempt: u32,
    /// Where `text` begins in the reply, in characters.
    pub offset: usize,
    /// The same in bytes of UTF-8.
    pub offset_bytes: usize,
    /// What comes there; nothing at the beginning of an attempt, as long as its model thinks.
    pub text: String,
}

impl Draft {
    /// The frame that everyone in the room is shown.
    pub fn frame(&self) -> String {
        let Draft {
            room,
            reply,
            reply_to,
            attempt,
            offset,
            text,
            ..
        } = self.clone();
        ServerFrame::Draft {
            room,
            id: reply,
            reply_to,
            attempt,
            offset,
            thinking: text.is_empty(),
            text,
            waiting: None,
        }
        .frame()
    }
}

/// What became of a [`Draft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftOutcome {
    /// It is shown.
    Shown,
    /// Somebody else is at the reply, or it is posted: nothing was shown.
    Fenced,
    /// What comes before it is not there any more: nothing was shown; show the text from its beginning.
    FromStart,
}

/// A reply that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftSnapshot {
    /// The reply's id.
    pub reply: Uuid,
    /// The request's id.
    pub reply_to: Uuid,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// All of it; empty as long as its model thinks.
    pub text: String,
}
