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

pub use chat::{Chat, RedisSetup, Setup};
pub use chat_client::{PATIENCE, assert_one_order, until};
pub use person::Person;
pub use process::{Process, Version, begin, free_address, run};
pub use proxy::{Direction, Proxy};
