//! How a call is to go: the small language of orders, the same in a marker in a message and in a control call, and how a
//! special order lies over a general one. The table of all words is in the crate's own documentation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::fault::Fault;
use crate::oddity::Oddity;
use crate::quota::Limits;

/// Between two chunks, unless `pace=` says otherwise: about as fast as the real one writes.
const DEFAULT_PACE: Duration = Duration::from_millis(30);

/// Most words a reply is made to have by `words=`: far more than a message may be long, far less than memory.
const WORDS_LIMIT: usize = 20_000;

/// Most queries of one call.
const SEARCHES_MAX: usize = 20;

/// Where a connection that is cut is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CutAt {
    /// Between two events: only the missing end of the body shows it.
    Event,
    /// In the middle of an SSE line.
    Line,
    /// Between the bytes of one UTF-8 character.
    Character,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Answer,
    Error(&'static Fault),
    Hang,
    Drop,
    Stall,
    Cut(CutAt),
    Garbage,
    Html(u16),
    Empty,
    EventError(&'static Fault),
    Blocked(String),
    NoText,
    ThoughtsOnly,
}

impl Outcome {
    /// The word for it in the record of calls; an error is named there by its code and status instead.
    pub(crate) fn word(&self) -> &'static str {
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stops {
    /// On the last event that has text, as Gemini does.
    Last,
    /// On every event.
    Every,
    /// On an empty event before the text, and nowhere else.
    EarlyEmpty,
    /// On an event of its own after the text, without parts.
    Apart,
    /// Nowhere.
    Never,
}

/// On which events the counts of tokens stand, as running totals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Counts {
    /// On each.
    Each,
    /// On the last.
    Last,
    /// On none.
    None,
}

/// How a call goes, by all orders that hold for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Behaviour {
    /// `None` as long as no order names one: then it is an answer.
    pub outcome: Option<Outcome>,
    /// The delay that a 429 names, as it was written: `RetryInfo` is to carry it in that very form (`34.07s`, `900ms`).
    pub retry: Option<String>,
    /// The error stands inside an array of one.
    pub in_array: bool,
    /// After how many chunks of text the outcome strikes.
    pub after: Option<usize>,
    /// This `finishReason` instead of STOP.
    pub finish: Option<String>,
    /// The text ends half way, unless `after` says where.
    pub half_way: bool,
    pub stops: Stops,
    /// What is odd about a stream that is good otherwise.
    pub oddities: Vec<Oddity>,
    /// This `Content-Type` instead of the right one; none at all where it is empty.
    pub content_type: Option<String>,
    /// Parts with `thought: true` before the text.
    pub thoughts: bool,
    /// And one in the middle of it.
    pub thoughts_between: bool,
    /// So long it thinks before the first word. What it thinks comes meanwhile, if that is asked for.
    pub think: Option<Duration>,
    /// What it thinks does not come, whatever is asked for.
    pub silent: bool,
    /// An empty part at the end with a `thoughtSignature`.
    pub signature: bool,
    /// Where the counts stand.
    pub counts: Counts,
    /// So many of the prompt's tokens were cached.
    pub cached: u64,
    /// So many tokens were read by tools.
    pub tool_tokens: u64,
    /// It searches so often, if it may.
    pub searches: usize,
    /// What it found comes in pieces.
    pub search_pieces: bool,
    /// It reads a page, if it may.
    pub reads: bool,
    /// It takes no word on thinking at all.
    pub no_thinking: bool,
    /// It takes no tools.
    pub no_tools: bool,
    /// Before the headers.
    pub delay: Duration,
    /// Between two chunks of a stream.
    pub pace: Duration,
    /// The reply is made to have this many words.
    pub words: Option<usize>,
    /// This very text.
    pub say: Option<String>,
    /// The body is handed over in pieces of this many bytes.
    pub split: Option<usize>,
    /// SSE lines end in CRLF.
    pub crlf: bool,
    pub quota: Option<Limits>,
    /// The order holds for this share of calls, 0 to 1.
    probability: Option<f64>,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            outcome: None,
            retry: None,
            in_array: false,
            after: None,
            finish: None,
            half_way: false,
            stops: Stops::Last,
            oddities: Vec::new(),
            content_type: None,
            thoughts: false,
            thoughts_between: false,
            think: None,
            silent: false,
            signature: false,
            counts: Counts::Each,
            cached: 0,
            tool_tokens: 0,
            searches: 0,
            search_pieces: false,
            reads: false,
            no_thinking: false,
            no_tools: false,
            delay: Duration::ZERO,
            pace: DEFAULT_PACE,
            words: None,
            say: None,
            split: None,
            crlf: false,
            quota: None,
            probability: None,
        }
    }
}

impl Behaviour {
    /// This behaviour with a more special order laid over it: what the order says holds, what it leaves out stays.
    ///
    /// One that names an outcome says all about how the call ends; then only the text (`say`, `words`), the delivery
    /// (`delay`, `pace`, `split`, `crlf`) and the quota come from below. So `ok` over `429 retry=2s array` is a proper
    /// reply.
    ///
    /// # Errors
    /// An order that cannot be read.
    pub(crate) fn under(&self, order: &str) -> Result<Behaviour, OrderError> {
        let words = words_of(order)?;
        let mut own = Behaviour::default();
        for word in &words {
            own.take(word)?;
        }
        if own
            .probability
            .is_some_and(|share| rand::random::<f64>() >= share)
        {
            return Ok(self.clone());
        }
        let mut laid = self.clone();
        if own.outcome.is_some() {
            laid = Behaviour {
                delay: laid.delay,
                pace: laid.pace,
                words: laid.words,
                say: laid.say,
                split: laid.split,
                crlf: laid.crlf,
                quota: laid.quota,
                ..Behaviour::default()
            };
        }
        for word in &words {
            laid.take(word)?;
        }
        Ok(laid)
    }

    fn take(&mut self, word: &Word) -> Result<(), OrderError> {
        let Some(value) = word.value.as_deref() else {
            return self.take_plain(&word.name);
        };
        match word.name.as_str() {
            "p" => self.probability = Some(checked(value, |share| (0.0..=1.0).contains(share))?),
            "retry" => {
                duration(value)?;
                self.retry = Some(value.to_owned());
            }
            "after" => self.after = Some(checked(value, |_| true)?),
            "finish" => self.finish = Some(value.to_owned()),
            "delay" => self.delay = duration(value)?,
            "pace" => self.pace = duration(value)?,
            "think" => self.think = Some(duration(value)?),
            "counts" => {
                self.counts = match value {
                    "each" => Counts::Each,
                    "last" => Counts::Last,
                    "none" => Counts::None,
                    _ => return Err(OrderError(format!("{value:?}: each, last or none"))),
                };
            }
            "cached" => self.cached = checked(value, |_| true)?,
            "tool-tokens" => self.tool_tokens = checked(value, |_| true)?,
            "search" => self.searches = checked(value, |count| *count <= SEARCHES_MAX)?,
            "words" => self.words = Some(checked::<usize>(value, |_| true)?.clamp(1, WORDS_LIMIT)),
            "say" => self.say = Some(value.to_owned()),
            "content-type" => self.content_type = Some(value.to_owned()),
            "bad-byte" | "garbled" | "doubled" | "retyped" | "left-out" => {
                let event = checked(value, |_| true)?;
                self.oddities.extend(Oddity::of_event(&word.name, event));
            }
            "split" => self.split = Some(checked(value, |size| *size > 0)?),
            "html" => {
                let status = checked(value, |code| (200..=599).contains(code))?;
                self.end_with(Outcome::Html(status))?;
            }
            "block" => self.end_with(Outcome::Blocked(value.to_owned()))?,
            "event-error" => {
                let fault = Fault::of_word(value)
                    .ok_or_else(|| OrderError(format!("{value:?} is not an error to be had")))?;
                self.end_with(Outcome::EventError(fault))?;
            }
            "rpm" => self.limits().requests = Some(checked(value, |_| true)?),
            "tpm" => self.limits().tokens = Some(checked(value, |_| true)?),
            "window" => self.limits().window = duration(value)?,
            other => {
                return Err(OrderError(format!(
                    "{other:?} takes no value, or is unknown"
                )));
            }
        }
        Ok(())
    }

    fn take_plain(&mut self, word: &str) -> Result<(), OrderError> {
        if let Some(fault) = Fault::of_word(word) {
            return self.end_with(Outcome::Error(fault));
        }
        if let Some(oddity) = Oddity::of_word(word) {
            self.oddities.push(oddity);
            return Ok(());
        }
        match word {
            "ok" => return self.end_with(Outcome::Answer),
            "hang" => return self.end_with(Outcome::Hang),
            "drop" => return self.end_with(Outcome::Drop),
            "stall" => return self.end_with(Outcome::Stall),
            "cut" => return self.end_with(Outcome::Cut(CutAt::Event)),
            "cut-line" => return self.end_with(Outcome::Cut(CutAt::Line)),
            "cut-char" => return self.end_with(Outcome::Cut(CutAt::Character)),
            "garbage" => return self.end_with(Outcome::Garbage),
            "empty" => return self.end_with(Outcome::Empty),
            "block" => return self.end_with(Outcome::Blocked("SAFETY".to_owned())),
            "no-text" => return self.end_with(Outcome::NoText),
            "thoughts-only" => return self.end_with(Outcome::ThoughtsOnly),
            "safety" => (self.finish, self.half_way) = (Some("SAFETY".to_owned()), true),
            "max-tokens" => (self.finish, self.half_way) = (Some("MAX_TOKENS".to_owned()), true),
            "stop-every" => self.stops = Stops::Every,
            "stop-early" => self.stops = Stops::EarlyEmpty,
            "finish-apart" => self.stops = Stops::Apart,
            "no-finish" => self.stops = Stops::Never,
            "thoughts" => self.thoughts = true,
            "thoughts-between" => (self.thoughts, self.thoughts_between) = (true, true),
            "silent" => self.silent = true,
            "signature" => self.signature = true,
            "search" => self.searches = 1,
            "search-pieces" => self.search_pieces = true,
            "reads" => self.reads = true,
            "no-thinking" => self.no_thinking = true,
            "no-tools" => self.no_tools = true,
            "array" => self.in_array = true,
            "crlf" => self.crlf = true,
            "quota" => drop(self.limits()),
            other => {
                return Err(OrderError(format!(
                    "{other:?} is unknown, or needs a value"
                )));
            }
        }
        Ok(())
    }

    /// Two outcomes in one order are a mistake in a test, not a wish.
    fn end_with(&mut self, outcome: Outcome) -> Result<(), OrderError> {
        if let Some(first) = &self.outcome {
            let (first, second) = (first.word(), outcome.word());
            return Err(OrderError(format!(
                "it ends twice, with {first} and with {second}"
            )));
        }
        self.outcome = Some(outcome);
        Ok(())
    }

    fn limits(&mut self) -> &mut Limits {
        self.quota.get_or_insert_default()
    }
}

/// What an order that cannot be read had wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderError(pub(crate) String);

impl fmt::Display for OrderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not an order for the practice model: {}", self.0)
    }
}

impl std::error::Error for OrderError {}

/// One word of an order: a name, and what stands after its `=`.
struct Word {
    name: String,
    value: Option<String>,
}

/// Splits at white space; a value may stand in double quotes, with `\"`, `\\` and `\n` in it.
fn words_of(text: &str) -> Result<Vec<Word>, OrderError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let mut value = None;
        if let Some(after) = rest.strip_prefix('=') {
            let (read, left) = value_of(after)?;
            (value, rest) = (Some(read), left);
        }
        words.push(Word { name, value });
        rest = rest.trim_start();
    }
    Ok(words)
}

fn value_of(text: &str) -> Result<(String, &str), OrderError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(OrderError("a quoted value has no end".to_owned()))
}

fn checked<N: FromStr>(value: &str, is_right: impl Fn(&N) -> bool) -> Result<N, OrderError> {
    value
        .parse()
        .ok()
        .filter(is_right)
        .ok_or_else(|| OrderError(format!("{value:?} is not a number that fits there")))
}

/// `200ms`, `2s`, `1.5s`, `34.074824224s`, `1m`: up to a day, always with its unit.
fn duration(text: &str) -> Result<Duration, OrderError> {
    let wrong = || OrderError(format!("{text:?} is not a time such as 200ms, 1.5s or 1m"));
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * seconds_per_unit;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

const MARKER_OPENS: &str = "[[practice:";
const MARKER_CLOSES: &str = "]]";

/// A text without its markers, which are orders and nothing that was said; and the order in the last of them
/// (`[[practice: 429 retry=2s]]`), without its brackets.
pub(crate) fn without_markers(text: &str) -> (String, Option<&str>) {
    let mut said = String::with_capacity(text.len());
    let mut order = None;
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(MARKER_OPENS) {
        let Some((marker, after)) = inside.split_once(MARKER_CLOSES) else {
            break;
        };
        said.push_str(before);
        (order, rest) = (Some(marker.trim()), after);
    }
    said.push_str(rest);
    (said.trim().to_owned(), order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(order: &str) -> Behaviour {
        Behaviour::default().under(order).unwrap()
    }

    #[test]
    fn an_order_is_words_and_values_in_any_sequence() {
        let behaviour = parsed(
            r#" split=7 after=2	429 retry=34.074824224s array  say="two\nlines, \"quoted\"" words=999999999 "#,
        );
        let Some(Outcome::Error(fault)) = behaviour.outcome else {
            panic!("{behaviour:?}")
        };
        assert_eq!((fault.word, behaviour.in_array), ("429", true));
        assert_eq!((behaviour.split, behaviour.after), (Some(7), Some(2)));
        assert_eq!(behaviour.retry.as_deref(), Some("34.074824224s"));
        assert_eq!(behaviour.say.as_deref(), Some("two\nlines, \"quoted\""));
        assert_eq!(behaviour.words, Some(WORDS_LIMIT));
        let limits = parsed("quota rpm=3 tpm=1000 window=2s").quota.unwrap();
        assert_eq!((limits.requests, limits.tokens), (Some(3), Some(1000)));
        assert_eq!(limits.window, Duration::from_secs(2));
    }

    #[test]
    fn a_special_order_lies_over_a_general_one() {
        let general = parsed("429 retry=2s array pace=0ms say=hello finish=SAFETY");
        let well = general.under("ok").unwrap();
        assert_eq!(well.outcome, Some(Outcome::Answer));
        assert_eq!(
            (&well.retry, well.in_array, &well.finish),
            (&None, false, &None)
        );
        assert_eq!(
            (well.pace, well.say.as_deref()),
            (Duration::ZERO, Some("hello"))
        );
        let slower = general.under("pace=1s").unwrap();
        assert_eq!(slower.outcome, general.outcome);
        assert!(slower.in_array && slower.pace == Duration::from_secs(1));
        assert_eq!(general.under("p=0 ok").unwrap(), general);
        assert_eq!(
            general.under("p=1 ok").unwrap().outcome,
            Some(Outcome::Answer)
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (order, named) in [
            ("429 retry=soon", "soon"),
            ("frobnicate", "frobnicate"),
            ("retry", "retry"),
            ("ok=1", "ok"),
            ("429 503", "twice"),
            ("p=2", "2"),
            ("after=-1", "-1"),
            ("split=0", "0"),
            ("say=\"open", "no end"),
            ("=3", "unknown"),
            ("html=999", "999"),
            ("event-error=418", "418"),
            ("delay=5", "5"),
            ("delay=-1s", "-1s"),
            ("delay=inf", "inf"),
        ] {
            let problem = Behaviour::default().under(order).unwrap_err().to_string();
            assert!(problem.contains(named), "{order}: {problem}");
        }
    }

    #[test]
    fn markers_are_found_and_taken_out() {
        let (said, order) =
            without_markers("hi [[practice: 503]] there [[practice: 429 retry=2s]]");
        assert_eq!((said.as_str(), order), ("hi  there", Some("429 retry=2s")));
        for plain in ["no marker [[ here ]]", "[[practice: open"] {
            assert_eq!(without_markers(plain), (plain.to_owned(), None));
        }
    }
}
