//! SQL: the promises of the store on SQLite in a folder of its own and on a real MySQL server, and what only the shared
//! one can go through: many writers, outages, migrations.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on has nothing better to do"
)]

use seam_suites::store_suite;
use side::{Database, Folder};

mod mysql_outages;
mod mysql_schema;
mod mysql_writers;
mod side;
mod sqlite_full_disk;
mod sqlite_remains;
mod upgrades;

store_suite!(sqlite, Folder::fresh().await);
store_suite!(mysql, Database::fresh().await);
