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
    commands::{self, SummedPart},
    context::{self, PAST_MAX_MESSAGES, SINCE_MAX_MESSAGES},
    drafts::{Drafts, attempt_number},
    fallback::Reason,
    interrupts::{Drain, Interrupt, Interrupts, Stop},
    model::Wishes,
    programs,
    replies::{LOOK_UP_TIME, Replies, Right, count},
    run_queue::{Run, Work},
    running_summaries::{self, RunningSummaries, RunningSummary},
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
    pub summaries: RunningSummaries,
}

impl Executing {
    /// Answers it, and says what is to be done with its deliveries, also to whoever offered it here; none if the turn is
    /// another's, or the reply is there.
    pub(crate) async fn execute(self: &Arc<Self>, run: Run) -> Option<Verdict> {
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
        self: &Arc<Self>,
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
        self: &Arc<Self>,
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
            let programs = timeout(LOOK_UP_TIME, self.engines.store.programs());
            let summary = self.summary(&message.room);
            let (question, room, past, programs, summary) =
                tokio::join!(question, room, past, programs, summary);
            (answered, question, room, past, programs, summary)
        };
        let own_words = |reason| Ok((AskOutcome::unasked(reason), 0));
        let looked_up = interrupts.race(false, looked_up).await;
        let (answered, question, room, past, programs, summary) = match looked_up {
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
        // Where that cannot be told, the limits of one person are all that holds.
        let programs = programs.ok().and_then(Result::ok).unwrap_or_default();
        let by_program = programs.contains(request.asker());
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
        if by_program && programs::have_heard_enough(&past, &programs) {
            return Err(NoReply::OfAProgram);
        }
        self.deleted_accounts.rename_soon(&mut past).await;
        let command = commands::read(&message.message);
        let mut to_sum_up = None;
        let mut prompt = match command.map(|command| (command, command.sums_up)) {
            None => {
                // Asked again, an old question is told nothing of what came after it.
                let summed = summary.as_ref();
                let summed = summed.filter(|summary| summary.through < message.seq);
                let summed = summed.map(|summary| &*summary.text);
                let (prompt, told_from) =
                    context::prompt(&room, message, &past, summed, self.context_tokens);
                to_sum_up = Some((past, told_from, summary));
                prompt
            }
            Some((command, None)) => return Ok((AskOutcome::of_command(command), seen)),
            Some((command, Some(part))) => {
                let looked_up = self.summed(part, message, past);
                let (past, after) = match interrupts.race(false, looked_up).await {
                    Ok(summed) => summed,
                    Err(Interrupt::HandBack) => return Err(NoReply::HandBack),
                    Err(Interrupt::Stopped) => return own_words(Reason::Stopped),
                    Err(Interrupt::TimeUp) => return own_words(Reason::TooSlow),
                };
                let budget = context::SUMMED_CONTEXTS * self.context_tokens;
                match context::summing_prompt(&room, message, &past, after, budget) {
                    Some(prompt) => prompt,
                    None => return Ok((AskOutcome::of_command(command), seen)),
                }
            }
        };
        prompt.wishes = Wishes {
            thinking: room.choices.thinking.unwrap_or(self.thinking),
            // What was said is all that a summary stands on.
            search: room.choices.search && self.search && command.is_none(),
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
        let outcome = outcome?;
        // After the answer, which comes first wherever there is little left of anything.
        if let Some((past, told_from, summary)) = to_sum_up
            && outcome.reason.is_none()
            && seen > 0
        {
            self.sum_up_aside(request, &room, past, told_from, summary, seen);
        }
        Ok((outcome, seen))
    }
}

impl Executing {
    /// Whether a program asks. It is not told of limits: one that answers whatever it hears would ask at once again, for ever.
    pub(crate) async fn is_of_a_program(&self, asker: &str) -> bool {
        let programs = timeout(LOOK_UP_TIME, self.engines.store.programs()).await;
        matches!(programs, Ok(Ok(programs)) if programs.contains(asker))
    }
}

/// In how many pieces what is to be summed up is read.
const SUMMED_PIECES: usize = 5;

impl Executing {
    /// What is to be summed up: what the room has, further back than for a question, and behind which place. What
    /// cannot be read in time is left out.
    async fn summed(
        &self,
        part: SummedPart,
        message: &Message,
        mut past: Vec<Message>,
    ) -> (Vec<Message>, Seq) {
        let read = match part {
            SummedPart::Room => 0,
            SummedPart::Unread => {
                let read = self
                    .engines
                    .store
                    .read_up_to(&message.sender, &message.room);
                let read = timeout(LOOK_UP_TIME, read).await;
                read.ok().and_then(Result::ok).unwrap_or_default()
            }
        };
        self.read_back(&message.room, &mut past, read).await;
        let after = match part {
            SummedPart::Room => 0,
            SummedPart::Unread => context::unread_after(message, &past, read),
        };
        (past, after)
    }

    /// Reads further back from the first message that is there, to this place or as far as it goes.
    async fn read_back(&self, room: &str, past: &mut Vec<Message>, to: Seq) {
        for _ in 1..SUMMED_PIECES {
            let oldest = past.first().map(|oldest| oldest.seq);
            let Some(oldest) = oldest.filter(|seq| *seq > to) else {
                break;
            };
            let piece = self.timeline.before(room, oldest, PAST_MAX_MESSAGES);
            let Ok(Ok(mut piece)) = timeout(LOOK_UP_TIME, piece).await else {
                break;
            };
            if piece.is_empty() {
                break;
            }
            self.deleted_accounts.rename_soon(&mut piece).await;
            past.splice(0..0, piece);
        }
    }
}

impl Executing {
    /// The room's running summary, if there is one and nothing of what it was made of has changed.
    async fn summary(&self, room: &str) -> Option<RunningSummary> {
        let as_of = self.summaries.as_of(room)?;
        let since = self.engines.live.tail(room, as_of, SINCE_MAX_MESSAGES);
        let since = timeout(LOOK_UP_TIME, since).await.ok()?.ok()?;
        let summary = self.summaries.checked(room, as_of, &since)?;
        // Nor is a model told the name of somebody who is gone.
        if self.deleted_accounts.has_any(&summary.senders).await {
            self.summaries.forget(room);
            return None;
        }
        Some(summary)
    }

    /// Has the room's summary take in what did not go along with this request, if there is enough of it; nobody waits
    /// for that. `seen` is up to where changes are in the past that was read.
    fn sum_up_aside(
        self: &Arc<Self>,
        request: &Request,
        room: &Room,
        past: Vec<Message>,
        told_from: Seq,
        summary: Option<RunningSummary>,
        seen: Seq,
    ) {
        let through = summary.as_ref().map_or(0, |summary| summary.through);
        let begins = past.first().map_or(Seq::MAX, |first| first.seq);
        let is_whole = past.len() < PAST_MAX_MESSAGES && begins >= told_from;
        if is_whole || through >= told_from || !self.summaries.is_to_be_made(&room.name) {
            return;
        }
        let (this, room) = (Arc::clone(self), room.clone());
        let (question, asker) = (request.message.clone(), request.asker().to_owned());
        self.summaries.making.spawn(async move {
            let making = this.sum_up(&question, &asker, &room, past, told_from, summary, seen);
            let made = this.drain.begun.run_until_cancelled(making).await;
            this.summaries.made(&room.name, made.flatten());
        });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is something else, of one question, and there is one caller"
    )]
    async fn sum_up(
        &self,
        question: &Message,
        asker: &str,
        room: &Room,
        mut past: Vec<Message>,
        told_from: Seq,
        summary: Option<RunningSummary>,
        seen: Seq,
    ) -> Option<RunningSummary> {
        let through = summary.as_ref().map_or(0, |summary| summary.through);
        self.read_back(&room.name, &mut past, through).await;
        let before = summary.as_ref().map(|summary| (&*summary.text, through));
        let unsummed = context::running_prompt(
            room,
            question,
            &past,
            before,
            told_from,
            self.context_tokens,
        )?;
        let begun = summary.as_ref().map(|summary| summary.begun);
        let (mut ids, mut senders) = summary
            .map(|summary| (summary.ids, summary.senders))
            .unwrap_or_default();
        ids.extend(unsummed.ids);
        senders.extend(unsummed.senders);
        // The answer took its time: what was deleted meanwhile goes to no model, and what was reset since the question is not
        // summed up.
        let known = seen.min(question.seq);
        let since = self
            .engines
            .live
            .tail(&room.name, known, SINCE_MAX_MESSAGES);
        let since = timeout(LOOK_UP_TIME, since).await.ok()?.ok()?;
        if !running_summaries::still_holds(&ids, &since) {
            return None;
        }
        let chosen = room.choices.model.as_deref();
        let text = self
            .asking
            .ask_aside(&unsummed.prompt, chosen, asker, &room.name, self.deadline)
            .await?;
        let text = text.trim().chars().take(context::SUMMARY_MAX_CHARS);
        Some(RunningSummary {
            text: text.collect(),
            ids,
            senders,
            through: unsummed.through,
            as_of: since.latest.max(known),
            begun: begun.unwrap_or_else(Instant::now),
        })
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
