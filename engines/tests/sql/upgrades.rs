//! Databases of versions before, filled, become this one's, from whichever version on and wherever a migration was cut off;
//! and what the program of then does with them, it still can do.

use common::{store::Store, wire::Seq};
use engines::sql::{MySqlStore, SqliteStore};
use private_engines::Engines;
use seam_suites::store::side::texts;
use sqlx::{
    AssertSqlSafe, Connection, MySqlConnection, SqliteConnection, migrate::Migrator,
    sqlite::SqliteConnectOptions,
};

use crate::side::settings;

static MYSQL: Migrator = sqlx::migrate!("../migrations/mysql");
static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");

/// The last version before edits and deletions, the door and all that came with them.
const BEFORE: i64 = 9;

/// Those of a side's migrations that make a version.
fn up_to(version: i64, all: &Migrator) -> Migrator {
    let wanted = all.iter().filter(|one| one.version <= version);
    Migrator::with_migrations(wanted.cloned().collect())
}

/// Each version from the one before on that can be migrated further.
fn versions(all: &Migrator) -> Vec<i64> {
    let versions: Vec<i64> = all.iter().map(|one| one.version).collect();
    let newest = versions.iter().copied().max().unwrap();
    let from = versions.into_iter().filter(|version| *version >= BEFORE);
    from.filter(|version| *version < newest).collect()
}

/// What the program of that version says to its database, letter for letter but for the values: somebody registers, logs in on
/// a device, makes a room, invites somebody, says something, and the bot replies. `n` tells one such story from another.
fn story(n: u32) -> Vec<String> {
    let id = |what: u32| format!("X'{:032x}'", n * 16 + what);
    let hash = |what: u32| format!("X'{:064x}'", n * 16 + what);
    let (user, room, seq) = (format!("ada-{n}"), format!("lobby-{n}"), n * 10);
    vec![
        format!(
            "INSERT INTO users (name, skeleton, password_hash, created_at_ms) VALUES ('{user}', '{user}', 'a hash', 7)"
        ),
        format!(
            "INSERT INTO rooms (name, owner, private, bot, persona, created_at_ms) VALUES ('{user}', '{user}', 1, 'always', '', 7)"
        ),
        format!(
            "INSERT INTO sessions (token_hash, id, user, device, created_at_ms, last_seen_at_ms, expires_at_ms) \
             VALUES ({}, {}, '{user}', 'a browser', 7, 7, 9000000000000)",
            hash(1),
            id(1)
        ),
        format!(
            "INSERT INTO devices (device_hash, user, used_at_ms) VALUES ({}, '{user}', 7)",
            hash(2)
        ),
        format!(
            "UPDATE devices SET used_at_ms = 8 WHERE device_hash = {} AND user = '{user}'",
            hash(2)
        ),
        format!(
            "INSERT INTO rooms (name, owner, private, bot, persona, created_at_ms) VALUES ('{room}', '{user}', 0, 'mention', '', 7)"
        ),
        format!("INSERT INTO room_looks (room, skeleton) VALUES ('{room}', '{room}')"),
        format!(
            "UPDATE rooms SET private = COALESCE(1, private), bot = COALESCE(NULL, bot), persona = COALESCE(NULL, persona) \
             WHERE name = '{room}'"
        ),
        format!(
            "INSERT INTO invitations (room, user, invited_by, invited_at_ms, ended_at_ms, ended_times) \
             VALUES ('{room}', 'bob', '{user}', 7, NULL, 0)"
        ),
        format!("INSERT INTO members (room, user) VALUES ('{room}', 'bob')"),
        format!(
            "DELETE FROM invitations WHERE room = '{room}' AND user = 'bob' AND ended_at_ms IS NULL"
        ),
        format!(
            "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) VALUES \
             ('{room}', {}, {}, '{user}', 'user', '@bot hello', NULL)",
            seq + 1,
            id(3)
        ),
        format!(
            "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) VALUES \
             ('{room}', {}, {}, 'bot', 'bot', 'good day', {})",
            seq + 2,
            id(4),
            id(3)
        ),
        format!(
            "INSERT INTO replies (room, id, request, user, day, model, attempts, tokens_in, tokens_out, first_token_ms, total_ms, \
             cost_micros, outcome) VALUES ('{room}', {}, {}, '{user}', '2026-11-01', 'a model', 1, 2, 3, 4, 5, 6, 'answered')",
            id(4),
            id(3)
        ),
    ]
}

/// And what it asks: each of these has an answer for whose story it is.
fn questions(n: u32) -> Vec<String> {
    let (user, room) = (format!("ada-{n}"), format!("lobby-{n}"));
    vec![
        format!("SELECT COUNT(*) FROM users WHERE name = '{user}'"),
        format!(
            "SELECT COUNT(*) FROM sessions WHERE token_hash = X'{:064x}' AND expires_at_ms > 8",
            n * 16 + 1
        ),
        format!(
            "SELECT COUNT(*) FROM rooms WHERE name = '{room}' AND (private = 0 OR owner = 'bob' \
             OR EXISTS (SELECT 1 FROM members WHERE members.room = rooms.name AND members.user = 'bob'))"
        ),
        format!(
            "SELECT COUNT(*) FROM invitations RIGHT JOIN members ON invitations.room = members.room \
             AND invitations.user = members.user AND invitations.ended_at_ms IS NULL \
             WHERE members.room = '{room}' AND members.user = 'bob' AND invitations.invited_by IS NULL"
        ),
        format!("SELECT COUNT(*) FROM messages WHERE room = '{room}' AND kind = 'bot'"),
        format!("SELECT COUNT(*) FROM replies WHERE user = '{user}' AND outcome = 'answered'"),
    ]
}

macro_rules! tell {
    ($db:expr, $n:expr) => {
        for statement in story($n) {
            let told = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *$db);
            told.await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    };
}

macro_rules! is_told {
    ($db:expr, $n:expr) => {
        for question in questions($n) {
            let asked = sqlx::query_scalar::<_, i64>(AssertSqlSafe(question.clone()));
            let count = asked.fetch_one(&mut *$db).await.unwrap();
            assert_eq!(count, 1, "{question}");
        }
    };
}

/// What this program makes of a story.
async fn is_read(store: &dyn Store, n: u32) {
    let (user, room) = (format!("ada-{n}"), format!("lobby-{n}"));
    let hash = store.password_hash(&user).await.unwrap();
    assert_eq!(hash.as_deref(), Some("a hash"));
    let session = (u128::from(n) * 16 + 1).to_be_bytes();
    let mut token_hash = [0; 32];
    token_hash[16..].copy_from_slice(&session);
    let session = store.session(&token_hash, 8).await.unwrap().unwrap();
    assert_eq!((&*session.user, session.is_token), (&*user, false));
    let seen = store.room_seen_by(&room, "bob").await.unwrap().unwrap();
    assert_eq!(
        (&*seen.owner, seen.private, &*seen.title),
        (&*user, true, "")
    );
    assert!(store.room_seen_by(&room, "eve").await.unwrap().is_none());
    let history = store.before(&room, Seq::MAX, 10).await.unwrap();
    assert_eq!(texts(&history), ["@bot hello", "good day"]);
    assert!(
        history
            .iter()
            .all(|message| !message.deleted && message.edited.is_none())
    );
}

/// Somebody is killed while they migrate: one of the migrations has done what it does, or nothing of it, and nobody noted its
/// end. The program of before goes on meanwhile.
#[tokio::test]
async fn each_migration_may_be_cut_off_on_a_filled_database() {
    for (done, before) in versions(&MYSQL).into_iter().enumerate() {
        let url = Engines::shared().await.fresh_database().await;
        let mut db = MySqlConnection::connect(&url).await.unwrap();
        up_to(BEFORE, &MYSQL).run(&mut db).await.unwrap();
        tell!(&mut db, 1);
        up_to(before, &MYSQL).run(&mut db).await.unwrap();
        let next = MYSQL.iter().find(|one| one.version > before).unwrap();
        let begun = "INSERT INTO _sqlx_migrations VALUES (?, ?, NOW(), FALSE, ?, -1)";
        let begun = sqlx::query(begun)
            .bind(next.version)
            .bind(&*next.description)
            .bind(&*next.checksum);
        begun.execute(&mut db).await.unwrap();
        if done % 2 == 0 {
            sqlx::raw_sql(next.sql.clone())
                .execute(&mut db)
                .await
                .unwrap();
        }
        tell!(&mut db, 2);
        MySqlStore::migrate(&settings(&url)).await.unwrap();
        tell!(&mut db, 3);
        let store = MySqlStore::connect(&settings(&url)).await.unwrap();
        store.ping().await.unwrap();
        for n in 1..=3 {
            is_told!(&mut db, n);
            is_read(&*store, n).await;
        }
    }
}

/// The all-in-one's file of any version before; a reader of then has it open all the while.
#[tokio::test]
async fn a_file_of_each_version_before_is_migrated_when_it_is_opened() {
    for before in versions(&SQLITE) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("store.db"))
            .create_if_missing(true);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        up_to(BEFORE, &SQLITE).run(&mut db).await.unwrap();
        tell!(&mut db, 1);
        up_to(before, &SQLITE).run(&mut db).await.unwrap();
        tell!(&mut db, 2);
        let store = SqliteStore::open(folder.path()).await.unwrap();
        tell!(&mut db, 3);
        store.ping().await.unwrap();
        for n in 1..=3 {
            is_told!(&mut db, n);
            is_read(&*store, n).await;
        }
    }
}
