//! Server-sent events out of a body that is split anywhere: inside a line, inside a line's end, inside a character.
//! Only `data` is kept; nothing else is sent by models.

/// The largest event that is taken, in bytes. Gemini's are a few KiB.
pub const EVENT_MAX_BYTES: usize = 1024 * 1024;

/// An event, or a line, that is longer than [`EVENT_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {EVENT_MAX_BYTES} bytes")]
pub struct TooLong;

/// Reads the events of one body.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return, which ends a line; a line feed that follows belongs to it.
    after_return: bool,
}

impl SseParser {
    /// Takes a piece of the body and returns the events that it completes: their data, lines joined by line feeds.
    ///
    /// # Errors
    /// [`TooLong`]. The parser is of no further use then.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut events = Vec::new();
        for &byte in piece {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => {
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > EVENT_MAX_BYTES {
                        return Err(TooLong);
                    }
                }
            }
        }
        Ok(events)
    }

    /// The body has ended. An event without the empty line behind it still counts: some relays leave it out.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_line()
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line);
        let value = match line.strip_prefix(b"data") {
            Some([]) => Some(&[][..]),
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Some(value),
            _ => None,
        };
        if let Some(value) = value {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(value);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    fn events_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut events: Vec<Vec<u8>> = pieces
            .iter()
            .flat_map(|piece| parser.push(piece).unwrap())
            .collect();
        events.extend(parser.finish());
        events
            .into_iter()
            .map(|event| String::from_utf8(event).unwrap())
            .collect()
    }

    const BODY: &str = "\u{feff}data: one\r\n\r\n: a comment\nevent: x\nid: 7\ndata:two\ndata\ndata: zwölf 🦉\n\ndata: three\r\rdata: four";

    #[test]
    fn data_lines_become_events() {
        let events = events_of(&[BODY.as_bytes()]);
        assert_eq!(events, ["one", "two\n\nzwölf 🦉", "three", "four"]);
        assert!(events_of(&[b": ping\n\n", b"\n\n"]).is_empty());
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut parser = SseParser::default();
        let line = vec![b'x'; EVENT_MAX_BYTES];
        assert_eq!(parser.push(&line), Ok(Vec::new()));
        assert_eq!(parser.push(b"x"), Err(TooLong));
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
