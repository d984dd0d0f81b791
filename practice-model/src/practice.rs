//! What all calls share: the orders in force, the quotas, the record. No sockets: the server asks it what to do.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::behaviour::{Behaviour, Fault, Outcome, RetryDelay};
use crate::chat::Speech;
use crate::conversation::{self, Conversation};
use crate::fault::{ErrorReply, error_reply, not_found};
use crate::gemini::{GenerateRequest, tokens_of};
use crate::grammar::GrammarError;
use crate::orders::{Orders, QuotaChange, Standing};
use crate::quota::{Exceeded, Limits, Meter, Quota, Usage};
use crate::record::Record;
use crate::reply;
use crate::script::{Asked, Script, error_script, script};

/// The models that are listed as long as none are set: the ones that the settings' defaults speak of.
const LISTED_MODELS: [&str; 3] = [
    "gemini-3.8-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
];

/// How often what was refused, by model.
#[derive(Debug, Clone, Serialize)]
pub struct QuotaReport {
    /// The models whose quota is kept and that were called.
    pub models: BTreeMap<String, Usage>,
    /// How often a quota was exceeded, over all models.
    pub exceeded: u64,
}

/// What all calls share.
#[derive(Debug)]
pub struct Practice {
    pub stopping: CancellationToken,
    pub seed: u64,
    standing: Mutex<Standing>,
    quotas: Mutex<Quotas>,
    record: Mutex<Record>,
    /// Counts changes of the record, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Quotas {
    all: Option<Limits>,
    models: BTreeMap<String, Quota>,
    meters: BTreeMap<String, Meter>,
}

/// A call that was taken: how it goes on.
#[derive(Debug)]
pub struct Decision {
    pub delay: Duration,
    pub outcome: String,
    pub script: Script,
}

/// The parts of a call that the decision needs.
#[derive(Debug)]
pub struct Call<'a> {
    pub speech: Speech,
    pub model: &'a str,
    pub streaming: bool,
    /// In Gemini's form.
    pub body: &'a [u8],
    /// The header `x-practice`.
    pub header: Option<&'a str>,
    pub id: u64,
}

impl Practice {
    pub fn new(seed: u64) -> Practice {
        Practice {
            stopping: CancellationToken::new(),
            seed,
            standing: Mutex::new(Standing::new(seed)),
            quotas: Mutex::default(),
            record: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub fn set(&self, orders: &Orders) -> Result<(), GrammarError> {
        let quotas = lock(&self.standing).set(orders)?;
        let mut kept = lock(&self.quotas);
        for change in &quotas {
            kept.change(change);
        }
        Ok(())
    }

    pub fn orders(&self) -> Orders {
        lock(&self.standing).orders()
    }

    /// Forgets orders, quotas and the record, and begins with the dice anew.
    pub fn reset(&self) {
        *lock(&self.standing) = Standing::new(self.seed);
        *lock(&self.quotas) = Quotas::default();
        lock(&self.record).clear();
        self.changed();
    }

    pub fn quota_report(&self) -> QuotaReport {
        let kept = lock(&self.quotas);
        let models: BTreeMap<_, _> = kept
            .meters
            .iter()
            .map(|(model, meter)| (model.clone(), meter.usage()))
            .collect();
        let exceeded = models.values().map(|usage| usage.refused).sum();
        QuotaReport { models, exceeded }
    }

    /// Reads the record.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&lock(&self.record))
    }

    /// Writes into the record, and wakes those who wait for it.
    pub fn write<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let result = change(&mut lock(&self.record));
        self.changed();
        result
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The models that are listed.
    pub fn listed_models(&self) -> Vec<String> {
        let standing = lock(&self.standing);
        match standing.known_models() {
            [] => LISTED_MODELS.map(str::to_owned).to_vec(),
            known => known.to_vec(),
        }
    }

    fn is_known(&self, model: &str) -> bool {
        let standing = lock(&self.standing);
        standing.known_models().is_empty()
            || standing.known_models().iter().any(|known| known == model)
    }

    /// What a question about a model gets; `Answer` if the model is there.
    pub fn decide_model(&self, model: &str, header: Option<&str>) -> Result<Behaviour, ErrorReply> {
        let header = header
            .map(str::parse)
            .transpose()
            .map_err(|error: GrammarError| bad_order(&error))?;
        if !self.is_known(model) {
            return Err(not_found(model));
        }
        Ok(lock(&self.standing).for_model(model, header))
    }

    /// What a call gets.
    pub fn decide(&self, call: &Call<'_>) -> Decision {
        self.try_decide(call).unwrap_or_else(|error| Decision {
            delay: Duration::ZERO,
            outcome: error.name(),
            script: error_script(&error, &Behaviour::default(), call.speech),
        })
    }

    fn try_decide(&self, call: &Call<'_>) -> Result<Decision, ErrorReply> {
        let request = GenerateRequest::read(call.body).map_err(ErrorReply::invalid_argument)?;
        let conversation = conversation::read(&request);
        self.write(|record| {
            record.note(call.id, |noted| {
                noted.text.clone_from(&conversation.last_turn);
            });
        });
        if !self.is_known(call.model) {
            return Err(not_found(call.model));
        }
        let header = call
            .header
            .map(str::parse)
            .transpose()
            .map_err(|error: GrammarError| bad_order(&error))?;
        let marker = conversation.marker.as_deref().map(str::parse::<Behaviour>);
        let not_understood = marker
            .as_ref()
            .and_then(|marker| marker.as_ref().err())
            .map(|error| reply::not_understood(&error.to_string()));
        let (behaviour, quota) = lock(&self.standing).for_call(
            call.model,
            &conversation.last_turn,
            marker.and_then(Result::ok),
            header,
        );

        let delay = behaviour.delay.unwrap_or_default();
        let input_tokens = request.input_tokens();
        if let Err(error) = self.take_quota(call.model, quota, input_tokens) {
            return Ok(Decision {
                delay,
                outcome: error.name(),
                script: error_script(&error, &behaviour, call.speech),
            });
        }

        let text = not_understood.unwrap_or_else(|| wanted_text(&behaviour, &conversation));
        let (text, finish) = within_limits(&text, &request);
        let response_id = format!("practice-{:08}", call.id);
        let asked = Asked {
            speech: call.speech,
            model: call.model,
            streaming: call.streaming,
            text,
            finish,
            input_tokens,
            response_id: &response_id,
        };
        let outcome = match &behaviour.outcome {
            Some(Outcome::Error(fault)) => error_reply(*fault, call.model, None, None).name(),
            Some(other) => other.word().to_owned(),
            None => Outcome::Answer.word().to_owned(),
        };
        Ok(Decision {
            delay,
            outcome,
            script: script(&behaviour, &asked),
        })
    }

    fn take_quota(
        &self,
        model: &str,
        change: Option<QuotaChange>,
        tokens: u64,
    ) -> Result<(), ErrorReply> {
        let mut kept = lock(&self.quotas);
        if let Some(change) = change {
            kept.change(&change);
        }
        let Some(meter) = kept.meter(model) else {
            return Ok(());
        };
        meter.take(since_epoch(), tokens).map_err(|refusal| {
            let retry = RetryDelay::from(refusal.retry);
            let (fault, retry) = match refusal.exceeded {
                Exceeded::RequestsPerMinute => (Fault::RequestsPerMinute, Some(&retry)),
                Exceeded::TokensPerMinute => (Fault::TokensPerMinute, Some(&retry)),
                Exceeded::RequestsPerDay => (Fault::RequestsPerDay, None),
            };
            error_reply(fault, model, retry, Some(refusal.limit))
        })
    }
}

impl Quotas {
    fn change(&mut self, change: &QuotaChange) {
        match (&change.model, change.quota) {
            (Some(model), quota) => {
                self.models.insert(model.clone(), quota);
            }
            (None, Quota::Limited(limits)) => self.all = Some(limits),
            // What was counted can still be asked for.
            (None, Quota::Unlimited) => (self.all, self.models) = (None, BTreeMap::new()),
        }
    }

    fn meter(&mut self, model: &str) -> Option<&mut Meter> {
        let limits = match self.models.get(model) {
            Some(Quota::Unlimited) => None,
            Some(Quota::Limited(limits)) => Some(*limits),
            None => self.all,
        }?;
        let meter = self
            .meters
            .entry(model.to_owned())
            .or_insert_with(|| Meter::new(limits));
        meter.set_limits(limits);
        Some(meter)
    }
}

fn bad_order(error: &GrammarError) -> ErrorReply {
    ErrorReply::invalid_argument(format!("x-practice is {error}"))
}

fn wanted_text(behaviour: &Behaviour, conversation: &Conversation) -> String {
    let text = behaviour
        .say
        .clone()
        .unwrap_or_else(|| reply::reply(conversation));
    match behaviour.words {
        Some(words) => reply::with_words(&text, words),
        None => text,
    }
}

/// The text as far as the caller's own limits let it go, and why it ends there.
fn within_limits<'a>(text: &'a str, request: &GenerateRequest) -> (&'a str, &'static str) {
    let Some(config) = &request.generation_config else {
        return (text, "STOP");
    };
    let stop = config
        .stop_sequences
        .iter()
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    let text = &text[..stop.unwrap_or(text.len())];
    match config
        .max_output_tokens
        .and_then(|most| usize::try_from(most).ok())
    {
        Some(most) if tokens_of(text) > most as u64 => {
            // Four characters a token, as everywhere here.
            let end = text
                .char_indices()
                .nth(most.saturating_mul(4))
                .map_or(text.len(), |(at, _)| at);
            (&text[..end], "MAX_TOKENS")
        }
        _ => (text, "STOP"),
    }
}

/// Since the Unix epoch.
pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The same in µs.
pub fn micros_since_epoch() -> u64 {
    // Enough for half a million years.
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// A panic while one of these was held left nothing half done: every change is a single assignment or insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
