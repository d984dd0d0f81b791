//! The sockets, told as short stories over real connections, on the embedded engines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a story, what cannot go on fails"
)]

mod bad_input;
mod changes;
mod chat;
mod drafts;
#[path = "../edges/mod.rs"]
mod edges;
mod gaps;
mod overload;
mod posting;
mod reading;
mod resume;
mod rooms;
mod shares;
mod slow;
mod who_may;
