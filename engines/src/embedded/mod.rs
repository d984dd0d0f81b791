//! The seams inside one process, with nothing else installed: what is live is in its memory, what is queued in a table in
//! the data folder. What lasts is a SQLite file beside that, whose statements are in `sql/` with those for MySQL.

mod budgets;
mod live;
mod queue;
mod quota;
mod run_queue;
pub mod turns;

pub use live::EmbeddedLive;
pub use queue::{BYTES_MAX, EmbeddedQueue, ForeignQueue, ROWS_MAX};
pub use quota::EmbeddedQuota;

pub use crate::sql::SqliteStore;
