//! The schema on the shared side: who may bring it up to date, and who is refused by it.

use common::store::{Accounts, Messages, Store, StoreError};
use engines::sql::MySqlStore;
use private_engines::Engines;
use seam_suites::store::side::said;
use sqlx::{Connection, MySqlConnection, migrate::Migrator};

use crate::side::{migrated, settings};

static MYSQL: Migrator = sqlx::migrate!("../migrations/mysql");
static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");

async fn execute(url: &str, sql: &'static str) {
    let mut db = MySqlConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
}

/// Why a program does not start on this database.
async fn refusal(url: &str) -> String {
    match MySqlStore::connect(&settings(url)).await {
        Ok(_) => panic!("it was let in"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn both_sides_have_the_same_versions() {
    let versions = |migrator: &Migrator| -> Vec<(i64, String)> {
        migrator
            .iter()
            .map(|one| (one.version, one.description.to_string()))
            .collect()
    };
    assert_eq!(versions(&MYSQL), versions(&SQLITE));
    assert!(!versions(&MYSQL).is_empty());
}

#[test]
fn each_mysql_migration_is_one_statement_that_may_run_twice() {
    for migration in MYSQL.iter() {
        let code: String = migration
            .sql
            .as_str()
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect();
        let statements = code
            .split(';')
            .filter(|part| !part.trim().is_empty())
            .count();
        assert_eq!(statements, 1, "migration {}", migration.version);
        assert!(
            code.contains("IF NOT EXISTS") || code.contains("IF EXISTS"),
            "{}",
            migration.version
        );
    }
}

#[tokio::test]
async fn any_number_may_migrate_at_once_also_where_there_is_no_database_yet() {
    let engines = Engines::shared().await;
    let url = engines.database_url(&format!("{}chat-1", engines.fresh_prefix()));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let settings = settings(&url);
            tokio::spawn(async move { MySqlStore::migrate(&settings).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    let store = MySqlStore::connect(&settings(&url)).await.unwrap();
    assert_eq!(store.write(&[said("lobby", 1, "hi")]).await.unwrap().new, 1);
    // Once more does nothing, least of all to what is there.
    MySqlStore::migrate(&settings(&url)).await.unwrap();
    assert_eq!(store.latest("lobby").await.unwrap(), 1);
}

#[tokio::test]
async fn a_program_without_its_schema_says_what_to_do() {
    let engines = Engines::shared().await;
    let needs = MYSQL
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap();

    let url = engines.fresh_database().await;
    let words = format!("version 0, this program needs {needs}: run `persister migrate`");
    assert!(
        refusal(&url).await.contains(&words),
        "{}",
        refusal(&url).await
    );

    MySqlStore::migrate(&settings(&url)).await.unwrap();
    execute(
        &url,
        "DELETE FROM _sqlx_migrations ORDER BY version DESC LIMIT 1",
    )
    .await;
    let words = format!("version {}, this program needs {needs}", needs - 1);
    assert!(
        refusal(&url).await.contains(&words),
        "{}",
        refusal(&url).await
    );

    let nowhere = engines.database_url(&format!("{}nowhere", engines.fresh_prefix()));
    assert!(
        refusal(&nowhere).await.contains("run `persister migrate`"),
        "{}",
        refusal(&nowhere).await
    );
}

#[tokio::test]
async fn an_older_program_is_refused_by_a_newer_schema_also_while_it_runs() {
    let url = Engines::shared().await.fresh_database().await;
    let store = migrated(&url).await;
    store.ping().await.unwrap();
    execute(
        &url,
        "INSERT INTO _sqlx_migrations VALUES (9999, 'from the future', NOW(), TRUE, 'x', 1)",
    )
    .await;
    assert!(
        refusal(&url).await.contains("version 9999"),
        "{}",
        refusal(&url).await
    );
    assert!(store.ping().await.is_err());
    let migrating = MySqlStore::migrate(&settings(&url)).await;
    assert!(migrating.unwrap_err().to_string().contains("version 9999"));
}

#[tokio::test]
async fn a_migration_that_was_cut_off_is_begun_anew() {
    let url = Engines::shared().await.fresh_database().await;
    migrated(&url).await;
    execute(
        &url,
        "UPDATE _sqlx_migrations SET success = FALSE ORDER BY version DESC LIMIT 1",
    )
    .await;
    assert!(
        refusal(&url).await.contains("not finished"),
        "{}",
        refusal(&url).await
    );
    migrated(&url).await.ping().await.unwrap();
}

#[tokio::test]
async fn rooms_of_an_older_program_get_their_looks() {
    let url = Engines::shared().await.fresh_database().await;
    let store = migrated(&url).await;
    store.create_user("ada", "").await.unwrap();
    execute(
        &url,
        "INSERT INTO rooms (name, owner, private, bot, persona, created_at_ms) VALUES ('b0b', 'ada', 0, 'off', '', 0)",
    )
    .await;
    let store = migrated(&url).await;
    let looks = store.create_user("bob", "").await;
    assert!(matches!(looks, Err(StoreError::Taken)), "{looks:?}");
    store.create_user("bobby", "").await.unwrap();
}
