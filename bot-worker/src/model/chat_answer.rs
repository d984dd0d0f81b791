//! What the events of answers over the OpenAI-compatible chat API say. Without I/O.

use super::{
    Usage,
    answer::{Dialect, End, Said, short},
    chat_error::ChatError,
    json::{Fields, Json},
};

/// What one event of a chat server has at its top.
const KNOWN: [&str; 5] = ["choices", "usage", "error", "object", "id"];

/// A piece of an answer that is no longer than this may well be the same as the one before; beyond it, it is one that is
/// repeated.
const PIECE_MOST_BYTES: usize = 32;

/// How models that think aloud begin and end that, where their server does not tell it apart.
const THOUGHTS_BEGIN: &str = "<think>";
const THOUGHTS_END: &str = "</think>";

/// The way of answering of the chat API.
#[derive(Debug)]
pub(super) struct ChatDialect {
    thoughts: Thoughts,
    wholes: Wholes,
    /// There was a reason to finish.
    had_reason: bool,
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

/// What is said in `message`, where a whole answer should stand. Some servers stream there all the same: piece by piece, or
/// each time all that there is so far. Others repeat there at the end what they have said in `delta`.
#[derive(Debug)]
enum Wholes {
    /// Nothing was said there.
    None,
    /// Once, or a second time with what begins with the first: it is held until a third shows what that was.
    Unsure {
        first: Vec<u8>,
        held: Option<Vec<u8>>,
    },
    /// Each is all that there is so far: the last.
    Growing(Vec<u8>),
    /// Each is a piece: all of them.
    Pieces(Vec<u8>),
    /// The pieces stand where they should.
    Beside,
}

impl ChatDialect {
    /// One for one answer.
    pub(super) fn new() -> ChatDialect {
        ChatDialect {
            thoughts: Thoughts::Perhaps(String::new()),
            wholes: Wholes::None,
            had_reason: false,
        }
    }
}

impl Dialect for ChatDialect {
    fn read(&mut self, event: Json<'_>) -> Said {
        let whole = event;
        let event = event.fields();
        let error = event.get("error").filter(|error| !error.is_hollow());
        // Some say it without the object around it.
        let is_error = event.word("object").is_some_and(|object| object == "error");
        let error = error.or_else(|| is_error.then_some(whole));
        let counts = event.fields("usage");
        let mut said = Said {
            is_known: event.has_any(&KNOWN),
            error: error.map(|error| ChatError::of(error).meaning(200, None)),
            usage: usage(&counts),
            ..Said::default()
        };
        let choices = event.items("choices");
        let Some(choice) = choices.first().map(|choice| choice.fields()) else {
            // The counts come alone when all was said, and are the only end that some give.
            let is_last =
                !self.had_reason && event.has_any(&["choices"]) && said.usage.tokens_out > 0;
            said.end = is_last.then(|| End::Said("usage".to_owned()));
            return said;
        };
        let mut is_message = false;
        for name in ["delta", "message", "text"] {
            let Some(words) = choice.get(name) else {
                continue;
            };
            said.take_words(words);
            if !said.text.is_empty() || said.thinks {
                is_message = name == "message";
                break;
            }
        }
        said.end = choice.reason("finish_reason").map(end);
        self.had_reason |= said.end.is_some();
        if !said.text.is_empty() {
            let text = std::mem::take(&mut said.text);
            said.text = if is_message {
                self.wholes.new_of(text, said.end.is_some())
            } else {
                self.wholes.beside(text)
            };
            // What is held is work as well.
            said.thinks |= said.text.is_empty();
        } else if said.end.is_some() {
            said.text = self.wholes.rest();
        }
        said
    }

    fn shown(&mut self, text: String) -> String {
        self.thoughts.without(&text)
    }

    fn rest(&mut self) -> String {
        let held = String::from_utf8_lossy(&self.wholes.rest()).into_owned();
        self.thoughts.without(&held) + &self.thoughts.end()
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
        // Thoughts, by their names.
        for name in [
            "reasoning_content",
            "reasoning",
            "reasoning_text",
            "thinking",
        ] {
            let thought = words.get(name).filter(|thought| !thought.is_hollow());
            self.thinks |= thought.is_some();
            let text = thought.and_then(Json::text);
            self.thought_bytes += text.map_or(0, |text| text.len());
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
            Some(text) if is_text(&kind) => self.text.extend(text),
            _ => self.thinks = true,
        }
    }
}

/// Whether a part of this type is for people. There are `text`, `output_text` and others, and there are `reasoning_text` and
/// `summary_text`.
fn is_text(kind: &str) -> bool {
    const OF_THOUGHTS: [&str; 4] = ["reason", "think", "thought", "summary"];
    kind.ends_with("text") && !OF_THOUGHTS.iter().any(|word| kind.contains(word))
}

/// What is counted. What came out has the thoughts among it, and what went in what was cached. Some servers count the cache by
/// another name beside the rest.
fn usage(counts: &Fields<'_>) -> Usage {
    let tokens_in = counts.count("prompt_tokens");
    let cached = counts
        .fields("prompt_tokens_details")
        .count("cached_tokens")
        .max(counts.count("prompt_cache_hit_tokens"))
        .max(counts.count("cached_tokens"));
    let details = counts.fields("completion_tokens_details");
    let tokens_thought = details
        .count("reasoning_tokens")
        .max(counts.count("reasoning_tokens"));
    let tokens_out = counts.count("completion_tokens").max(tokens_thought);
    Usage {
        tokens_in,
        tokens_cached: cached.min(tokens_in),
        tokens_out,
        tokens_thought,
        ..Usage::default()
    }
}

fn end(reason: String) -> End {
    match reason.to_ascii_lowercase().as_str() {
        // The server, or one behind it, fell over in the middle.
        "abort" | "aborted" | "error" | "failed" => End::Broken(format!("it ended with {reason}")),
        "length" | "max_tokens" => End::Limit,
        "content_filter" => End::Blocked("the answer was blocked".to_owned()),
        _ => End::Said(short(&reason)),
    }
}

/// Whether that is all that was said once more, and not a piece that happens to be the same, such as a second `ha`.
fn is_repeated(text: &[u8], said: &[u8], ends: bool) -> bool {
    text == said && (ends || text.len() > PIECE_MOST_BYTES)
}

impl Wholes {
    /// What of a text that stands where a whole answer should is new. `ends` says that the answer ends with it.
    fn new_of(&mut self, text: Vec<u8>, ends: bool) -> Vec<u8> {
        match self {
            Wholes::None => {
                let first = text.clone();
                *self = Wholes::Unsure { first, held: None };
                text
            }
            // All of it once more.
            Wholes::Unsure { first, held: None } if is_repeated(&text, first, ends) => Vec::new(),
            Wholes::Unsure { first, held: None } if text.starts_with(first) => {
                let held = Some(text);
                let first = std::mem::take(first);
                *self = Wholes::Unsure { first, held };
                if ends { self.rest() } else { Vec::new() }
            }
            Wholes::Unsure { first, held } => {
                let grows = held
                    .as_ref()
                    .is_some_and(|held| held.len() > first.len() && text.starts_with(held));
                if grows {
                    let new = text[first.len()..].to_vec();
                    *self = Wholes::Growing(text);
                    return new;
                }
                let held = held.take().unwrap_or_default();
                let said = [first.as_slice(), &held].concat();
                *self = Wholes::Pieces(said);
                let new = self.new_of(text, ends);
                [held, new].concat()
            }
            Wholes::Growing(last) if text.starts_with(last) => {
                let new = text[last.len()..].to_vec();
                *last = text;
                new
            }
            // It was written anew, and what people have seen cannot be taken back.
            Wholes::Growing(_) => Vec::new(),
            Wholes::Pieces(said) if is_repeated(&text, said, ends) => Vec::new(),
            Wholes::Pieces(said) => {
                said.extend(&text);
                text
            }
            Wholes::Beside => Vec::new(),
        }
    }

    /// The next piece of an answer that stands where pieces do: what stands in the other place is the whole once more.
    fn beside(&mut self, text: Vec<u8>) -> Vec<u8> {
        let held = self.rest();
        *self = Wholes::Beside;
        [held, text].concat()
    }

    /// What was held, now that no more comes that could tell what it is.
    fn rest(&mut self) -> Vec<u8> {
        let Wholes::Unsure { first, held } = self else {
            return Vec::new();
        };
        let Some(held) = held.take() else {
            return Vec::new();
        };
        // A whole that is no longer than before has nothing to say; a piece has.
        let new = if held.len() > first.len() {
            held[first.len()..].to_vec()
        } else {
            held.clone()
        };
        *self = Wholes::Growing(held);
        new
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

    /// What people see of contents that stand in `message`, the last of them with the end.
    fn shown_of_messages(contents: &[&str]) -> String {
        let mut answer = Answer::new(ChatDialect::new(), 4_000);
        let mut text = String::new();
        for (at, content) in contents.iter().enumerate() {
            let finish = (at + 1 == contents.len()).then_some("stop");
            let event =
                json!({"choices": [{"message": {"content": content}, "finish_reason": finish}]});
            let seen = answer.take(event.to_string().as_bytes(), &mut |piece| {
                text.push_str(piece);
            });
            assert_eq!(seen, Ok(Taken::AtWork));
        }
        let ended = answer.finish(&mut |piece| text.push_str(piece));
        assert!(ended.is_ok_and(|finished| finished.complete));
        text
    }

    #[test]
    fn what_streams_where_a_whole_should_stand_is_read_as_it_is_meant() {
        for (contents, wanted) in [
            // Pieces, some of which are as the beginning was, and all of it once more.
            (&["ha", "ha", "!", "ha", ""][..], "haha!ha"),
            (&["ha", "ha", "!", "haha!"], "haha!"),
            (&["ha", "ha", "ha", "ha!", ""], "hahahaha!"),
            (&["1", "10", "2", ""], "1102"),
            (&["a", "b", "ab", "c", "ababc"], "ababc"),
            (&["one ", "two"], "one two"),
            (&["ha", "ha", ""], "haha"),
            // All that there is so far.
            (&["one", "one two", "one two three"], "one two three"),
            (&["one", "one two"], "one two"),
            (
                &["one", "one two", "one two", "one two three", ""],
                "one two three",
            ),
            // Only once more.
            (&["one two", "one two"], "one two"),
            (
                &[
                    "An answer that is no single piece.",
                    "An answer that is no single piece.",
                    "",
                ],
                "An answer that is no single piece.",
            ),
            (&["four"], "four"),
        ] {
            assert_eq!(shown_of_messages(contents), wanted, "{contents:?}");
        }
    }

    #[test]
    fn what_the_thoughts_of_a_server_are_called_nobody_sees_them() {
        for kind in [
            "reasoning_text",
            "summary_text",
            "thinking_text",
            "reasoning",
        ] {
            let event = json!({"choices": [{"delta": {"content": [{"type": kind, "text": "hm"}, {"type": "output_text", "text": "four"}]}}]});
            let mut answer = Answer::new(ChatDialect::new(), 4_000);
            let mut text = String::new();
            let taken = answer.take(event.to_string().as_bytes(), &mut |piece| {
                text.push_str(piece);
            });
            assert_eq!(
                (taken, text.as_str()),
                (Ok(Taken::AtWork), "four"),
                "{kind}"
            );
        }
    }

    #[test]
    fn an_answer_that_was_aborted_is_no_whole_one() {
        for reason in ["abort", "error"] {
            for (content, followed) in [("one", true), ("", true), ("one", false)] {
                let mut answer = Answer::new(ChatDialect::new(), 4_000);
                let said = json!({"choices": [{"delta": {"content": "zero "}}]}).to_string();
                let mut text = String::new();
                let mut pieces = |piece: &str| text.push_str(piece);
                answer.take(said.as_bytes(), &mut pieces).unwrap();
                if followed {
                    let end = json!({"choices": [{"delta": {"content": content}, "finish_reason": reason}]});
                    let broken = answer
                        .take(end.to_string().as_bytes(), &mut pieces)
                        .unwrap_err();
                    assert_eq!(broken.status, "cut");
                    assert_eq!(text, format!("zero {content}"));
                } else {
                    // Behind an end it changes nothing.
                    for reason in ["stop", reason] {
                        let end = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
                        answer
                            .take(end.to_string().as_bytes(), &mut pieces)
                            .unwrap();
                    }
                    assert!(
                        answer
                            .finish(&mut pieces)
                            .is_ok_and(|finished| finished.complete)
                    );
                }
            }
        }
    }

    #[test]
    fn the_counts_alone_are_an_end_and_an_error_without_its_object_is_one() {
        let text = r#"{"choices":[{"delta":{"content":"one"},"finish_reason":null}]}"#;
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
        let mut answer = Answer::new(ChatDialect::new(), 4_000);
        for event in [text, usage] {
            answer.take(event.as_bytes(), &mut |_| {}).unwrap();
        }
        let ended = answer.finish(&mut |_| {});
        assert!(ended.is_ok_and(|finished| finished.complete));
        let error = r#"{"object":"error","message":"the engine is dead","type":"InternalServerError","code":500}"#;
        let mut answer = Answer::new(ChatDialect::new(), 4_000);
        answer.take(text.as_bytes(), &mut |_| {}).unwrap();
        let failed = answer.take(error.as_bytes(), &mut |_| {}).unwrap_err();
        assert!(
            failed.status == "500" && failed.detail.contains("the engine is dead"),
            "{failed}"
        );
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
