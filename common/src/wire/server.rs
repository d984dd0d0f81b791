//! Frames from the server to a browser.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Seq;

/// Everything a server may say, but for `message`, which is [`super::Message`] and is forwarded as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerFrame {
    /// The first frame on every socket.
    Welcome {
        /// Who is connected.
        user: String,
        /// [`super::PROTOCOL`].
        protocol: u32,
        /// How often `ping` comes, in milliseconds; a client that misses two should reconnect.
        ping_ms: u64,
    },
    /// The answer to `join`.
    Joined {
        /// The room.
        room: String,
        /// The latest `seq` in it; 0 if nothing was said yet.
        seq: Seq,
        /// False if more was missed than is sent: load the history.
        complete: bool,
    },
    /// The message is kept.
    Ack {
        /// Its id.
        id: Uuid,
        /// Its `seq`.
        seq: Seq,
    },
    /// The frame was refused.
    Error {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// The message it is about, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Uuid>,
        /// When to try again, in milliseconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// A reply as it grows.
    Draft {
        /// The room.
        room: String,
        /// The reply's id.
        id: Uuid,
        /// The request's id.
        reply_to: Uuid,
        /// A higher one begins anew, a lower one is dropped.
        attempt: u32,
        /// Where `text` begins in the reply, in characters.
        offset: usize,
        /// What comes there.
        text: String,
        /// With an empty text: the model thinks, and has not said a word yet.
        #[serde(default, skip_serializing_if = "is_false")]
        thinking: bool,
        /// With an empty text: so many requests of the room are before this one, which nobody is at yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waiting: Option<usize>,
    },
    /// Somebody types.
    Typing {
        /// The room.
        room: String,
        /// Who.
        user: String,
    },
    /// Who is in the room now.
    Presence {
        /// The room.
        room: String,
        /// Their names, sorted; at most [`crate::live::PRESENCE_MAX_USERS`].
        users: Vec<String>,
    },
    /// Somebody invites you to a room.
    Invited {
        /// The room.
        room: String,
        /// Who.
        by: String,
    },
    /// You have read a room up to here, on another socket.
    Read {
        /// The room.
        room: String,
        /// Up to which message.
        seq: Seq,
    },
    /// Answer with `pong`.
    Ping,
}

/// What serde leaves out.
fn is_false(is_so: &bool) -> bool {
    !is_so
}

impl ServerFrame {
    /// The frame as it goes over the socket.
    pub fn frame(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }
}

/// Why a frame or a call was refused; the same words on the socket and over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// It is not what the wire allows; sending it again will not help.
    BadRequest,
    /// No session.
    Unauthorized,
    /// A session, but not the right.
    Forbidden,
    /// There is no such thing, or none that one may see.
    NotFound,
    /// Too long.
    TooLarge,
    /// Too often; again after `retry_after_ms`.
    RateLimited,
    /// Something behind is away or full; again, with the same id, after `retry_after_ms`.
    Unavailable,
}

impl ErrorCode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "bad_request",
            ErrorCode::Unauthorized => "unauthorized",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::NotFound => "not_found",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::Unavailable => "unavailable",
        }
    }
}
