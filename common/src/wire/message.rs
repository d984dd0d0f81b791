//! The message: the one noun that every part of Chinwag handles.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use uuid::{Uuid, Version};

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
}

impl Kind {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Bot => "bot",
            Kind::Fallback => "fallback",
        }
    }

    /// The kind that [`Kind::as_str`] wrote.
    pub fn from_word(word: &str) -> Option<Kind> {
        [Kind::User, Kind::Bot, Kind::Fallback]
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
}

/// A message with its `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    /// The text.
    pub message: String,
    /// The message that this one answers.
    #[serde(default)]
    pub reply_to: Option<Uuid>,
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
        }
    }

    /// The end of this message's frame: everything behind `at`, which whoever gives it its `seq` puts the beginning
    /// to (see [`Message::frame`]). Begins with `"id":` and ends with the frame's closing brace.
    pub fn frame_tail(&self) -> String {
        let tail = FrameTail {
            id: self.id,
            sender: &self.sender,
            kind: self.kind,
            message: &self.message,
            reply_to: self.reply_to,
        };
        let mut json = to_json(&tail, self.message.len());
        json.remove(0);
        json
    }
}

#[derive(Serialize)]
struct FrameTail<'a> {
    id: Uuid,
    sender: &'a str,
    kind: Kind,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Uuid>,
}

impl Message {
    /// When it was appended, as RFC 3339 with microseconds in UTC. Its `seq` says it, so nothing else has to keep it.
    pub fn at(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_micros(self.seq.min(AT_MAX));
        humantime::format_rfc3339_micros(time).to_string()
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
        let at = self.at();
        format!(
            r#"{{"type":"message","room":"{room}","seq":{seq},"prev":{prev},"at":"{at}",{tail}"#
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
        let mut frame = serializer.serialize_struct("Message", 10)?;
        frame.serialize_field("type", "message")?;
        frame.serialize_field("room", &self.room)?;
        frame.serialize_field("seq", &self.seq)?;
        frame.serialize_field("prev", &self.prev)?;
        frame.serialize_field("at", &self.at())?;
        frame.serialize_field("id", &self.id)?;
        frame.serialize_field("sender", &self.sender)?;
        frame.serialize_field("kind", &self.kind)?;
        frame.serialize_field("message", &self.message)?;
        match &self.reply_to {
            Some(id) => frame.serialize_field("reply_to", id)?,
            None => frame.skip_field("reply_to")?,
        }
        frame.end()
    }
}
