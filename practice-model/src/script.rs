//! Turns an order into the steps of one response: what is sent, when it waits, where it breaks off. Pure, so that how a
//! response goes wrong is decided here, and the server only walks the steps.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::chat::Speech;
use crate::fault::ErrorReply;
use crate::gemini::tokens_of;
use crate::order::{Behaviour, Counts, CutAt, Outcome, Stops};
use crate::record::CallUse;
use crate::reply::chunks;

/// The content type of an error.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";
const EVENTS: &str = "text/event-stream";
const HTML: &str = "text/html; charset=UTF-8";

const THOUGHTS: [&str; 2] = [
    "**Thinking it over**\n\nThis is a thought, it is not to be shown. ",
    "Nor is this one.",
];

/// In so many parts the time is cut for which it thinks.
const THINKING_PARTS: u32 = 10;

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
    /// What is thought is to come as well.
    pub includes_thoughts: bool,
    /// It may search.
    pub may_search: bool,
    /// It may read pages.
    pub may_read: bool,
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
    /// So much was used by now, whether it was said or not.
    Used(CallUse),
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
    let made = events.all(&text);
    let uses: Vec<CallUse> = made.iter().map(CallUse::of_event).collect();
    let made = events.counted(made);
    let mut steps = events.thinking(&frame);
    let events = asked.speech.events(&made, ends);
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
    for (at, bytes) in frames.into_iter().enumerate() {
        if !steps.is_empty() && !behaviour.pace.is_zero() {
            steps.push(Step::Wait(behaviour.pace));
        }
        steps.extend(uses.get(at).copied().map(Step::Used));
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
            let mut parts = vec![json!({ "text": chunk })];
            if self.behaviour.signature && is_last {
                parts.push(json!({"text": "", "thoughtSignature": "c2lnbmVk"}));
            }
            events.push(self.event(json!(parts), said, here.then_some(finish)));
            if self.behaviour.thoughts_between && index == 0 && !is_last {
                let thought = json!([{"text": THOUGHTS[1], "thought": true}]);
                events.push(self.event(thought, said, None));
            }
        }
        let nowhere_yet = chunks.is_empty() && matches!(stops, Stops::Last | Stops::Every);
        if stops == Stops::Apart || nowhere_yet {
            events.push(self.event(Value::Null, said, Some(finish)));
        }
        self.look_up(&mut events);
        events
    }

    /// What was looked up, on the last events.
    fn look_up(&self, events: &mut [Value]) {
        let last = events.len().saturating_sub(1);
        let searches = self.searches();
        if searches > 0 && !events.is_empty() {
            let at = |back: usize| match self.behaviour.search_pieces {
                true => last.saturating_sub(back),
                false => last,
            };
            let queries: Vec<String> = (1..=searches).map(|at| format!("query {at}")).collect();
            let pages: Vec<Value> = (1..=searches)
                .map(|at| {
                    let uri = format!("https://redirect.example/grounding/{at}");
                    json!({"web": {"uri": uri, "title": format!("Page {at}")}})
                })
                .collect();
            let links: Vec<String> = queries
                .iter()
                .map(|query| {
                    format!("<a class=\"chip\" href=\"https://search.example/{query}\">{query}</a>")
                })
                .collect();
            let html = format!(
                "<style>.chip {{ color: #123456 }}</style>\n<div>{}</div>",
                links.concat()
            );
            let support = json!([{"segment": {"startIndex": 0, "endIndex": 3, "text": "One"}, "groundingChunkIndices": [0]}]);
            for (back, name, value) in [
                (2, "webSearchQueries", json!(queries)),
                (1, "groundingChunks", json!(pages)),
                (1, "groundingSupports", support),
                (0, "searchEntryPoint", json!({"renderedContent": html})),
            ] {
                let candidate = &mut events[at(back)]["candidates"][0];
                candidate["groundingMetadata"][name] = value;
            }
        }
        if self.behaviour.reads && self.asked.may_read && !events.is_empty() {
            events[last]["candidates"][0]["urlContextMetadata"] = json!({"urlMetadata": [
                {"retrievedUrl": "https://example.org/read", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
                {"retrievedUrl": "https://example.org/failed", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
            ]});
        }
    }

    fn searches(&self) -> usize {
        match self.asked.may_search {
            true => self.behaviour.searches,
            false => 0,
        }
    }

    /// The events with their counts where the order has them.
    fn counted(&self, mut events: Vec<Value>) -> Vec<Value> {
        let last = events.len().saturating_sub(1);
        for (at, event) in events.iter_mut().enumerate() {
            let has_counts = match self.behaviour.counts {
                Counts::Each => true,
                Counts::Last => at == last,
                Counts::None => false,
            };
            if !has_counts && let Some(event) = event.as_object_mut() {
                event.remove("usageMetadata");
            }
        }
        events
    }

    /// What comes before the first word where it thinks for so long: time, and thoughts if they are asked for.
    fn thinking(&self, frame: &impl Fn(&[u8]) -> Bytes) -> Vec<Step> {
        let Some(think) = self.behaviour.think else {
            return Vec::new();
        };
        let is_seen = self.asked.includes_thoughts && !self.behaviour.silent;
        let mut steps = Vec::new();
        for at in 1..=THINKING_PARTS {
            steps.push(Step::Wait(think / THINKING_PARTS));
            let thoughts = u64::from(at) * tokens_of(THOUGHTS[0]);
            let thought = json!([{"text": THOUGHTS[0], "thought": true}]);
            let event = self.event_after(thought, thoughts, 0, None);
            steps.push(Step::Used(CallUse::of_event(&event)));
            if is_seen {
                let event = self
                    .asked
                    .speech
                    .events(&self.counted_thought(event), false);
                steps.extend(
                    event
                        .iter()
                        .map(|event| Step::Send(frame(event.as_bytes()))),
                );
            }
        }
        steps
    }

    /// A thought is never the last event.
    fn counted_thought(&self, mut event: Value) -> [Value; 1] {
        if self.behaviour.counts != Counts::Each
            && let Some(event) = event.as_object_mut()
        {
            event.remove("usageMetadata");
        }
        [event]
    }

    fn thinks(&self) -> bool {
        self.behaviour.thoughts || *self.outcome == Outcome::ThoughtsOnly
    }

    /// How many tokens it has thought before the first word.
    fn thought_tokens(&self) -> u64 {
        let long = self
            .behaviour
            .think
            .map_or(0, |_| u64::from(THINKING_PARTS) * tokens_of(THOUGHTS[0]));
        let short: u64 = match self.thinks() {
            true => THOUGHTS.map(tokens_of).iter().sum(),
            false => 0,
        };
        long + short
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
        self.event_after(parts, self.thought_tokens(), said_tokens, finish)
    }

    fn event_after(
        &self,
        parts: Value,
        thoughts: u64,
        said_tokens: u64,
        finish: Option<&str>,
    ) -> Value {
        let mut candidate = json!({"index": 0});
        if !parts.is_null() {
            candidate["content"] = json!({"parts": parts, "role": "model"});
        }
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        self.around(json!({ "candidates": [candidate] }), thoughts, said_tokens)
    }

    fn blocked(&self, reason: &str) -> Value {
        self.around(json!({ "promptFeedback": {"blockReason": reason} }), 0, 0)
    }

    fn around(&self, mut event: Value, thoughts: u64, said_tokens: u64) -> Value {
        let input = self.asked.input_tokens;
        let Behaviour {
            cached,
            tool_tokens,
            ..
        } = self.behaviour;
        let total = input + tool_tokens + said_tokens + thoughts;
        let mut usage = json!({"promptTokenCount": input, "totalTokenCount": total});
        if *cached > 0 {
            usage["cachedContentTokenCount"] = (*cached.min(&input)).into();
        }
        if *tool_tokens > 0 {
            usage["toolUsePromptTokenCount"] = (*tool_tokens).into();
        }
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
