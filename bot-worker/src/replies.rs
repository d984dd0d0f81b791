//! The one reply to a request: looks whether it is there, and posts it until it is kept.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::{ReplyDetails, ReplyLog},
    live::{
        Live, LiveError, STREAM_MIN_AGE,
        turns::{Fence, TurnStatus},
    },
    names::BOT,
    posting::{PostError, Poster},
    queue::{Route, Verdict},
    retry::RetryPolicy,
    store::Store,
    timeline::Timeline,
    traces::{self, Span},
    wire::{Kind, Message, NewMessage, Seq, now_seq},
};
use metrics::{counter, histogram};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    answering::Request, asking::AskOutcome, context::SINCE_MAX_MESSAGES, fallback::Reason,
    interrupts::Interrupts, prices::Prices, spending::Tally, turns::Claim,
};

/// How long the engines may take to tell whether there is a reply already, before it goes on without.
pub(crate) const LOOK_UP_TIME: Duration = Duration::from_secs(3);
/// And how long of that a request has whose time is up: it is not answered twice for being late.
const LOOK_UP_TIME_LATE: Duration = Duration::from_millis(500);
/// When a reply that was not kept is posted again.
const POST_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(2));
/// When it is, while another attempt at it has the right to: either that posts it, or it is gone in a moment.
const POST_AGAIN_AFTER_ANOTHER: Duration = Duration::from_millis(100);

/// What is needed to find and post replies.
pub(crate) struct Replies {
    pub live: Arc<dyn Live>,
    pub store: Arc<dyn Store>,
    pub timeline: Timeline,
    pub poster: Poster,
    pub fallback: Option<String>,
    pub prices: Prices,
}

/// Where a reply was found.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub(crate) enum Found {
    /// In the room's stream.
    Shown(Message),
    /// In the database.
    Kept,
}

impl Replies {
    /// The reply, if an earlier attempt has posted it. The stream is always asked, which costs next to nothing beside a
    /// model; the database only where the stream may have dropped it, or never heard of it: a live engine that has lost its
    /// memory does not know the request either.
    pub(crate) async fn find(
        &self,
        request: &Request,
        respond_by: Instant,
        is_known: bool,
    ) -> Option<Found> {
        let now = Instant::now();
        let until = respond_by.clamp(now + LOOK_UP_TIME_LATE, now + LOOK_UP_TIME);
        let Message { room, seq, id, .. } = &request.message;
        let (shown, asked) = tokio::join!(
            timeout_at(until, self.live.find(room, request.reply)),
            timeout_at(until, self.live.find(room, *id)),
        );
        if let Ok(Ok(Some(reply))) = shown {
            return Some(Found::Shown(reply));
        }
        let knows_request = matches!(&asked, Ok(Ok(Some(asked))) if asked.seq == *seq);
        let stream_is_sure = matches!(shown, Ok(Ok(None))) && knows_request && !is_known;
        let age = now_seq().saturating_sub(*seq);
        if !in_doubt(request.attempt, age, stream_is_sure) {
            return None;
        }
        let kept = timeout_at(until, self.store.find(room, request.reply)).await;
        matches!(kept, Ok(Ok(Some(_)))).then_some(Found::Kept)
    }

    /// Whether the request's room was deleted. Not, if that cannot be told.
    pub(crate) async fn has_lost_its_room(&self, request: &Request) -> bool {
        let deleted = self.store.was_deleted(&request.message.room);
        matches!(timeout(LOOK_UP_TIME, deleted).await, Ok(Ok(true)))
    }

    /// Whether the reply has come to the database.
    pub(crate) async fn is_kept(&self, request: &Request) -> bool {
        let kept = self.store.find(&request.message.room, request.reply);
        matches!(timeout(LOOK_UP_TIME, kept).await, Ok(Ok(Some(_))))
    }

    /// Posts what came of asking. None if another attempt has posted the reply meanwhile, or is to, since what this one was
    /// told has changed. To a question that is deleted nothing is replied.
    pub(crate) async fn post(
        &self,
        request: &Request,
        outcome: AskOutcome,
        tally: Option<&Tally>,
        claim: &Claim,
        right: Right,
        interrupts: &Interrupts,
    ) -> Option<Verdict> {
        let text = match (&outcome.text, outcome.reason) {
            (Some(text), _) => text.into(),
            (None, reason) => reason
                .unwrap_or(Reason::Broken)
                .text(self.fallback.as_deref(), outcome.again),
        };
        let was_stopped = outcome.reason == Some(Reason::Stopped);
        let stopped_by = interrupts.stopped.by().filter(|_| was_stopped);
        let new = NewMessage {
            room: request.message.room.clone(),
            id: request.reply,
            sender: BOT.to_owned(),
            kind: outcome.kind,
            message: text.into_owned(),
            reply_to: Some(request.message.id),
            of: None,
            stopped_by: stopped_by.map(str::to_owned),
            grounding: outcome.grounding,
        };
        let total = request.received.elapsed();
        let first_token = outcome
            .first_word
            .map(|at| at.saturating_duration_since(request.received.into_std()));
        let cost_micros = self.prices.cost_of(&outcome.used);
        let usage = outcome.used.total();
        let log = ReplyLog {
            request: request.message.id,
            user: request.asker().to_owned(),
            model: outcome.model.clone(),
            attempts: outcome.calls,
            tokens_in: usage.tokens_in,
            tokens_out: usage.tokens_out,
            first_token_ms: first_token.map(millis),
            total_ms: millis(total),
            cost_micros,
            outcome: outcome.word.to_owned(),
            details: ReplyDetails {
                tokens_cached: usage.tokens_cached,
                tokens_thought: usage.tokens_thought,
                searches: usage.searches,
                estimated: usage.is_estimated,
            },
        };
        let writer = Writer::Attempt {
            claim,
            request,
            right,
        };
        let posted = self.post_until_kept(new, log, writer, interrupts).await?;
        if let (Settled::Kept { is_own: true }, Some(tally)) = (&posted, tally) {
            tally.logged();
        }
        let verdict = posted.verdict();
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
        Some(verdict)
    }

    /// A reply that an earlier attempt has shown: its text stands, and it is handed to `persist` once more, since that
    /// attempt may have died before it was.
    pub(crate) async fn post_again(
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
            stopped_by,
            grounding,
            ..
        } = reply;
        let user = request.asker().to_owned();
        let log = ReplyLog::of_another_attempt(request.message.id, user);
        let new = NewMessage {
            room,
            id,
            sender,
            kind,
            message,
            reply_to,
            of: None,
            stopped_by,
            grounding,
        };
        let posted = self.post_until_kept(new, log, Writer::Known, interrupts);
        posted.await.map_or(Verdict::Ack, Settled::verdict)
    }

    /// The question as it is now; none if that cannot be told within this time.
    pub(crate) async fn newest(&self, request: &Request, within: Duration) -> Option<Message> {
        let Message { room, id, .. } = &request.message;
        let found = timeout(within, self.timeline.find(room, *id)).await;
        found.ok()?.ok()?
    }

    /// Whether what was made of a room's messages may be posted by a fence that was given before this is asked.
    async fn still_holds(&self, request: &Request, right: &mut Right) -> Result<Holds, LiveError> {
        if right.is_checked {
            return Ok(Holds::Yes);
        }
        // It may be late by now.
        let newest = self.newest(request, LOOK_UP_TIME_LATE).await;
        if newest.is_some_and(|question| question.deleted) {
            return Ok(Holds::Deleted);
        }
        let Message { room, id, .. } = &request.message;
        if let Some(seen) = right.seen {
            let since = self.live.tail(room, seen, SINCE_MAX_MESSAGES).await?;
            let has_changed = |event: &Message| {
                event.kind == Kind::Deleted || event.kind == Kind::Edited && event.of == Some(*id)
            };
            let is_all = since.reaches_back && since.messages.len() < SINCE_MAX_MESSAGES;
            if !is_all || since.messages.iter().any(has_changed) {
                return Ok(Holds::Changed);
            }
        }
        right.is_checked = true;
        Ok(Holds::Yes)
    }

    /// Tries as long as this process lives: a reply that was written is not thrown away. How many are kept so is
    /// bounded by the prefetch. None if another attempt has posted the reply meanwhile.
    async fn post_until_kept(
        &self,
        new: NewMessage,
        log: ReplyLog,
        mut writer: Writer<'_>,
        interrupts: &Interrupts,
    ) -> Option<Settled> {
        let mut back_off = POST_AGAIN.back_off();
        let span = Span::child("reply", traces::current());
        let trying = traces::within(span.context(), async {
            let (mut tries, mut failures) = (0_u32, 0_u32);
            loop {
                tries = tries.saturating_add(1);
                let posted = match &mut writer {
                    Writer::Known => {
                        self.poster
                            .post(new.clone(), Route::Persist, Some(log.clone()))
                            .await
                    }
                    Writer::Attempt {
                        claim,
                        request,
                        right,
                    } => {
                        let standing = match right.fence {
                            Some(fence) => Ok(TurnStatus::Granted(fence)),
                            None => claim.take_now().await,
                        };
                        match standing {
                            Ok(TurnStatus::Granted(granted)) => {
                                right.fence = Some(granted);
                                match self.still_holds(request, right).await {
                                    Ok(Holds::Yes) => {
                                        let (new, log) = (new.clone(), log.clone());
                                        self.poster.post_reply(new, log, granted).await
                                    }
                                    Ok(Holds::Changed) => {
                                        claim.release(None, false).await;
                                        return None;
                                    }
                                    Ok(Holds::Deleted) => {
                                        claim.release(None, true).await;
                                        count("deleted");
                                        return Some(Settled::Without(Verdict::Ack));
                                    }
                                    Err(error) => Err(error.into()),
                                }
                            }
                            Ok(TurnStatus::Answered) => return None,
                            Ok(TurnStatus::Waiting) => Err(PostError::Fenced),
                            Err(error) => Err(error.into()),
                        }
                    }
                };
                match posted {
                    Ok(posted) => {
                        // Where it was there already, it may be from an attempt of this loop whose confirm did not
                        // come.
                        let was_posted = tries > 1 && posted.message.message == new.message;
                        let is_own = posted.first || was_posted;
                        return Some(Settled::Kept { is_own });
                    }
                    Err(
                        error @ (PostError::IdTaken | PostError::Gone | PostError::TooSoon { .. }),
                    ) => {
                        let why = format!("the reply's id {} is not free: {error}", new.id);
                        tracing::error!(room = %new.room, "{why}");
                        return Some(Settled::Without(Verdict::DeadLetter(why)));
                    }
                    // Nobody is there to read it.
                    Err(PostError::RoomGone) => return None,
                    // Somebody else is at it: either they post it, or they are gone in a moment. Or something has changed.
                    Err(PostError::Fenced) => {
                        if let Writer::Attempt { right, .. } = &mut writer {
                            (right.fence, right.is_checked) = (None, false);
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
        });
        tokio::select! {
            verdict = trying => verdict,
            () = interrupts.drain.over.cancelled() => {
                count("handed_back");
                Some(Settled::Without(Verdict::HandBack))
            }
        }
    }
}

/// What came of posting a reply.
enum Settled {
    /// It is in the room, and will be in the database.
    Kept {
        /// It is what this attempt wrote, so that the log is as well. What another has written may have a log of its
        /// own.
        is_own: bool,
    },
    /// It is not, and this is to be done with the request.
    Without(Verdict),
}

impl Settled {
    fn verdict(self) -> Verdict {
        match self {
            Settled::Kept { .. } => Verdict::Ack,
            Settled::Without(verdict) => verdict,
        }
    }
}

/// With what right a reply is posted.
enum Writer<'a> {
    /// It is in the room already.
    Known,
    /// By the fence that this attempt has, or gets.
    Attempt {
        claim: &'a Claim,
        request: &'a Request,
        right: Right,
    },
}

/// The right to post what an attempt has come to.
pub(crate) struct Right {
    /// None if it is still to be asked for, out of turn.
    fence: Option<Fence>,
    /// Up to where it takes in what has changed in the room, if it says anything of what was said there; none if it is
    /// words of our own.
    seen: Option<Seq>,
    /// Whether the question was looked at since the fence was given. What changes it later makes the fence void.
    is_checked: bool,
}

impl Right {
    /// Of one who had the turn, and has read after that what was said. An edit of the question voids the fence of its first
    /// answer; a further one (`is_first` is false) has to look for it.
    pub(crate) fn of_turn(fence: Fence, seen: Option<Seq>, is_first: bool) -> Right {
        Right {
            fence: Some(fence),
            seen,
            is_checked: is_first,
        }
    }

    /// Of one who says words of our own, with the turn or without.
    pub(crate) fn of_own_words(fence: Option<Fence>) -> Right {
        Right {
            fence,
            seen: None,
            is_checked: false,
        }
    }
}

/// Whether a reply may still be posted.
enum Holds {
    Yes,
    /// What it was made of has another text by now, or is gone.
    Changed,
    /// Its question is gone.
    Deleted,
}

/// Whether a reply may be in the database that the stream does not have: at a redelivery; if the request is so old
/// that the stream may have dropped its reply (it may also be in the queue twice, from an edge that got no confirm);
/// if the stream did not answer, or does not know the request.
fn in_doubt(attempt: u32, age_micros: u64, stream_is_sure: bool) -> bool {
    attempt > 1 || age_micros >= STREAM_MIN_AGE.as_micros() as u64 / 2 || !stream_is_sure
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Counts how a request ended.
pub(crate) fn count(outcome: &'static str) {
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
