//! Every behaviour over a real socket, as a caller sees it: the table of the crate's documentation, row by row.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is a test, also what stands outside its functions"
)]

mod caller;

mod calls;
mod control;
mod errors;
mod quotas;
mod streams;
