//! A room's past as one line, where its two halves do not meet as they should: the stream is cold, the database is
//! behind, or something is said in the middle of a look.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on has nothing better to do"
)]

mod changes;
mod pages;
mod past;
mod repair;
mod resume;
mod watched;
