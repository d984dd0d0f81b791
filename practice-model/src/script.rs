//! Turns an order into the steps of one response: what is sent, when it waits, where it breaks off. Pure, so that how a
//! response goes wrong is decided here, and the server only walks the steps.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::chat::Speech;
use crate::fault::ErrorReply;
use crate::gemini::tokens_of;
use crate::order::{Behaviour, CutAt, Outcome, Stops};
use crate::reply::chunks;

/// The content type of an error.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";
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
pub(crate) struct Asked<'a> {
    /// Whose API the call speaks.
    pub speech: Speech,
    /// The model's name, without `models/`.
    pub model: &'a str,
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
pub(crate) enum Script {
    /// Never a header.
    Hang,
    /// The connection is closed before any header.
    Drop,
    /// Headers, and then the steps.
    Respond {
        /// The HTTP status.
        status: u16,
        /// The header `Content-Type`; none where it is empty.
        content_type: Cow<'static, str>,
        /// The body.
        steps: Vec<Step>,
    },
}

/// One step of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Nothing more, while the connection stays open.
    Stall,
    /// Closes the connection.
    Cut,
}

impl Step {
    /// What it sends, if it does.
    pub(crate) fn sent(self) -> Option<Bytes> {
        match self {
            Step::Send(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Writes the script of a call.
pub(crate) fn script(behaviour: &Behaviour, asked: &Asked<'_>) -> Script {
    let respond = |status, content_type: &'static str, steps| Script::Respond {
        status,
        content_type: behaviour
            .content_type
            .clone()
            .map_or(content_type.into(), Cow::Owned),
        steps,
    };
    match behaviour.outcome.as_ref().unwrap_or(&Outcome::Answer) {
        Outcome::Hang => Script::Hang,
        Outcome::Drop => Script::Drop,
        Outcome::Empty => respond(200, EVENTS, Vec::new()),
        Outcome::Html(status) => {
            let page = format!(
                "<!DOCTYPE html>\n<html><head><title>Error {status}</title></head><body><h1>Error {status}</h1></body></html>\n"
            );
            respond(*status, HTML, vec![Step::Send(page.into())])
        }
        Outcome::Error(fault) => error_script(
            &fault.reply(asked.model, behaviour.retry.as_deref(), None),
            behaviour,
            asked.speech,
        ),
        outcome => respond(200, EVENTS, stream_steps(outcome, behaviour, asked)),
    }
}

/// The script of an error.
pub(crate) fn error_script(error: &ErrorReply, behaviour: &Behaviour, speech: Speech) -> Script {
    let (status, body) = error_body(error, behaviour, speech);
    Script::Respond {
        status,
        content_type: JSON.into(),
        steps: split(vec![Step::Send(body)], behaviour),
    }
}

/// An error's HTTP status and body.
pub(crate) fn error_body(
    error: &ErrorReply,
    behaviour: &Behaviour,
    speech: Speech,
) -> (u16, Bytes) {
    let (status, mut body) = speech.error(error);
    if behaviour.in_array {
        body = json!([body]);
    }
    (status, body.to_string().into())
}

fn stream_steps(outcome: &Outcome, behaviour: &Behaviour, asked: &Asked<'_>) -> Vec<Step> {
    let line_end = if behaviour.crlf {
        b"\r\n".as_slice()
    } else {
        b"\n"
    };
    let frame = |event: &[u8]| Bytes::from([b"data: ", event, line_end, line_end].concat());

    let mut text = asked.text.to_owned();
    if *outcome == Outcome::Cut(CutAt::Character) && text.is_ascii() {
        text.insert_str(0, SEVERAL_BYTES);
    }
    let events = Events {
        behaviour,
        asked,
        outcome,
    };
    let ends = behaviour.stops != Stops::Never;
    let events = asked.speech.events(&events.all(&text), ends);
    let events = events.into_iter().map(String::into_bytes).collect();
    let events = behaviour.oddities.iter().fold(events, |events, oddity| {
        oddity.lay_over(events, asked.speech)
    });
    let mut frames: Vec<Bytes> = events.iter().map(|event| frame(event)).collect();

    let mut end = None;
    match outcome {
        Outcome::Stall => {
            frames.truncate(behaviour.after.unwrap_or(2));
            end = Some(Step::Stall);
        }
        Outcome::Cut(at) => {
            cut(&mut frames, behaviour.after, *at);
            end = Some(Step::Cut);
        }
        Outcome::Garbage => {
            frames.truncate(behaviour.after.unwrap_or(0));
            frames.push(frame(b"{\"candidates\": [{\"conte%%%"));
        }
        Outcome::EventError(fault) => {
            frames.truncate(behaviour.after.unwrap_or(0));
            let error = fault.reply(asked.model, behaviour.retry.as_deref(), None);
            frames.push(frame(&error_body(&error, behaviour, asked.speech).1));
        }
        _ => {}
    }
    let mut steps = Vec::new();
    for bytes in frames {
        if !steps.is_empty() && !behaviour.pace.is_zero() {
            steps.push(Step::Wait(behaviour.pace));
        }
        steps.push(Step::Send(bytes));
    }
    steps.extend(end);
    split(steps, behaviour)
}

/// Leaves the frames up to where the connection is closed: after so many, or half way.
fn cut(frames: &mut Vec<Bytes>, after: Option<usize>, at: CutAt) {
    let whole = after.unwrap_or(frames.len() / 2).min(frames.len());
    let part_of = |frame: &Bytes| match at {
        CutAt::Event => None,
        CutAt::Line => Some(frame.slice(..frame.len() / 2)),
        CutAt::Character => inside_character(frame).map(|end| frame.slice(..end)),
    };
    // The frame that is broken off: the next one where that can be done, else the last before.
    let broken = (whole..frames.len())
        .chain((0..whole).rev())
        .find_map(|index| Some((index, part_of(&frames[index])?)));
    frames.truncate(broken.as_ref().map_or(whole, |(index, _)| *index));
    frames.extend(broken.map(|(_, part)| part));
}

/// A place between the bytes of one character, the first that takes several.
fn inside_character(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|byte| !byte.is_ascii())
        .map(|at| at + 1)
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
        let (finish, stops) = (self.finish(), self.behaviour.stops);
        let mut events = Vec::new();
        if self.thinks() {
            let part = |thought| json!([{"text": thought, "thought": true}]);
            events.extend(THOUGHTS.map(|thought| self.event(part(thought), 0, None)));
        }
        if stops == Stops::EarlyEmpty {
            events.push(self.event(Value::Null, 0, Some(finish)));
        }
        let chunks = self.chunks(text);
        let mut said = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            said += tokens_of(chunk);
            let is_last = index + 1 == chunks.len();
            let here = stops == Stops::Every || (stops == Stops::Last && is_last);
            events.push(self.event(json!([{ "text": chunk }]), said, here.then_some(finish)));
        }
        let nowhere_yet = chunks.is_empty() && matches!(stops, Stops::Last | Stops::Every);
        if stops == Stops::Apart || nowhere_yet {
            events.push(self.event(Value::Null, said, Some(finish)));
        }
        events
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
        if matches!(self.outcome, Outcome::NoText | Outcome::ThoughtsOnly) {
            return Vec::new();
        }
        let mut said = chunks(text);
        let may_end = self.behaviour.finish.is_some() || self.behaviour.stops == Stops::Never;
        if *self.outcome == Outcome::Answer && may_end {
            let half = self.behaviour.half_way.then(|| said.len().div_ceil(2));
            said.truncate(self.behaviour.after.or(half).unwrap_or(said.len()));
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
        let thoughts = match self.thinks() {
            true => THOUGHTS.map(tokens_of).iter().sum(),
            false => 0,
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
