//! Streams that are good but for something that no documentation knows of, as relays, old servers and bugs write them.
//! Pure: events in, bytes of events out.

use serde_json::{Value, json};

use crate::chat::Speech;

/// One thing that is odd about a stream that is good otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Oddity {
    /// `[DONE]` stands behind the last event, also of an API that has no such thing.
    Done,
    /// One more event at the end, with an end and `null` where parts should be.
    PartsNull,
    /// One more event at the end, with `null` where candidates, or choices, should be.
    CandidatesNull,
    /// Text stands in a list of parts where a string should be.
    Listed,
    /// Each character beyond the first 65,536 is cut in two: half of it in one event, half in the next.
    Halves,
    /// One byte of this event is not UTF-8.
    BadByte(usize),
    /// This event is not JSON.
    Garbled(usize),
    /// This event comes twice.
    Doubled(usize),
    /// What should be an object in this event is a list, and the other way about.
    Retyped(usize),
    /// This event is missing.
    LeftOut(usize),
}

impl Oddity {
    /// The oddity of a word without a value, if it is one.
    pub(crate) fn of_word(word: &str) -> Option<Oddity> {
        match word {
            "done" => Some(Oddity::Done),
            "parts-null" => Some(Oddity::PartsNull),
            "candidates-null" => Some(Oddity::CandidatesNull),
            "listed" => Some(Oddity::Listed),
            "halves" => Some(Oddity::Halves),
            _ => None,
        }
    }

    /// The oddity of a word that names an event, if it is one.
    pub(crate) fn of_event(word: &str, event: usize) -> Option<Oddity> {
        match word {
            "bad-byte" => Some(Oddity::BadByte(event)),
            "garbled" => Some(Oddity::Garbled(event)),
            "doubled" => Some(Oddity::Doubled(event)),
            "retyped" => Some(Oddity::Retyped(event)),
            "left-out" => Some(Oddity::LeftOut(event)),
            _ => None,
        }
    }

    /// The events with this about them. Of an event that is not there, nothing changes.
    pub(crate) fn lay_over(self, mut events: Vec<Vec<u8>>, speech: Speech) -> Vec<Vec<u8>> {
        match self {
            Oddity::Done => events.push(b"[DONE]".to_vec()),
            Oddity::PartsNull => events.push(match speech {
                Speech::Gemini => br#"{"candidates":[{"content":{"role":"model","parts":null},"finishReason":"STOP"}]}"#.to_vec(),
                Speech::Chat => br#"{"choices":[{"delta":null,"finish_reason":"stop"}]}"#.to_vec(),
            }),
            Oddity::CandidatesNull => events.push(match speech {
                Speech::Gemini => br#"{"candidates":null,"usageMetadata":{"promptTokenCount":9}}"#.to_vec(),
                Speech::Chat => br#"{"choices":null,"usage":{"prompt_tokens":9}}"#.to_vec(),
            }),
            Oddity::Listed => events.iter_mut().for_each(list_text),
            Oddity::Halves => events = events.into_iter().flat_map(|event| halves(&event)).collect(),
            Oddity::LeftOut(at) if at < events.len() => drop(events.remove(at)),
            Oddity::Doubled(at) if at < events.len() => events.insert(at, events[at].clone()),
            Oddity::Garbled(at) if at < events.len() => {
                let half = events[at].len() / 2;
                events[at].truncate(half);
                events[at].extend(b"%%%");
            }
            Oddity::Retyped(at) if at < events.len() => {
                if let Ok(event) = serde_json::from_slice::<Value>(&events[at]) {
                    events[at] = retyped(event).to_string().into_bytes();
                }
            }
            Oddity::BadByte(at) if at < events.len() => {
                // A letter of what is said, where something is.
                let text = [&b"\"text\":\""[..], b"\"content\":\""];
                let said = text.into_iter().find_map(|name| find(&events[at], name));
                if let Some(letter) = said.and_then(|said| events[at].get_mut(said)) {
                    *letter = 0xFF;
                }
            }
            _ => {}
        }
        events
    }
}

/// Where what is looked for ends.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let begin = bytes
        .windows(wanted.len())
        .position(|window| window == wanted)?;
    Some(begin + wanted.len())
}

fn list_text(event: &mut Vec<u8>) {
    let Ok(mut value) = serde_json::from_slice::<Value>(event) else {
        return;
    };
    if let Some(content) = value.pointer_mut("/choices/0/delta/content")
        && content.is_string()
    {
        *content = json!([{"type": "text", "text": content.take()}]);
        *event = value.to_string().into_bytes();
    }
}

/// An event with a character of two halves as two events, each with its half written as `\uXXXX`.
fn halves(event: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(event);
    let Some((at, character)) = text
        .char_indices()
        .find(|(_, character)| character.len_utf16() == 2)
    else {
        return vec![event.to_vec()];
    };
    let (before, after) = (&text[..at], &text[at + character.len_utf8()..]);
    // Each of the two is the whole event but for what is said, of which one has the first part and one the rest.
    let begins = before.rfind('"').map_or(0, |quote| quote + 1);
    let ends = after.find("\"").unwrap_or(after.len());
    let mut units = [0; 2];
    character.encode_utf16(&mut units);
    let first = format!("{before}\\u{:04x}{}", units[0], without_end(&after[ends..]));
    let second = format!("{}\\u{:04x}{after}", &before[..begins], units[1]);
    let mut all = vec![first.into_bytes()];
    all.extend(halves(second.as_bytes()));
    all
}

/// What follows the text of an event, with an end that comes later taken out.
fn without_end(after: &str) -> String {
    ["STOP", "MAX_TOKENS", "stop", "length"]
        .iter()
        .fold(after.to_owned(), |after, reason| {
            after
                .replace(&format!("Reason\":\"{reason}\""), "Reason\":\"\"")
                .replace(&format!("reason\":\"{reason}\""), "reason\":null")
        })
}

fn retyped(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, _)| Value::String(name))
            .collect(),
        other => json!({"was": other}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_cut_in_two_and_nothing_else_is() {
        let whole = r#"{"candidates":[{"content":{"parts":[{"text":"an 🦉 and 😀"}]},"finishReason":"STOP"}]}"#;
        let cut: Vec<String> = Oddity::Halves
            .lay_over(vec![whole.as_bytes().to_vec()], Speech::Gemini)
            .into_iter()
            .map(|event| String::from_utf8(event).unwrap())
            .collect();
        assert_eq!(cut.len(), 3);
        assert!(
            cut[0].contains(r#""an \ud83e""#) && cut[0].contains(r#""finishReason":"""#),
            "{}",
            cut[0]
        );
        assert!(cut[1].contains(r#""\udd89 and \ud83d""#), "{}", cut[1]);
        assert!(
            cut[2].contains(r#""\ude00""#) && cut[2].ends_with(r#""STOP"}]}"#),
            "{}",
            cut[2]
        );
    }

    #[test]
    fn an_event_that_is_not_there_stays_so() {
        let events = vec![b"{}".to_vec()];
        for word in ["bad-byte", "garbled", "doubled", "retyped", "left-out"] {
            let oddity = Oddity::of_event(word, 7).unwrap();
            assert_eq!(oddity.lay_over(events.clone(), Speech::Chat), events);
        }
    }
}
