//! How tests break the embedded store for real: a table is not where it should be, so every statement on it fails.

use std::path::Path;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

/// From now on statements on the table fail.
pub(crate) async fn breaks(folder: &Path, table: &'static str) {
    let statement = match table {
        "sessions" => "ALTER TABLE sessions RENAME TO away",
        _ => "ALTER TABLE rooms RENAME TO away",
    };
    run(folder, statement).await;
}

/// The table is back.
pub(crate) async fn mends(folder: &Path, table: &'static str) {
    let statement = match table {
        "sessions" => "ALTER TABLE away RENAME TO sessions",
        _ => "ALTER TABLE away RENAME TO rooms",
    };
    run(folder, statement).await;
}

async fn run(folder: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(folder.join("store.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
