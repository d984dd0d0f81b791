//! What all calls share: the orders in force, the quota, the record. No sockets: the server asks it what to do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::chat::Speech;
use crate::conversation::{self, Conversation};
use crate::fault::{ErrorReply, OVER_REQUESTS, OVER_TOKENS};
use crate::gemini::{GenerateRequest, tokens_of};
use crate::order::{Behaviour, OrderError, Outcome};
use crate::quota::Meter;
use crate::record::Record;
use crate::reply;
use crate::script::{Asked, Script, error_script, script};

/// Most orders that may wait for the next calls.
const QUEUE_LIMIT: usize = 10_000;

/// What a control call changes; what it leaves out stays. Orders are in the language of the crate's table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// For every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// For the next calls, one each; replaces what still waits. At most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<String>>,
    /// For the calls of one model; an empty text takes it back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
}

/// What was used of the quotas of all models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct QuotaReport {
    /// Calls that were within their quota.
    pub accepted: u64,
    /// How often a quota was exceeded.
    pub exceeded: u64,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Practice {
    pub stopping: CancellationToken,
    orders: Mutex<Standing>,
    quotas: Mutex<Quotas>,
    record: Mutex<Record>,
    /// Counts changes of the record, for those who wait for one.
    changes: watch::Sender<u64>,
}

/// The orders in force, all of which were found readable.
#[derive(Debug, Default)]
struct Standing {
    default: String,
    models: BTreeMap<String, String>,
    next: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Quotas {
    meters: BTreeMap<String, Meter>,
    report: QuotaReport,
}

/// A call that was taken: how it goes on.
#[derive(Debug)]
pub(crate) struct Decision {
    pub delay: Duration,
    pub outcome: String,
    pub script: Script,
}

/// The parts of a call that the decision needs.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub speech: Speech,
    pub model: &'a str,
    /// In Gemini's form.
    pub body: &'a [u8],
    pub id: u64,
}

impl Practice {
    pub(crate) fn new() -> Practice {
        Practice {
            stopping: CancellationToken::new(),
            orders: Mutex::default(),
            quotas: Mutex::default(),
            record: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Takes new orders, all or none of them.
    pub(crate) fn set(&self, orders: &Orders) -> Result<(), OrderError> {
        let next = orders.next.iter().flatten();
        for order in orders
            .default
            .iter()
            .chain(next)
            .chain(orders.models.values())
        {
            Behaviour::default().under(order)?;
        }
        if orders
            .next
            .as_ref()
            .is_some_and(|next| next.len() > QUEUE_LIMIT)
        {
            return Err(OrderError(format!(
                "at most {QUEUE_LIMIT} orders may wait for the next calls"
            )));
        }
        let mut standing = lock(&self.orders);
        if let Some(default) = &orders.default {
            standing.default.clone_from(default);
        }
        if let Some(next) = &orders.next {
            standing.next = next.iter().cloned().collect();
        }
        standing.models.extend(orders.models.clone());
        Ok(())
    }

    /// Forgets orders, quotas and the record.
    pub(crate) fn reset(&self) {
        *lock(&self.orders) = Standing::default();
        *lock(&self.quotas) = Quotas::default();
        self.write(Record::clear);
    }

    pub(crate) fn quota_report(&self) -> QuotaReport {
        lock(&self.quotas).report
    }

    /// Reads the record.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&lock(&self.record))
    }

    /// Writes into the record, and wakes those who wait for it.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let result = change(&mut lock(&self.record));
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What a question about a model gets: by the standing orders, and nothing is used up.
    pub(crate) fn decide_model(&self, model: &str) -> Result<Behaviour, OrderError> {
        let standing = lock(&self.orders);
        let own = standing.models.get(model).map(String::as_str);
        Behaviour::default()
            .under(&standing.default)?
            .under(own.unwrap_or_default())
    }

    /// What a call of this model gets, from the general to the special: default, model, queue, marker. The queue moves on
    /// by one.
    fn behaviour(&self, model: &str, marker: &str) -> Result<Behaviour, OrderError> {
        let standing = self.decide_model(model)?;
        let next = lock(&self.orders).next.pop_front().unwrap_or_default();
        standing.under(&next)?.under(marker)
    }

    /// What a call gets.
    pub(crate) fn decide(&self, call: &Call<'_>) -> Decision {
        let request = match GenerateRequest::read(call.body) {
            Ok(request) => request,
            Err(problem) => {
                let error = ErrorReply::invalid_argument(problem);
                return refused(&error, &Behaviour::default(), call.speech);
            }
        };
        if let Err(problem) = request.check_model(call.model) {
            let error = ErrorReply::invalid_argument(problem);
            return refused(&error, &Behaviour::default(), call.speech);
        }
        let conversation = conversation::read(&request);
        self.write(|record| {
            record.note(call.id, |noted| {
                noted.text.clone_from(&conversation.last_turn);
            });
        });
        let marker = conversation.marker.as_deref().unwrap_or_default();
        let (marker, problem) = match Behaviour::default().under(marker) {
            Ok(_) => (marker, None),
            Err(error) => ("", Some(error.to_string())),
        };
        let behaviour = match self.behaviour(call.model, marker) {
            Ok(behaviour) => behaviour,
            // Each was found readable when it was set.
            Err(error) => {
                let error = ErrorReply::invalid_argument(error.to_string());
                return refused(&error, &Behaviour::default(), call.speech);
            }
        };
        let problem_of_model = if behaviour.no_thinking && request.speaks_of_thinking() {
            Some("Thinking is not supported for this model.")
        } else if behaviour.no_tools && request.offers_tools() {
            Some("Search Grounding is not supported.")
        } else {
            None
        };
        if let Some(problem) = problem_of_model {
            let error = ErrorReply::invalid_argument(problem);
            return refused(&error, &behaviour, call.speech);
        }
        let input_tokens = request.input_tokens();
        if let Err(error) = self.take_quota(call.model, &behaviour, input_tokens) {
            return refused(&error, &behaviour, call.speech);
        }

        let text = match problem {
            Some(problem) => reply::not_understood(&problem),
            None => wanted_text(&behaviour, &conversation),
        };
        let (text, finish) = within_limits(&text, &request);
        let asked = Asked {
            speech: call.speech,
            model: call.model,
            text,
            finish,
            input_tokens,
            includes_thoughts: request.includes_thoughts(),
            may_search: request.offers("google_search"),
            may_read: request.offers("url_context"),
            response_id: &format!("practice-{:08}", call.id),
        };
        let outcome = match &behaviour.outcome {
            Some(Outcome::Error(fault)) => fault.reply(call.model, None, None).name(),
            Some(other) => other.word().to_owned(),
            None => Outcome::Answer.word().to_owned(),
        };
        Decision {
            delay: behaviour.delay,
            outcome,
            script: script(&behaviour, &asked),
        }
    }

    fn take_quota(
        &self,
        model: &str,
        behaviour: &Behaviour,
        tokens: u64,
    ) -> Result<(), ErrorReply> {
        let Some(limits) = behaviour.quota else {
            return Ok(());
        };
        let mut quotas = lock(&self.quotas);
        let meter = quotas.meters.entry(model.to_owned()).or_default();
        let taken = meter.take(limits, since_epoch(), tokens);
        match taken {
            Ok(()) => quotas.report.accepted += 1,
            Err(_) => quotas.report.exceeded += 1,
        }
        taken.map_err(|refusal| {
            // Google writes nine digits.
            let retry = format!("{:.9}s", refusal.retry.as_secs_f64());
            let fault = if refusal.is_of_tokens {
                &OVER_TOKENS
            } else {
                &OVER_REQUESTS
            };
            fault.reply(model, Some(&retry), Some(refusal.limit))
        })
    }
}

fn refused(error: &ErrorReply, behaviour: &Behaviour, speech: Speech) -> Decision {
    Decision {
        delay: behaviour.delay,
        outcome: error.name(),
        script: error_script(error, behaviour, speech),
    }
}

fn wanted_text(behaviour: &Behaviour, conversation: &Conversation) -> String {
    let said = behaviour.say.clone();
    let text = said.unwrap_or_else(|| reply::reply(conversation));
    match behaviour.words {
        Some(words) => reply::with_words(&text, words),
        None => text,
    }
}

/// The text as far as the caller's own limit lets it go, and why it ends there.
fn within_limits<'a>(text: &'a str, request: &GenerateRequest) -> (&'a str, &'static str) {
    match request.output_limit() {
        Some(most) if tokens_of(text) > most as u64 => {
            // Four characters a token, as everywhere here.
            let end = text.char_indices().nth(most.saturating_mul(4));
            (&text[..end.map_or(text.len(), |(at, _)| at)], "MAX_TOKENS")
        }
        _ => (text, "STOP"),
    }
}

/// Since the Unix epoch.
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The same in µs.
pub(crate) fn micros_since_epoch() -> u64 {
    // Enough for half a million years.
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// A panic while one of these was held left nothing half done: every change is a single assignment or insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
