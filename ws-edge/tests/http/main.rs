//! The HTTP calls, told as short stories over real sockets, on the embedded engines.

#![allow(clippy::unwrap_used, reason = "whatever is not there fails the story")]

mod accounts;
mod administration;
mod bot;
mod chat;
mod door;
#[path = "../edges/mod.rs"]
mod edges;
mod false_provider;
mod history;
mod limits;
mod manners;
mod own_account;
mod page;
mod programs;
mod proxies;
mod raw;
mod rooms;
mod sessions;
mod shares;
mod sign_on;
mod usage;
