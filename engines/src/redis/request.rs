//! What is asked of Redis, how long that may take, and why it was not answered.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, RedisError};

use super::scripts::Script;

/// How long a command may take in all: waiting for a connection, redirects and second attempts included.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// What is asked of a node: commands for one slot, sent together.
pub(super) struct Request<'a> {
    pub(super) commands: Vec<Cmd>,
    pub(super) script: Option<&'a Script>,
    /// Whether it may be sent again when it is not known if it was done.
    pub(super) idempotent: bool,
}

impl<'a> Request<'a> {
    /// Commands that may be sent twice.
    pub(super) fn idempotent(commands: Vec<Cmd>) -> Request<'a> {
        Request {
            commands,
            script: None,
            idempotent: true,
        }
    }

    /// A command that must not be sent twice.
    pub(super) fn at_most_once(command: Cmd) -> Request<'a> {
        Request {
            commands: vec![command],
            script: None,
            idempotent: false,
        }
    }

    /// A script that may be called twice.
    pub(super) fn script(script: &'a Script, keys: &[&[u8]], arguments: &[&[u8]]) -> Request<'a> {
        Request {
            commands: vec![script.call(keys, arguments)],
            script: Some(script),
            idempotent: true,
        }
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no answer within {COMMAND_LIMIT:?}")]
    Late,
    #[error("no connection: {0}")]
    Away(Arc<str>),
    #[error("no node serves slot {0}")]
    Unserved(u16),
    #[error("{}", own_words(.0))]
    Redis(RedisError),
}

impl From<RedisError> for RequestError {
    fn from(error: RedisError) -> RequestError {
        RequestError::Redis(error)
    }
}

/// What Redis said, as it said it: the client writes its own words for some codes.
pub(super) fn own_words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
