//! What the events of answers over the OpenAI-compatible chat API say. Without I/O.

use super::{
    Usage,
    answer::{Dialect, End, Said, short},
    chat_error::ChatError,
    json::{Fields, Json},
};

/// What one event of a chat server has at its top.
const KNOWN: [&str; 5] = ["choices", "usage", "error", "object", "id"];

/// How models that think aloud begin and end that, where their server does not tell it apart.
const THOUGHTS_BEGIN: &str = "<think>";
const THOUGHTS_END: &str = "</think>";

/// The way of answering of the chat API.
#[derive(Debug)]
pub(super) struct ChatDialect {
    thoughts: Thoughts,
}

/// Whether what is said is still a thought.
#[derive(Debug)]
enum Thoughts {
    /// Not known yet: all that was said so far.
    Perhaps(String),
    /// It is; with the end of what was said, in which the end of the thoughts may begin.
    Yes(String),
    /// No longer, or never was.
    No,
}

impl ChatDialect {
    /// One for one answer.
    pub(super) fn new() -> ChatDialect {
        ChatDialect {
            thoughts: Thoughts::Perhaps(String::new()),
        }
    }
}

impl Dialect for ChatDialect {
    fn read(&mut self, event: Json<'_>) -> Said {
        let event = event.fields();
        let error = event.get("error").filter(|error| !error.is_hollow());
        let counts = event.fields("usage");
        let mut said = Said {
            is_known: event.has_any(&KNOWN),
            error: error.map(|error| ChatError::of(error).meaning(200, None)),
            usage: Usage {
                tokens_in: counts.count("prompt_tokens"),
                tokens_out: counts.count("completion_tokens"),
            },
            ..Said::default()
        };
        let choices = event.items("choices");
        let Some(choice) = choices.first().map(|choice| choice.fields()) else {
            return said;
        };
        for name in ["delta", "message", "text"] {
            let Some(words) = choice.get(name) else {
                continue;
            };
            said.take_words(words);
            if !said.text.is_empty() || said.thinks {
                // A server that streams may send the whole of it once more with the last event.
                said.is_whole = name == "message";
                break;
            }
        }
        said.end = choice.reason("finish_reason").map(end);
        said
    }

    fn shown(&mut self, text: String) -> String {
        self.thoughts.without(&text)
    }

    fn rest(&mut self) -> String {
        self.thoughts.end()
    }
}

impl Said {
    /// What stands in `delta` or in `message`: the words, or an object around them.
    fn take_words(&mut self, words: Json<'_>) {
        if let Some(text) = words.text() {
            self.text = text;
            return;
        }
        let words = words.fields();
        for content in ["content", "refusal"]
            .into_iter()
            .filter_map(|name| words.get(name))
        {
            match content.text() {
                Some(text) => self.text.extend(text),
                None => content
                    .items()
                    .into_iter()
                    .for_each(|part| self.take_part(part)),
            }
        }
        // Thoughts, by their two names.
        for name in ["reasoning_content", "reasoning"] {
            self.thinks |= words.get(name).is_some_and(|thought| !thought.is_hollow());
        }
    }

    /// One of several parts of a content. What is no text is a thought, or nothing for people.
    fn take_part(&mut self, part: Json<'_>) {
        if let Some(text) = part.text() {
            self.text.extend(text);
            return;
        }
        let part: Fields<'_> = part.fields();
        let kind = part.word("type").unwrap_or_else(|| "text".to_owned());
        match part.get("text").and_then(Json::text) {
            Some(text) if kind.ends_with("text") => self.text.extend(text),
            _ => self.thinks = true,
        }
    }
}

fn end(reason: String) -> End {
    match reason.to_ascii_lowercase().as_str() {
        "length" | "max_tokens" => End::Limit,
        "content_filter" => End::Blocked("the answer was blocked".to_owned()),
        _ => End::Said(short(&reason)),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::answer::{Answer, Taken},
        *,
    };

    /// What people see of content that comes in these pieces.
    fn shown(contents: &[&str]) -> String {
        let mut answer = Answer::new(ChatDialect::new(), 4_000);
        let mut text = String::new();
        for content in contents {
            let event = json!({"choices": [{"delta": {"content": content}}]}).to_string();
            let seen = answer.take(event.as_bytes(), &mut |piece| text.push_str(piece));
            assert!(seen.is_ok());
        }
        let ended = answer
            .take(b"[DONE]", &mut |_| {})
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
        let mut answer = Answer::new(ChatDialect::new(), 4_000);
        for event in [
            r#"{"choices":[]}"#,
            r#"{"choices":null,"usage":null,"error":null}"#,
            r#"{"choices":[{"delta":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"content":null,"role":"assistant"}}]}"#,
        ] {
            let taken = answer.take(event.as_bytes(), &mut |_| {});
            assert_eq!(taken, Ok(Taken::Quiet), "{event}");
        }
        for (event, why) in [("{}", "not_understood"), ("{\"choi", "unreadable")] {
            let taken = answer.take(event.as_bytes(), &mut |_| {});
            assert_eq!(taken, Ok(Taken::PassedOver(why)), "{event}");
        }
    }

    #[test]
    fn the_words_of_one_event_have_many_places() {
        for event in [
            r#"{"choices":[{"delta":{"content":"four"}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"fo"},{"type":"text","text":"ur"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[]},{"type":"output_text","text":"four"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":["four"]}}]}"#,
            r#"{"choices":[{"delta":{"content":"","refusal":"four"}}]}"#,
            r#"{"choices":[{"delta":null,"message":{"content":"four"}}]}"#,
            r#"{"choices":[{"text":"four"}]}"#,
            r#"{"choices":{"delta":"four"},"usage":"none"}"#,
            r#"{"choices":[{"delta":{"content":"four","tool_calls":7},"index":"0","logprobs":"?"}],"usage":[]}"#,
        ] {
            let mut answer = Answer::new(ChatDialect::new(), 4_000);
            let mut text = String::new();
            let taken = answer.take(event.as_bytes(), &mut |piece| text.push_str(piece));
            assert_eq!(
                (taken, text.as_str()),
                (Ok(Taken::AtWork), "four"),
                "{event}"
            );
            // Once more as a whole, by way of an end.
            let whole =
                r#"{"choices":[{"delta":{},"message":{"content":"four"},"finish_reason":"stop"}]}"#;
            answer
                .take(whole.as_bytes(), &mut |piece| text.push_str(piece))
                .unwrap();
            let ended = answer.finish(&mut |piece| text.push_str(piece));
            assert!(
                ended.is_ok_and(|finished| finished.complete) && text == "four",
                "{event}: {text}"
            );
        }
    }
}
