//! A client of Chinwag's public HTTP calls and WebSocket, for the tests and the load: nothing that ships depends on it.
//! It is written from `docs/wire.md` and `docs/http.md` and not from the server's types, since whoever reads with the
//! writer's own types cannot notice that the wire has changed: frames are plain JSON here.
//!
//! A [`Client`] calls, a [`ChatSocket`] is read by whoever waits for the next frame, and a [`Recorder`] reads a socket
//! all the time and remembers what came. Words in the third person (`says`, `hears`, `is_closed`) are for stories: they
//! panic when it does not come to be, and say what was heard meanwhile.

mod client;
mod order;
mod recorder;
mod socket;

pub use client::{Client, HttpAnswer, PASSWORD, credentials, http};
pub use order::{assert_in_order, assert_one_order};
pub use recorder::{Missing, Recorder};
pub use socket::{ChatSocket, CloseCode, Refused};

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a story waits for what must happen. Longer than anything takes on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so, looking again every few milliseconds.
///
/// # Panics
/// If it is not so within `within`.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "waited {within:?} in vain: {what}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
