//! What takes a machine's whole attention for a while: thousands of connections, hundreds of large answers. Apart from the
//! other stories, whose patience ends while these run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a story, what cannot go on fails"
)]

#[allow(dead_code, reason = "the stories about HTTP use all of it")]
#[path = "../http/chat.rs"]
mod chat;
mod connections;
#[allow(dead_code, reason = "the stories about HTTP use all of it")]
#[path = "../edges/mod.rs"]
mod edges;
#[path = "../http/raw.rs"]
mod raw;
mod unread;
