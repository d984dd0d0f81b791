//! What the practice model was asked: every call with its time, its body and how it went, so that a test can say "asked
//! once", "asked the second model", "hung up when the deadline came".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::Value;
use serde_json::value::RawValue;

/// Most calls that are kept; the oldest go first.
pub(crate) const KEPT_CALLS: usize = 10_000;

/// Most bytes of bodies that are kept; the oldest calls go first.
pub(crate) const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// One call to a model, whatever became of it.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedCall {
    /// Counts up from 1, over a reset too.
    pub id: u64,
    /// The model's name, without `models/`.
    pub model: String,
    /// When it came, in µs since the Unix epoch.
    pub at: u64,
    /// The text of the last user turn; empty if the body could not be read.
    pub text: String,
    /// The whole body.
    #[serde(serialize_with = "raw")]
    body: Arc<str>,
    /// `ok`, an outcome's word, an error such as `429 RESOURCE_EXHAUSTED`, or `waiting` before it is decided.
    pub outcome: String,
    /// Whether the server is done with it.
    pub ended: bool,
    /// Whether the caller hung up before that.
    pub hung_up: bool,
    /// How long it took until it ended, in µs.
    pub took: Option<u64>,
    /// How many calls were under way when it came, itself among them.
    pub under_way: usize,
    /// What it has used until it ended, or was hung up on.
    pub used: CallUse,
}

/// What a call has used, as the model that answers it would be paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallUse {
    /// Tokens that went in, those of tools among them.
    pub tokens_in: u64,
    /// Those of them that were cached.
    pub tokens_cached: u64,
    /// Tokens that came out, thoughts among them.
    pub tokens_out: u64,
    /// Those of them that were thoughts.
    pub tokens_thought: u64,
    /// Queries that were searched.
    pub searches: u64,
}

impl CallUse {
    /// What an event of Gemini's says was used by then.
    pub(crate) fn of_event(event: &Value) -> CallUse {
        let counts = &event["usageMetadata"];
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        let queries = &event["candidates"][0]["groundingMetadata"]["webSearchQueries"];
        CallUse {
            tokens_in: count("promptTokenCount") + count("toolUsePromptTokenCount"),
            tokens_cached: count("cachedContentTokenCount"),
            tokens_out: count("candidatesTokenCount") + count("thoughtsTokenCount"),
            tokens_thought: count("thoughtsTokenCount"),
            searches: queries.as_array().map_or(0, |queries| queries.len() as u64),
        }
    }

    /// Both together.
    pub fn and(self, other: CallUse) -> CallUse {
        CallUse {
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_cached: self.tokens_cached + other.tokens_cached,
            tokens_out: self.tokens_out + other.tokens_out,
            tokens_thought: self.tokens_thought + other.tokens_thought,
            searches: self.searches + other.searches,
        }
    }

    /// What is known by now, where this was known before.
    fn at_least(self, before: CallUse) -> CallUse {
        CallUse {
            searches: self.searches.max(before.searches),
            ..self
        }
    }
}

impl ReceivedCall {
    /// The whole body; one that was not JSON comes as a string.
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| Value::from(&*self.body))
    }
}

fn raw<S: Serializer>(body: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(body) {
        Ok(json) => json.serialize(serializer),
        Err(_) => body.serialize(serializer),
    }
}

/// What the calls of one model have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ModelUse {
    /// How many calls there were, whatever became of them.
    pub calls: u64,
    /// What they have used together.
    #[serde(flatten)]
    pub used: CallUse,
}

/// The calls that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Record {
    calls: VecDeque<ReceivedCall>,
    bytes: usize,
    last_id: u64,
    received: u64,
    under_way: usize,
    model_checks: u64,
}

impl Record {
    /// A call came.
    pub(crate) fn begin(&mut self, model: &str, at: u64, body: &[u8]) -> u64 {
        self.last_id += 1;
        self.received += 1;
        self.under_way += 1;
        self.bytes += body.len();
        self.calls.push_back(ReceivedCall {
            id: self.last_id,
            model: model.to_owned(),
            at,
            text: String::new(),
            body: String::from_utf8_lossy(body).into(),
            outcome: "waiting".to_owned(),
            ended: false,
            hung_up: false,
            took: None,
            under_way: self.under_way,
            used: CallUse::default(),
        });
        while self.calls.len() > KEPT_CALLS || (self.bytes > KEPT_BYTES && self.calls.len() > 1) {
            if let Some(forgotten) = self.calls.pop_front() {
                self.bytes = self.bytes.saturating_sub(forgotten.body.len());
            }
        }
        self.last_id
    }

    /// Changes what is known of a call, if it is still remembered.
    pub(crate) fn note(&mut self, id: u64, change: impl FnOnce(&mut ReceivedCall)) {
        // Ids count up without a gap, so the place is known; `get` covers those forgotten.
        let first = self.calls.front().map_or(u64::MAX, |call| call.id);
        let place = id
            .checked_sub(first)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            change(call);
        }
    }

    /// A call has used so much by now.
    pub(crate) fn used(&mut self, id: u64, used: CallUse) {
        let before = |call: &ReceivedCall| call.used;
        self.note(id, |call| call.used = used.at_least(before(call)));
    }

    /// What all calls that are remembered have used, by model.
    pub(crate) fn used_by_model(&self) -> BTreeMap<String, ModelUse> {
        let mut by_model: BTreeMap<String, ModelUse> = BTreeMap::new();
        for call in &self.calls {
            let of_model = by_model.entry(call.model.clone()).or_default();
            of_model.calls += 1;
            of_model.used = of_model.used.and(call.used);
        }
        by_model
    }

    /// A call ended, at that time in µs since the Unix epoch.
    pub(crate) fn end(&mut self, id: u64, at: u64, hung_up: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        self.note(id, |call| {
            call.ended = true;
            call.hung_up = hung_up;
            call.took = Some(at.saturating_sub(call.at));
        });
    }

    /// Somebody asked whether a model is there.
    pub(crate) fn model_check(&mut self) {
        self.model_checks += 1;
    }

    /// How often somebody did.
    pub(crate) fn model_checks(&self) -> u64 {
        self.model_checks
    }

    /// All calls since the last reset, those forgotten too.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The calls after that id, the oldest first.
    pub(crate) fn after(&self, id: u64) -> Vec<ReceivedCall> {
        self.calls
            .iter()
            .filter(|call| call.id > id)
            .cloned()
            .collect()
    }

    /// Forgets all; what is under way stays under way.
    pub(crate) fn clear(&mut self) {
        *self = Record {
            last_id: self.last_id,
            under_way: self.under_way,
            ..Record::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_kept_up_to_the_limit_and_ended_by_id() {
        let mut record = Record::default();
        for _ in 0..KEPT_CALLS + 5 {
            record.begin("m", 10, b"{\"a\":1}");
        }
        record.end(3, 20, true);
        record.end(7, 25, true);
        let calls = record.after(0);
        assert_eq!(
            (calls.len(), record.received()),
            (KEPT_CALLS, KEPT_CALLS as u64 + 5)
        );
        assert_eq!(
            (calls[0].id, calls[1].id, calls[1].hung_up, calls[1].took),
            (6, 7, true, Some(15))
        );
        assert_eq!(calls[0].body(), serde_json::json!({"a": 1}));
        record.clear();
        assert_eq!(record.begin("m", 1, b"not json"), KEPT_CALLS as u64 + 6);
        assert_eq!(
            serde_json::to_value(&record.after(0)[0]).unwrap()["body"],
            "not json"
        );
        // Ending one that came before the reset touches none of the new.
        record.end(7, 30, true);
        assert!(!record.after(0)[0].ended);
    }

    #[test]
    fn large_bodies_make_older_calls_go() {
        let mut record = Record::default();
        let large = vec![b' '; KEPT_BYTES / 2];
        for _ in 0..3 {
            record.begin("m", 1, &large);
        }
        assert_eq!(record.after(0).len(), 2);
    }
}
