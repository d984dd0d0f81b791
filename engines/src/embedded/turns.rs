//! A room's turn queue without I/O, with the time passed in: what the scripts do on Redis, for the side inside one
//! process.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use common::{
    live::turns::{
        DRAFT_KEPT, Draft, DraftOutcome, DraftSnapshot, FRESH_OF_LEASE, Fence, TIMED_MAX, TurnMode,
        TurnRequest, TurnStatus,
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
    /// When somebody was last seen who has a request in hand; and since when one is waited for that nobody has.
    seen: HashMap<Uuid, Instant>,
    missed: HashMap<Uuid, Instant>,
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
        let fresh = lease.mul_f64(FRESH_OF_LEASE);
        if mode == TurnMode::Now {
            // Whoever renewed it a moment ago is at it.
            let is_at_it =
                at_it.is_some_and(|(at_it, until)| at_it == reply && until - now > lease - fresh);
            if is_at_it && !is_mine {
                return TurnStatus::Waiting;
            }
            return granted(self);
        }
        self.reserve(reply, request.seq);
        self.look_round(request, fresh, now);
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
        }
        self.turn = Some((reply, now + lease));
        granted(self)
    }

    /// Sees who is there, and begins to wait for those who are not: for all of them at once, not one after the other.
    fn look_round(&mut self, request: &TurnRequest, fresh: Duration, now: Instant) {
        for (_, reply) in self.waiting.iter().take(TIMED_MAX) {
            if *reply == request.reply || request.in_hand.contains(reply) {
                self.seen.insert(*reply, now);
                self.missed.remove(reply);
            } else if self.seen.get(reply).is_none_or(|at| *at + fresh < now) {
                self.missed.entry(*reply).or_insert(now);
            }
        }
    }

    /// Whether nobody is before this one, those that were waited for long enough left out.
    fn is_next(&mut self, reply: Uuid, keep: Duration, now: Instant) -> bool {
        while let Some((_, first)) = self.waiting.first().copied()
            && first != reply
        {
            let since = self.missed.get(&first).copied();
            if since.is_none_or(|since| now.duration_since(since) < keep) {
                return false;
            }
            self.waiting.pop_first();
            self.seen.remove(&first);
            self.missed.remove(&first);
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

    /// The request of this reply has another text: whoever writes the reply, or another to the same request, asks for the
    /// turn again.
    pub fn interrupt(&mut self, reply: Uuid, request: Uuid) {
        self.void(reply);
        if let Some((draft, _)) = &self.draft
            && draft.reply_to == request
        {
            self.void(draft.reply);
        }
    }

    /// Whoever writes a reply asks for the turn again.
    pub fn interrupt_all(&mut self) {
        let replies: Vec<Uuid> = self.fences.keys().copied().collect();
        for reply in replies {
            self.void(reply);
        }
        self.draft = None;
    }

    fn void(&mut self, reply: Uuid) {
        if let Some((_, holder)) = self.fences.get_mut(&reply) {
            *holder = None;
        }
        self.end_turn(reply);
        self.draft.take_if(|(draft, _)| draft.reply == reply);
    }

    fn end_turn(&mut self, reply: Uuid) {
        self.turn.take_if(|(turn, _)| *turn == reply);
    }

    fn forget(&mut self, reply: Uuid) {
        self.waiting.retain(|(_, waiting)| *waiting != reply);
        self.fences.remove(&reply);
        self.seen.remove(&reply);
        self.missed.remove(&reply);
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

    /// See [`Turns::requests_before`](common::live::turns::Turns::requests_before).
    pub fn requests_before(&self, reply: Uuid) -> Option<usize> {
        self.waiting
            .iter()
            .position(|(_, waiting)| *waiting == reply)
    }

    /// See [`Turns::draft_snapshot`](common::live::turns::Turns::draft_snapshot).
    pub fn draft_snapshot(&mut self, now: Instant) -> Option<DraftSnapshot> {
        self.draft
            .take_if(|(_, at)| now.duration_since(*at) >= DRAFT_KEPT);
        self.draft.as_ref().map(|(draft, _)| draft.clone())
    }
}
