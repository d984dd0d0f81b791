//! Frames from a browser to the server, read and checked.

use serde::Deserialize;
use uuid::{Uuid, Version};

use super::{ErrorCode, FRAME_MAX_BYTES, MESSAGE_MAX_CHARS, Seq, says_nothing};
use crate::names;

/// The most bytes of a frame in which its id is looked for, if it is wrong elsewhere: more than a socket reads at all.
const ID_SOUGHT_MAX_BYTES: usize = 2 * 1024 * 1024;

/// A checked frame: names are well formed, texts trimmed and within their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Post a message.
    Send {
        /// The text, trimmed, 1 to 4,000 characters.
        message: String,
        /// Where; none means the room that the socket's address named.
        room: Option<String>,
        /// The message's id, if the client chose one.
        id: Option<Uuid>,
        /// The message that it answers.
        reply_to: Option<Uuid>,
    },
    /// Subscribe.
    Join {
        /// The room.
        room: String,
        /// First everything after this `seq`.
        after: Option<Seq>,
    },
    /// Unsubscribe.
    Leave {
        /// The room.
        room: String,
    },
    /// Somebody types.
    Typing {
        /// The room.
        room: String,
    },
    /// Stop a reply that is being written.
    Stop {
        /// The room.
        room: String,
        /// The reply's id.
        id: Uuid,
    },
    /// Have the request of a reply answered again.
    Again {
        /// The room.
        room: String,
        /// The reply's id.
        id: Uuid,
    },
    /// Give a message another text.
    Edit {
        /// The room.
        room: String,
        /// The event's own id.
        id: Uuid,
        /// The message.
        of: Uuid,
        /// The new text, trimmed, 1 to 4,000 characters.
        message: String,
    },
    /// Delete a message.
    Delete {
        /// The room.
        room: String,
        /// The event's own id.
        id: Uuid,
        /// The message.
        of: Uuid,
    },
    /// The room was read up to here.
    Read {
        /// The room.
        room: String,
        /// Up to which message.
        seq: Seq,
    },
    /// The answer to `ping`.
    Pong,
}

/// Why a frame cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// `bad_request` or `too_large`.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The frame's `id`, where it had a good one, so that the sender knows what was refused.
    pub id: Option<Uuid>,
}

/// The frame as it is written, before it is checked. Unknown fields are ignored, so that newer clients work.
#[derive(Deserialize)]
struct RawFrame {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    room: Option<String>,
    id: Option<String>,
    reply_to: Option<String>,
    of: Option<String>,
    after: Option<Seq>,
    seq: Option<Seq>,
}

impl ClientFrame {
    /// Reads one text frame.
    ///
    /// # Errors
    /// [`BadFrame`] with the code and words to answer with.
    pub fn read(text: &str) -> Result<ClientFrame, BadFrame> {
        if text.len() > FRAME_MAX_BYTES {
            let message = format!(
                "a frame may have {FRAME_MAX_BYTES} bytes; this one has {}",
                text.len()
            );
            return Err(BadFrame {
                code: ErrorCode::TooLarge,
                message,
                id: id_alone(text),
            });
        }
        // Derived readers take an array of the fields' values as well; the wire does not.
        if !text.trim_start().starts_with('{') {
            return Err(bad(
                None,
                "not a frame: a frame is a JSON object".to_owned(),
            ));
        }
        let raw: RawFrame = serde_json::from_str(text)
            .map_err(|error| bad(id_alone(text), why_unreadable(&error)))?;
        let id = raw.id.as_deref().map(Uuid::try_parse).transpose();
        let id = id.map_err(|_| bad(None, "`id` is not a UUID".to_owned()))?;
        RawFrame::check(raw, id).map_err(|(code, message)| BadFrame { code, message, id })
    }
}

/// The id of a frame that is wrong elsewhere, so that its sender can tell which one was refused.
fn id_alone(text: &str) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct IdAlone {
        id: Uuid,
    }
    if text.len() > ID_SOUGHT_MAX_BYTES || !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<IdAlone>(text)
        .ok()
        .map(|frame| frame.id)
}

/// In words, without the line and column, which say little about a frame that a program wrote.
fn why_unreadable(error: &serde_json::Error) -> String {
    let why = error.to_string();
    let what = why.split(" at line ").next().unwrap_or(&why);
    format!("not a frame: {}", half_a_character(&why).unwrap_or(what))
}

/// What a person is told whose text is cut in the middle of a character, as in the two halves of which JSON makes an
/// emoji: the reader's own words are of hex escapes.
pub fn half_a_character(why_unreadable: &str) -> Option<&'static str> {
    let is_half = ["surrogate", "hex escape", "unicode code point"]
        .into_iter()
        .any(|word| why_unreadable.contains(word));
    is_half.then_some("the text has half of a character in it, perhaps an emoji that was cut in two: please type it again")
}

fn bad(id: Option<Uuid>, message: String) -> BadFrame {
    BadFrame {
        code: ErrorCode::BadRequest,
        message,
        id,
    }
}

impl RawFrame {
    fn check(self, id: Option<Uuid>) -> Result<ClientFrame, (ErrorCode, String)> {
        let bad = |message: String| (ErrorCode::BadRequest, message);
        let room = self
            .room
            .map(|room| check_room(&room).map_err(bad))
            .transpose()?;
        let need_room =
            |room: Option<String>| room.ok_or_else(|| bad("`room` is missing".to_owned()));
        match self.kind.as_deref().unwrap_or("send") {
            "send" => {
                if let Some(id) = id {
                    check_own_id(id).map_err(bad)?;
                }
                let reply_to = self.reply_to.as_deref().map(Uuid::try_parse).transpose();
                let reply_to = reply_to.map_err(|_| bad("`reply_to` is not a UUID".to_owned()))?;
                let message = check_text(self.message.as_deref())?;
                Ok(ClientFrame::Send {
                    message,
                    room,
                    id,
                    reply_to,
                })
            }
            "join" => Ok(ClientFrame::Join {
                room: need_room(room)?,
                after: self.after,
            }),
            "leave" => Ok(ClientFrame::Leave {
                room: need_room(room)?,
            }),
            "typing" => Ok(ClientFrame::Typing {
                room: need_room(room)?,
            }),
            "stop" => {
                let id =
                    id.ok_or_else(|| bad("`id` is missing: which reply to stop".to_owned()))?;
                Ok(ClientFrame::Stop {
                    room: need_room(room)?,
                    id,
                })
            }
            "again" => {
                let id = id.ok_or_else(|| {
                    bad("`id` is missing: which reply to answer again".to_owned())
                })?;
                Ok(ClientFrame::Again {
                    room: need_room(room)?,
                    id,
                })
            }
            change @ ("edit" | "delete") => {
                let id = id.ok_or_else(|| {
                    bad(format!("`id` is missing: the {change}'s own, a new UUID"))
                })?;
                check_own_id(id).map_err(bad)?;
                let of = self.of.as_deref().map(Uuid::try_parse).transpose();
                let of = of.map_err(|_| bad("`of` is not a UUID".to_owned()))?;
                let of =
                    of.ok_or_else(|| bad(format!("`of` is missing: which message to {change}")))?;
                let room = need_room(room)?;
                if change == "delete" {
                    return Ok(ClientFrame::Delete { room, id, of });
                }
                let message = check_text(self.message.as_deref())?;
                Ok(ClientFrame::Edit {
                    room,
                    id,
                    of,
                    message,
                })
            }
            "read" => {
                let seq = self.seq;
                let seq =
                    seq.ok_or_else(|| bad("`seq` is missing: how far was read".to_owned()))?;
                Ok(ClientFrame::Read {
                    room: need_room(room)?,
                    seq,
                })
            }
            "pong" => Ok(ClientFrame::Pong),
            other => {
                let other: String = other.chars().take(32).collect();
                Err(bad(format!("unknown type {other:?}")))
            }
        }
    }
}

/// Version 8 is kept for the bot's replies, whose ids follow from their requests': a client that took one first could
/// speak in the bot's place.
fn check_own_id(id: Uuid) -> Result<(), String> {
    if id.get_version() == Some(Version::Custom) || id.is_nil() {
        return Err(
            "`id` must not be nil or of UUID version 8, which is the server's own".to_owned(),
        );
    }
    Ok(())
}

fn check_room(room: &str) -> Result<String, String> {
    names::check_room(room)
        .map(|()| room.to_owned())
        .map_err(|why| format!("`room`: {why}"))
}

fn check_text(text: Option<&str>) -> Result<String, (ErrorCode, String)> {
    let text = text
        .ok_or((ErrorCode::BadRequest, "`message` is missing".to_owned()))?
        .trim();
    match text.chars().count() {
        _ if says_nothing(text) => Err((ErrorCode::BadRequest, "`message` is empty".to_owned())),
        length if length > MESSAGE_MAX_CHARS => {
            let why =
                format!("a message may have {MESSAGE_MAX_CHARS} characters; this one has {length}");
            Err((ErrorCode::TooLarge, why))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_which_nothing_can_be_seen_is_empty() {
        for text in [
            "\u{200b}",
            " \u{feff}\u{2060} ",
            "\u{3164}",
            "\u{ad}\u{fe0f}",
        ] {
            let frame = serde_json::json!({ "message": text }).to_string();
            let refused = ClientFrame::read(&frame).unwrap_err();
            assert_eq!(refused.message, "`message` is empty", "{text:?}");
        }
        assert!(ClientFrame::read(r#"{"message":"\u200bhi"}"#).is_ok());
    }

    #[test]
    fn half_a_character_is_told_in_a_persons_words() {
        let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        for text in [r"\ud83e", r"owl \ud83e!", r"\udd89", r"\ud83e\ud83e"] {
            let frame = format!(r#"{{"id":"{id}","message":"{text}"}}"#);
            let refused = ClientFrame::read(&frame).unwrap_err();
            assert!(
                refused.message.contains("half of a character"),
                "{text}: {}",
                refused.message
            );
            assert_eq!(refused.id, Some(id), "{text}");
        }
    }
}
