//! The engines that stand behind the seams of `common`: a folder for each, with its settings, how one connects to it, and
//! the promises it keeps. [`chosen`] says which of them the services use; [`embedded`] and [`sql::SqliteStore`] are those
//! of the all-in-one. The suites of the seams, and what can only go wrong with one of them, are in `tests/`.
#![warn(missing_docs)]

pub mod chosen;
mod dangers;
mod day;
pub mod embedded;
mod inbox;
mod letters;
mod outlet;
mod quota_rules;
pub mod rabbitmq;
pub mod redis;
pub mod sql;
