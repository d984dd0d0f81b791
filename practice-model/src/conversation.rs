//! Reads out of a request what the reply and the record speak of: what was said last, by whom, and how much came before.
//! Gemini knows two roles only, so who speaks in a room stands in the text, as `ada: hello`.

use crate::gemini::{Content, GenerateRequest};
use crate::order::without_markers;

/// The conversation as far as the practice model follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The text of the last user turn, as it came.
    pub last_turn: String,
    /// Who spoke last, if the text names them.
    pub speaker: Option<String>,
    /// What they said: without name, without `@bot`, without markers.
    pub said: String,
    /// The order in the last message's last marker. Markers in earlier messages hold no longer, even in the same turn.
    pub marker: Option<String>,
    /// How many messages came before the last: each is a part of its own.
    pub earlier: usize,
}

/// Reads the conversation out of a request that was found valid.
pub(crate) fn read(request: &GenerateRequest) -> Conversation {
    let texts = |turn: &Content| -> Vec<String> {
        let parts = turn.parts.iter().filter(|part| part.thought != Some(true));
        parts.filter_map(|part| part.text.clone()).collect()
    };
    let turns: Vec<Vec<String>> = request.contents.iter().map(texts).collect();
    let last = turns.last().map(Vec::as_slice).unwrap_or_default();
    let message = last.last().map(String::as_str).unwrap_or_default();
    let (speaker, text) = speaker_of(message);
    let (said, marker) = without_markers(text);
    Conversation {
        last_turn: last.join("\n"),
        speaker: speaker.map(str::to_owned),
        said: addressed_to_bot(&said),
        marker: marker.map(str::to_owned),
        earlier: turns.iter().map(Vec::len).sum::<usize>().saturating_sub(1),
    }
}

fn speaker_of(message: &str) -> (Option<&str>, &str) {
    let is_of_a_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    match message.split_once(": ") {
        Some((name, text)) if !name.is_empty() && name.bytes().all(is_of_a_name) => {
            (Some(name), text.trim())
        }
        _ => (None, message.trim()),
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

    #[test]
    fn who_spoke_last_what_they_said_and_how_much_came_before() {
        let read = conversation(serde_json::json!([
            {"role": "user", "parts": [{"text": "ada: hello"}, {"text": "bob: hi\nhow are you"}]},
            {"role": "model", "parts": [{"text": "thinking", "thought": true}, {"text": "Hello both."}]},
            {"role": "user", "parts": [{"text": "bob: [[practice: 503]]"}, {"text": "ada: @bot, and now?"}]},
        ]));
        assert_eq!(read.earlier, 4);
        assert_eq!(
            (read.speaker.as_deref(), read.said.as_str()),
            (Some("ada"), "and now?")
        );
        assert_eq!(
            read.last_turn,
            "bob: [[practice: 503]]\nada: @bot, and now?"
        );
        assert_eq!(read.marker, None, "only the last message's holds");
    }

    #[test]
    fn an_order_is_nothing_that_was_said() {
        let text = "No name here: go\non [[practice: 429 retry=2s]]";
        let read = conversation(serde_json::json!([{"role": "user", "parts": [{"text": text}]}]));
        assert_eq!(read.marker.as_deref(), Some("429 retry=2s"));
        assert_eq!(
            (read.speaker, read.said.as_str()),
            (None, "No name here: go\non")
        );
    }
}
