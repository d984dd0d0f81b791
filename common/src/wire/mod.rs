//! What goes over a browser's socket, both ways, and the message that all the rest is about.
//!
//! One place for it, so that a change of the wire is a visible diff: the golden files in `common/tests/golden/` hold
//! one example of every frame.

mod client;
mod grounding;
mod invisible;
mod message;
mod server;

pub use client::{BadFrame, ClientFrame, half_a_character};
pub use grounding::{
    Grounding, SOURCE_TITLE_MAX_CHARS, SOURCE_URI_MAX_BYTES, SOURCES_MAX, SUGGESTIONS_MAX_BYTES,
    Source,
};
pub use invisible::says_nothing;
pub(crate) use message::to_json;
pub use message::{Kind, Message, NewMessage, Seq, made_at, now_seq};
pub use server::{ErrorCode, ServerFrame};

/// The version of the wire that `welcome` announces.
pub const PROTOCOL: u32 = 1;

/// The most characters (Unicode scalar values) a message may have after trimming.
pub const MESSAGE_MAX_CHARS: usize = 4_000;

/// The largest text frame that can hold a valid `send`: 4,000 characters written as `\uXXXX\uXXXX`, and 4 KiB for the
/// other fields. Longer ones are answered with `too_large`.
pub const FRAME_MAX_BYTES: usize = MESSAGE_MAX_CHARS * 12 + 4 * 1024;

/// The socket closes because this edge drains; come back, any edge will do.
pub const CLOSE_DRAINING: u16 = 1012;
/// The socket closes because the frames on it were abuse (RFC 6455: policy violation).
pub const CLOSE_ABUSE: u16 = 1008;
/// The socket closes because a frame was larger than the reader's limit (RFC 6455).
pub const CLOSE_TOO_BIG: u16 = 1009;
/// The socket closes because its session was revoked or has expired.
pub const CLOSE_SESSION_GONE: u16 = 4401;
/// The socket closes because it did not answer `ping`.
pub const CLOSE_NO_HEARTBEAT: u16 = 4408;
