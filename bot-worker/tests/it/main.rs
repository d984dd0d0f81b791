//! The worker as it behaves: against the practice model over real sockets, on the embedded engines, which can be told to
//! be away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod answers;
mod budgets;
mod catching_up;
mod changes;
mod drafts;
mod embedded;
mod endings;
mod engines;
mod fleet;
mod lateness;
mod models;
mod programs;
mod scene;
mod thinking;
