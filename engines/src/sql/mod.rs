//! What lasts, in SQL: MySQL and MariaDB, shared by any number of processes, and SQLite, a file in the data folder of one.
//! The statements are written once, and compiled for each with its types: `docs/decisions/store-two-sides.md`.
#![allow(
    clippy::duplicate_mod,
    reason = "the statements are written once and compiled with each side's types"
)]

mod archived;
mod batch;
mod call;
mod columns;
mod connections;
mod failure;
mod limits;
mod mysql;
mod schema;
mod settings;
mod sqlite;
mod usage;
mod writes;

pub use mysql::MySqlStore;
pub use settings::MySqlSettings;
pub use sqlite::SqliteStore;
