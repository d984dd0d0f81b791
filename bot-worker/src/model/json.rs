//! JSON as others write it, read field by field: what nobody asks for is not looked at, and what is of another type than
//! it should be is not there. So a field that went wrong costs itself, and not what stands beside it.

use std::{borrow::Borrow, collections::BTreeMap};

use serde::{
    Deserialize,
    de::{Deserializer, Visitor},
};
use serde_json::value::RawValue;

/// One value, still as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'a>(&'a str);

/// The fields of an object; none of what is no object.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(BTreeMap<Name, &'a RawValue>);

/// A field's name, which like any string may be half of a character.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Vec<u8>);

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_bytes(Bytes).map(Name)
    }
}

/// What can be read of bytes that should be JSON: text, with marks where it is none, and blanks for bare line ends and
/// their like, which JSON has only between values.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    text.replace(|c: char| c.is_ascii_control(), " ")
}

/// The values of a text, one after the other, and whether all of it could be read. A list stands for what is in it.
pub(super) fn values(mut text: &str) -> (Vec<Json<'_>>, bool) {
    let mut values = Vec::new();
    loop {
        let mut reader = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        let mut read = 0;
        loop {
            match reader.next().map(|value| value.map(RawValue::get)) {
                None => return (values, true),
                Some(Ok(list)) if list.starts_with('[') => values.extend(Json(list).items()),
                Some(Ok(value)) => values.push(Json(value)),
                Some(Err(_)) => break,
            }
            read = reader.byte_offset();
        }
        // A relay that loses the line's end between two events leaves the second one's mark.
        match text[read..].trim_start().strip_prefix("data:") {
            Some(next) => text = next,
            None => return (values, false),
        }
    }
}

impl<'a> Json<'a> {
    /// What is in an object.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields(serde_json::from_str(self.0).unwrap_or_default())
    }

    /// What is in a list. An object stands for a list of one.
    pub(super) fn items(self) -> Vec<Json<'a>> {
        if self.0.starts_with('{') {
            return vec![self];
        }
        let items: Vec<&RawValue> = serde_json::from_str(self.0).unwrap_or_default();
        items.into_iter().map(|item| Json(item.get())).collect()
    }

    /// A string, in WTF-8: as UTF-8, but half of a surrogate pair may stand in it, whose other half is in the next event.
    pub(super) fn text(self) -> Option<Vec<u8>> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        json.deserialize_bytes(Bytes).ok()
    }

    /// A string that says something.
    pub(super) fn word(self) -> Option<String> {
        let word = String::from_utf8_lossy(&self.text()?).into_owned();
        (!word.is_empty()).then_some(word)
    }

    /// A number, also as the string or the fraction that some make of it.
    pub(super) fn count(self) -> Option<u32> {
        let number: f64 = self.0.trim_matches('"').parse().ok()?;
        // Beyond its limits it stays at them.
        (number >= 0.0).then_some(number as u32)
    }

    /// Whether it is `true`.
    pub(super) fn is_true(self) -> bool {
        self.0 == "true"
    }

    /// Whether it is there and says nothing: `false`, `0`, `""`, `[]`, `{}`.
    pub(super) fn is_hollow(self) -> bool {
        let inside = self.0.trim_matches(['{', '}', '[', ']', '"', ' ']);
        matches!(inside, "" | "false" | "0")
    }

    /// As anything.
    pub(super) fn value(self) -> serde_json::Value {
        serde_json::from_str(self.0).unwrap_or_default()
    }
}

impl<'a> Fields<'a> {
    /// The field of this name, unless it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<Json<'a>> {
        let value = self.0.get(name.as_bytes())?.get();
        (value != "null").then_some(Json(value))
    }

    /// What is in the object of this name.
    pub(super) fn fields(&self, name: &str) -> Fields<'a> {
        self.get(name).map(Json::fields).unwrap_or_default()
    }

    /// What is in the list of this name.
    pub(super) fn items(&self, name: &str) -> Vec<Json<'a>> {
        self.get(name).map(Json::items).unwrap_or_default()
    }

    /// The string of this name, if it says something.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        self.get(name)?.word()
    }

    /// The number of this name; 0 if there is none.
    pub(super) fn count(&self, name: &str) -> u32 {
        self.get(name).and_then(Json::count).unwrap_or(0)
    }

    /// Why it ended, if this field says that it did: a word, or what stands in its place.
    pub(super) fn reason(&self, name: &str) -> Option<String> {
        let reason = self.get(name).filter(|reason| !reason.is_hollow())?;
        Some(reason.word().unwrap_or_else(|| "OTHER".to_owned()))
    }

    /// Whether one of these is there, even if it is `null`.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        names
            .iter()
            .any(|name| self.0.contains_key(name.as_bytes()))
    }
}

/// Takes a string whose escapes may be half of a character.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// Puts the halves of surrogate pairs together that were cut apart. What never finds its other half becomes a mark.
#[derive(Debug, Default)]
pub(super) struct Halves {
    first: Option<u16>,
}

impl Halves {
    /// What can be said after this piece. A half at its end waits for the next one.
    pub(super) fn join(&mut self, wtf8: &[u8]) -> String {
        let mut said = String::new();
        let mut rest = wtf8;
        while let Some(&first) = rest.first() {
            if let [0xED, second @ 0xA0..=0xFF, third, after @ ..] = rest {
                let half = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
                self.half(half, &mut said);
                rest = after;
                continue;
            }
            let is_half = |pair: &[u8]| pair[0] == 0xED && pair[1] >= 0xA0;
            let skip = usize::from(first == 0xED);
            let end = rest[skip..].windows(2).position(is_half);
            let (text, after) = rest.split_at(end.map_or(rest.len(), |end| end + skip));
            said.push_str(&self.rest());
            said.push_str(&String::from_utf8_lossy(text));
            rest = after;
        }
        said
    }

    /// What is left now that no more comes.
    pub(super) fn rest(&mut self) -> String {
        let left = self.first.take();
        left.map_or_else(String::new, |_| char::REPLACEMENT_CHARACTER.to_string())
    }

    fn half(&mut self, half: u16, said: &mut String) {
        let is_second = half >= 0xDC00;
        if is_second {
            let pair = [self.first.take().unwrap_or(half), half];
            let joined = char::decode_utf16(pair).next().and_then(Result::ok);
            said.push(joined.unwrap_or(char::REPLACEMENT_CHARACTER));
        } else {
            said.push_str(&self.rest());
            self.first = Some(half);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Json(text).fields()
    }

    #[test]
    fn a_field_of_another_type_is_not_there_and_those_beside_it_are() {
        let odd = r#"{"a": 3, "b": {"c": ["x", 7]}, "a\ud83e": "\ud83e", "n": null, "count": "12", "part": 1.9}"#;
        let event = fields(odd);
        assert!(event.word("a").is_none() && event.items("a").is_empty());
        assert_eq!(event.fields("b").items("c")[0].word().unwrap(), "x");
        assert!(event.get("n").is_none() && event.has_any(&["n"]));
        let counts = ["count", "part", "a", "b", "missing"].map(|name| event.count(name));
        assert_eq!(counts, [12, 1, 3, 0, 0]);
    }

    #[test]
    fn marks_without_end_are_read_without_end() {
        // On a stack that one call for each mark would overflow.
        let marks = "data:".repeat(200_000);
        assert_eq!(values(&marks).0.len(), 0);
    }

    #[test]
    fn what_can_be_read_of_a_text_is_read() {
        let seen = |text: &str| {
            let (values, is_all) = values(text);
            (values.len(), is_all)
        };
        for (text, wanted) in [
            (r#"{"a": 1}"#, (1, true)),
            (r#"[{"a": 1}, {"b": 2}]"#, (2, true)),
            (r#"{"a": 1} {"b": 2}"#, (2, true)),
            (r#"{"a": 1} {"b": 2"#, (1, false)),
            (r#"{"a": 1}data: {"b": 2}"#, (2, true)),
            (r#"data: data: {"b": 2}"#, (1, true)),
            ("[DONE]", (0, false)),
            ("", (0, true)),
        ] {
            assert_eq!(seen(text), wanted, "{text}");
        }
        assert_eq!(
            readable(b"\xEF\xBB\xBF{\"a\":\t\"\xFF\"}"),
            "{\"a\": \"\u{fffd}\"}"
        );
    }

    #[test]
    fn halves_of_a_character_find_each_other_and_only_each_other() {
        let said = |pieces: &[&str]| -> String {
            let mut halves = Halves::default();
            let mut said = String::new();
            for piece in pieces {
                let text = Json(&format!("\"{piece}\"")).text().unwrap();
                said.push_str(&halves.join(&text));
            }
            said + &halves.rest()
        };
        for (pieces, wanted) in [
            (&["zwölf ퟿ \\ud83e\\udd89!"][..], "zwölf ퟿ 🦉!"),
            (&["an owl: \\ud83e", "\\udd89!"], "an owl: 🦉!"),
            (&["\\ud83e", "", "\\udd89"], "🦉"),
            (&["\\ud83e", "x", "\\udd89"], "\u{fffd}x\u{fffd}"),
            (&["\\ud83e\\ud83e\\udd89"], "\u{fffd}🦉"),
            (&["\\udd89\\ud83e"], "\u{fffd}\u{fffd}"),
            (&["한글 🦉"], "한글 🦉"),
        ] {
            assert_eq!(said(pieces), wanted, "{pieces:?}");
        }
    }
}
