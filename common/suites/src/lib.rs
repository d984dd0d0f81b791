//! What each seam promises, as stories that every engine behind it has to pass; a promise that is not told here is none.
//!
//! A seam's module says what a story needs of an engine (a place where it can be opened) and ends in a macro, which makes
//! a test of each story for one engine. The engines use them in `engines/tests/`. Only for tests: nothing that ships
//! depends on this crate.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a story's name says what it tells, and one that cannot go on has nothing better to do"
)]

pub mod live;
pub mod queue;
pub mod quota;
pub mod store;
pub mod watched;
