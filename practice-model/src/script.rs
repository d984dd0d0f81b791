//! Turns an order into the steps of one response: what is sent, when it waits, where it breaks off. Pure, so that how a
//! response goes wrong is decided here, and the server only walks the steps.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::behaviour::{Behaviour, CutAt, Outcome, Stops};
use crate::chat::Speech;
use crate::fault::{ErrorReply, error_reply};
use crate::gemini::tokens_of;
use crate::reply::chunks;

/// Between two chunks, unless `pace=` says otherwise: about as fast as the real one writes.
pub const DEFAULT_PACE: Duration = Duration::from_millis(30);

const JSON: &str = "application/json; charset=UTF-8";
const EVENTS: &str = "text/event-stream";
const HTML: &str = "text/html; charset=UTF-8";

const THOUGHTS: [&str; 2] = [
    "**Thinking it over**\n\nThis is a thought, it is not to be shown. ",
    "Nor is this one.",
];

/// Stands before a text that has no character of several bytes, where one is needed to be cut in two.
const SEVERAL_BYTES: &str = "Grüß dich 👋 ";

/// What a call asked for, as far as the response needs it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Whose API the call speaks.
    pub speech: Speech,
    /// The model's name, without `models/`.
    pub model: &'a str,
    /// `streamGenerateContent` or not.
    pub streaming: bool,
    /// The whole text of the reply.
    pub text: &'a str,
    /// The finish that the text has by itself: STOP, or MAX_TOKENS where the caller's limit cut it.
    pub finish: &'a str,
    /// Input tokens, for `usageMetadata`.
    pub input_tokens: u64,
    /// `responseId`.
    pub response_id: &'a str,
}

/// How a call goes on after the delay.
#[derive(Debug, PartialEq)]
pub enum Script {
    /// Never a header.
    Hang,
    /// The connection is closed before any header.
    Drop,
    /// Headers, and then the steps.
    Respond {
        /// The HTTP status.
        status: u16,
        /// The header `Content-Type`.
        content_type: &'static str,
        /// The body.
        steps: Vec<Step>,
    },
}

/// One step of a body.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Nothing more, while the connection stays open.
    Stall,
    /// Closes the connection.
    Cut,
}

/// Writes the script of a call.
pub fn script(behaviour: &Behaviour, asked: &Asked<'_>) -> Script {
    let respond = |status, content_type, steps| Script::Respond {
        status,
        content_type,
        steps,
    };
    match behaviour.outcome.as_ref().unwrap_or(&Outcome::Answer) {
        Outcome::Hang => Script::Hang,
        Outcome::Drop => Script::Drop,
        Outcome::Empty => respond(200, if asked.streaming { EVENTS } else { JSON }, Vec::new()),
        Outcome::Html(status) => {
            let page = format!(
                "<!DOCTYPE html>\n<html><head><title>Error {status}</title></head><body><h1>Error {status}</h1></body></html>\n"
            );
            respond(*status, HTML, vec![Step::Send(page.into())])
        }
        Outcome::Error(fault) => error_script(
            &error_reply(*fault, asked.model, behaviour.retry.as_ref(), None),
            behaviour,
            asked.speech,
        ),
        outcome if asked.streaming => respond(200, EVENTS, stream_steps(outcome, behaviour, asked)),
        outcome => respond(200, JSON, whole_steps(outcome, behaviour, asked)),
    }
}

/// The script of an error.
pub fn error_script(error: &ErrorReply, behaviour: &Behaviour, speech: Speech) -> Script {
    let (status, body) = error_body(error, behaviour, speech);
    let steps = split(vec![Step::Send(pretty(&body))], behaviour);
    Script::Respond {
        status,
        content_type: JSON,
        steps,
    }
}

/// With its HTTP status.
fn error_body(error: &ErrorReply, behaviour: &Behaviour, speech: Speech) -> (u16, Value) {
    let (status, body) = speech.error(error);
    if behaviour.in_array {
        (status, json!([body]))
    } else {
        (status, body)
    }
}

fn pretty(body: &Value) -> Bytes {
    format!("{body:#}\n").into()
}

fn stream_steps(outcome: &Outcome, behaviour: &Behaviour, asked: &Asked<'_>) -> Vec<Step> {
    let line_end = if behaviour.crlf { "\r\n" } else { "\n" };
    let frame = |event: &String| Bytes::from(format!("data: {event}{line_end}{line_end}"));
    let ends = behaviour.stops != Some(Stops::Never);
    let frames = |events: Vec<Value>| {
        let events = asked.speech.events(&events, ends);
        events.iter().map(frame).collect::<Vec<_>>()
    };

    let needs_several_bytes = *outcome == Outcome::Cut(CutAt::Character) && asked.text.is_ascii();
    let text = if needs_several_bytes {
        format!("{SEVERAL_BYTES}{}", asked.text)
    } else {
        asked.text.to_owned()
    };
    let whole = |outcome| {
        frames(
            Events {
                behaviour,
                asked,
                outcome,
            }
            .all(&text),
        )
    };

    let (sent, end) = match outcome {
        Outcome::Stall => (
            first(whole(outcome), behaviour.after.unwrap_or(2)),
            Some(Step::Stall),
        ),
        Outcome::Cut(at) => (cut(whole(outcome), behaviour.after, *at), Some(Step::Cut)),
        Outcome::Garbage => {
            let mut sent = first(whole(outcome), behaviour.after.unwrap_or(0));
            sent.push(format!("data: {{\"candidates\": [{{\"conte%%%{line_end}{line_end}").into());
            (sent, None)
        }
        Outcome::EventError(fault) => {
            let mut sent = first(whole(outcome), behaviour.after.unwrap_or(0));
            let error = error_reply(*fault, asked.model, behaviour.retry.as_ref(), None);
            let (_, body) = error_body(&error, behaviour, asked.speech);
            sent.push(frame(&body.to_string()));
            (sent, None)
        }
        _ => (whole(outcome), None),
    };
    let pace = behaviour.pace.unwrap_or(DEFAULT_PACE);
    let mut steps = Vec::new();
    for (index, bytes) in sent.into_iter().enumerate() {
        if index > 0 && !pace.is_zero() {
            steps.push(Step::Wait(pace));
        }
        steps.push(Step::Send(bytes));
    }
    steps.extend(end);
    split(steps, behaviour)
}

fn first(mut frames: Vec<Bytes>, count: usize) -> Vec<Bytes> {
    frames.truncate(count);
    frames
}

/// The frames up to where the connection is closed: after so many, or half way.
fn cut(frames: Vec<Bytes>, after: Option<usize>, at: CutAt) -> Vec<Bytes> {
    let whole = after.unwrap_or(frames.len() / 2).min(frames.len());
    if at == CutAt::Event {
        return first(frames, whole);
    }
    let part_of = |frame: &Bytes| match at {
        CutAt::Event => None,
        CutAt::Line => Some(frame.slice(..frame.len() / 2)),
        CutAt::Character => inside_character(frame).map(|end| frame.slice(..end)),
    };
    // The frame that is broken off: the next one where that can be done, else the last before.
    let next = (whole..frames.len()).find_map(|index| Some((index, part_of(&frames[index])?)));
    let before = || {
        (0..whole)
            .rev()
            .find_map(|index| Some((index, part_of(&frames[index])?)))
    };
    match next.or_else(before) {
        Some((index, part)) => {
            let mut sent = first(frames, index);
            sent.push(part);
            sent
        }
        None => first(frames, whole),
    }
}

/// A place between the bytes of one character, the first that takes several.
fn inside_character(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|byte| !byte.is_ascii())
        .map(|at| at + 1)
}

fn whole_steps(outcome: &Outcome, behaviour: &Behaviour, asked: &Asked<'_>) -> Vec<Step> {
    let events = Events {
        behaviour,
        asked,
        outcome,
    };
    let whole = |text: &str| pretty(&asked.speech.whole(events.whole(text)));
    let body = match outcome {
        Outcome::Garbage => Bytes::from_static(b"{\"candidates\": [{\"conte%%%\n"),
        Outcome::EventError(fault) => {
            let error = error_reply(*fault, asked.model, behaviour.retry.as_ref(), None);
            pretty(&error_body(&error, behaviour, asked.speech).1)
        }
        Outcome::Cut(CutAt::Character) if asked.text.is_ascii() => {
            let text = format!("{SEVERAL_BYTES}{}", asked.text);
            whole(&text)
        }
        _ => whole(asked.text),
    };
    let half = body.slice(..body.len() / 2);
    let steps = match outcome {
        Outcome::Stall => vec![Step::Send(half), Step::Stall],
        Outcome::Cut(CutAt::Character) => vec![
            Step::Send(body.slice(..inside_character(&body).unwrap_or(half.len()))),
            Step::Cut,
        ],
        Outcome::Cut(_) => vec![Step::Send(half), Step::Cut],
        _ => vec![Step::Send(body)],
    };
    split(steps, behaviour)
}

/// Breaks what is sent into pieces of `split=` bytes.
fn split(steps: Vec<Step>, behaviour: &Behaviour) -> Vec<Step> {
    let Some(size) = behaviour.split else {
        return steps;
    };
    let pieces = |step| match step {
        Step::Send(bytes) => (0..bytes.len())
            .step_by(size)
            .map(|at| Step::Send(bytes.slice(at..bytes.len().min(at + size))))
            .collect(),
        other => vec![other],
    };
    steps.into_iter().flat_map(pieces).collect()
}

/// Writes Gemini's events for one reply.
struct Events<'a> {
    behaviour: &'a Behaviour,
    asked: &'a Asked<'a>,
    outcome: &'a Outcome,
}

impl Events<'_> {
    /// Every event of a stream.
    fn all(&self, text: &str) -> Vec<Value> {
        if let Outcome::Blocked(reason) = self.outcome {
            return vec![self.blocked(reason)];
        }
        let finish = self.finish();
        let mut events = Vec::new();
        if self.thinks() {
            events.extend(
                THOUGHTS.iter().map(|thought| {
                    self.event(json!([{"text": thought, "thought": true}]), 0, None)
                }),
            );
        }
        let chunks = self.chunks(text);
        let stops = self.behaviour.stops.unwrap_or_default();
        if stops == Stops::EarlyEmpty {
            events.push(self.event(Value::Null, 0, Some(finish)));
        }
        let mut said = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            said += tokens_of(chunk);
            let is_last = index + 1 == chunks.len();
            let here = stops == Stops::Every || (stops == Stops::Last && is_last);
            events.push(self.event(json!([{ "text": chunk }]), said, here.then_some(finish)));
        }
        if stops == Stops::Apart
            || (chunks.is_empty() && matches!(stops, Stops::Last | Stops::Every))
        {
            events.push(self.event(Value::Null, said, Some(finish)));
        }
        events
    }

    /// The one object of a call that does not stream.
    fn whole(&self, text: &str) -> Value {
        if let Outcome::Blocked(reason) = self.outcome {
            return self.blocked(reason);
        }
        let text = self.chunks(text).concat();
        let mut parts = Vec::new();
        if self.thinks() {
            parts.extend(
                THOUGHTS
                    .iter()
                    .map(|thought| json!({"text": thought, "thought": true})),
            );
        }
        if !text.is_empty() {
            parts.push(json!({ "text": text }));
        }
        let parts = if parts.is_empty() {
            Value::Null
        } else {
            Value::Array(parts)
        };
        let has_finish = self.behaviour.stops != Some(Stops::Never);
        self.event(parts, tokens_of(&text), has_finish.then(|| self.finish()))
    }

    fn thinks(&self) -> bool {
        self.behaviour.thoughts || *self.outcome == Outcome::ThoughtsOnly
    }

    fn finish(&self) -> &str {
        match (&self.behaviour.finish, self.outcome) {
            (Some(finish), _) => finish,
            (None, Outcome::ThoughtsOnly) => "MAX_TOKENS",
            (None, _) => self.asked.finish,
        }
    }

    /// The chunks that are said, where the order lets the text end early.
    fn chunks<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut said = match self.outcome {
            Outcome::NoText | Outcome::ThoughtsOnly => Vec::new(),
            _ => chunks(text),
        };
        let ends_early = *self.outcome == Outcome::Answer || self.behaviour.outcome.is_none();
        let may_end = self.behaviour.finish.is_some() || self.behaviour.stops == Some(Stops::Never);
        if ends_early && may_end {
            let half = if self.behaviour.half_way {
                said.len().div_ceil(2)
            } else {
                said.len()
            };
            said.truncate(self.behaviour.after.unwrap_or(half));
        }
        said
    }

    fn event(&self, parts: Value, said_tokens: u64, finish: Option<&str>) -> Value {
        let mut candidate = json!({"index": 0});
        if !parts.is_null() {
            candidate["content"] = json!({"parts": parts, "role": "model"});
        }
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        self.around(json!({ "candidates": [candidate] }), said_tokens)
    }

    fn blocked(&self, reason: &str) -> Value {
        self.around(json!({ "promptFeedback": {"blockReason": reason} }), 0)
    }

    fn around(&self, mut event: Value, said_tokens: u64) -> Value {
        let input = self.asked.input_tokens;
        let thoughts = if self.thinks() {
            THOUGHTS.iter().map(|thought| tokens_of(thought)).sum()
        } else {
            0
        };
        let mut usage =
            json!({"promptTokenCount": input, "totalTokenCount": input + said_tokens + thoughts});
        if said_tokens > 0 {
            usage["candidatesTokenCount"] = said_tokens.into();
        }
        if thoughts > 0 {
            usage["thoughtsTokenCount"] = thoughts.into();
        }
        event["usageMetadata"] = usage;
        event["modelVersion"] = format!("{}-practice", self.asked.model).into();
        event["responseId"] = self.asked.response_id.into();
        event
    }
}
