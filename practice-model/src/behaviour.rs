//! What an order can say about a call: when it holds, how the call ends, how the reply is made and delivered; and how a
//! special order lies over a general one. The words for it are in `grammar`.

use std::time::Duration;

use crate::quota::Quota;

/// Most words a reply is made to have by `words=`: far more than a message may be long, far less than memory.
pub const WORDS_LIMIT: usize = 20_000;

/// The errors that Gemini answers with, each by the word that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `400`: INVALID_ARGUMENT.
    InvalidArgument,
    /// `400-precondition`: FAILED_PRECONDITION, as for a region that is not served.
    FailedPrecondition,
    /// `400-key`: a key that Google does not know is a 400 with the reason API_KEY_INVALID, not a 403.
    KeyInvalid,
    /// `402`: the prepaid credit is used up.
    CreditUsedUp,
    /// `403`: PERMISSION_DENIED.
    PermissionDenied,
    /// `404`: no such model, or one that was retired.
    NotFound,
    /// `429`: requests per minute, with `RetryInfo` and the quota's id.
    RequestsPerMinute,
    /// `429-tokens`: input tokens per minute, with `RetryInfo` and the quota's id.
    TokensPerMinute,
    /// `429-day`: requests per day; `RetryInfo` only if `retry=` is given.
    RequestsPerDay,
    /// `429-all`: all three quotas named in one error, with a `RetryInfo` that cannot be true for the day's.
    AllQuotas,
    /// `429-message`: no details at all, the delay stands only in the message.
    MessageOnly,
    /// `429-bare`: neither details nor a delay anywhere.
    Bare,
    /// `500`: INTERNAL.
    Internal,
    /// `503`: UNAVAILABLE.
    Unavailable,
    /// `504`: DEADLINE_EXCEEDED.
    DeadlineExceeded,
}

impl Fault {
    /// Every fault with the word that asks for it.
    pub const WORDS: [(&'static str, Fault); 15] = [
        ("400", Fault::InvalidArgument),
        ("400-precondition", Fault::FailedPrecondition),
        ("400-key", Fault::KeyInvalid),
        ("402", Fault::CreditUsedUp),
        ("403", Fault::PermissionDenied),
        ("404", Fault::NotFound),
        ("429", Fault::RequestsPerMinute),
        ("429-tokens", Fault::TokensPerMinute),
        ("429-day", Fault::RequestsPerDay),
        ("429-all", Fault::AllQuotas),
        ("429-message", Fault::MessageOnly),
        ("429-bare", Fault::Bare),
        ("500", Fault::Internal),
        ("503", Fault::Unavailable),
        ("504", Fault::DeadlineExceeded),
    ];

    /// The fault of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Fault> {
        Fault::WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, fault)| *fault)
    }
}

/// Where a connection that is cut is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutAt {
    /// Between two events: only the missing end of the body shows it.
    Event,
    /// In the middle of an SSE line.
    Line,
    /// Between the bytes of one UTF-8 character.
    Character,
}

/// How a call ends: the last outcome word of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `ok`: a proper reply, also where a more general order says otherwise.
    Answer,
    /// One of [`Fault::WORDS`]: an error in Google's form.
    Error(Fault),
    /// `hang`: never a header.
    Hang,
    /// `drop`: the connection is closed before any header.
    Drop,
    /// `stall`: headers, `after` chunks (2), and then nothing more while the connection stays open.
    Stall,
    /// `cut`, `cut-line`, `cut-char`: the connection is closed in the middle (or after `after` chunks).
    Cut(CutAt),
    /// `garbage`: a 200 whose body is not JSON (from chunk `after` on, 0).
    Garbage,
    /// `html`, `html=CODE`: somebody's error page, with that HTTP status (502).
    Html(u16),
    /// `empty`: a 200 with no body at all.
    Empty,
    /// `event-error=FAULT`: a 200 that holds an error object, after `after` chunks (0).
    EventError(Fault),
    /// `block`, `block=REASON`: `promptFeedback.blockReason` and no candidates.
    Blocked(String),
    /// `no-text`: a candidate with a `finishReason` and no parts.
    NoText,
    /// `thoughts-only`: thought parts, then MAX_TOKENS, no text.
    ThoughtsOnly,
}

impl Outcome {
    /// The word for it in the record of calls; an error is named there by its code and status instead.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Answer => "ok",
            Outcome::Error(_) => "error",
            Outcome::Hang => "hang",
            Outcome::Drop => "drop",
            Outcome::Stall => "stall",
            Outcome::Cut(_) => "cut",
            Outcome::Garbage => "garbage",
            Outcome::Html(_) => "html",
            Outcome::Empty => "empty",
            Outcome::EventError(_) => "event-error",
            Outcome::Blocked(_) => "block",
            Outcome::NoText => "no-text",
            Outcome::ThoughtsOnly => "thoughts-only",
        }
    }
}

/// On which events a `finishReason` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stops {
    /// On the last event that has text, as Gemini does.
    #[default]
    Last,
    /// `stop-every`: on every event.
    Every,
    /// `stop-early`: on an empty event before the text, and nowhere else.
    EarlyEmpty,
    /// `finish-apart`: on an event of its own after the text, without parts.
    Apart,
    /// `no-finish`: nowhere.
    Never,
}

/// A delay as it was written, since `RetryInfo` is to carry it in that very form (`34.074824224s`, `900ms`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryDelay {
    text: String,
    duration: Duration,
}

impl RetryDelay {
    /// A delay in the form that it was written in.
    pub(crate) fn as_written(text: &str, duration: Duration) -> RetryDelay {
        RetryDelay {
            text: text.to_owned(),
            duration,
        }
    }

    /// As it is written on the wire.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How long that is.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

impl From<Duration> for RetryDelay {
    fn from(duration: Duration) -> RetryDelay {
        // Google writes nine digits where there is a fraction.
        let text = if duration.subsec_nanos() == 0 {
            format!("{}s", duration.as_secs())
        } else {
            format!("{}.{:09}s", duration.as_secs(), duration.subsec_nanos())
        };
        RetryDelay { text, duration }
    }
}

/// One order: for which calls it holds, how they end, and how the reply is made and delivered.
///
/// What an order leaves out is taken from the more general one below it (see [`Behaviour::over`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    /// The order as it was written.
    pub text: String,
    /// `model=NAME`: holds only for calls of this model.
    pub model: Option<String>,
    /// `times=N`: holds only for the first N calls with the same prompt.
    pub times: Option<u32>,
    /// `p=0.1`: holds for this share of calls, 0 to 1, by dice that the seed decides.
    pub probability: Option<f64>,
    /// The outcome word.
    pub outcome: Option<Outcome>,
    /// `retry=2s`: the delay that a 429 names.
    pub retry: Option<RetryDelay>,
    /// `array`: the error stands inside an array of one.
    pub in_array: bool,
    /// `after=N`: after how many chunks of text the outcome strikes.
    pub after: Option<usize>,
    /// `finish=REASON`: this `finishReason` instead of STOP. Any word goes, so that unknown ones can be tried.
    pub finish: Option<String>,
    /// `safety`, `max-tokens`: the text ends half way, unless `after=` says where.
    pub half_way: bool,
    /// Where `finishReason` stands.
    pub stops: Option<Stops>,
    /// `thoughts`: parts with `thought: true` before the text.
    pub thoughts: bool,
    /// `delay=200ms`: before the headers.
    pub delay: Option<Duration>,
    /// `pace=50ms`: between two chunks of a stream.
    pub pace: Option<Duration>,
    /// `words=500`: the reply is made to have this many words, at most [`WORDS_LIMIT`].
    pub words: Option<usize>,
    /// `say="..."`: this very text.
    pub say: Option<String>,
    /// `split=1`: the body is handed over in pieces of this many bytes.
    pub split: Option<usize>,
    /// `crlf`: SSE lines end in CRLF.
    pub crlf: bool,
    /// `quota ...`: sets the quota, beside whatever else the order says.
    pub quota: Option<Quota>,
}

impl Behaviour {
    /// This order laid over a more general one: what it says holds, what it leaves out is the other's.
    ///
    /// One that names an outcome says all about how the call ends; then only the text (`say`, `words`) and the delivery
    /// (`delay`, `pace`, `split`, `crlf`) come from below. So `ok` over `429 retry=2s array` is a proper reply.
    pub fn over(&self, below: &Behaviour) -> Behaviour {
        let all = self.outcome.is_some();
        let from_below = |present: bool| present && !all;
        Behaviour {
            text: self.text.clone(),
            model: None,
            times: None,
            probability: None,
            outcome: self.outcome.clone().or_else(|| below.outcome.clone()),
            retry: self
                .retry
                .clone()
                .or_else(|| below.retry.clone().filter(|_| !all)),
            in_array: self.in_array || from_below(below.in_array),
            after: self.after.or(below.after.filter(|_| !all)),
            finish: self
                .finish
                .clone()
                .or_else(|| below.finish.clone().filter(|_| !all)),
            half_way: self.half_way || from_below(below.half_way && self.finish.is_none()),
            stops: self.stops.or(below.stops.filter(|_| !all)),
            thoughts: self.thoughts || from_below(below.thoughts),
            delay: self.delay.or(below.delay),
            pace: self.pace.or(below.pace),
            words: self.words.or(below.words),
            say: self.say.clone().or_else(|| below.say.clone()),
            split: self.split.or(below.split),
            crlf: self.crlf || below.crlf,
            quota: self.quota,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Behaviour {
        text.parse().unwrap()
    }

    #[test]
    fn a_retry_delay_that_is_made_has_googles_form() {
        assert_eq!(RetryDelay::from(Duration::from_secs(2)).text(), "2s");
        assert_eq!(
            RetryDelay::from(Duration::from_nanos(34_074_824_224)).text(),
            "34.074824224s"
        );
        assert_eq!(
            RetryDelay::from(Duration::from_millis(50)).text(),
            "0.050000000s"
        );
    }

    #[test]
    fn a_special_order_lies_over_a_general_one() {
        let general = parsed("429 retry=2s array pace=0ms say=hello finish=SAFETY");
        let well = parsed("ok").over(&general);
        assert_eq!(well.outcome, Some(Outcome::Answer));
        assert_eq!(
            (well.retry, well.in_array, well.finish),
            (None, false, None)
        );
        assert_eq!(
            (well.pace, well.say.as_deref()),
            (Some(Duration::ZERO), Some("hello"))
        );
        let slower = parsed("pace=1s").over(&general);
        assert_eq!(
            slower.outcome,
            Some(Outcome::Error(Fault::RequestsPerMinute))
        );
        assert_eq!(slower.pace, Some(Duration::from_secs(1)));
        assert!(slower.in_array);
    }
}
