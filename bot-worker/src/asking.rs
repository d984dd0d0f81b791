//! Asks the models until one has answered or it is time for the fallback. What comes after each attempt is decided in
//! [`crate::attempts`]; here is only the doing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    live::OfferedModel,
    quota::{CallRequest, budgets::BudgetOut},
    traces::{self, Span, SpanKind},
    wire::{Grounding, Kind, Message, Seq},
};
use metrics::{counter, histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    allowance::{Admission, Allowance, QuotaPermit, Waits},
    answering::Request,
    attempts::{Attempts, Next},
    commands::Command,
    drafts::Drafts,
    fallback::{self, Reason},
    interrupts::{Interrupt, Interrupts},
    model::{Advice, Finished, Model, ModelError, Prompt},
    model_pool::ModelPool,
    prices::Used,
    reply_text,
    spending::{Budgeting, Funds, HeldCall, Tally},
};

/// How soon to look again for a model, after another request was given the only probe.
const PROBE_AGAIN: Duration = Duration::from_millis(50);
/// How soon to ask again whether a call may be paid, while others are under way that may use up what is left.
const FUNDS_AGAIN: Duration = Duration::from_millis(250);

/// The models of one worker, and what all its requests share in asking them.
pub(crate) struct Asking {
    model: Arc<dyn Model>,
    models: ModelPool,
    slots: Arc<Semaphore>,
    /// For calls that nobody waits for.
    asides: Semaphore,
    /// So many slots are left for questions when such a call begins.
    kept_free: usize,
    allowance: Arc<Allowance>,
    budgeting: Arc<Budgeting>,
}

/// What is to be posted, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskOutcome {
    /// A model's words, or ours.
    pub kind: Kind,
    /// The model's text, or the reply to a command, ready to post; none for the fallback.
    pub text: Option<String>,
    /// Why the model did not come to an end; none if it did, or if a command needed none.
    pub reason: Option<Reason>,
    /// How it ended, in one snake_case word: `answered`, the reason's word, or the command's name.
    pub word: &'static str,
    /// The model that answered, or was tried last.
    pub model: String,
    /// Calls made.
    pub calls: u32,
    /// What all calls have used, as far as the models said, or as it is estimated.
    pub used: Used,
    /// What the answer stands on, if it looked things up.
    pub grounding: Grounding,
    /// When people saw the first word of a model.
    pub first_word: Option<Instant>,
    /// When to ask again, if that is known.
    pub again: Option<Duration>,
}

impl AskOutcome {
    /// The fallback, without having asked anyone.
    pub(crate) fn unasked(reason: Reason) -> AskOutcome {
        AskOutcome {
            kind: Kind::Fallback,
            text: None,
            reason: Some(reason),
            word: reason.as_str(),
            model: String::new(),
            calls: 0,
            used: Used::default(),
            grounding: Grounding::default(),
            first_word: None,
            again: None,
        }
    }

    /// The reply to a command, which is no failure.
    pub(crate) fn of_command(command: &Command) -> AskOutcome {
        AskOutcome {
            kind: Kind::Bot,
            text: Some(command.reply()),
            reason: None,
            word: command.name,
            model: String::new(),
            calls: 0,
            used: Used::default(),
            grounding: Grounding::default(),
            first_word: None,
            again: None,
        }
    }

    /// Our own words to somebody who cannot be served in time, and may be after `wait`.
    pub(crate) fn busy(wait: Option<Duration>) -> AskOutcome {
        AskOutcome {
            again: wait,
            ..AskOutcome::unasked(Reason::Busy)
        }
    }

    /// Our own words where a budget is used up that opens again at this time.
    pub(crate) fn out_of_budget(out: BudgetOut, opens_at: Seq) -> AskOutcome {
        AskOutcome {
            text: Some(fallback::out_of_budget(out, opens_at)),
            ..AskOutcome::unasked(Reason::Budget)
        }
    }

    /// Our own words to somebody who asks too often, and may again after `wait`.
    pub(crate) fn too_soon(wait: Duration) -> AskOutcome {
        AskOutcome {
            text: Some(fallback::too_soon(wait)),
            ..AskOutcome::unasked(Reason::TooSoon)
        }
    }
}

/// How one call went.
enum Called {
    Finished(Finished),
    Failed(ModelError),
    Interrupted(Interrupt),
}

impl Asking {
    /// Asks these models, at most `concurrency` calls at a time.
    pub(crate) fn new(
        model: Arc<dyn Model>,
        offered: &[OfferedModel],
        concurrency: usize,
        allowance: Arc<Allowance>,
        budgeting: Arc<Budgeting>,
    ) -> Asking {
        let names: Vec<String> = offered.iter().map(|model| model.id.clone()).collect();
        Asking {
            model,
            models: ModelPool::new(&names),
            slots: Arc::new(Semaphore::new(concurrency)),
            asides: Semaphore::new((concurrency / 8).max(1)),
            kept_free: (concurrency / 4).max(1),
            allowance,
            budgeting,
        }
    }

    /// What this worker may do.
    pub(crate) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// What its calls cost.
    pub(crate) fn budgeting(&self) -> &Arc<Budgeting> {
        &self.budgeting
    }

    /// The right to one of this worker's calls at a time.
    pub(crate) fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// How long an answer of the first model has lately taken, mostly.
    pub(crate) fn call_time(&self) -> Option<Duration> {
        self.models.took(0)?.median(Instant::now().into())
    }

    /// Looks whether the models are there, and says so if not. Everything goes on either way.
    pub(crate) async fn check(&self) {
        for index in 0..self.models.len() {
            let model = self.models.name(index);
            match self.model.check(model).await {
                Ok(()) => tracing::info!(model, "the model is there"),
                Err(error) => {
                    tracing::warn!(model, %error, "the model does not answer to its name; check the settings of the model API: names, key, address");
                }
            }
        }
    }

    /// One call that nobody waits for, to the model that the room has `chosen`, if it may still, or the first: only
    /// where a slot, quota and money for it are there at this moment, so that no question waits for it. None if they
    /// are not, or if nothing came of it within this time. What it uses is that person's and the room's.
    pub(crate) async fn ask_aside(
        &self,
        prompt: &Prompt,
        chosen: Option<&str>,
        user: &str,
        room: &str,
        within: Duration,
    ) -> Option<String> {
        let _aside = self.asides.try_acquire().ok()?;
        let _slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        if self.slots.available_permits() < self.kept_free {
            return None;
        }
        let chosen = chosen.and_then(|name| self.models.index_of(name));
        let index = chosen.unwrap_or(0);
        let name = self.models.name(index);
        let waits = Waits::new(&self.allowance);
        let wish = CallRequest {
            model: name,
            id: waits.id,
            user,
            room,
            tokens: u32::try_from(prompt.tokens).unwrap_or(u32::MAX),
        };
        let permit = match self.allowance.ask(&wish).await {
            Admission::Granted(permit) => permit,
            Admission::Wait { expected, again } => {
                let mut waits = waits;
                // Dropped then, it waits no more.
                waits.told(index, name, Instant::now(), expected, again);
                return None;
            }
        };
        let tally = Tally::new(&self.budgeting, user, room);
        let funds = self.budgeting.hold(&tally, name, prompt, within).await;
        let Funds::Held(mut held) = funds else {
            permit.give_back();
            return None;
        };
        let Some(call) = self.models.begin(index, user, Instant::now()) else {
            permit.give_back();
            return None;
        };
        let began = Instant::now();
        let mut span = Span::child_as("keep a summary", SpanKind::Client, traces::current());
        span.set("gen_ai.request.model", name.to_owned());
        held.goes_out();
        let HeldCall {
            usage, has_said, ..
        } = &mut held;
        let mut text = String::new();
        let mut pieces = |piece: &str| {
            *has_said = true;
            text.push_str(piece);
        };
        let answer = self.model.ask(name, prompt, &mut pieces, usage);
        let called = match timeout(within, answer).await {
            Ok(Ok(finished)) => Called::Finished(finished),
            Ok(Err(error)) => Called::Failed(error),
            Err(_) => Called::Interrupted(Interrupt::TimeUp),
        };
        count_call(name, prompt, &called, &mut held, began, span);
        let usage = held.over();
        match called {
            Called::Finished(finished) => {
                permit.cost(usage.tokens_in);
                call.succeeded();
                (finished.complete && !text.trim().is_empty()).then_some(text)
            }
            Called::Failed(error) => {
                tracing::debug!(room, model = name, %error, "a room's summary was not made");
                if error.reason == Reason::Quota || error.status == "unreachable" {
                    permit.give_back();
                }
                call.failed(&error, Instant::now());
                None
            }
            Called::Interrupted(_) => None,
        }
    }

    /// Asks until there is an outcome, first in this slot, and first the model that the room has `chosen`, if it may still. Each
    /// attempt is shown as it grows, under the number that `number` gives the call. What its calls use is told to the tally.
    ///
    /// # Errors
    /// [`HandBack`] if the worker drains first.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is something else, of one question, and there is one caller"
    )]
    pub(crate) async fn ask(
        &self,
        request: &Request,
        prompt: &Prompt,
        chosen: Option<&str>,
        slot: OwnedSemaphorePermit,
        tally: &Arc<Tally>,
        interrupts: &Interrupts,
        drafts: &Drafts,
        number: impl Fn(u32) -> u32,
    ) -> Result<AskOutcome, HandBack> {
        let first = chosen.and_then(|name| self.models.index_of(name));
        let mut inquiry = Inquiry {
            asking: self,
            tally,
            out: None,
            cannot_tell: false,
            request: &request.message,
            asker: request.asker(),
            reply: request.reply,
            prompt,
            slot: Some(slot),
            interrupts,
            drafts,
            attempts: Attempts::new(self.models.len(), first.unwrap_or(0)),
            waits: Waits::new(&self.allowance),
            waiting_since: None,
            waiting: Span::NONE,
            model: String::new(),
            best: String::new(),
            was_unfinished: false,
            used: Used::default(),
            first_word: None,
        };
        loop {
            match inquiry.attempt(&number).await? {
                Attempt::Answered(outcome) => return Ok(outcome),
                Attempt::LookAgain => {}
                Attempt::NoAnswer(reason) => return Ok(inquiry.unanswered(reason)),
            }
        }
    }
}

/// One request on its way through the models.
struct Inquiry<'a> {
    asking: &'a Asking,
    tally: &'a Arc<Tally>,
    /// The budget that is used up.
    out: Option<BudgetOut>,
    /// The last look at the budgets could not tell what is left.
    cannot_tell: bool,
    request: &'a Message,
    /// Who wants this answer.
    asker: &'a str,
    reply: Uuid,
    prompt: &'a Prompt,
    /// The one that it came with, until the first call.
    slot: Option<OwnedSemaphorePermit>,
    interrupts: &'a Interrupts,
    drafts: &'a Drafts,
    attempts: Attempts,
    waits: Waits<'a>,
    /// When the quota was first asked for the call that is to come.
    waiting_since: Option<Instant>,
    /// The same in its trace.
    waiting: Span,
    /// The model that was called last.
    model: String,
    /// The most that a failed call has written.
    best: String,
    /// An answer has ended without saying that it did. If the next does so as well, that is how they end here.
    was_unfinished: bool,
    used: Used,
    first_word: Option<Instant>,
}

/// What came of one attempt at an answer.
enum Attempt {
    Answered(AskOutcome),
    /// Nothing yet: whether there is to be another is decided anew.
    LookAgain,
    NoAnswer(Reason),
}

/// What came of a step before the call.
enum Step<T> {
    Go(T),
    Else(Attempt),
}

impl<'a> Inquiry<'a> {
    async fn attempt(&mut self, number: impl Fn(u32) -> u32) -> Result<Attempt, HandBack> {
        let index = match self.choose().await? {
            Step::Go(index) => index,
            Step::Else(attempt) => return Ok(attempt),
        };
        let (slot, permit, mut held) = match self.admit(index).await? {
            Step::Go(admitted) => admitted,
            Step::Else(attempt) => return Ok(attempt),
        };
        let begun = self.attempts.calls() > 0;
        let Some(call) = self.asking.models.begin(index, self.asker, Instant::now()) else {
            permit.give_back();
            drop(slot);
            return self.pause(sleep(PROBE_AGAIN)).await;
        };
        if !begun {
            let waited = self.interrupts.received.elapsed();
            histogram!("chinwag_bot_queue_wait_seconds").record(waited);
        }
        self.attempts.begin(index);
        self.drafts.attempt(number(self.attempts.calls()));
        call.model().clone_into(&mut self.model);
        let mut text = String::new();
        let began = Instant::now();
        let called = self.call(&mut text, &mut held).await;
        let usage = held.over();
        self.used.add(&self.model, usage);
        match called {
            Called::Finished(finished) => {
                call.took(began.elapsed(), Instant::now());
                permit.cost(usage.tokens_in);
                call.succeeded();
                Ok(self.finished(&text, finished))
            }
            Called::Failed(error) => {
                let is_its_way = error.is_unfinished() && self.was_unfinished;
                self.was_unfinished |= error.is_unfinished();
                let own = is_its_way.then(|| text.clone());
                self.failed(&error, text, permit);
                call.failed(&error, Instant::now());
                // This one's own text: another's may be longer, and have been cut.
                if let Some(text) = own {
                    let finished = Finished {
                        complete: true,
                        ..Finished::default()
                    };
                    return Ok(self.finished(&text, finished));
                }
                Ok(Attempt::LookAgain)
            }
            Called::Interrupted(interrupt) => {
                if interrupt == Interrupt::TimeUp {
                    call.took_longer(began.elapsed(), Instant::now());
                }
                drop(call);
                let reason = reason_of(interrupt, &self.attempts)?;
                // What was being written when it was stopped is what people saw.
                let is_seen = reason == Reason::Stopped && !text.trim().is_empty();
                if is_seen || text.len() > self.best.len() {
                    self.best = text;
                }
                Ok(Attempt::NoAnswer(reason))
            }
        }
    }

    /// The index of the model to call; waits for one.
    async fn choose(&mut self) -> Result<Step<usize>, HandBack> {
        let now = Instant::now();
        let respond_by = self.interrupts.respond_by.into_std();
        let left = respond_by.saturating_duration_since(now);
        let mut bars = self.asking.models.bars(self.asker, now);
        self.waits.lay_over(&mut bars, now);
        match self.attempts.next(&bars, left) {
            // It would be broken off: another has more of the slot.
            Next::Call(index) if left < self.needs(index, now) => {
                let reason = self.attempts.last().unwrap_or(Reason::Busy);
                Ok(Step::Else(Attempt::NoAnswer(reason)))
            }
            Next::Call(index) => Ok(Step::Go(index)),
            Next::GiveUp(reason) => Ok(Step::Else(Attempt::NoAnswer(reason))),
            Next::Wait(delay) => {
                let delay = self.waits.until_again(now, delay);
                let begun = self.attempts.calls() > 0;
                let attempt = match self.interrupts.race(begun, sleep(delay)).await {
                    Err(Interrupt::TimeUp) if self.waits.any() => {
                        Attempt::NoAnswer(self.attempts.last().unwrap_or(Reason::Quota))
                    }
                    Err(interrupt) => Attempt::NoAnswer(reason_of(interrupt, &self.attempts)?),
                    Ok(()) => Attempt::LookAgain,
                };
                Ok(Step::Else(attempt))
            }
        }
    }

    /// How long an answer of this model will probably take; at most half of a deadline, since somebody has to find out
    /// whether a model that was slow still is.
    fn needs(&self, index: usize, now: Instant) -> Duration {
        let took = self.asking.models.took(index);
        let needs = took.and_then(|took| took.at_most(now.into()));
        needs.unwrap_or_default().min(self.interrupts.deadline / 2)
    }

    /// A slot of this worker, leave by the quota to call this model, and what it can cost. Nobody holds a slot while waiting for
    /// quota: another model's calls need it.
    async fn admit(
        &mut self,
        index: usize,
    ) -> Result<Step<(OwnedSemaphorePermit, QuotaPermit, HeldCall)>, HandBack> {
        let Asking {
            models,
            slots,
            allowance,
            budgeting,
            ..
        } = self.asking;
        let name = models.name(index);
        let call = CallRequest {
            model: name,
            id: self.waits.id,
            user: self.asker,
            room: &self.request.room,
            tokens: u32::try_from(self.prompt.tokens).unwrap_or(u32::MAX),
        };
        let had = self.slot.take();
        let (tally, prompt, left) = (self.tally, self.prompt, self.left());
        let admission = async {
            let slot = match had {
                Some(slot) => slot,
                None => Arc::clone(slots)
                    .acquire_owned()
                    .await
                    .expect("the slots are never closed"),
            };
            let admission = allowance.ask(&call).await;
            let funds = match &admission {
                Admission::Wait { .. } => None,
                Admission::Granted(_) => Some(budgeting.hold(tally, name, prompt, left).await),
            };
            (slot, admission, funds)
        };
        let waiting = &mut self.waiting;
        let since = *self.waiting_since.get_or_insert_with(|| {
            *waiting = Span::child("wait for quota", traces::current());
            waiting.set("gen_ai.request.model", name.to_owned());
            Instant::now()
        });
        let begun = self.attempts.calls() > 0;
        match self.interrupts.race(begun, admission).await {
            Ok((slot, Admission::Granted(permit), funds)) => {
                self.waits.granted(index);
                self.waits = Waits::new(allowance);
                (self.waiting_since, self.waiting) = (None, Span::NONE);
                histogram!("chinwag_bot_quota_wait_seconds", "model" => name.to_owned())
                    .record(since.elapsed());
                self.cannot_tell = matches!(funds, Some(Funds::NotKnown));
                match funds {
                    Some(Funds::Held(held)) => return Ok(Step::Go((slot, permit, held))),
                    Some(Funds::Out(out)) => self.out = Some(out),
                    Some(Funds::Wait | Funds::NotKnown) | None => {}
                }
                permit.give_back();
                drop(slot);
                Ok(Step::Else(match self.out {
                    Some(_) => Attempt::NoAnswer(Reason::Budget),
                    None => self.pause(sleep(FUNDS_AGAIN)).await?,
                }))
            }
            Ok((_, Admission::Wait { expected, again }, _)) => {
                self.waits
                    .told(index, name, Instant::now(), expected, again);
                Ok(Step::Else(Attempt::LookAgain))
            }
            Err(Interrupt::TimeUp) => {
                let reason = self.attempts.last().unwrap_or(Reason::Busy);
                Ok(Step::Else(Attempt::NoAnswer(reason)))
            }
            Err(interrupt) => {
                let reason = reason_of(interrupt, &self.attempts)?;
                Ok(Step::Else(Attempt::NoAnswer(reason)))
            }
        }
    }

    fn left(&self) -> Duration {
        let respond_by = self.interrupts.respond_by.into_std();
        respond_by.saturating_duration_since(Instant::now())
    }

    async fn pause(&self, pause: impl Future<Output = ()>) -> Result<Attempt, HandBack> {
        let begun = self.attempts.calls() > 0;
        match self.interrupts.race(begun, pause).await {
            Ok(()) => Ok(Attempt::LookAgain),
            Err(interrupt) => Ok(Attempt::NoAnswer(reason_of(interrupt, &self.attempts)?)),
        }
    }

    /// The model has come to its end.
    fn finished(&mut self, text: &str, finished: Finished) -> Attempt {
        let Some(text) = reply_text::message(text, finished.complete) else {
            // It named itself, and said nothing.
            let nothing = ModelError::empty("an answer without words", Advice::OnceMore);
            self.attempts.failed(&nothing, rand::random());
            return Attempt::LookAgain;
        };
        Attempt::Answered(AskOutcome {
            kind: Kind::Bot,
            text: Some(text),
            reason: None,
            word: "answered",
            model: std::mem::take(&mut self.model),
            calls: self.attempts.calls(),
            used: std::mem::take(&mut self.used),
            grounding: finished.grounding,
            first_word: self.first_word,
            again: None,
        })
    }

    fn failed(&mut self, error: &ModelError, text: String, permit: QuotaPermit) {
        let model = &self.model;
        tracing::warn!(reply = %self.reply, model, attempt = self.attempts.calls(), status = error.status, %error, "the model failed");
        if let Advice::Again { after: Some(pause) } = error.advice {
            self.asking.allowance.pause(model, pause);
        }
        // What was refused for want of quota did not count. Other failures did, says Google.
        if error.reason == Reason::Quota || error.status == "unreachable" {
            permit.give_back();
        }
        self.attempts.failed(error, rand::random());
        if text.len() > self.best.len() {
            self.best = text;
        }
    }

    /// What there is of an answer, or the fallback.
    fn unanswered(self, reason: Reason) -> AskOutcome {
        let is_late = matches!(reason, Reason::TooSlow | Reason::Busy);
        let reason = match self.cannot_tell && is_late && self.attempts.calls() == 0 {
            true => Reason::BudgetNotKnown,
            false => reason,
        };
        let out = self.out.filter(|_| reason == Reason::Budget);
        let text = reply_text::partial(&self.best, reason);
        let kind = if text.is_some() {
            Kind::Bot
        } else {
            Kind::Fallback
        };
        let opens = |out| fallback::out_of_budget(out, self.asking.budgeting.opens(out));
        AskOutcome {
            kind,
            text: text.or_else(|| out.map(opens)),
            reason: Some(reason),
            word: reason.as_str(),
            model: self.model,
            calls: self.attempts.calls(),
            used: self.used,
            grounding: Grounding::default(),
            first_word: self.first_word,
            again: None,
        }
    }

    /// Calls the model, showing what it writes and leaving it in `text`.
    async fn call(&mut self, text: &mut String, held: &mut HeldCall) -> Called {
        let (model, first_word) = (self.model.as_str(), &mut self.first_word);
        let began = Instant::now();
        let mut span = Span::child_as("ask the model", SpanKind::Client, traces::current());
        if span.context().is_some() {
            span.set("gen_ai.request.model", model.to_owned());
            span.set("attempt", i64::from(self.attempts.calls()));
        }
        held.goes_out();
        let HeldCall {
            usage, has_said, ..
        } = held;
        let mut pieces = |piece: &str| {
            *has_said = true;
            if text.is_empty() {
                histogram!("chinwag_bot_first_token_seconds", "model" => model.to_owned())
                    .record(began.elapsed());
                first_word.get_or_insert_with(Instant::now);
            }
            text.push_str(piece);
            self.drafts.grow(piece);
        };
        let answer = self
            .asking
            .model
            .ask(model, self.prompt, &mut pieces, usage);
        let called = match self.interrupts.race(true, answer).await {
            Ok(Ok(finished)) => Called::Finished(finished),
            Ok(Err(error)) => Called::Failed(error),
            Err(interrupt) => Called::Interrupted(interrupt),
        };
        let stopped_by = self.interrupts.stopped.by();
        let of_another = matches!(called, Called::Interrupted(Interrupt::Stopped))
            && stopped_by.is_some_and(|by| by != held.who_pays());
        // Whoever asks does not pay for more than there was because somebody else does not want it.
        if matches!(called, Called::Interrupted(_)) && !of_another {
            held.is_broken_off();
        }
        count_call(model, self.prompt, &called, held, began, span);
        called
    }
}

/// Fills in what a call has used where the model did not come to say it, and counts the call.
fn count_call(
    model: &str,
    prompt: &Prompt,
    called: &Called,
    held: &mut HeldCall,
    began: Instant,
    mut span: Span,
) {
    let usage = &mut held.usage;
    let was_at_work = match called {
        Called::Finished(_) | Called::Interrupted(_) => true,
        Called::Failed(error) => error.was_at_work() || usage.tokens_out > 0,
    };
    // It has read the prompt, though it did not come to count it.
    if was_at_work && usage.tokens_in == 0 {
        usage.tokens_in = u32::try_from(prompt.tokens).unwrap_or(u32::MAX);
        usage.is_estimated = true;
    }
    let status = match called {
        Called::Finished(_) => "ok",
        Called::Failed(error) => error.status,
        Called::Interrupted(Interrupt::TimeUp) => "time_up",
        Called::Interrupted(Interrupt::Stopped) => "stopped",
        Called::Interrupted(Interrupt::HandBack) => "handed_back",
    };
    span.set("status", status);
    span.set("gen_ai.usage.input_tokens", i64::from(usage.tokens_in));
    span.set("gen_ai.usage.output_tokens", i64::from(usage.tokens_out));
    if status != "ok" {
        span.failed(status);
    }
    drop(span);
    if usage.searches > 0 {
        counter!("chinwag_bot_searches_total", "model" => model.to_owned())
            .increment(usage.searches.into());
    }
    counter!("chinwag_bot_model_calls_total", "model" => model.to_owned(), "status" => status)
        .increment(1);
    histogram!("chinwag_bot_model_call_seconds", "model" => model.to_owned())
        .record(began.elapsed());
}

/// The worker drains: the request is to be handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandBack;

fn reason_of(interrupt: Interrupt, attempts: &Attempts) -> Result<Reason, HandBack> {
    match interrupt {
        Interrupt::HandBack => Err(HandBack),
        Interrupt::Stopped => Ok(Reason::Stopped),
        Interrupt::TimeUp => Ok(attempts.last().unwrap_or(Reason::TooSlow)),
    }
}
