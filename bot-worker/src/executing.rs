//! Answers a request that has the turn and a slot: tells the model what was said, shows what it writes, posts the reply.
//! Whoever holds the request's delivery may be another worker; it sees the reply in the room.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use common::{
    envelope::reply_id,
    live::turns::Fence,
    queue::Verdict,
    store::{BotPolicy, DeletedAccounts, Room, Thinking},
    timeline::Timeline,
    traces,
    wire::{Message, Seq},
};
use futures_util::FutureExt;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    Engines,
    answering::Request,
    asking::{AskOutcome, Asking, HandBack},
    commands,
    context::{self, PAST_MAX_MESSAGES, SINCE_MAX_MESSAGES},
    drafts::{Drafts, attempt_number},
    fallback::Reason,
    interrupts::{Drain, Interrupt, Interrupts, Stop},
    model::Wishes,
    programs,
    replies::{LOOK_UP_TIME, Replies, Right, count},
    run_queue::{Run, Work},
    spending::Tally,
    turns::{Turn, Turns},
};

/// What all that one worker answers has in common.
pub(crate) struct Executing {
    pub engines: Engines,
    pub replies: Arc<Replies>,
    pub timeline: Timeline,
    pub deleted_accounts: DeletedAccounts,
    pub asking: Arc<Asking>,
    pub turns: Turns,
    pub drain: Drain,
    pub deadline: Duration,
    pub context_tokens: usize,
    /// How much models think where a room has not chosen.
    pub thinking: Thinking,
    /// Whether rooms may have things looked up.
    pub search: bool,
}

impl Executing {
    /// Answers it, and says what is to be done with its deliveries, also to whoever offered it here; none if the turn is
    /// another's, or the reply is there.
    pub(crate) async fn execute(&self, run: Run) -> Option<Verdict> {
        let Run {
            work,
            fence,
            slot,
            stopped,
            ended,
            entry,
        } = run;
        let (request, room) = (work.message.id, work.message.room.clone());
        let trace = work.trace;
        let answering = traces::within(trace, self.answer(work, fence, slot, stopped));
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let verdict = answering.await.unwrap_or_else(|_| {
            // Its attempts are counted by the queue, so that this ends with the fallback.
            tracing::error!(%request, room, "answering panicked: handing back");
            Some(Verdict::HandBack)
        });
        drop(entry);
        if let Some(ended) = ended {
            // Whoever offered it may have gone; its deliveries come again.
            drop(ended.send(verdict.clone()));
        }
        verdict
    }

    async fn answer(
        &self,
        work: Work,
        fence: Fence,
        slot: OwnedSemaphorePermit,
        stopped: Stop,
    ) -> Option<Verdict> {
        let (request, interrupts) = self.read(work, stopped);
        let message = &request.message;
        let claim = self.turns.claim(
            &message.room,
            request.asker(),
            request.reply,
            request.asked,
            fence,
        );
        let turn = claim.resume().await.ok()??;
        let tally = Tally::new(self.asking.budgeting(), request.asker(), &message.room);
        let outcome = tokio::select! {
            biased;
            outcome = self.outcome(&request, &turn, slot, &tally, &interrupts) => outcome,
            () = turn.lost.cancelled() => {
                tracing::info!(request = %message.id, room = %message.room, "lost the turn: what it was told has changed since, or this worker stood still, or Redis did");
                claim.release(Some(turn), false).await;
                return None;
            }
        };
        match outcome {
            Ok((outcome, seen)) => {
                let is_of_the_room = outcome.text.is_some();
                let is_first = request.reply == reply_id(&message.room, message.id);
                let right = Right::of_turn(fence, is_of_the_room.then_some(seen), is_first);
                let posted =
                    self.replies
                        .post(&request, outcome, Some(&*tally), &claim, right, &interrupts);
                let verdict = posted.await;
                drop(turn);
                verdict
            }
            Err(NoReply::RoomDeleted) => {
                claim.release(Some(turn), true).await;
                count("room_deleted");
                Some(Verdict::Ack)
            }
            Err(NoReply::Unanswerable(reason)) => {
                claim.release(Some(turn), true).await;
                Some(Verdict::DeadLetter(reason))
            }
            Err(NoReply::HandBack) => {
                claim.release(Some(turn), false).await;
                count("handed_back");
                Some(Verdict::HandBack)
            }
            Err(NoReply::Deleted) => {
                claim.release(Some(turn), true).await;
                count("deleted");
                Some(Verdict::Ack)
            }
            Err(NoReply::OfAProgram) => {
                claim.release(Some(turn), true).await;
                count("of_a_program");
                Some(Verdict::Ack)
            }
            Err(NoReply::Unread) => {
                claim.release(Some(turn), false).await;
                None
            }
        }
    }

    /// The request, with its times by this process's clock.
    fn read(&self, work: Work, stopped: Stop) -> (Request, Interrupts) {
        let (now, here) = (self.asking.allowance().now(), Instant::now());
        let since = |time: Seq| Duration::from_micros(now.saturating_sub(time));
        let until = |time: Seq| Duration::from_micros(time.saturating_sub(now));
        let received = here.checked_sub(since(work.received)).unwrap_or(here);
        let interrupts = Interrupts {
            received,
            respond_by: here + until(work.respond_by).min(self.deadline),
            deadline: self.deadline,
            grace: Duration::ZERO,
            stopped,
            drain: self.drain.clone(),
        };
        let request = Request {
            message: work.message,
            by: work.by,
            asked: work.asked,
            reply: work.reply,
            attempt: work.attempt,
            received,
            trace: work.trace,
        };
        (request, interrupts)
    }

    /// What to reply, and up to where that takes in what has changed in the room.
    async fn outcome(
        &self,
        request: &Request,
        turn: &Turn,
        slot: OwnedSemaphorePermit,
        tally: &Arc<Tally>,
        interrupts: &Interrupts,
    ) -> Result<(AskOutcome, Seq), NoReply> {
        let (message, fence) = (&request.message, turn.fence);
        let looked_up = async {
            // The answer to the request before this one stands behind this one. Read first: what changes after it makes
            // the reply void.
            let answered = timeout(
                LOOK_UP_TIME,
                self.engines
                    .live
                    .tail(&message.room, message.seq, SINCE_MAX_MESSAGES),
            );
            let answered = answered.await;
            let question = timeout(LOOK_UP_TIME, self.timeline.find(&message.room, message.id));
            let room = timeout(LOOK_UP_TIME, self.engines.store.room(&message.room));
            let past = timeout(
                LOOK_UP_TIME,
                self.timeline
                    .before(&message.room, message.seq + 1, PAST_MAX_MESSAGES),
            );
            let asker = timeout(LOOK_UP_TIME, self.engines.store.standing(request.asker()));
            let (question, room, past, asker) = tokio::join!(question, room, past, asker);
            (answered, question, room, past, asker)
        };
        let own_words = |reason| Ok((AskOutcome::unasked(reason), 0));
        let (answered, question, room, past, asker) = match interrupts.race(false, looked_up).await
        {
            Ok(looked_up) => looked_up,
            Err(Interrupt::HandBack) => return Err(NoReply::HandBack),
            Err(Interrupt::Stopped) => return own_words(Reason::Stopped),
            Err(Interrupt::TimeUp) => return own_words(Reason::TooSlow),
        };
        let mut message = message.clone();
        match question {
            Ok(Ok(Some(newest))) if newest.deleted => return Err(NoReply::Deleted),
            Ok(Ok(Some(newest))) => message.message = newest.message,
            // Where neither engine has it just now, what it said when it was asked has to do.
            _ if message.message.is_empty() => return Err(NoReply::Unread),
            _ => {}
        }
        let asked = std::slice::from_mut(&mut message);
        self.deleted_accounts.rename_soon(asked).await;
        let message = &message;
        let room = match room {
            Ok(Ok(Some(room))) => room,
            // Nobody could read a reply there, and posting one would bring the room's stream back to life.
            Ok(Ok(None)) if self.replies.has_lost_its_room(request).await => {
                return Err(NoReply::RoomDeleted);
            }
            Ok(Ok(None)) => {
                let why = format!("there is no room {:?}", message.room);
                return Err(NoReply::Unanswerable(why));
            }
            // People go on talking without the database, and so does the bot, if without its persona.
            Ok(Err(_)) | Err(_) => unknown_room(&message.room),
        };
        // An edge may have sent it here before it heard that whoever asks is a program, or that the room answers those no more.
        let by_program = matches!(asker, Ok(Ok(Some(standing))) if standing.program);
        if by_program && !room.bot_answers_programs {
            return Err(NoReply::OfAProgram);
        }
        let mut past = match past {
            Ok(Ok(past)) => past,
            Ok(Err(error)) => {
                tracing::warn!(request = %message.id, room = %message.room, %error, "answering without the room's past");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(request = %message.id, room = %message.room, "answering without the room's past: it did not come in time");
                Vec::new()
            }
        };
        let mut seen = 0;
        if let Ok(Ok(answered)) = answered {
            seen = answered.latest;
            past.extend(answered.messages);
        }
        if by_program && self.have_heard_enough(&past).await {
            return Err(NoReply::OfAProgram);
        }
        self.deleted_accounts.rename_soon(&mut past).await;
        if let Some(command) = commands::read(&message.message) {
            return Ok((AskOutcome::of_command(command), seen));
        }
        let mut prompt = context::prompt(&room, message, &past, self.context_tokens);
        prompt.wishes = Wishes {
            thinking: room.choices.thinking.unwrap_or(self.thinking),
            search: room.choices.search && self.search,
        };
        let chosen = room.choices.model.as_deref();
        let drafts = Drafts::begin(
            Arc::clone(&self.engines.live),
            message.room.clone(),
            request.reply,
            message.id,
            fence,
            turn.lost.clone(),
        );
        let number = |call| attempt_number(fence.number, call);
        let outcome = self
            .asking
            .ask(
                request, &prompt, chosen, slot, tally, interrupts, &drafts, number,
            )
            .await;
        drafts.end().await;
        Ok((outcome?, seen))
    }
}

impl Executing {
    /// Whether a program asks. It is not told of limits: one that answers whatever it hears would ask at once again, for ever.
    pub(crate) async fn is_of_a_program(&self, asker: &str) -> bool {
        let asker = timeout(LOOK_UP_TIME, self.engines.store.standing(asker)).await;
        matches!(asker, Ok(Ok(Some(standing))) if standing.program)
    }

    /// Whether programs have been answered so often that a person has to say something first. Where it cannot be found out, the
    /// limits of one person are all that holds.
    async fn have_heard_enough(&self, past: &[Message]) -> bool {
        let programs = timeout(LOOK_UP_TIME, self.engines.store.programs()).await;
        matches!(programs, Ok(Ok(programs)) if programs::have_heard_enough(past, &programs))
    }
}

/// Why a request gets no reply by this worker.
enum NoReply {
    /// The worker drains: another is to do it.
    HandBack,
    /// Nobody is there to read it, and what was asked is not to be kept anywhere.
    RoomDeleted,
    /// It can never be answered, for this reason.
    Unanswerable(String),
    /// It is deleted.
    Deleted,
    /// A program asks, in a room where those are not answered, or not any more for now.
    OfAProgram,
    /// What it asks cannot be read just now; whoever has its delivery knows.
    Unread,
}

impl From<HandBack> for NoReply {
    fn from(_: HandBack) -> NoReply {
        NoReply::HandBack
    }
}

fn unknown_room(name: &str) -> Room {
    Room {
        name: name.to_owned(),
        private: false,
        bot: BotPolicy::Always,
        ..Room::default()
    }
}
