//! A store for the suite, on each engine, and how a story connects to MySQL.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::store::{
    Store,
    usage::{UsageAsked, UsageSum},
};
use engines::sql::{MySqlSettings, MySqlStore, SqliteStore};
use private_engines::Engines;
use seam_suites::store::StoreUnderTest;
use sqlx::{
    AssertSqlSafe, Connection, MySqlConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

/// A folder of a story's own, and the store in it.
pub(crate) struct Folder {
    folder: TempDir,
    store: Arc<SqliteStore>,
}

impl Folder {
    pub(crate) async fn fresh() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        Folder { folder, store }
    }

    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.folder.path().join("store.db"))
            .busy_timeout(Duration::from_secs(10));
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

#[async_trait]
impl StoreUnderTest for Folder {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn usage(&self, asked: &UsageAsked) -> Vec<UsageSum> {
        let store = SqliteStore::open(self.folder.path()).await.unwrap();
        store.usage(asked).await.unwrap()
    }

    async fn execute(&self, sql: String) {
        let mut db = self.connect().await;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        sql.execute(&mut db).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut db = self.connect().await;
        sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
    }
}

/// A database of a story's own by its URL, and the store in it.
pub(crate) struct Database {
    url: String,
    store: Arc<MySqlStore>,
}

impl Database {
    pub(crate) async fn fresh() -> Database {
        let url = Engines::shared().await.fresh_database().await;
        let store = migrated(&url).await;
        Database { url, store }
    }
}

#[async_trait]
impl StoreUnderTest for Database {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn usage(&self, asked: &UsageAsked) -> Vec<UsageSum> {
        let store = MySqlStore::connect(&settings(&self.url)).await.unwrap();
        store.usage(asked).await.unwrap()
    }

    async fn execute(&self, sql: String) {
        let mut db = MySqlConnection::connect(&self.url).await.unwrap();
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        sql.execute(&mut db).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut db = MySqlConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
    }
}

pub(crate) fn settings(url: &str) -> MySqlSettings {
    MySqlSettings {
        database_url: url.to_owned().into(),
        database_connections: 4,
    }
}

/// A store on this database, with its schema made.
pub(crate) async fn migrated(url: &str) -> Arc<MySqlStore> {
    MySqlStore::migrate(&settings(url)).await.unwrap();
    MySqlStore::connect(&settings(url)).await.unwrap()
}
