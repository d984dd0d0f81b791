//! The schema on the shared side: who may bring it up to date, and who is refused by it.

use common::{
    envelope::Envelope,
    store::{Accounts, Messages, Store, StoreError},
    wire::Seq,
};
use engines::sql::MySqlStore;
use private_engines::Engines;
use seam_suites::store::side::{answered, deletes, edits, said, texts};
use sqlx::{Connection, MySqlConnection, migrate::Migrator};
use uuid::Uuid;

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
    // A server with its defaults is one that nothing is said about.
    assert_eq!(store.dangers().await, [""; 0]);
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

/// The database of a program from before edits and deletions, with what it wrote, becomes this one's; and what that program reads
/// and writes meanwhile, it still can, in rooms with events too.
#[tokio::test]
async fn a_database_of_the_version_before_is_filled_migrated_and_read() {
    const BEFORE: i64 = 9;
    let url = Engines::shared().await.fresh_database().await;
    let mut db = MySqlConnection::connect(&url).await.unwrap();
    for migration in MYSQL.iter().filter(|one| one.version <= BEFORE) {
        let sql = sqlx::raw_sql(migration.sql.clone());
        sql.execute(&mut db).await.unwrap();
    }
    // As the program of then wrote it down.
    execute(
        &url,
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
         execution_time BIGINT NOT NULL)",
    )
    .await;
    for migration in MYSQL.iter().filter(|one| one.version <= BEFORE) {
        let done = "INSERT INTO _sqlx_migrations VALUES (?, ?, NOW(), TRUE, ?, 1)";
        let done = sqlx::query(done)
            .bind(migration.version)
            .bind(&*migration.description)
            .bind(&*migration.checksum);
        done.execute(&mut db).await.unwrap();
    }
    const OLD_INSERT: &str = "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) VALUES \
         (?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id";
    let old_write = async |db: &mut MySqlConnection, envelope: &Envelope| {
        let message = &envelope.message;
        let insert = sqlx::query(OLD_INSERT)
            .bind(&*message.room)
            .bind(i64::try_from(message.seq).unwrap())
            .bind(message.id)
            .bind(&*message.sender)
            .bind(message.kind.as_str())
            .bind(&*message.message)
            .bind(message.reply_to);
        insert.execute(db).await.unwrap();
    };
    let old_read = async |db: &mut MySqlConnection| -> Vec<(String, String, Option<Uuid>)> {
        let select = "SELECT kind, message, reply_to FROM messages WHERE room = ? AND seq < ? ORDER BY seq DESC LIMIT ?";
        let select = sqlx::query_as(select).bind("lobby").bind(i64::MAX).bind(50);
        select.fetch_all(db).await.unwrap()
    };
    let [one, two] = [said("lobby", 10, "one"), said("lobby", 20, "two")];
    let reply = answered(&two, 30, "three");
    for envelope in [&one, &two, &reply] {
        old_write(&mut db, envelope).await;
    }

    let store = migrated(&url).await;
    let history = store.before("lobby", Seq::MAX, 100).await.unwrap();
    assert_eq!(texts(&history), ["one", "two", "three"]);
    let batch = [edits(&one, 40, "ONE"), deletes(&two, 50)];
    assert_eq!(store.write(&batch).await.unwrap().new, 2);

    // The old program knows every kind in the room, and takes an edit for a message that answers the one it changes.
    let seen = old_read(&mut db).await;
    let kinds: Vec<&str> = seen.iter().map(|(kind, ..)| &**kind).collect();
    assert_eq!(kinds, ["user", "user", "bot", "user", "user"]);
    assert_eq!(seen[1].1, "ONE");
    assert_eq!(seen[1].2, Some(one.message.id));
    let four = said("lobby", 60, "four");
    old_write(&mut db, &four).await;
    let history = store.before("lobby", Seq::MAX, 100).await.unwrap();
    assert_eq!(texts(&history), ["ONE", "", "three", "four"]);
    // What it writes again of something deleted does not come back.
    old_write(&mut db, &two).await;
    assert_eq!(store.after("lobby", 10, 1).await.unwrap()[0].message, "");
}
