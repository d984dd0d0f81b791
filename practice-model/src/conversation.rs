//! Reads out of a request what the reply and the record speak of: what was said last, by whom, and how much came before.
//! Gemini knows two roles only, so who speaks in a room stands in the text, as `ada: hello` (also `[ada] …`, `<ada> …`).

use crate::gemini::{Content, GenerateRequest};
use crate::grammar::{marker_in, without_markers};

/// Longest name before a colon that is taken for a speaker's, in bytes: the longest user name.
const NAME_LIMIT: usize = 32;

/// The conversation as far as the practice model follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The text of the last user turn, as it came.
    pub last_turn: String,
    /// Who spoke last, if the text names them.
    pub speaker: Option<String>,
    /// What they said: without name, without `@bot`, without markers.
    pub said: String,
    /// The order in the last message's last marker. Markers in earlier messages hold no longer, even in the same turn.
    pub marker: Option<String>,
    /// How many messages came before the last.
    pub earlier: usize,
}

/// Reads the conversation out of a request that was found valid.
pub fn read(request: &GenerateRequest) -> Conversation {
    let (last, before) = match request.contents.split_last() {
        Some((last, before)) => (texts_of(last), before),
        None => (Vec::new(), [].as_slice()),
    };
    let last_part = last.last().copied().unwrap_or_default();
    let message = last_message(last_part);
    let (speaker, text) = speaker_of(message);
    let in_last_turn = last.iter().map(|part| messages_in(part)).sum::<usize>();
    let before = before
        .iter()
        .map(|turn| texts_of(turn).into_iter().map(messages_in).sum::<usize>())
        .sum::<usize>();
    Conversation {
        last_turn: last.join("\n"),
        speaker: speaker.map(str::to_owned),
        said: addressed_to_bot(&without_markers(text)),
        marker: marker_in(message).map(str::to_owned),
        earlier: (before + in_last_turn).saturating_sub(1),
    }
}

fn texts_of(turn: &Content) -> Vec<&str> {
    turn.parts
        .iter()
        .filter(|part| part.thought != Some(true))
        .filter_map(|part| part.text.as_deref())
        .collect()
}

/// From the last line that begins with a speaker's name to the end.
fn last_message(text: &str) -> &str {
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if speaker_of(line).0.is_some() {
            begin = at;
        }
        at += line.len();
    }
    &text[begin..]
}

/// How many messages a part holds: the lines that begin with a speaker's name, and one where none does.
fn messages_in(text: &str) -> usize {
    text.lines()
        .filter(|line| speaker_of(line).0.is_some())
        .count()
        .max(1)
}

fn speaker_of(message: &str) -> (Option<&str>, &str) {
    let message = message.trim_start();
    let (name, rest) = if let Some(inside) = message
        .strip_prefix('[')
        .filter(|inside| !inside.starts_with('['))
    {
        inside.split_once(']').unwrap_or_default()
    } else if let Some(inside) = message.strip_prefix('<') {
        inside.split_once('>').unwrap_or_default()
    } else {
        message.split_once(": ").unwrap_or_default()
    };
    let is_name = (1..=NAME_LIMIT).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if is_name {
        (Some(name), rest.trim_start_matches(':').trim())
    } else {
        (None, message.trim())
    }
}

fn addressed_to_bot(text: &str) -> String {
    text.split("@bot")
        .map(|piece| piece.trim_matches([' ', ',']))
        .filter(|piece| !piece.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: serde_json::Value) -> Conversation {
        read(&serde_json::from_value(serde_json::json!({ "contents": turns })).unwrap())
    }

    fn one(text: &str) -> Conversation {
        conversation(serde_json::json!([{"role": "user", "parts": [{"text": text}]}]))
    }

    #[test]
    fn who_spoke_last_and_what_they_said() {
        for text in [
            "ada: @bot what is two plus two?",
            "[ada] @bot, what is two plus two?",
            "<ada>: what is two plus two?",
        ] {
            let read = one(text);
            assert_eq!(read.speaker.as_deref(), Some("ada"), "{text}");
            assert_eq!(read.said, "what is two plus two?", "{text}");
            assert_eq!(read.earlier, 0, "{text}");
        }
        let read = one("No name here: just text");
        assert_eq!(
            (read.speaker, read.said.as_str()),
            (None, "No name here: just text")
        );
    }

    #[test]
    fn messages_are_counted_by_their_speakers() {
        let read = conversation(serde_json::json!([
            {"role": "user", "parts": [{"text": "ada: hello\nbob: hi\nhow are you"}]},
            {"role": "model", "parts": [{"text": "thinking", "thought": true}, {"text": "Hello both."}]},
            {"role": "user", "parts": [{"text": "bob: one more"}, {"text": "ada: @bot and now?"}]},
        ]));
        assert_eq!(read.earlier, 4);
        assert_eq!(read.speaker.as_deref(), Some("ada"));
        assert_eq!(read.last_turn, "bob: one more\nada: @bot and now?");
    }

    #[test]
    fn only_the_last_messages_marker_holds() {
        let read = one("ada: @bot [[practice: 503]]\nbob: @bot hello");
        assert_eq!((read.marker, read.said.as_str()), (None, "hello"));
        let read = one("bob: hello\nada: @bot go\non [[practice: 429 retry=2s]]");
        assert_eq!(read.marker.as_deref(), Some("429 retry=2s"));
        assert_eq!(read.said, "go\non");
        assert_eq!(one("[[practice: 503]]").marker.as_deref(), Some("503"));
    }
}
