//! What every side of the store promises, as one list of stories that both sides must pass: SQLite in a folder of its
//! own, MySQL on a real server. Beside it, what only the shared side can go through: many writers, outages, migrations.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on has nothing better to do"
)]

mod accounts;
mod both;
mod messages;
mod mysql_outages;
mod mysql_schema;
mod mysql_writers;
mod rooms;
