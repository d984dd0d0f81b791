//! One request, from its receipt to its one reply: looks whether it has one, asks, posts until that has worked.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::ReplyLog,
    live::{
        STREAM_MIN_AGE,
        turns::{Fence, TurnStatus},
    },
    names::BOT,
    posting::{PostError, Poster},
    queue::{DELIVERY_LIMIT, Route, Verdict},
    retry::RetryPolicy,
    store::{BotPolicy, Room},
    timeline::Timeline,
    wire::{Message, NewMessage, Seq, now_seq},
};
use metrics::{counter, histogram};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use crate::{
    Engines,
    asking::{AskOutcome, Asking, HandBack},
    commands,
    context::{self, PAST_MAX_MESSAGES, SINCE_MAX_MESSAGES},
    drafts::{Drafts, attempt_number},
    fallback::Reason,
    interrupts::{Interrupt, Interrupts},
    prices::Prices,
    turns::QueuedTurn,
};

/// A request delivered this often has brought down, or outlasted, whoever had it: it gets the fallback, unasked. Well
/// above what restarts make of it, each of which hands back what was under way, since the deadline bounds a request in any
/// case; and below the queue's limit, so that there is a reply before the request is a dead letter.
pub const ATTEMPTS_MAX: u32 = 20;
const _: () = assert!(ATTEMPTS_MAX < DELIVERY_LIMIT);
/// How long the engines may take to tell a room's past, or whether there is a reply already, before it goes on without.
const LOOK_UP_TIME: Duration = Duration::from_secs(3);
/// And how long of that a request has whose time is up: it is not answered twice for being late.
const LOOK_UP_TIME_LATE: Duration = Duration::from_millis(500);
/// When a reply that was not kept is posted again.
const POST_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(2));
/// When it is, while another attempt at it has the right to: either that posts it, or it is gone in a moment.
const POST_AGAIN_AFTER_ANOTHER: Duration = Duration::from_millis(100);

/// One request in hand.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The message that asks.
    pub message: Message,
    /// When it was asked for: its `seq`, or later, if it is to be answered again.
    pub asked: Seq,
    /// The id its reply has, whoever writes it.
    pub reply: Uuid,
    /// The delivery's attempt.
    pub attempt: u32,
    /// When it came to this worker.
    pub received: Instant,
}

/// What all requests of one worker share.
pub(crate) struct Answering {
    engines: Engines,
    poster: Poster,
    timeline: Timeline,
    asking: Arc<Asking>,
    context_tokens: usize,
    fallback: Option<String>,
    prices: Prices,
}

impl Answering {
    /// With these engines and models.
    pub(crate) fn new(
        engines: Engines,
        poster: Poster,
        asking: Arc<Asking>,
        context_tokens: usize,
        fallback: Option<String>,
        prices: Prices,
    ) -> Answering {
        let timeline = Timeline::new(
            Arc::clone(&engines.live),
            Arc::clone(&engines.store),
            poster.clone(),
        );
        Answering {
            engines,
            poster,
            timeline,
            asking,
            context_tokens,
            fallback,
            prices,
        }
    }

    /// Answers one request. Returns what is to be done with its deliveries; only after its reply is in the room, and
    /// on its way to the database, are they acked.
    pub(crate) async fn answer(
        &self,
        request: &Request,
        mut queued: QueuedTurn,
        interrupts: &Interrupts,
    ) -> Verdict {
        if let Some(found) = self
            .reply_there(request, interrupts.respond_by, false)
            .await
        {
            return self.was_answered(request, Some(found), interrupts).await;
        }
        // The turn is held until the reply is posted, so that a room's replies stand in the order of its requests.
        // Whoever's time is up meanwhile does not wait for that.
        let (turn, outcome) = loop {
            let turn = match interrupts.race(false, queued.wait()).await {
                Ok(Some(turn)) => turn,
                Ok(None) => return self.answered_elsewhere(request, interrupts).await,
                Err(Interrupt::TimeUp) => {
                    // Those before it are as late, and are posting now.
                    let turn = match timeout(interrupts.grace, queued.wait()).await {
                        Ok(Some(turn)) => Some(turn),
                        Ok(None) => return self.answered_elsewhere(request, interrupts).await,
                        Err(_) => None,
                    };
                    break (turn, Ok(AskOutcome::unasked(Reason::Busy)));
                }
                Err(Interrupt::Stopped) => {
                    break (None, Ok(AskOutcome::unasked(Reason::Stopped)));
                }
                Err(Interrupt::HandBack) => break (None, Err(NoReply::HandBack)),
            };
            tokio::select! {
                biased;
                outcome = self.outcome(request, turn.fence, interrupts) => break (Some(turn), outcome),
                () = turn.lost.cancelled() => {
                    tracing::warn!(request = %request.message.id, room = %request.message.room, "lost the turn: this worker stood still, or Redis did");
                }
            }
        };
        match outcome {
            Ok(outcome) => {
                let fence = turn.as_ref().map(|turn| turn.fence);
                self.post(request, outcome, &queued, fence, interrupts)
                    .await
            }
            Err(NoReply::Unanswerable(reason)) => {
                queued.release(turn, true).await;
                Verdict::DeadLetter(reason)
            }
            Err(NoReply::HandBack) => {
                queued.release(turn, false).await;
                count("handed_back");
                Verdict::HandBack
            }
        }
    }

    /// The reply, if an earlier attempt has posted it. The stream is always asked, which costs next to nothing beside a
    /// model; the database only where the stream may have dropped it, or never heard of it.
    async fn reply_there(
        &self,
        request: &Request,
        respond_by: Instant,
        is_known: bool,
    ) -> Option<Found> {
        let now = Instant::now();
        let until = respond_by.clamp(now + LOOK_UP_TIME_LATE, now + LOOK_UP_TIME);
        let Message { room, seq, .. } = &request.message;
        let shown = timeout_at(until, self.engines.live.find(room, request.reply)).await;
        if let Ok(Ok(Some(reply))) = shown {
            return Some(Found::Shown(reply));
        }
        let stream_is_sure = matches!(shown, Ok(Ok(None))) && !is_known;
        if !in_doubt(
            request.attempt,
            now_seq().saturating_sub(*seq),
            stream_is_sure,
        ) {
            return None;
        }
        let kept = timeout_at(until, self.engines.store.find(room, request.reply)).await;
        matches!(kept, Ok(Ok(Some(_)))).then_some(Found::Kept)
    }

    /// The reply is in the room, by another attempt. If neither the stream nor the database can show it just now, those
    /// who look for what the database lacks will find it.
    async fn answered_elsewhere(&self, request: &Request, interrupts: &Interrupts) -> Verdict {
        let until = Instant::now() + LOOK_UP_TIME;
        let found = self.reply_there(request, until, true).await;
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
            Some(Found::Shown(reply)) => self.post_again(request, reply, interrupts).await,
            Some(Found::Kept) | None => Verdict::Ack,
        }
    }

    /// What to reply.
    async fn outcome(
        &self,
        request: &Request,
        fence: Fence,
        interrupts: &Interrupts,
    ) -> Result<AskOutcome, NoReply> {
        let message = &request.message;
        if request.attempt >= ATTEMPTS_MAX {
            tracing::warn!(request = %message.id, room = %message.room, attempt = request.attempt, "delivered too often: the fallback, without asking a model");
            return Ok(AskOutcome::unasked(Reason::GaveUp));
        }
        if let Some(command) = commands::read(&message.message) {
            return Ok(AskOutcome::of_command(command));
        }
        if interrupts.time_is_up() {
            return Ok(AskOutcome::unasked(Reason::Busy));
        }
        if let Some(wait) = self.asking.allowance().too_soon(message).await {
            return Ok(AskOutcome::too_soon(wait));
        }
        let looked_up = async {
            let room = timeout(LOOK_UP_TIME, self.engines.store.room(&message.room));
            let past = timeout(
                LOOK_UP_TIME,
                self.timeline
                    .before(&message.room, message.seq + 1, PAST_MAX_MESSAGES),
            );
            // The answer to the request before this one stands behind this one.
            let answered = timeout(
                LOOK_UP_TIME,
                self.engines
                    .live
                    .tail(&message.room, message.seq, SINCE_MAX_MESSAGES),
            );
            tokio::join!(room, past, answered)
        };
        let (room, past, answered) = match interrupts.race(false, looked_up).await {
            Ok(looked_up) => looked_up,
            Err(Interrupt::HandBack) => return Err(NoReply::HandBack),
            Err(Interrupt::Stopped) => return Ok(AskOutcome::unasked(Reason::Stopped)),
            Err(Interrupt::TimeUp) => return Ok(AskOutcome::unasked(Reason::TooSlow)),
        };
        let room = match room {
            Ok(Ok(Some(room))) => room,
            // Nobody could read a reply there, and posting one would bring the room's stream back to life.
            Ok(Ok(None)) => {
                let why = format!("there is no room {:?}", message.room);
                return Err(NoReply::Unanswerable(why));
            }
            // People go on talking without the database, and so does the bot, if without its persona.
            Ok(Err(_)) | Err(_) => unknown_room(&message.room),
        };
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
        if let Ok(Ok(answered)) = answered {
            past.extend(answered.messages);
        }
        let prompt = context::prompt(&room, message, &past, self.context_tokens);
        let drafts = Drafts::begin(
            Arc::clone(&self.engines.live),
            message.room.clone(),
            request.reply,
            message.id,
            fence,
        );
        let number = |call| attempt_number(fence.number, call);
        let outcome = self
            .asking
            .ask(message, request.reply, &prompt, interrupts, &drafts, number)
            .await;
        drafts.end().await;
        Ok(outcome?)
    }

    async fn post(
        &self,
        request: &Request,
        outcome: AskOutcome,
        queued: &QueuedTurn,
        fence: Option<Fence>,
        interrupts: &Interrupts,
    ) -> Verdict {
        let text = match (&outcome.text, outcome.reason) {
            (Some(text), _) => text.as_str(),
            (None, reason) => reason
                .unwrap_or(Reason::Broken)
                .text(self.fallback.as_deref()),
        };
        let new = NewMessage {
            room: request.message.room.clone(),
            id: request.reply,
            sender: BOT.to_owned(),
            kind: outcome.kind,
            message: text.to_owned(),
            reply_to: Some(request.message.id),
        };
        let total = request.received.elapsed();
        let first_token = outcome
            .first_word
            .map(|at| at.saturating_duration_since(request.received.into_std()));
        let cost_micros = self.prices.cost_micros(&outcome.model, outcome.usage);
        let log = ReplyLog {
            request: request.message.id,
            user: request.message.sender.clone(),
            model: outcome.model.clone(),
            attempts: outcome.calls,
            tokens_in: outcome.usage.tokens_in,
            tokens_out: outcome.usage.tokens_out,
            first_token_ms: first_token.map(millis),
            total_ms: millis(total),
            cost_micros,
            outcome: outcome.word.to_owned(),
        };
        let writer = Writer::Attempt { queued, fence };
        let Some(verdict) = self.post_until_kept(new, log, writer, interrupts).await else {
            return self.answered_elsewhere(request, interrupts).await;
        };
        if verdict == Verdict::Ack {
            count(outcome.word);
            histogram!("chinwag_bot_total_seconds").record(total);
            if let Some(cost) = cost_micros {
                counter!("chinwag_bot_cost_micros_total", "model" => outcome.model.clone())
                    .increment(cost);
            }
            tracing::info!(
                request = %request.message.id, room = %request.message.room, outcome = outcome.word, model = %outcome.model,
                calls = outcome.calls, total_ms = total.as_millis(), "answered"
            );
        }
        verdict
    }

    /// A reply that an earlier attempt has shown: its text stands, and it is handed to `persist` once more, since that
    /// attempt may have died before it was.
    async fn post_again(
        &self,
        request: &Request,
        reply: Message,
        interrupts: &Interrupts,
    ) -> Verdict {
        let Message {
            room,
            id,
            sender,
            kind,
            message,
            reply_to,
            ..
        } = reply;
        let log = ReplyLog {
            request: request.message.id,
            user: request.message.sender.clone(),
            model: String::new(),
            attempts: 0,
            tokens_in: 0,
            tokens_out: 0,
            first_token_ms: None,
            total_ms: 0,
            cost_micros: None,
            outcome: "recovered".into(),
        };
        let new = NewMessage {
            room,
            id,
            sender,
            kind,
            message,
            reply_to,
        };
        self.post_until_kept(new, log, Writer::Known, interrupts)
            .await
            .unwrap_or(Verdict::Ack)
    }

    /// Tries as long as this process lives: a reply that was written is not thrown away. How many are kept so is
    /// bounded by the prefetch. None if another attempt has posted the reply meanwhile.
    async fn post_until_kept(
        &self,
        new: NewMessage,
        log: ReplyLog,
        mut writer: Writer<'_>,
        interrupts: &Interrupts,
    ) -> Option<Verdict> {
        let mut back_off = POST_AGAIN.back_off();
        let trying = async {
            let mut failures = 0_u32;
            loop {
                let posted = match &mut writer {
                    Writer::Known => {
                        self.poster
                            .post(new.clone(), Route::Persist, Some(log.clone()))
                            .await
                    }
                    Writer::Attempt { queued, fence } => {
                        let standing = match *fence {
                            Some(fence) => Ok(TurnStatus::Granted(fence)),
                            None => queued.take_now().await,
                        };
                        match standing {
                            Ok(TurnStatus::Granted(granted)) => {
                                *fence = Some(granted);
                                let (new, log) = (new.clone(), log.clone());
                                self.poster.post_reply(new, log, granted).await
                            }
                            Ok(TurnStatus::Answered) => return None,
                            Ok(TurnStatus::Waiting) => Err(PostError::Fenced),
                            Err(error) => Err(error.into()),
                        }
                    }
                };
                match posted {
                    Ok(_) => return Some(Verdict::Ack),
                    Err(PostError::IdTaken) => {
                        let why =
                            format!("somebody else has posted under the reply's id {}", new.id);
                        tracing::error!(room = %new.room, "{why}");
                        return Some(Verdict::DeadLetter(why));
                    }
                    // Somebody else is at it: either they post it, or they are gone in a moment.
                    Err(PostError::Fenced) => {
                        if let Writer::Attempt { fence, .. } = &mut writer {
                            *fence = None;
                        }
                        sleep(POST_AGAIN_AFTER_ANOTHER).await;
                    }
                    Err(PostError::Unavailable { why, .. }) => {
                        failures += 1;
                        if failures.is_power_of_two() {
                            tracing::warn!(reply = %new.id, room = %new.room, failures, why, "the reply waits to be posted; check Redis and RabbitMQ");
                        }
                        back_off.wait().await;
                    }
                }
            }
        };
        tokio::select! {
            verdict = trying => verdict,
            () = interrupts.drain.over.cancelled() => {
                count("handed_back");
                Some(Verdict::HandBack)
            }
        }
    }
}

/// Why a request gets no reply by this worker.
enum NoReply {
    /// The worker drains: another is to do it.
    HandBack,
    /// It can never be answered, for this reason.
    Unanswerable(String),
}

impl From<HandBack> for NoReply {
    fn from(_: HandBack) -> NoReply {
        NoReply::HandBack
    }
}

/// With what right a reply is posted.
enum Writer<'a> {
    /// It is in the room already.
    Known,
    /// By the fence that this attempt has, or gets.
    Attempt {
        queued: &'a QueuedTurn,
        fence: Option<Fence>,
    },
}

enum Found {
    /// In the room's stream.
    Shown(Message),
    /// In the database.
    Kept,
}

/// Whether a reply may be in the database that the stream does not have: at a redelivery; if the request is so old
/// that the stream may have dropped its reply (it may also be in the queue twice, from an edge that got no confirm);
/// if the stream did not answer.
fn in_doubt(attempt: u32, age_micros: u64, stream_is_sure: bool) -> bool {
    attempt > 1 || age_micros >= STREAM_MIN_AGE.as_micros() as u64 / 2 || !stream_is_sure
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unknown_room(name: &str) -> Room {
    Room {
        name: name.to_owned(),
        private: false,
        bot: BotPolicy::Always,
        persona: String::new(),
        owner: String::new(),
    }
}

fn count(outcome: &'static str) {
    counter!("chinwag_bot_requests_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::in_doubt;

    #[test]
    fn a_fresh_first_delivery_is_no_reason_for_doubt() {
        let minute = 60_000_000;
        assert!(!in_doubt(1, 10_000, true));
        for (attempt, age, sure) in [(2, 0, true), (1, minute, true), (1, 0, false)] {
            assert!(in_doubt(attempt, age, sure));
        }
    }
}
