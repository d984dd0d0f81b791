//! What both sides of the queue write on a dead letter, and count.

use std::time::{SystemTime, UNIX_EPOCH};

use common::queue::QueueName;

/// Why a message that was tried too often became a dead letter, in the same words on both sides.
pub(crate) fn exhausted(attempts: u32) -> String {
    format!("delivered {attempts} times without being settled")
}

/// What waits in a queue, and how many dead letters it has, as everybody sees it who is connected to it.
pub(crate) fn count_waiting(queue: QueueName, waiting: u32, dead: u32) {
    let queue = queue.as_str();
    metrics::gauge!("chinwag_queue_messages", "queue" => queue).set(waiting);
    metrics::gauge!("chinwag_dead_letters", "queue" => queue).set(dead);
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
