//! Server-sent events out of a body that is split anywhere: inside a line, inside a line's end, inside a character.
//! Only `data` is kept, and what llama.cpp sends in a field `error` in its place. A body that has no event in it is no stream, and stands for one.

/// The largest event that is taken, in bytes. Gemini's are a few KiB.
pub const EVENT_MAX_BYTES: usize = 1024 * 1024;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseItem {
    /// The data of one event, lines joined by line feeds.
    Event(Vec<u8>),
    /// In the place of an event, or of a body that is none, of more than [`EVENT_MAX_BYTES`].
    TooLong,
}

/// Reads the events of one body.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The event, or the line, is passed over: it was too long.
    is_too_long: bool,
    /// The last byte was a carriage return, which ends a line; a line feed that follows belongs to it.
    after_return: bool,
    /// Lines of JSON, as long as there was no event.
    bare: Vec<u8>,
    had_event: bool,
}

impl SseParser {
    /// Takes a piece of the body and returns the events that it completes.
    pub fn push(&mut self, piece: &[u8]) -> Vec<SseItem> {
        let mut items = Vec::new();
        for &byte in piece {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => items.extend(self.end_line()),
                // Of a line that is passed over, its first byte shows that it is not empty.
                _ if self.is_too_long && !self.line.is_empty() => {}
                _ => {
                    self.line.push(byte);
                    if self.line.len() + self.data.len() + self.bare.len() > EVENT_MAX_BYTES {
                        self.is_too_long = true;
                        self.line.truncate(1);
                        (self.data, self.bare) = (Vec::new(), Vec::new());
                    }
                }
            }
        }
        items
    }

    /// The body has ended. An event without the empty line behind it still counts: some relays leave it out. A body
    /// without one is returned as if it were one.
    pub fn finish(mut self) -> Vec<SseItem> {
        let mut items = Vec::new();
        if !self.line.is_empty() {
            items.extend(self.end_line());
        }
        items.extend(self.end_line());
        if !self.had_event && !self.bare.trim_ascii().is_empty() {
            items.push(SseItem::Event(self.bare));
        }
        items
    }

    fn end_line(&mut self) -> Option<SseItem> {
        let line = std::mem::take(&mut self.line);
        if self.is_too_long {
            if line.is_empty() {
                (self.is_too_long, self.has_data) = (false, false);
                return Some(SseItem::TooLong);
            }
            return None;
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let has_data = std::mem::take(&mut self.has_data);
            return has_data.then_some(SseItem::Event(data));
        }
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line);
        if let Some(error) = line.strip_prefix(b"error:") {
            self.had_event = true;
            self.bare = Vec::new();
            return Some(SseItem::Event(error_event(error.trim_ascii())));
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => Some(&[][..]),
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Some(value),
            _ => None,
        };
        if let Some(value) = value {
            if self.has_data {
                self.data.push(b'\n');
            }
            (self.has_data, self.had_event) = (true, true);
            self.bare = Vec::new();
            self.data.extend_from_slice(value);
        } else if !self.had_event
            && (line.starts_with(b"{") || line.starts_with(b"[") || !self.bare.is_empty())
        {
            self.bare.extend_from_slice(line);
            self.bare.push(b'\n');
        }
        None
    }
}

/// The event that says the same in the usual way: an object with an `error` in it.
fn error_event(error: &[u8]) -> Vec<u8> {
    let is_json = serde_json::from_slice::<serde_json::Value>(error);
    match is_json {
        Ok(value) if value.get("error").is_some() => error.to_vec(),
        Ok(value) => serde_json::json!({"error": value}).to_string().into_bytes(),
        Err(_) => {
            let words = String::from_utf8_lossy(error);
            serde_json::json!({"error": words}).to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    fn events_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut items: Vec<SseItem> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
        items.extend(parser.finish());
        items
            .into_iter()
            .map(|item| match item {
                SseItem::Event(event) => String::from_utf8(event).unwrap(),
                SseItem::TooLong => "too long".to_owned(),
            })
            .collect()
    }

    const BODY: &str = "\u{feff}data: one\r\n\r\n: a comment\nevent: x\nid: 7\ndata:two\ndata\ndata: zwölf 🦉\n\ndata: three\r\rdata: four";

    #[test]
    fn an_error_in_a_field_of_its_own_is_an_event() {
        let body = "data: one\n\nerror: {\"code\":500,\"message\":\"context\"}\n\nerror: {\"error\":{\"code\":503}}\n\nerror: out of memory\n\n";
        let events = events_of(&[body.as_bytes()]);
        let error = r#"{"error":{"code":500,"message":"context"}}"#;
        let others = [r#"{"error":{"code":503}}"#, r#"{"error":"out of memory"}"#];
        assert_eq!(events, ["one", error, others[0], others[1]]);
    }

    #[test]
    fn data_lines_become_events() {
        let events = events_of(&[BODY.as_bytes()]);
        assert_eq!(events, ["one", "two\n\nzwölf 🦉", "three", "four"]);
        assert!(events_of(&[b": ping\n\n", b"event: x\n\n"]).is_empty());
    }

    #[test]
    fn a_body_of_json_without_events_stands_for_one() {
        assert!(
            events_of(&[b"<html>\n{}\n"])
                .iter()
                .all(|body| body == "{}\n")
        );
        assert_eq!(
            events_of(&[b"{\"a\":", b" [\n 1\n]}"]),
            ["{\"a\": [\n 1\n]}\n"]
        );
        assert_eq!(events_of(&[b"{\"a\":1}\n\ndata: one\n\n{}\n"]), ["one"]);
    }

    #[test]
    fn an_event_that_is_too_long_is_passed_over_and_not_kept() {
        let long = vec![b'x'; EVENT_MAX_BYTES + 1];
        let before_and_after: [&[u8]; 5] = [
            b"data: a\n\ndata: ",
            &long,
            &long,
            b"\ndata: y\n\n",
            b"data: b\n\n",
        ];
        assert_eq!(events_of(&before_and_after), ["a", "too long", "b"]);
        let mut parser = SseParser::default();
        parser.push(b"data: ");
        for _ in 0..3 {
            assert!(parser.push(&long).is_empty());
        }
        assert!(parser.line.capacity() + parser.data.capacity() <= 3 * EVENT_MAX_BYTES);
        assert_eq!(parser.finish(), [SseItem::TooLong]);
    }

    #[test]
    fn every_split_in_two_gives_the_same_events() {
        let body = BODY.as_bytes();
        let whole = events_of(&[body]);
        for at in 0..=body.len() {
            assert_eq!(
                events_of(&[&body[..at], &body[at..]]),
                whole,
                "split at {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_split_into_many_gives_the_same_events(
            lines in proptest::collection::vec("(data: ?)?[a-zä🦉:]{0,8}(\n|\r\n|\r)", 0..20),
            cuts in proptest::collection::vec(any::<Index>(), 0..20),
        ) {
            let body = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect();
            prop_assert_eq!(events_of(&pieces), events_of(&[&body]));
        }
    }
}
