//! One request, for as long as this worker holds its delivery: looks whether it has its reply, waits for its turn, offers
//! it to whoever has a slot, and sees that the reply is there.

use std::{sync::Arc, time::Duration};

use common::{
    live::Signal,
    queue::{DELIVERY_LIMIT, Verdict},
    traces::{Span, TraceContext},
    wire::{Message, Seq, ServerFrame},
};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    asking::{AskOutcome, Asking},
    commands,
    executing::Executing,
    fallback::Reason,
    interrupts::{Interrupt, Interrupts},
    load::{RecentTimes, too_many_for_slots, too_many_in_room},
    replies::{Found, LOOK_UP_TIME, Replies, Right, count},
    run_queue::{Begun, RunQueueEnd, Work},
    turns::{Claim, QueuedTurn, Turn},
};

/// A request delivered this often has brought down, or outlasted, whoever had it: it gets the fallback, unasked. Well
/// above what restarts make of it, each of which hands back what was under way, since the deadline bounds a request in any
/// case; and below the queue's limit, so that there is a reply before the request is a dead letter.
pub const ATTEMPTS_MAX: u32 = 20;
const _: () = assert!(ATTEMPTS_MAX < DELIVERY_LIMIT);
/// How often a request that waits looks whether it can still be served, and where it stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of so many that wait in a room, the first, it is shown how many are before them.
const PLACES_TOLD_MAX: usize = 20;
/// When that is shown for the first time: most have their turn at once.
const TELL_PLACE_AFTER: Duration = Duration::from_millis(200);
/// When it is shown again though it has not changed.
const TELL_PLACE_AGAIN: Duration = Duration::from_secs(5);
/// Once this worker holds half of what it may, nobody has more of that than this part of all.
const PREFETCH_USER_PART: usize = 8;
/// So often a request is offered to whoever has a slot; then this worker answers it itself.
const OFFERS_MAX: u32 = 3;
/// When it is looked whether a reply that another worker posted has come to the database, before it is handed there once
/// more.
const KEPT_AFTER: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// One request in hand.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The message that asks.
    pub message: Message,
    /// Who wants it answered again, if that is not for the first time.
    pub by: Option<String>,
    /// When it was asked for: its `seq`, or later, if it is to be answered again.
    pub asked: Seq,
    /// The id its reply has, whoever writes it.
    pub reply: Uuid,
    /// The delivery's attempt.
    pub attempt: u32,
    /// When it came to a worker.
    pub received: Instant,
    /// The trace that it belongs to, if it is traced.
    pub trace: Option<TraceContext>,
}

impl Request {
    /// Who wants this answer: what it uses, and the place that it takes, are theirs.
    pub(crate) fn asker(&self) -> &str {
        self.by.as_deref().unwrap_or(&self.message.sender)
    }
}

/// What all requests of one worker share.
pub(crate) struct Answering {
    pub replies: Arc<Replies>,
    pub asking: Arc<Asking>,
    pub run_queue: Arc<RunQueueEnd>,
    pub executing: Arc<Executing>,
    /// The calls that one worker makes at a time; all have as many.
    pub concurrency: usize,
    /// How many requests this worker holds at most.
    pub prefetch: usize,
    /// How long one request of a room's queue has lately taken.
    pub each: RecentTimes,
}

/// What came of waiting for the turn.
enum Waited {
    Turn(Turn),
    Answered,
    /// It is not waited for; with the turn, if it came at the last moment.
    NotAsked(Option<Turn>, AskOutcome),
    HandBack,
}

/// What came of offering a request.
enum Offered {
    /// It was answered here.
    Done(Verdict),
    /// Another worker has it, or nobody any more: the reply will be there, or the turn be free.
    Elsewhere,
    /// It is not waited for any more.
    NotAsked(Turn, AskOutcome),
    HandBack(Turn),
}

impl Answering {
    /// Answers one request. Returns what is to be done with its deliveries; only after its reply is in the room, and
    /// on its way to the database, are they acked.
    pub(crate) async fn answer(
        &self,
        request: &Request,
        mut queued: QueuedTurn,
        interrupts: &Interrupts,
    ) -> Verdict {
        let found = self
            .replies
            .find(request, interrupts.respond_by, false)
            .await;
        if let Some(found) = found {
            return self.was_answered(request, Some(found), interrupts).await;
        }
        let (mut offers, mut begun) = (0, None);
        let mut request = request.clone();
        // The turn is held until the reply is posted, so that a room's replies stand in the order of its requests.
        // Whoever's time is up meanwhile does not wait for that.
        let (turn, outcome) = loop {
            let waiting = Span::child("wait for turn", request.trace);
            let waited = self.waits(&request, &mut queued, interrupts).await;
            drop(waiting);
            let turn = match waited {
                Waited::Turn(turn) => turn,
                Waited::Answered => {
                    drop(queued);
                    return self
                        .answered_elsewhere(&request, offers > 0, interrupts)
                        .await;
                }
                Waited::NotAsked(turn, outcome) => break (turn, outcome),
                Waited::HandBack => return hand_back(queued.claim(), None).await,
            };
            // Since it has the turn: what changes it from now on takes the turn away.
            let looks = self.replies.newest(&request, LOOK_UP_TIME);
            match interrupts.race(false, looks).await.unwrap_or(None) {
                Some(question) if question.deleted => {
                    queued.claim().release(Some(turn), true).await;
                    count("deleted");
                    return Verdict::Ack;
                }
                Some(question) => request.message.message = question.message,
                None => {}
            }
            let request = &request;
            if let Some(outcome) = self.without_model(request, interrupts).await {
                break (Some(turn), outcome);
            }
            let begun = *begun.get_or_insert_with(Instant::now);
            offers += 1;
            let offered = if offers < OFFERS_MAX {
                self.offer(request, turn, queued.claim(), interrupts).await
            } else {
                self.answer_here(request, turn, interrupts).await
            };
            match offered {
                Offered::Done(verdict) => {
                    self.each.add(begun.elapsed(), Instant::now());
                    return verdict;
                }
                Offered::Elsewhere => queued.begin_anew(),
                Offered::NotAsked(turn, outcome) => break (Some(turn), outcome),
                Offered::HandBack(turn) => return hand_back(queued.claim(), Some(turn)).await,
            }
        };
        let request = &request;
        let is_limited = matches!(
            outcome.reason,
            Some(Reason::Busy | Reason::TooSoon | Reason::Budget | Reason::BudgetNotKnown)
        );
        if is_limited && self.executing.is_of_a_program(request.asker()).await {
            queued.claim().release(turn, true).await;
            count("of_a_program");
            return Verdict::Ack;
        }
        let right = Right::of_own_words(turn.as_ref().map(|turn| turn.fence));
        let posted = self
            .replies
            .post(request, outcome, None, queued.claim(), right, interrupts);
        match posted.await {
            Some(verdict) => verdict,
            None => {
                drop((turn, queued));
                self.answered_elsewhere(request, offers > 0, interrupts)
                    .await
            }
        }
    }

    /// Waits for the turn, as long as the request can still be served.
    async fn waits(
        &self,
        request: &Request,
        queued: &mut QueuedTurn,
        interrupts: &Interrupts,
    ) -> Waited {
        let claim = queued.claim().clone();
        let interrupt = {
            let waiting = interrupts.race(false, queued.wait());
            tokio::pin!(waiting);
            let (mut told, mut look) = (None, TELL_PLACE_AFTER);
            loop {
                if let Some(outcome) = self.too_many(&claim, interrupts) {
                    return Waited::NotAsked(None, outcome);
                }
                match timeout(look, &mut waiting).await {
                    Ok(Ok(Some(turn))) => return Waited::Turn(turn),
                    Ok(Ok(None)) => return Waited::Answered,
                    Ok(Err(interrupt)) => break interrupt,
                    Err(_) => self.tell_place(request, &claim, &mut told).await,
                }
                look = LOOK_EVERY;
            }
        };
        match interrupt {
            Interrupt::TimeUp => {
                let busy = AskOutcome::busy(self.each.median(Instant::now()));
                // Those before it are as late, and are posting now.
                match timeout(interrupts.grace, queued.wait()).await {
                    Ok(Some(turn)) => Waited::NotAsked(Some(turn), busy),
                    Ok(None) => Waited::Answered,
                    Err(_) => Waited::NotAsked(None, busy),
                }
            }
            Interrupt::Stopped => Waited::NotAsked(None, AskOutcome::unasked(Reason::Stopped)),
            Interrupt::HandBack => Waited::HandBack,
        }
    }

    /// Shows how many requests of the room are before this one, as long as there are some: when that has changed, and now and
    /// then for whoever came in between. A word that is lost is followed by another.
    async fn tell_place(
        &self,
        request: &Request,
        claim: &Claim,
        told: &mut Option<(usize, Instant)>,
    ) {
        if claim.place().before >= PLACES_TOLD_MAX {
            return;
        }
        let Message { room, id, .. } = &request.message;
        let before = self.replies.live.requests_before(room, request.reply);
        // An engine that came back empty does not know the room's queue; this worker knows its part of it.
        let before = match timeout(LOOK_EVERY, before).await {
            Ok(Ok(Some(before))) => before,
            _ => claim.place().before,
        };
        if before == 0 {
            return;
        }
        let now = Instant::now();
        if told.is_some_and(|(known, at)| known == before && now < at + TELL_PLACE_AGAIN) {
            return;
        }
        *told = Some((before, now));
        let frame = ServerFrame::Draft {
            room: room.clone(),
            id: request.reply,
            reply_to: *id,
            attempt: 0,
            offset: 0,
            text: String::new(),
            thinking: false,
            waiting: Some(before),
        };
        let signal = Signal::Room {
            room: room.clone(),
            frame: frame.frame().into(),
        };
        drop(timeout(LOOK_EVERY, self.replies.live.signal(&signal)).await);
    }

    /// What is told to whoever waits for their room's turn and cannot be served in time, or has too much waiting.
    fn too_many(&self, claim: &Claim, interrupts: &Interrupts) -> Option<AskOutcome> {
        let now = Instant::now();
        let left = interrupts.respond_by.saturating_duration_since(now);
        let each = self.each.median(now);
        let call = self.asking.call_time().unwrap_or_default();
        let wait = each.and_then(|each| too_many_in_room(claim.place(), each, call, left));
        if wait.is_some() {
            return Some(AskOutcome::busy(wait));
        }
        let (own, all) = claim.held();
        let is_full = 2 * all > self.prefetch && PREFETCH_USER_PART * own > self.prefetch;
        is_full.then(|| AskOutcome::busy(each))
    }

    /// What is replied without asking a model.
    async fn without_model(
        &self,
        request: &Request,
        interrupts: &Interrupts,
    ) -> Option<AskOutcome> {
        let message = &request.message;
        if request.attempt >= ATTEMPTS_MAX {
            tracing::warn!(request = %message.id, room = %message.room, attempt = request.attempt, "delivered too often: the fallback, without asking a model");
            return Some(AskOutcome::unasked(Reason::GaveUp));
        }
        let command = commands::read(&message.message);
        if let Some(command) = command.filter(|command| command.sums_up.is_none()) {
            return Some(AskOutcome::of_command(command));
        }
        if interrupts.time_is_up() {
            return Some(AskOutcome::busy(self.each.median(Instant::now())));
        }
        if let Some(wait) = self.asking.allowance().too_soon(request).await {
            return Some(AskOutcome::too_soon(wait));
        }
        let budgeting = self.asking.budgeting();
        let out = budgeting.is_out(request.asker(), &message.room).await?;
        Some(AskOutcome::out_of_budget(out, budgeting.opens(out)))
    }

    /// Offers a request that has the turn to whoever has a slot, and waits until it is answered here, or taken by another.
    async fn offer(
        &self,
        request: &Request,
        turn: Turn,
        claim: &Claim,
        interrupts: &Interrupts,
    ) -> Offered {
        let waiting = Span::child("wait for a slot", request.trace);
        let (work, fence) = (self.work(request, &turn, interrupts), turn.fence);
        let mut offer = match self.run_queue.offer(&work, fence).await {
            Ok(offer) => offer,
            Err(error) => {
                tracing::debug!(request = %request.message.id, %error, "could not be offered");
                claim.release(Some(turn), false).await;
                return Offered::Elsewhere;
            }
        };
        loop {
            let looked = tokio::select! {
                biased;
                begun = &mut offer => {
                    drop(waiting);
                    return answered_here(begun.ok(), turn).await;
                }
                () = turn.lost.cancelled() => {
                    if !self.run_queue.withdraw(&work, fence).await {
                        return answered_here(offer.try_recv().ok(), turn).await;
                    }
                    return Offered::Elsewhere;
                }
                looked = interrupts.race(false, sleep(LOOK_EVERY)) => looked,
            };
            let why = match looked {
                Err(interrupt) => interrupt.into(),
                Ok(()) => match self.run_queue.before(&work, fence).await {
                    Ok(Some(before)) => match self.too_many_before(before, interrupts) {
                        Some(wait) => NotAsked::TooMany(wait),
                        None => continue,
                    },
                    // It was taken.
                    Ok(None) => return answered_here(offer.try_recv().ok(), turn).await,
                    Err(_) => continue,
                },
            };
            if !self.run_queue.withdraw(&work, fence).await {
                return answered_here(offer.try_recv().ok(), turn).await;
            }
            return self.not_asked(why, turn);
        }
    }

    /// Answers it in this worker, which somebody always can.
    async fn answer_here(&self, request: &Request, turn: Turn, interrupts: &Interrupts) -> Offered {
        let work = self.work(request, &turn, interrupts);
        let begins = self.run_queue.begin_here(work, turn.fence);
        match interrupts.race(false, begins).await {
            Ok(run) => {
                drop(turn);
                let verdict = self.executing.execute(run).await;
                verdict.map_or(Offered::Elsewhere, Offered::Done)
            }
            Err(interrupt) => self.not_asked(interrupt.into(), turn),
        }
    }

    fn not_asked(&self, why: NotAsked, turn: Turn) -> Offered {
        let outcome = match why {
            NotAsked::HandBack => return Offered::HandBack(turn),
            NotAsked::Stopped => AskOutcome::unasked(Reason::Stopped),
            NotAsked::TimeUp => AskOutcome::busy(self.each.median(Instant::now())),
            NotAsked::TooMany(wait) => AskOutcome::busy(Some(wait)),
        };
        Offered::NotAsked(turn, outcome)
    }

    /// How long somebody should wait before they ask again, if their request cannot be served behind so many.
    fn too_many_before(&self, before: usize, interrupts: &Interrupts) -> Option<Duration> {
        let left = interrupts
            .respond_by
            .saturating_duration_since(Instant::now());
        let slots = self.asking.allowance().workers() * self.concurrency;
        too_many_for_slots(before, slots, self.asking.call_time()?, left)
    }

    fn work(&self, request: &Request, turn: &Turn, interrupts: &Interrupts) -> Work {
        let (now, here) = (self.asking.allowance().now(), Instant::now());
        let micros = |time: Duration| Seq::try_from(time.as_micros()).unwrap_or(Seq::MAX / 4);
        let left = interrupts.respond_by.saturating_duration_since(here);
        Work {
            message: request.message.clone(),
            by: request.by.clone(),
            asked: request.asked,
            reply: request.reply,
            attempt: request.attempt,
            fence: turn.fence.number,
            received: now.saturating_sub(micros(here.saturating_duration_since(request.received))),
            trace: request.trace,
            respond_by: now.saturating_add(micros(left)),
        }
    }

    /// The reply is in the room, by another attempt. If neither the stream nor the database can show it just now, those
    /// who look for what the database lacks will find it.
    async fn answered_elsewhere(
        &self,
        request: &Request,
        was_offered: bool,
        interrupts: &Interrupts,
    ) -> Verdict {
        // Whoever took it hands it to the database, and has more to tell it: how it came about.
        if was_offered {
            for pause in KEPT_AFTER {
                if interrupts.race(false, sleep(pause)).await == Err(Interrupt::HandBack) {
                    break;
                }
                if self.replies.is_kept(request).await {
                    count("answered_elsewhere");
                    return Verdict::Ack;
                }
            }
        }
        let until = Instant::now() + LOOK_UP_TIME;
        let found = self.replies.find(request, until, true).await;
        self.was_answered(request, found, interrupts).await
    }

    async fn was_answered(
        &self,
        request: &Request,
        found: Option<Found>,
        interrupts: &Interrupts,
    ) -> Verdict {
        count("was_answered");
        match found {
            Some(Found::Shown(reply)) => self.replies.post_again(request, reply, interrupts).await,
            Some(Found::Kept) | None => Verdict::Ack,
        }
    }
}

/// Why a request that was offered is not answered by a model.
enum NotAsked {
    HandBack,
    Stopped,
    TimeUp,
    TooMany(Duration),
}

impl From<Interrupt> for NotAsked {
    fn from(interrupt: Interrupt) -> NotAsked {
        match interrupt {
            Interrupt::HandBack => NotAsked::HandBack,
            Interrupt::Stopped => NotAsked::Stopped,
            Interrupt::TimeUp => NotAsked::TimeUp,
        }
    }
}

/// Waits for the end of what this worker has begun itself; if another has taken it, its turn is theirs now.
async fn answered_here(begun: Option<Begun>, turn: Turn) -> Offered {
    drop(turn);
    let Some(ended) = begun else {
        return Offered::Elsewhere;
    };
    let verdict = ended.await.ok().flatten();
    verdict.map_or(Offered::Elsewhere, Offered::Done)
}

async fn hand_back(claim: &Claim, turn: Option<Turn>) -> Verdict {
    claim.release(turn, false).await;
    count("handed_back");
    Verdict::HandBack
}
