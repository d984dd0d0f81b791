//! The two sides, each empty and ready for one story, and the words the stories are told in.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::{Envelope, ReplyLog},
    settings::StoreSettings,
    store::{
        Store,
        mysql::MySqlStore,
        sqlite::SqliteStore,
        usage::{UsageAsked, UsageSum},
    },
    wire::{Kind, Message},
};
use private_engines::Engines;
use sqlx::{
    AssertSqlSafe, Connection, MySqlConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Tells each of these stories on both sides.
macro_rules! on_both_sides {
    ($($story:ident),* $(,)?) => {
        mod sqlite { $(
            #[tokio::test]
            async fn $story() { super::$story($crate::both::Side::sqlite().await).await }
        )* }
        mod mysql { $(
            #[tokio::test]
            async fn $story() { super::$story($crate::both::Side::mysql().await).await }
        )* }
    };
}
pub(crate) use on_both_sides;

/// An empty store, and a way to its rows past the store.
pub struct Side {
    pub store: Arc<dyn Store>,
    rows: Rows,
}

enum Rows {
    Sqlite(TempDir),
    MySql(String),
}

impl Side {
    pub async fn sqlite() -> Side {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        Side {
            store,
            rows: Rows::Sqlite(folder),
        }
    }

    pub async fn mysql() -> Side {
        let url = Engines::shared().await.fresh_database().await;
        let store = migrated(&url).await;
        Side {
            store,
            rows: Rows::MySql(url),
        }
    }

    /// Sums over the log of replies, by a process that only asks for that.
    pub async fn usage(&self, asked: &UsageAsked) -> Vec<UsageSum> {
        match &self.rows {
            Rows::Sqlite(folder) => {
                let store = SqliteStore::open(folder.path()).await.unwrap();
                store.usage(asked).await.unwrap()
            }
            Rows::MySql(url) => {
                let store = MySqlStore::connect(&settings(url)).await.unwrap();
                store.usage(asked).await.unwrap()
            }
        }
    }

    /// Runs a statement past the store.
    pub async fn execute(&self, sql: String) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match &self.rows {
            Rows::Sqlite(folder) => {
                let options = SqliteConnectOptions::new()
                    .filename(folder.path().join("store.db"))
                    .busy_timeout(Duration::from_secs(10));
                let mut db = SqliteConnection::connect_with(&options).await.unwrap();
                sql.execute(&mut db).await.unwrap();
            }
            Rows::MySql(url) => {
                let mut db = MySqlConnection::connect(url).await.unwrap();
                sql.execute(&mut db).await.unwrap();
            }
        }
    }

    /// A number that a statement gives, past the store.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let sql = AssertSqlSafe(sql);
        match &self.rows {
            Rows::Sqlite(folder) => {
                let options = SqliteConnectOptions::new().filename(folder.path().join("store.db"));
                let mut db = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
            }
            Rows::MySql(url) => {
                let mut db = MySqlConnection::connect(url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
            }
        }
    }
}

pub fn settings(url: &str) -> StoreSettings {
    StoreSettings {
        database_url: url.to_owned().into(),
        database_connections: 4,
    }
}

/// A store on this database, with its schema made.
pub async fn migrated(url: &str) -> Arc<MySqlStore> {
    MySqlStore::migrate(&settings(url)).await.unwrap();
    MySqlStore::connect(&settings(url)).await.unwrap()
}

/// A message of ada's, as the queue brings it.
pub fn said(room: &str, seq: u64, text: &str) -> Envelope {
    said_as(room, seq, Uuid::now_v7(), text)
}

pub fn said_as(room: &str, seq: u64, id: Uuid, text: &str) -> Envelope {
    let message = Message {
        room: room.to_owned(),
        seq,
        prev: 0,
        id,
        sender: "ada".to_owned(),
        kind: Kind::User,
        message: text.to_owned(),
        reply_to: None,
    };
    Envelope::new(message, None)
}

/// The bot's answer to a message, with how it came about.
pub fn answered(request: &Envelope, seq: u64, text: &str) -> Envelope {
    let request = &request.message;
    let message = Message {
        seq,
        id: common::envelope::reply_id(&request.room, request.id),
        sender: "bot".to_owned(),
        kind: Kind::Bot,
        message: text.to_owned(),
        reply_to: Some(request.id),
        ..request.clone()
    };
    let log = ReplyLog {
        request: request.id,
        user: request.sender.clone(),
        model: "gemini-flash".to_owned(),
        attempts: 2,
        tokens_in: 120,
        tokens_out: 30,
        first_token_ms: Some(400),
        total_ms: 850,
        cost_micros: Some(111),
        outcome: "answered".to_owned(),
    };
    Envelope::new(message, Some(log))
}

/// What a page of history shows of it.
pub fn texts(page: &[Message]) -> Vec<&str> {
    page.iter()
        .map(|message| message.message.as_str())
        .collect()
}

pub fn seqs(page: &[Message]) -> Vec<u64> {
    page.iter().map(|message| message.seq).collect()
}
