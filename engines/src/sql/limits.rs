//! How long a call of the store may take, and its parts.

use std::time::Duration;

/// The longest that one call of the store takes, with the wait for a connection and all attempts.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(6);

/// The longest wait for a connection to the engine; an engine that is away is noticed by it.
pub(super) const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);
