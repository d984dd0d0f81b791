//! Asks the models until one has answered or it is time for the fallback. What comes after each attempt is decided in
//! [`crate::attempts`]; here is only the doing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    quota::CallRequest,
    wire::{Kind, Message},
};
use metrics::{counter, histogram};
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use crate::{
    allowance::{Allowance, Leave, Waits},
    attempts::{Attempts, Step},
    drafts::Drafts,
    fallback::{self, Reason},
    interrupts::{Interrupt, Interrupts},
    line_up::LineUp,
    model::{Advice, Finished, Model, ModelError, Prompt, Usage},
    reply_text,
};

/// How soon to look again for a model, after another request was given the only probe.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The models of one worker, and what all its requests share in asking them.
pub struct Asking {
    model: Arc<dyn Model>,
    line_up: LineUp,
    slots: Semaphore,
    allowance: Arc<Allowance>,
}

/// What is to be posted, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A model's words, or ours.
    pub kind: Kind,
    /// The model's text, ready to post; none for the fallback.
    pub text: Option<String>,
    /// Why the model did not come to an end; none if it did.
    pub reason: Option<Reason>,
    /// The model that answered, or was tried last.
    pub model: String,
    /// Calls made.
    pub calls: u32,
    /// What the answer cost, as far as the model said.
    pub usage: Usage,
    /// When people saw the first word of a model.
    pub first_word: Option<Instant>,
}

impl Outcome {
    /// Our own words, without having asked anyone.
    pub fn unasked(reason: Reason) -> Outcome {
        let kind = if reason.is_command() {
            Kind::Bot
        } else {
            Kind::Fallback
        };
        Outcome {
            kind,
            text: None,
            reason: Some(reason),
            model: String::new(),
            calls: 0,
            usage: Usage::default(),
            first_word: None,
        }
    }

    /// Our own words to somebody who asks too often, and may again after `wait`.
    pub fn too_soon(wait: Duration) -> Outcome {
        Outcome {
            text: Some(fallback::too_soon(wait)),
            ..Outcome::unasked(Reason::TooSoon)
        }
    }

    /// How it ended, in one snake_case word.
    pub fn word(&self) -> &'static str {
        self.reason.map_or("answered", Reason::as_str)
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
    pub fn new(
        model: Arc<dyn Model>,
        names: &[String],
        concurrency: usize,
        allowance: Arc<Allowance>,
    ) -> Asking {
        Asking {
            model,
            line_up: LineUp::new(names),
            slots: Semaphore::new(concurrency),
            allowance,
        }
    }

    /// What this worker may do.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Looks whether the models are there, and says so if not. Everything goes on either way.
    pub async fn check(&self) {
        for place in 0..self.line_up.len() {
            let model = self.line_up.name(place);
            match self.model.check(model).await {
                Ok(()) => tracing::info!(model, "the model is there"),
                Err(error) => {
                    tracing::warn!(model, %error, "the model does not answer to its name; check the settings of the model API: names, key, address");
                }
            }
        }
    }

    /// Asks until there is an outcome. Each attempt is shown as it grows, under the number that `number` gives the
    /// call.
    ///
    /// # Errors
    /// [`HandBack`] if the worker drains first.
    pub async fn ask(
        &self,
        request: &Message,
        reply: Uuid,
        prompt: &Prompt,
        interrupts: &Interrupts,
        drafts: &Drafts,
        number: impl Fn(u32) -> u32,
    ) -> Result<Outcome, HandBack> {
        let mut attempts = Attempts::new(self.line_up.len());
        let mut best = String::new();
        let mut model = String::new();
        let mut first_word = None;
        let mut waits = Waits::new(&self.allowance);
        let mut asked = None;
        let reason = loop {
            let begun = attempts.calls() > 0;
            let now = Instant::now();
            let left = interrupts
                .respond_by
                .into_std()
                .saturating_duration_since(now);
            let mut bars = self.line_up.bars(now);
            waits.lay_over(&mut bars, now);
            let place = match attempts.next(&bars, left) {
                Step::GiveUp(reason) => break reason,
                Step::Wait(delay) => {
                    let delay = waits.until_again(now, delay);
                    match interrupts.race(begun, sleep(delay)).await {
                        Ok(()) => continue,
                        Err(Interrupt::TimeUp) if waits.any() => {
                            break attempts.last().unwrap_or(Reason::Quota);
                        }
                        Err(interrupt) => break reason_of(interrupt, &attempts)?,
                    }
                }
                Step::Call(place) => place,
            };
            // Nobody holds a slot while waiting for quota: another model's calls need it.
            let name = self.line_up.name(place);
            let allowed = async {
                let slot = self
                    .slots
                    .acquire()
                    .await
                    .expect("the slots are never closed");
                let wish = CallRequest {
                    model: name,
                    id: waits.id,
                    user: &request.sender,
                    room: &request.room,
                    tokens: u32::try_from(prompt.tokens).unwrap_or(u32::MAX),
                };
                (slot, self.allowance.ask(&wish).await)
            };
            let since = *asked.get_or_insert_with(Instant::now);
            let (_slot, permit) = match interrupts.race(begun, allowed).await {
                Ok((slot, Leave::Go(permit))) => (slot, permit),
                Ok((_, Leave::Wait { expected, again })) => {
                    waits.told(place, name, Instant::now(), expected, again);
                    continue;
                }
                Err(Interrupt::TimeUp) => break attempts.last().unwrap_or(Reason::Busy),
                Err(interrupt) => break reason_of(interrupt, &attempts)?,
            };
            waits.granted(place);
            waits = Waits::new(&self.allowance);
            asked = None;
            histogram!("chinwag_bot_quota_wait_seconds", "model" => name.to_owned())
                .record(since.elapsed());
            let Some(call) = self.line_up.begin(place, Instant::now()) else {
                permit.give_back();
                drop(_slot);
                match interrupts.race(begun, sleep(LOOK_AGAIN)).await {
                    Ok(()) => continue,
                    Err(interrupt) => break reason_of(interrupt, &attempts)?,
                }
            };
            if !begun {
                let waited = interrupts.received.elapsed();
                histogram!("chinwag_bot_queue_wait_seconds").record(waited);
            }
            attempts.begin(place);
            drafts.attempt(number(attempts.calls()));
            call.model().clone_into(&mut model);
            let mut text = String::new();
            let called = self
                .call(
                    &model,
                    prompt,
                    interrupts,
                    drafts,
                    &mut text,
                    &mut first_word,
                )
                .await;
            match called {
                Called::Finished(finished) => {
                    permit.cost(finished.usage.tokens_in);
                    call.succeeded();
                    let Some(text) = reply_text::message(&text, finished.complete) else {
                        // It named itself, and said nothing.
                        let nothing = ModelError::empty(
                            "an answer without words",
                            Advice::Again { after: None },
                        );
                        attempts.failed(&nothing, rand::random());
                        continue;
                    };
                    let calls = attempts.calls();
                    return Ok(Outcome {
                        kind: Kind::Bot,
                        text: Some(text),
                        reason: None,
                        model,
                        calls,
                        usage: finished.usage,
                        first_word,
                    });
                }
                Called::Failed(error) => {
                    tracing::warn!(%reply, model, attempt = attempts.calls(), status = error.status, %error, "the model failed");
                    if let Advice::Again { after: Some(pause) } = error.advice {
                        self.allowance.pause(&model, pause);
                    }
                    // What was refused for want of quota did not count. Other failures did, says Google.
                    if error.reason == Reason::Quota || error.status == "unreachable" {
                        permit.give_back();
                    }
                    call.failed(&error, Instant::now());
                    attempts.failed(&error, rand::random());
                    if text.len() > best.len() {
                        best = text;
                    }
                }
                Called::Interrupted(interrupt) => {
                    drop(call);
                    let reason = reason_of(interrupt, &attempts)?;
                    // What was being written when it was stopped is what people saw.
                    let is_seen = reason == Reason::Stopped && !text.trim().is_empty();
                    if is_seen || text.len() > best.len() {
                        best = text;
                    }
                    break reason;
                }
            }
        };
        let text = reply_text::partial(&best, reason);
        let kind = if text.is_some() {
            Kind::Bot
        } else {
            Kind::Fallback
        };
        let calls = attempts.calls();
        Ok(Outcome {
            kind,
            text,
            reason: Some(reason),
            model,
            calls,
            usage: Usage::default(),
            first_word,
        })
    }

    async fn call(
        &self,
        model: &str,
        prompt: &Prompt,
        interrupts: &Interrupts,
        drafts: &Drafts,
        text: &mut String,
        first_word: &mut Option<Instant>,
    ) -> Called {
        let began = Instant::now();
        let mut pieces = |piece: &str| {
            if text.is_empty() {
                histogram!("chinwag_bot_first_token_seconds", "model" => model.to_owned())
                    .record(began.elapsed());
                first_word.get_or_insert_with(Instant::now);
            }
            text.push_str(piece);
            drafts.grow(piece);
        };
        let called = match interrupts
            .race(true, self.model.ask(model, prompt, &mut pieces))
            .await
        {
            Ok(Ok(finished)) => Called::Finished(finished),
            Ok(Err(error)) => Called::Failed(error),
            Err(interrupt) => Called::Interrupted(interrupt),
        };
        let status = match &called {
            Called::Finished(finished) => {
                let tokens = |way, count: u32| {
                    counter!("chinwag_bot_tokens_total", "model" => model.to_owned(), "way" => way)
                        .increment(count.into());
                };
                tokens("in", finished.usage.tokens_in);
                tokens("out", finished.usage.tokens_out);
                "ok"
            }
            Called::Failed(error) => error.status,
            Called::Interrupted(Interrupt::TimeUp) => "time_up",
            Called::Interrupted(Interrupt::Stopped) => "stopped",
            Called::Interrupted(Interrupt::HandBack) => "handed_back",
        };
        counter!("chinwag_bot_model_calls_total", "model" => model.to_owned(), "status" => status)
            .increment(1);
        histogram!("chinwag_bot_model_call_seconds", "model" => model.to_owned())
            .record(began.elapsed());
        called
    }
}

/// The worker drains: the request is to be handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandBack;

fn reason_of(interrupt: Interrupt, attempts: &Attempts) -> Result<Reason, HandBack> {
    match interrupt {
        Interrupt::HandBack => Err(HandBack),
        Interrupt::Stopped => Ok(Reason::Stopped),
        Interrupt::TimeUp => Ok(attempts.last().unwrap_or(Reason::TooSlow)),
    }
}
