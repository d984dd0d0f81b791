//! Where a word is, if it is anywhere: in Redis, byte for byte, in the database, and among the dead letters.

use std::time::Duration;

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use sqlx::{Connection as _, MySqlConnection, Row as _};
use stories::{Chat, run, until};

/// Waits until a word is nowhere, for a minute at most: that is what is promised.
pub(crate) async fn is_nowhere(chat: &Chat, word: &str) {
    let minute = Duration::from_secs(60);
    let mut last = Vec::new();
    let what = format!("{word:?} is nowhere");
    let nowhere = until(&what, minute, async || {
        let found = places_of(chat, word).await;
        if found != last {
            eprintln!("{word:?} is in {found:?}");
            last = found;
        }
        last.is_empty().then_some(())
    });
    nowhere.await;
}

/// Everything that has the word in it.
pub(crate) async fn places_of(chat: &Chat, word: &str) -> Vec<String> {
    let mut found = in_redis(chat, word).await;
    found.extend(in_database(chat, word).await);
    let letters = run("persister", &["dead-letters", "list"], &chat.environment).1;
    if letters.contains(word) {
        found.push("the dead letters".to_owned());
    }
    found
}

async fn in_redis(chat: &Chat, word: &str) -> Vec<String> {
    let client = redis::Client::open(chat.setting("REDIS_URL")).expect("an address");
    let mut redis = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis is there");
    // What is dumped is compressed otherwise.
    let mut plain = redis::cmd("CONFIG");
    plain.arg("SET").arg("rdbcompression").arg("no");
    let () = plain.query_async(&mut redis).await.expect("a setting");
    let pattern = format!("{}*", chat.setting("REDIS_PREFIX"));
    let keys: Vec<Vec<u8>> = redis.keys(pattern).await.expect("the keys");
    assert!(!keys.is_empty(), "it is the right Redis");
    let mut found = Vec::new();
    for key in keys {
        if has(&all_of(&mut redis, &key).await, word) {
            found.push(format!("Redis {}", String::from_utf8_lossy(&key)));
        }
    }
    found
}

/// A key's value with all of its memory, also what no command shows.
async fn all_of(redis: &mut MultiplexedConnection, key: &[u8]) -> Vec<u8> {
    let dump: Option<Vec<u8>> = redis::cmd("DUMP")
        .arg(key)
        .query_async(redis)
        .await
        .expect("a dump");
    dump.unwrap_or_default()
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

async fn in_database(chat: &Chat, word: &str) -> Vec<String> {
    let mut database = MySqlConnection::connect(chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    let columns = sqlx::query(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()",
    );
    let columns = columns.fetch_all(&mut database).await.expect("its columns");
    assert!(columns.len() > 20, "it is the right database");
    let mut found = Vec::new();
    for column in columns {
        let (table, column): (String, String) = (column.get(0), column.get(1));
        let count = format!(
            "SELECT COUNT(*) FROM `{table}` WHERE INSTR(CAST(`{column}` AS BINARY), CAST(? AS BINARY)) > 0"
        );
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count)).bind(word);
        let rows = count.fetch_one(&mut database).await.expect("a count");
        if rows > 0 {
            found.push(format!("{table}.{column} of {rows} rows"));
        }
    }
    found
}
