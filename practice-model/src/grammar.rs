//! The one small language in which a call is told how to go: the same words in a marker in a message, in the header
//! `x-practice`, and in a control call. Parsing is pure, so that every word is tested without a socket.
//!
//! The table of all words is in the crate's own documentation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::behaviour::{Behaviour, CutAt, Fault, Outcome, RetryDelay, Stops, WORDS_LIMIT};
use crate::quota::{Limits, Quota, WindowKind};

/// What an order that cannot be read had wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrammarError {
    problem: String,
}

impl GrammarError {
    pub(crate) fn new(problem: impl Into<String>) -> GrammarError {
        GrammarError {
            problem: problem.into(),
        }
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "not an order for the practice model: {}",
            self.problem
        )
    }
}

impl std::error::Error for GrammarError {}

impl FromStr for Behaviour {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Behaviour, GrammarError> {
        let mut behaviour = Behaviour {
            text: text.trim().to_owned(),
            ..Behaviour::default()
        };
        for word in words_of(text)? {
            behaviour.take(&word)?;
        }
        Ok(behaviour)
    }
}

impl Behaviour {
    fn take(&mut self, word: &Word) -> Result<(), GrammarError> {
        let Some(value) = word.value.as_deref() else {
            return self.take_plain(&word.name);
        };
        match word.name.as_str() {
            "model" => self.model = Some(value.to_owned()),
            "times" => self.times = Some(number(word, value)?),
            "p" => self.probability = Some(probability(value)?),
            "retry" => {
                self.retry = Some(RetryDelay::as_written(value, duration(value)?));
            }
            "after" => self.after = Some(number(word, value)?),
            "finish" => self.finish = Some(value.to_owned()),
            "delay" => self.delay = Some(duration(value)?),
            "pace" => self.pace = Some(duration(value)?),
            "words" => self.words = Some(number::<usize>(word, value)?.clamp(1, WORDS_LIMIT)),
            "say" => self.say = Some(value.to_owned()),
            "split" => self.split = Some(number::<usize>(word, value)?.max(1)),
            "html" => self.end_with(Outcome::Html(http_status(value)?))?,
            "block" => self.end_with(Outcome::Blocked(value.to_owned()))?,
            "event-error" => self.end_with(Outcome::EventError(fault(value)?))?,
            "rpm" => self.limits()?.requests_per_minute = Some(number(word, value)?),
            "tpm" => self.limits()?.tokens_per_minute = Some(number(word, value)?),
            "rpd" => self.limits()?.requests_per_day = Some(number(word, value)?),
            "window" => self.limits()?.window = window(value)?,
            other => {
                return Err(GrammarError::new(format!(
                    "{other:?} takes no value, or is unknown"
                )));
            }
        }
        Ok(())
    }

    fn take_plain(&mut self, word: &str) -> Result<(), GrammarError> {
        if let Some(fault) = Fault::from_word(word) {
            return self.end_with(Outcome::Error(fault));
        }
        match word {
            "ok" => self.end_with(Outcome::Answer)?,
            "hang" => self.end_with(Outcome::Hang)?,
            "drop" => self.end_with(Outcome::Drop)?,
            "stall" => self.end_with(Outcome::Stall)?,
            "cut" => self.end_with(Outcome::Cut(CutAt::Event))?,
            "cut-line" => self.end_with(Outcome::Cut(CutAt::Line))?,
            "cut-char" => self.end_with(Outcome::Cut(CutAt::Character))?,
            "garbage" => self.end_with(Outcome::Garbage)?,
            "html" => self.end_with(Outcome::Html(502))?,
            "empty" => self.end_with(Outcome::Empty)?,
            "block" => self.end_with(Outcome::Blocked("SAFETY".to_owned()))?,
            "no-text" => self.end_with(Outcome::NoText)?,
            "thoughts-only" => self.end_with(Outcome::ThoughtsOnly)?,
            "safety" => (self.finish, self.half_way) = (Some("SAFETY".to_owned()), true),
            "max-tokens" => (self.finish, self.half_way) = (Some("MAX_TOKENS".to_owned()), true),
            "stop-every" => self.stops = Some(Stops::Every),
            "stop-early" => self.stops = Some(Stops::EarlyEmpty),
            "finish-apart" => self.stops = Some(Stops::Apart),
            "no-finish" => self.stops = Some(Stops::Never),
            "thoughts" => self.thoughts = true,
            "array" => self.in_array = true,
            "crlf" => self.crlf = true,
            "quota" => self.quota = Some(Quota::Limited(Limits::default())),
            "quota-off" => self.quota = Some(Quota::Unlimited),
            "fixed" => self.limits()?.kind = WindowKind::Fixed,
            other => {
                return Err(GrammarError::new(format!(
                    "{other:?} is unknown, or needs a value"
                )));
            }
        }
        Ok(())
    }

    /// Two outcomes in one order are a mistake in a test, not a wish.
    fn end_with(&mut self, outcome: Outcome) -> Result<(), GrammarError> {
        if let Some(first) = &self.outcome {
            return Err(GrammarError::new(format!(
                "it ends twice, with {first:?} and with {outcome:?}"
            )));
        }
        self.outcome = Some(outcome);
        Ok(())
    }

    fn limits(&mut self) -> Result<&mut Limits, GrammarError> {
        match &mut self.quota {
            Some(Quota::Limited(limits)) => Ok(limits),
            _ => Err(GrammarError::new(
                "rpm, tpm, rpd, window and fixed stand after the word quota",
            )),
        }
    }
}

/// One word of an order: a name, and what stands after its `=`.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    name: String,
    value: Option<String>,
}

/// Splits at white space; a value may stand in double quotes, with `\"`, `\\` and `\n` in it.
fn words_of(text: &str) -> Result<Vec<Word>, GrammarError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            None => None,
            Some(after) => {
                let (value, left) = value_of(after)?;
                rest = left;
                Some(value)
            }
        };
        if name.is_empty() {
            return Err(GrammarError::new("a value has no name before its ="));
        }
        words.push(Word { name, value });
        rest = rest.trim_start();
    }
    Ok(words)
}

fn value_of(text: &str) -> Result<(String, &str), GrammarError> {
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
    Err(GrammarError::new("a quoted value has no end"))
}

fn number<N: FromStr>(word: &Word, value: &str) -> Result<N, GrammarError> {
    value.parse().map_err(|_| {
        GrammarError::new(format!(
            "{}={value} is not a whole number that fits",
            word.name
        ))
    })
}

fn probability(value: &str) -> Result<f64, GrammarError> {
    value
        .parse()
        .ok()
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| GrammarError::new(format!("p={value} is not a number from 0 to 1")))
}

fn http_status(value: &str) -> Result<u16, GrammarError> {
    value
        .parse()
        .ok()
        .filter(|code| (200..=599).contains(code))
        .ok_or_else(|| GrammarError::new(format!("{value} is not an HTTP status from 200 to 599")))
}

fn fault(value: &str) -> Result<Fault, GrammarError> {
    Fault::from_word(value)
        .ok_or_else(|| GrammarError::new(format!("{value:?} is not an error to be had")))
}

fn window(value: &str) -> Result<Duration, GrammarError> {
    let window = duration(value)?;
    if window.is_zero() {
        return Err(GrammarError::new("a quota's window cannot be zero"));
    }
    Ok(window)
}

/// `200ms`, `2s`, `1.5s`, `34.074824224s`, `1m`: up to a day, always with its unit.
fn duration(text: &str) -> Result<Duration, GrammarError> {
    let wrong = || GrammarError::new(format!("{text:?} is not a time such as 200ms, 1.5s or 1m"));
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

/// The order in the last marker of a text (`[[practice: 429 retry=2s]]`), without its brackets.
pub fn marker_in(text: &str) -> Option<&str> {
    let opens = text.rfind(MARKER_OPENS)?;
    let inside = &text[opens + MARKER_OPENS.len()..];
    Some(inside[..inside.find(MARKER_CLOSES)?].trim())
}

/// The text without its markers, which are orders and nothing that was said.
pub fn without_markers(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(opens) = rest.find(MARKER_OPENS) {
        let Some(closes) = rest[opens..].find(MARKER_CLOSES) else {
            break;
        };
        said.push_str(&rest[..opens]);
        rest = &rest[opens + closes + MARKER_CLOSES.len()..];
    }
    said.push_str(rest);
    said.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Behaviour {
        text.parse().unwrap()
    }

    #[test]
    fn every_error_has_its_word() {
        for (word, fault) in Fault::WORDS {
            assert_eq!(parsed(word).outcome, Some(Outcome::Error(fault)), "{word}");
            assert_eq!(
                parsed(&format!("event-error={word}")).outcome,
                Some(Outcome::EventError(fault)),
                "{word}"
            );
        }
    }

    #[test]
    fn outcomes_are_single_words() {
        for (text, outcome) in [
            ("ok", Outcome::Answer),
            ("hang", Outcome::Hang),
            ("drop", Outcome::Drop),
            ("stall", Outcome::Stall),
            ("cut", Outcome::Cut(CutAt::Event)),
            ("cut-line", Outcome::Cut(CutAt::Line)),
            ("cut-char", Outcome::Cut(CutAt::Character)),
            ("garbage", Outcome::Garbage),
            ("html", Outcome::Html(502)),
            ("html=200", Outcome::Html(200)),
            ("empty", Outcome::Empty),
            ("block", Outcome::Blocked("SAFETY".to_owned())),
            (
                "block=NEW_REASON",
                Outcome::Blocked("NEW_REASON".to_owned()),
            ),
            ("no-text", Outcome::NoText),
            ("thoughts-only", Outcome::ThoughtsOnly),
        ] {
            assert_eq!(parsed(text).outcome, Some(outcome), "{text}");
        }
    }

    #[test]
    fn an_order_is_words_and_values_in_any_sequence() {
        let behaviour =
            parsed("  times=2 429\tretry=34.074824224s array model=gemini-a  p=0.25 delay=200ms ");
        assert_eq!(
            behaviour.outcome,
            Some(Outcome::Error(Fault::RequestsPerMinute))
        );
        assert_eq!(behaviour.times, Some(2));
        assert_eq!(behaviour.probability, Some(0.25));
        assert_eq!(behaviour.model.as_deref(), Some("gemini-a"));
        assert_eq!(behaviour.delay, Some(Duration::from_millis(200)));
        assert!(behaviour.in_array);
        let retry = behaviour.retry.unwrap();
        assert_eq!(retry.text(), "34.074824224s");
        assert_eq!(retry.duration(), Duration::from_nanos(34_074_824_224));
    }

    #[test]
    fn how_a_reply_is_made_and_delivered() {
        let behaviour = parsed(
            r#"say="two\nlines, \"quoted\"" words=9 pace=50ms split=1 crlf thoughts stop-every"#,
        );
        assert_eq!(behaviour.say.as_deref(), Some("two\nlines, \"quoted\""));
        assert_eq!(behaviour.words, Some(9));
        assert_eq!(behaviour.pace, Some(Duration::from_millis(50)));
        assert_eq!(behaviour.split, Some(1));
        assert!(behaviour.crlf && behaviour.thoughts);
        assert_eq!(behaviour.stops, Some(Stops::Every));
        assert_eq!(parsed("words=999999999").words, Some(WORDS_LIMIT));
        assert_eq!(parsed("split=0").split, Some(1));
        let safety = parsed("safety after=3");
        assert_eq!(
            (safety.finish.as_deref(), safety.half_way, safety.after),
            (Some("SAFETY"), true, Some(3))
        );
    }

    #[test]
    fn a_quota_is_an_order_too() {
        let Some(Quota::Limited(limits)) =
            parsed("quota rpm=3 tpm=1000 rpd=50 window=2s fixed").quota
        else {
            panic!()
        };
        assert_eq!(limits.requests_per_minute, Some(3));
        assert_eq!(limits.tokens_per_minute, Some(1000));
        assert_eq!(limits.requests_per_day, Some(50));
        assert_eq!(limits.window, Duration::from_secs(2));
        assert_eq!(limits.kind, WindowKind::Fixed);
        assert_eq!(parsed("quota-off").quota, Some(Quota::Unlimited));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (text, named) in [
            ("429 retry=soon", "soon"),
            ("frobnicate", "frobnicate"),
            ("retry", "retry"),
            ("ok=1", "ok"),
            ("429 503", "twice"),
            ("p=2", "p=2"),
            ("times=-1", "times=-1"),
            ("say=\"open", "no end"),
            ("=3", "no name"),
            ("html=999", "999"),
            ("event-error=418", "418"),
            ("rpm=3", "quota"),
            ("quota window=0s", "zero"),
            ("delay=5", "5"),
            ("delay=-1s", "-1s"),
            ("delay=inf", "inf"),
        ] {
            let problem = text.parse::<Behaviour>().unwrap_err().to_string();
            assert!(problem.contains(named), "{text}: {problem}");
        }
    }

    #[test]
    fn markers_are_found_and_taken_out() {
        let text = "hi [[practice: 503]] there [[practice: 429 retry=2s]]";
        assert_eq!(marker_in(text), Some("429 retry=2s"));
        assert_eq!(without_markers(text), "hi  there");
        assert_eq!(marker_in("no marker [[ here ]]"), None);
        assert_eq!(marker_in("[[practice: open"), None);
        assert_eq!(without_markers("[[practice: open"), "[[practice: open");
    }
}
