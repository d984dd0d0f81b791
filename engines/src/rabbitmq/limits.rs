//! How long one step with the broker may take, and what is said when it does not come to pass.

use std::time::Duration;

use common::queue::QueueError;

/// How long one question to the broker may take.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(5);

/// When another attempt makes sense while the broker is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The broker could not do it now.
pub(super) fn unavailable(why: String) -> QueueError {
    QueueError::Unavailable {
        why,
        retry_after: RETRY_AFTER,
    }
}

/// What a step that took too long is told as.
pub(super) fn no_answer() -> String {
    format!("no answer within {} s", STEP_LIMIT.as_secs())
}
