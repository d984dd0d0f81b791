//! What both sides of the queue write on a dead letter.

use std::time::{SystemTime, UNIX_EPOCH};

/// Why a message that was tried too often became a dead letter, in the same words on both sides.
pub(crate) fn exhausted(attempts: u32) -> String {
    format!("delivered {attempts} times without being settled")
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
