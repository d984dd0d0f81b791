//! What answers of the OpenAI-compatible chat API say: out of one event after the other, the text, how it ended, and
//! what it cost. Without I/O.

use serde::Deserialize;

use super::{Advice, Finished, ModelError, Pieces, Usage, chat_error::ChatError, http::Answer};

/// The event behind the last one.
const DONE: &[u8] = b"[DONE]";

/// How models that think aloud begin and end that, where their server does not tell it apart.
const THOUGHTS_BEGIN: &str = "<think>";
const THOUGHTS_END: &str = "</think>";

/// One event, or one whole body. Servers leave out, or write `null` for, what they have nothing to say about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    error: Option<ChatError>,
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    /// In a stream.
    delta: Option<Said>,
    /// In a whole body.
    message: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    content: Option<String>,
    /// The words with which it would not.
    refusal: Option<String>,
    /// Thoughts, by their two names.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

/// An answer as it comes in.
pub(super) struct ChatAnswer {
    enough_chars: usize,
    chars: usize,
    began: bool,
    has_text: bool,
    done: bool,
    finish_reason: Option<String>,
    thoughts: Thoughts,
    usage: Usage,
}

/// Whether what is said is still a thought.
enum Thoughts {
    /// Not known yet: all that was said so far.
    Perhaps(String),
    /// It is; with the end of what was said, in which the end of the thoughts may begin.
    Yes(String),
    /// No longer, or never was.
    No,
}

impl ChatAnswer {
    pub(super) fn new(enough_chars: usize) -> ChatAnswer {
        ChatAnswer {
            enough_chars,
            chars: 0,
            began: false,
            has_text: false,
            done: false,
            finish_reason: None,
            thoughts: Thoughts::Perhaps(String::new()),
            usage: Usage::default(),
        }
    }

    fn say(&mut self, text: &str, pieces: Pieces<'_>) {
        if !text.is_empty() {
            self.has_text |= !text.trim().is_empty();
            self.chars += text.chars().count();
            pieces(text);
        }
    }

    fn take(&mut self, event: Event, pieces: Pieces<'_>) -> Result<bool, ModelError> {
        if let Some(error) = event.error {
            return Err(error.meaning(200, None));
        }
        if let Some(counts) = event.usage {
            let most = |before: u32, now: Option<u32>| before.max(now.unwrap_or(0));
            self.usage.tokens_in = most(self.usage.tokens_in, counts.prompt_tokens);
            self.usage.tokens_out = most(self.usage.tokens_out, counts.completion_tokens);
        }
        let Some(choice) = event.choices.unwrap_or_default().into_iter().next() else {
            return Ok(false);
        };
        let said = choice.delta.or(choice.message).unwrap_or_default();
        let thought = said.reasoning_content.or(said.reasoning);
        let mut at_work = thought.is_some_and(|thought| !thought.is_empty());
        for text in [said.content, said.refusal].into_iter().flatten() {
            at_work |= !text.is_empty();
            let text = self.thoughts.without(&text);
            self.say(&text, pieces);
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            at_work = true;
            self.finish_reason = Some(reason);
        }
        self.began |= at_work;
        Ok(at_work)
    }
}

impl Thoughts {
    /// What of the next piece is no thought.
    fn without(&mut self, piece: &str) -> String {
        match self {
            Thoughts::No => piece.to_owned(),
            Thoughts::Perhaps(so_far) => {
                so_far.push_str(piece);
                let said = so_far.trim_start();
                if let Some(thought) = said.strip_prefix(THOUGHTS_BEGIN) {
                    let thought = thought.to_owned();
                    *self = Thoughts::Yes(String::new());
                    return self.without(&thought);
                }
                if THOUGHTS_BEGIN.starts_with(said) {
                    return String::new();
                }
                let said = std::mem::take(so_far);
                *self = Thoughts::No;
                said
            }
            Thoughts::Yes(end) => {
                end.push_str(piece);
                if let Some((_, said)) = end.split_once(THOUGHTS_END) {
                    // The blank lines behind the thoughts may come later, and are trimmed with the reply.
                    let said = said.trim_start().to_owned();
                    *self = Thoughts::No;
                    return said;
                }
                let keep = end.floor_char_boundary(end.len().saturating_sub(THOUGHTS_END.len()));
                end.drain(..keep);
                String::new()
            }
        }
    }

    /// What turned out to be none, now that no more is said.
    fn end(&mut self) -> String {
        match std::mem::replace(self, Thoughts::No) {
            Thoughts::Perhaps(said) => said,
            Thoughts::Yes(_) | Thoughts::No => String::new(),
        }
    }
}

impl Answer for ChatAnswer {
    fn take_event(&mut self, event: &[u8], pieces: Pieces<'_>) -> Result<bool, ModelError> {
        if event.trim_ascii() == DONE {
            self.done = true;
            return Ok(false);
        }
        let event = serde_json::from_slice(event)
            .map_err(|error| ModelError::garbage(&error.to_string()))?;
        self.take(event, pieces)
    }

    fn began(&self) -> bool {
        self.began
    }

    fn is_enough(&self) -> bool {
        self.chars > self.enough_chars
    }

    /// A reply is finished if there was a `finish_reason`, or the event behind the last one, and there is text.
    fn finish(mut self, pieces: Pieces<'_>) -> Result<Finished, ModelError> {
        let held = self.thoughts.end();
        self.say(&held, pieces);
        let finished = |complete| {
            Ok(Finished {
                complete,
                usage: self.usage,
            })
        };
        if self.is_enough() {
            return finished(false);
        }
        match self.finish_reason.as_deref() {
            None if self.has_text && !self.done => {
                Err(ModelError::cut("the stream ended without a finish_reason"))
            }
            Some("content_filter") => Err(ModelError::blocked("the answer was blocked")),
            Some("length") if self.has_text => finished(false),
            // All of it went into thoughts; the same model would do the same again.
            Some("length") => Err(ModelError::empty("length and no text", Advice::NextModel)),
            _ if self.has_text => finished(true),
            _ => Err(ModelError::empty(
                "an empty 200",
                Advice::Again { after: None },
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What people see of content that comes in these pieces.
    fn shown(contents: &[&str]) -> String {
        let mut answer = ChatAnswer::new(4_000);
        let mut text = String::new();
        for content in contents {
            let event = json!({"choices": [{"delta": {"content": content}}]}).to_string();
            let seen = answer.take_event(event.as_bytes(), &mut |piece| text.push_str(piece));
            assert!(seen.is_ok());
        }
        let ended = answer
            .take_event(DONE, &mut |_| {})
            .and_then(|_| answer.finish(&mut |piece| text.push_str(piece)));
        drop(ended);
        text
    }

    #[test]
    fn thoughts_in_the_text_are_not_shown_however_they_are_cut() {
        let whole = "\n<think>\nHm. Äh, </thin…\n</think>\n\nFour. <think>no thought</think>";
        let wanted = "Four. <think>no thought</think>";
        assert_eq!(shown(&[whole]), wanted);
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(shown(&letters).trim_start(), wanted);
    }

    #[test]
    fn what_only_looks_like_a_thought_is_shown() {
        assert_eq!(shown(&["<thinkers>"]), "<thinkers>");
        assert_eq!(shown(&["<", "th"]), "<th");
        assert_eq!(shown(&[" ", "hi"]), " hi");
        assert_eq!(shown(&["<think>never ends"]), "");
    }

    #[test]
    fn an_event_may_lack_anything() {
        let mut answer = ChatAnswer::new(4_000);
        for event in [
            r#"{"choices":[]}"#,
            r#"{"choices":null,"usage":null,"error":null}"#,
            r#"{"choices":[{"delta":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"content":null,"role":"assistant"}}]}"#,
            "{}",
        ] {
            let at_work = answer.take_event(event.as_bytes(), &mut |_| {});
            assert_eq!(at_work, Ok(false), "{event}");
        }
        assert!(answer.take_event(b"{\"choi", &mut |_| {}).is_err());
    }
}
