//! Why a socket closes, and what its client is told.

use common::wire::{
    CLOSE_ABUSE, CLOSE_DRAINING, CLOSE_NO_HEARTBEAT, CLOSE_SESSION_GONE, CLOSE_TOO_BIG,
};

/// Why a socket closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The client closed it, or went.
    Gone,
    /// The client did not keep to RFC 6455.
    Protocol,
    /// A text frame was not UTF-8.
    NotUtf8,
    /// Too many bad frames.
    Abuse,
    /// A message larger than is ever read, or a large one too many.
    TooBig,
    /// A message did not come to its end in time.
    TooSlow,
    /// This edge drains.
    Draining,
    /// The session was revoked or has expired.
    SessionGone,
    /// Nothing was heard of the client.
    NoHeartbeat,
    /// The client takes nothing, and what was begun to be sent blocks the rest: it can only be cut off.
    Stuck,
}

impl Closing {
    /// The close code of RFC 6455; none if nothing can be said any more.
    pub(super) fn code(self) -> Option<u16> {
        match self {
            Closing::Gone | Closing::Stuck => None,
            Closing::Protocol => Some(1002),
            Closing::NotUtf8 => Some(1007),
            Closing::Abuse | Closing::TooSlow => Some(CLOSE_ABUSE),
            Closing::TooBig => Some(CLOSE_TOO_BIG),
            Closing::Draining => Some(CLOSE_DRAINING),
            Closing::SessionGone => Some(CLOSE_SESSION_GONE),
            Closing::NoHeartbeat => Some(CLOSE_NO_HEARTBEAT),
        }
    }

    /// For people, and for the metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Closing::Gone => "gone",
            Closing::Protocol => "protocol error",
            Closing::NotUtf8 => "not UTF-8",
            Closing::Abuse => "too many bad frames",
            Closing::TooBig => "frame too large",
            Closing::TooSlow => "message too slow",
            Closing::Draining => "draining",
            Closing::SessionGone => "session gone",
            Closing::NoHeartbeat => "no heartbeat",
            Closing::Stuck => "stuck",
        }
    }
}
