//! A room's turn queue without I/O, with the time passed in: what the scripts do on Redis, for the side inside one
//! process.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use common::{
    live::turns::{
        DRAFT_KEPT, Draft, DraftOutcome, DraftSnapshot, Fence, TurnMode, TurnRequest, TurnStatus,
    },
    wire::Seq,
};
use tokio::time::Instant;
use uuid::Uuid;

/// One room's turn queue.
#[derive(Debug, Default)]
pub struct TurnQueue {
    waiting: BTreeSet<(Seq, Uuid)>,
    turn: Option<(Uuid, Instant)>,
    /// Who is waited for without being there, and since when.
    awaited: Option<(Uuid, Instant)>,
    fences: HashMap<Uuid, (u32, Option<Uuid>)>,
    draft: Option<(DraftSnapshot, Instant)>,
}

impl TurnQueue {
    /// Nobody waits, nothing is being written.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.draft.is_none()
    }

    /// A request was posted: it is in the queue before any worker has it.
    pub fn reserve(&mut self, reply: Uuid, seq: Seq) {
        self.waiting.insert((seq, reply));
    }

    /// See [`Turns::request_turn`](common::live::turns::Turns::request_turn).
    pub fn request_turn(
        &mut self,
        request: &TurnRequest,
        mode: TurnMode,
        lease: Duration,
        keep: Duration,
        now: Instant,
    ) -> TurnStatus {
        let reply = request.reply;
        let (number, holder) = self.fences.get(&reply).copied().unwrap_or_default();
        let is_mine = holder == Some(request.holder);
        let next = Fence {
            holder: request.holder,
            number: if is_mine {
                number
            } else {
                request.at_least.max(number + 1)
            },
        };
        let at_it = self.turn.filter(|(_, until)| *until > now);
        let granted = |queue: &mut TurnQueue| {
            queue
                .fences
                .insert(reply, (next.number, Some(request.holder)));
            TurnStatus::Granted(next)
        };
        if mode == TurnMode::Now {
            let is_held = at_it.is_some_and(|(at_it, _)| at_it == reply) && !is_mine;
            if is_held && request.at_least <= number {
                return TurnStatus::Waiting;
            }
            return granted(self);
        }
        self.reserve(reply, request.seq);
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
        while let Some((seq, first)) = self.waiting.first().copied()
            && first != reply
        {
            match self.awaited {
                Some((awaited, since)) if awaited == first => {
                    if now.duration_since(since) < keep {
                        return false;
                    }
                    self.waiting.remove(&(seq, first));
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

    /// See [`Turns::release_turn`](common::live::turns::Turns::release_turn).
    pub fn release_turn(&mut self, request: &TurnRequest, for_good: bool) {
        let Some((_, holder)) = self.fences.get_mut(&request.reply) else {
            return;
        };
        if *holder != Some(request.holder) {
            return;
        }
        *holder = None;
        self.end_turn(request.reply);
        if for_good {
            self.forget(request.reply);
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
        self.waiting.retain(|(_, waiting)| *waiting != reply);
        self.fences.remove(&reply);
    }

    /// See [`Turns::draft`](common::live::turns::Turns::draft); publishing it is left to the caller.
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

    /// See [`Turns::draft_snapshot`](common::live::turns::Turns::draft_snapshot).
    pub fn draft_snapshot(&mut self, now: Instant) -> Option<DraftSnapshot> {
        self.draft
            .take_if(|(_, at)| now.duration_since(*at) >= DRAFT_KEPT);
        self.draft.as_ref().map(|(draft, _)| draft.clone())
    }
}
