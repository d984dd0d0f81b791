//! Whose turn it is to answer in a room, and what the answer looks like so far. One request at a time, in the order in
//! which they were posted, over any number of workers; and a [`Fence`], without which nobody can write a reply.
//!
//! [`TurnQueue`] is a room's line without I/O: what the scripts do on Redis, for the side inside one process.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::LiveError;
use crate::wire::{Seq, ServerFrame};

/// How long a turn holds without being renewed.
pub const TURN_LEASE: Duration = Duration::from_secs(4);

/// How long a reply's draft so far is kept without growing: longer than a model may be silent.
pub const DRAFT_KEPT: Duration = Duration::from_secs(120);

/// Strictly one answer at a time in a room, by its requests' places, over all processes; at most one attempt at a
/// reply that may show or post it.
#[async_trait]
pub trait Turns: Send + Sync + 'static {
    /// Takes, or keeps, a request's place in its room's line, and asks for the turn. Called again and again: while it
    /// waits, to ask again; once it has the turn, to renew it within [`TURN_LEASE`]. Idempotent.
    ///
    /// Whoever's turn lapsed, and whoever is before this request and not there (its worker died, or has not come to
    /// it yet), is waited for as long as `keep`, counted from when somebody first waited for it; then it is passed
    /// over, and lines up again in its old place when it comes.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time. The turn may have been given all the same.
    async fn request_turn(
        &self,
        place: &TurnRequest,
        wish: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError>;

    /// Gives back a turn without a reply. With `for_good` the place goes as well; otherwise the request comes again.
    /// Does nothing for one that has lost the turn. Idempotent.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time; the turn then lapses.
    async fn release_turn(&self, place: &TurnRequest, for_good: bool) -> Result<(), LiveError>;

    /// Keeps a piece of a reply that is being written, and shows it to everyone in the room; refused without the
    /// fence. Idempotent but for the showing.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError>;

    /// The reply that is being written in a room, as far as it has come. Whatever is shown after this call goes on
    /// from there.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError>;
}

/// A request in its room's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRequest {
    /// The room.
    pub room: String,
    /// The id that the reply will have.
    pub reply: Uuid,
    /// The request's place, which is its place in the line as well.
    pub seq: Seq,
    /// Whoever asks: one attempt of one worker, by a name of its own.
    pub holder: Uuid,
    /// The fence's number is not below this: the delivery's attempt, or the number that it had already.
    pub at_least: u32,
}

/// What somebody in the line wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnMode {
    /// The turn, when it comes.
    InOrder,
    /// To post without waiting for the turn: its time is up, or it was stopped. Refused while an attempt of a later
    /// delivery, or of the same, is at this very reply.
    Now,
}

/// How somebody stands in the line.
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
    /// As it lies in Redis.
    pub(super) fn word(&self) -> String {
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
    /// What comes there.
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
            text,
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
    /// All of it.
    pub text: String,
}

/// One room's line, without I/O: time is passed in.
#[derive(Debug, Default)]
pub struct TurnQueue {
    places: BTreeSet<(Seq, Uuid)>,
    turn: Option<(Uuid, Instant)>,
    /// Who is waited for without being there, and since when.
    awaited: Option<(Uuid, Instant)>,
    fences: HashMap<Uuid, (u32, Option<Uuid>)>,
    draft: Option<(DraftSnapshot, Instant)>,
}

impl TurnQueue {
    /// Nobody waits, nothing is being written.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.draft.is_none()
    }

    /// A request was posted: its place is its own before any worker has it.
    pub fn reserve(&mut self, reply: Uuid, seq: Seq) {
        self.places.insert((seq, reply));
    }

    /// See [`Turns::request_turn`].
    pub fn request_turn(
        &mut self,
        place: &TurnRequest,
        wish: TurnMode,
        lease: Duration,
        keep: Duration,
        now: Instant,
    ) -> TurnStatus {
        let reply = place.reply;
        let (number, holder) = self.fences.get(&reply).copied().unwrap_or_default();
        let is_mine = holder == Some(place.holder);
        let next = Fence {
            holder: place.holder,
            number: if is_mine {
                number
            } else {
                place.at_least.max(number + 1)
            },
        };
        let at_it = self.turn.filter(|(_, until)| *until > now);
        let granted = |line: &mut TurnQueue| {
            line.fences.insert(reply, (next.number, Some(place.holder)));
            TurnStatus::Granted(next)
        };
        if wish == TurnMode::Now {
            let is_held = at_it.is_some_and(|(at_it, _)| at_it == reply) && !is_mine;
            if is_held && place.at_least <= number {
                return TurnStatus::Waiting;
            }
            return granted(self);
        }
        self.reserve(reply, place.seq);
        let has_turn = is_mine && self.turn.is_some_and(|(turn, _)| turn == reply);
        if !has_turn {
            if at_it.is_some() || !self.is_next(reply, keep, now) {
                return TurnStatus::Waiting;
            }
            if let Some((lapsed, _)) = self.turn
                && let Some((_, holder)) = self.fences.get_mut(&lapsed)
            {
                *holder = None;
            }
            self.awaited = None;
        }
        self.turn = Some((reply, now + lease));
        granted(self)
    }

    /// Whether nobody is before this one, those that were waited for long enough left out.
    fn is_next(&mut self, reply: Uuid, keep: Duration, now: Instant) -> bool {
        while let Some((seq, first)) = self.places.first().copied()
            && first != reply
        {
            match self.awaited {
                Some((awaited, since)) if awaited == first => {
                    if now.duration_since(since) < keep {
                        return false;
                    }
                    self.places.remove(&(seq, first));
                }
                _ => {
                    self.awaited = Some((first, now));
                    if !keep.is_zero() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// See [`Turns::leave`].
    pub fn release_turn(&mut self, place: &TurnRequest, for_good: bool) {
        let Some((_, holder)) = self.fences.get_mut(&place.reply) else {
            return;
        };
        if *holder != Some(place.holder) {
            return;
        }
        *holder = None;
        self.end_turn(place.reply);
        if for_good {
            self.forget(place.reply);
        }
    }

    /// Whether this is the fence that the reply must be written with.
    pub fn admits(&self, reply: Uuid, fence: Fence) -> bool {
        self.fences.get(&reply) == Some(&(fence.number, Some(fence.holder)))
    }

    /// The reply is in the room.
    pub fn posted(&mut self, reply: Uuid) {
        self.end_turn(reply);
        self.forget(reply);
        self.draft.take_if(|(draft, _)| draft.reply == reply);
    }

    fn end_turn(&mut self, reply: Uuid) {
        self.turn.take_if(|(turn, _)| *turn == reply);
    }

    fn forget(&mut self, reply: Uuid) {
        self.places.retain(|(_, place)| *place != reply);
        self.fences.remove(&reply);
    }

    /// See [`Turns::draft`]; showing it is left to the caller.
    pub fn draft(&mut self, draft: &Draft, now: Instant) -> DraftOutcome {
        if !self.admits(draft.reply, draft.fence) {
            return DraftOutcome::Fenced;
        }
        let goes_on = |known: &DraftSnapshot| {
            known.reply == draft.reply
                && known.attempt == draft.attempt
                && known.text.is_char_boundary(draft.offset_bytes)
        };
        match &mut self.draft {
            Some((known, at)) if goes_on(known) => {
                known.text.truncate(draft.offset_bytes);
                known.text.push_str(&draft.text);
                *at = now;
            }
            _ if draft.offset_bytes > 0 => return DraftOutcome::FromStart,
            other => {
                let begun = DraftSnapshot {
                    reply: draft.reply,
                    reply_to: draft.reply_to,
                    attempt: draft.attempt,
                    text: draft.text.clone(),
                };
                *other = Some((begun, now));
            }
        }
        DraftOutcome::Shown
    }

    /// See [`Turns::draft_snapshot`].
    pub fn draft_snapshot(&mut self, now: Instant) -> Option<DraftSnapshot> {
        self.draft
            .take_if(|(_, at)| now.duration_since(*at) >= DRAFT_KEPT);
        self.draft.as_ref().map(|(draft, _)| draft.clone())
    }
}
