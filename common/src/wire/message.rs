//! The message: the one noun that every part of Chinwag handles.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use uuid::{Uuid, Version};

use super::grounding::{Grounding, Source};

/// The order of messages in a room: strictly increasing there, and the time it was appended, in microseconds since the
/// Unix epoch. Below 2^53 until the year 2255, so JavaScript and Lua hold it exactly.
pub type Seq = u64;

/// The last microsecond that RFC 3339 can write, in the year 9999. A `seq` beyond it, which only a broken payload has, is
/// shown as this.
const AT_MAX: Seq = 253_402_300_799_999_999;

/// The present time as a [`Seq`].
pub fn now_seq() -> Seq {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// When an id was made at the latest, by the clock of whoever made it: a UUIDv7 says in which millisecond, any other says
/// nothing.
pub fn made_at(id: Uuid) -> Option<Seq> {
    if id.get_version() != Some(Version::SortRand) {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some(seconds * 1_000_000 + Seq::from(nanos) / 1_000 + 999)
}

/// Who wrote a message, in what role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person.
    User,
    /// The model's words.
    Bot,
    /// Chinwag's own words, in the bot's place, because the model gave none.
    Fallback,
    /// Not a message but an event with a place of its own in the room's order: a message has another text from now on.
    Edited,
    /// As [`Kind::Edited`]: a message is gone.
    Deleted,
}

impl Kind {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Bot => "bot",
            Kind::Fallback => "fallback",
            Kind::Edited => "edited",
            Kind::Deleted => "deleted",
        }
    }

    /// Whether it is an event that changes a message, and no message itself.
    pub fn is_change(self) -> bool {
        matches!(self, Kind::Edited | Kind::Deleted)
    }

    /// The `type` of its frame.
    pub fn frame_type(self) -> &'static str {
        if self.is_change() {
            self.as_str()
        } else {
            "message"
        }
    }

    /// The kind that [`Kind::as_str`] wrote.
    pub fn from_word(word: &str) -> Option<Kind> {
        [
            Kind::User,
            Kind::Bot,
            Kind::Fallback,
            Kind::Edited,
            Kind::Deleted,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// A message that has no `seq` yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Where it goes. A valid room name, so it never needs escaping.
    pub room: String,
    /// Its identity: a second message with the same id in the same room is the same message.
    pub id: Uuid,
    /// Who wrote it.
    pub sender: String,
    /// In what role.
    pub kind: Kind,
    /// The text: 1 to 4,000 characters, trimmed.
    pub message: String,
    /// The message that this one answers.
    pub reply_to: Option<Uuid>,
    /// With an event that [changes](Kind::is_change) a message: which one.
    pub of: Option<Uuid>,
    /// With a reply that somebody stopped: who it was.
    pub stopped_by: Option<String>,
    /// With an answer that looked things up: what it stands on.
    pub grounding: Grounding,
}

/// A message with its `seq`, or an event that changes one: both have a place in the room's one order, an id and an author,
/// and go the same way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ReadFrame")]
pub struct Message {
    /// The room it is in.
    pub room: String,
    /// Its `seq` there.
    pub seq: Seq,
    /// The `seq` of the one before it; 0 if it is the first.
    pub prev: Seq,
    /// Its identity.
    pub id: Uuid,
    /// Who wrote it.
    pub sender: String,
    /// In what role.
    pub kind: Kind,
    /// The text; with [`Kind::Edited`] the new one. Empty with [`Kind::Deleted`], and wherever what it said is deleted.
    pub message: String,
    /// The message that this one answers.
    pub reply_to: Option<Uuid>,
    /// With an event that [changes](Kind::is_change) a message: which one.
    pub of: Option<Uuid>,
    /// With a reply that somebody stopped: who it was.
    pub stopped_by: Option<String>,
    /// With an answer that looked things up: what it stands on. Written nowhere once its text is gone.
    pub grounding: Grounding,
    /// With a message in its newest state: the `seq` of its last edit, if there was one.
    pub edited: Option<Seq>,
    /// With a message in its newest state: whether it is deleted.
    pub deleted: bool,
}

/// A frame as it is written. An event has `by` and `of`, and its type in place of its kind.
#[derive(Deserialize)]
struct ReadFrame {
    room: String,
    seq: Seq,
    prev: Seq,
    id: Uuid,
    #[serde(alias = "by")]
    sender: String,
    kind: Option<Kind>,
    #[serde(rename = "type")]
    frame_type: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reply_to: Option<Uuid>,
    #[serde(default)]
    of: Option<Uuid>,
    #[serde(default)]
    stopped_by: Option<String>,
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    suggestions: Option<String>,
    #[serde(default)]
    edited: Option<Seq>,
    #[serde(default)]
    deleted: bool,
}

impl TryFrom<ReadFrame> for Message {
    type Error = &'static str;

    fn try_from(frame: ReadFrame) -> Result<Message, &'static str> {
        let by_type = Kind::from_word(frame.frame_type.as_deref().unwrap_or_default())
            .filter(|kind| kind.is_change());
        let kind = by_type
            .or(frame.kind)
            .ok_or("neither `kind` nor an event's `type`")?;
        if kind.is_change() != frame.of.is_some() {
            return Err("`of` belongs to an event that changes a message, and to nothing else");
        }
        Ok(Message {
            room: frame.room,
            seq: frame.seq,
            prev: frame.prev,
            id: frame.id,
            sender: frame.sender,
            kind,
            message: frame.message,
            reply_to: frame.reply_to,
            of: frame.of,
            stopped_by: frame.stopped_by,
            grounding: Grounding::checked(frame.sources, frame.suggestions),
            edited: frame.edited,
            deleted: frame.deleted,
        })
    }
}

impl NewMessage {
    /// This message with its `seq`.
    pub fn at(self, seq: Seq, prev: Seq) -> Message {
        let NewMessage {
            room,
            id,
            sender,
            kind,
            message,
            reply_to,
            of,
            stopped_by,
            grounding,
        } = self;
        Message {
            room,
            seq,
            prev,
            id,
            sender,
            kind,
            message,
            reply_to,
            of,
            stopped_by,
            grounding,
            edited: None,
            deleted: false,
        }
    }

    /// The end of this message's frame: everything behind `at`, which whoever gives it its `seq` puts the beginning
    /// to (see [`Message::frame`]). Begins with `"id":` and ends with the frame's closing brace.
    pub fn frame_tail(&self) -> String {
        let tail = FrameTail {
            id: self.id,
            author: &self.sender,
            kind: self.kind,
            message: &self.message,
            reply_to: self.reply_to,
            of: self.of,
            stopped_by: self.stopped_by.as_deref(),
            grounding: &self.grounding,
            edited: None,
            deleted: false,
        };
        let mut json = to_json(&tail, self.message.len());
        json.remove(0);
        json
    }
}

/// The fields of a frame behind `at`, which differ by its type.
struct FrameTail<'a> {
    id: Uuid,
    author: &'a str,
    kind: Kind,
    message: &'a str,
    reply_to: Option<Uuid>,
    of: Option<Uuid>,
    stopped_by: Option<&'a str>,
    grounding: &'a Grounding,
    edited: Option<Seq>,
    deleted: bool,
}

impl FrameTail<'_> {
    fn write_into<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        frame.serialize_entry("id", &self.id)?;
        if self.kind.is_change() {
            frame.serialize_entry("of", &self.of)?;
            frame.serialize_entry("by", self.author)?;
            if self.kind == Kind::Edited {
                frame.serialize_entry("message", self.message)?;
            }
            return Ok(());
        }
        frame.serialize_entry("sender", self.author)?;
        frame.serialize_entry("kind", &self.kind)?;
        frame.serialize_entry("message", self.message)?;
        // Between the text and what is kept of a message without it: whoever takes the text out of a frame takes this along.
        if !self.message.is_empty() {
            if !self.grounding.sources.is_empty() {
                frame.serialize_entry("sources", &self.grounding.sources)?;
            }
            if let Some(html) = &self.grounding.suggestions {
                frame.serialize_entry("suggestions", html)?;
            }
        }
        // Before `reply_to`, by which the live engine knows the end of a frame when it takes the text out.
        if let Some(user) = self.stopped_by {
            frame.serialize_entry("stopped_by", user)?;
        }
        if let Some(id) = &self.reply_to {
            frame.serialize_entry("reply_to", id)?;
        }
        if let Some(seq) = &self.edited {
            frame.serialize_entry("edited", seq)?;
        }
        if self.deleted {
            frame.serialize_entry("deleted", &true)?;
        }
        Ok(())
    }
}

impl Serialize for FrameTail<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut frame = serializer.serialize_map(None)?;
        self.write_into(&mut frame)?;
        frame.end()
    }
}

impl Message {
    /// It is deleted: of what it said, and how, nothing is left.
    pub fn erase(&mut self) {
        self.take_text();
        self.stopped_by = None;
        self.deleted = true;
    }

    /// When it was appended, as RFC 3339 with microseconds in UTC. Its `seq` says it, so nothing else has to keep it.
    pub fn at(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_micros(self.seq.min(AT_MAX));
        humantime::format_rfc3339_micros(time).to_string()
    }

    /// Takes away what it says, and what that stands on.
    pub fn take_text(&mut self) {
        self.message.clear();
        self.grounding = Grounding::default();
    }

    /// The `message` frame as it goes to browsers, and into the stream. Field for field, in this order, what the
    /// script in Redis builds.
    pub fn frame(&self) -> String {
        to_json(self, self.message.len())
    }

    /// As [`Message::frame`], with the end of it that [`NewMessage::frame_tail`] has made already.
    pub fn frame_around(&self, tail: &str) -> String {
        let Message {
            room, seq, prev, ..
        } = self;
        let (frame_type, at) = (self.kind.frame_type(), self.at());
        format!(
            r#"{{"type":"{frame_type}","room":"{room}","seq":{seq},"prev":{prev},"at":"{at}",{tail}"#
        )
    }

    /// Reads a `message` frame back.
    pub fn from_frame(frame: &[u8]) -> Result<Message, serde_json::Error> {
        serde_json::from_slice(frame)
    }
}

/// What surrounds a text in JSON, as long as no name in it is long.
const AROUND_TEXT: usize = 384;

/// Something around a text of so many bytes.
pub(crate) fn to_json(value: &impl Serialize, text: usize) -> String {
    let mut json = Vec::with_capacity(text + AROUND_TEXT);
    serde_json::to_writer(&mut json, value).expect("strings and numbers always serialise");
    String::from_utf8(json).expect("JSON is UTF-8")
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tail = FrameTail {
            id: self.id,
            author: &self.sender,
            kind: self.kind,
            message: &self.message,
            reply_to: self.reply_to,
            of: self.of,
            stopped_by: self.stopped_by.as_deref(),
            grounding: &self.grounding,
            edited: self.edited,
            deleted: self.deleted,
        };
        let mut frame = serializer.serialize_map(None)?;
        frame.serialize_entry("type", self.kind.frame_type())?;
        frame.serialize_entry("room", &self.room)?;
        frame.serialize_entry("seq", &self.seq)?;
        frame.serialize_entry("prev", &self.prev)?;
        frame.serialize_entry("at", &self.at())?;
        tail.write_into(&mut frame)?;
        frame.end()
    }
}
