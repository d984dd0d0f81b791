//! What a story about Chinwag needs: the real programs as processes, the real engines behind them, people who talk,
//! and a wire that can be held in the middle of a word.
//!
//! ```no_run
//! # use stories::Chat;
//! # async fn story() {
//! let chat = Chat::start().await;
//! let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
//! ada.says("@bot what is two plus two?").await;
//! bob.hears("bot", "four").await;
//! # }
//! ```
//!
//! Everything here panics when it fails, with what was waited for and the last lines that the processes logged.
#![warn(missing_docs)]

mod chat;
mod person;
mod process;
mod proxy;

pub use chat::{Chat, Setup};
pub use person::{Person, assert_one_order};
pub use process::{Process, free_address, run};
pub use proxy::{Direction, Proxy};

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
