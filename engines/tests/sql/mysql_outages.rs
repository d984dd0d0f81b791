//! The shared side while its server is killed, frozen and started again. Each test has a server of its own.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use common::{
    envelope::Envelope,
    store::{Accounts, Messages, Store, StoreError, WriteError},
};
use engines::sql::MySqlStore;
use private_engines::{Engine, Engines};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use crate::side::{migrated, settings};
use seam_suites::store::side::{said, seqs};

/// The longest a caller may be left without an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Tries again until it succeeds, as every caller of the store does.
async fn in_the_end<T, E: std::fmt::Display>(mut call: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) if begun.elapsed() > Duration::from_secs(30) => panic!("not yet: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWERED_WITHIN, call)
        .await
        .expect("an answer in time, whatever it is")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_loses_nothing_that_was_answered() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let store = migrated(&engines.fresh_database().await).await;
    let writing = async {
        let mut refused = 0;
        for batch in 0..150 {
            let batch: Vec<Envelope> = (1..=100)
                .map(|n| said("lobby", batch * 100 + n, "hi"))
                .collect();
            in_the_end(async || {
                let written = in_time(store.write(&batch)).await;
                match &written {
                    Ok(written) => assert_eq!(written.conflicts, [0; 0]),
                    Err(WriteError::Unavailable(_) | WriteError::Unexplained(_)) => refused += 1,
                    Err(WriteError::Rejected(why)) => {
                        panic!("an outage is not the row's fault: {why}")
                    }
                }
                written
            })
            .await;
        }
        refused
    };
    let killing = async {
        for part in [1_000, 5_000] {
            in_the_end(async || match store.latest("lobby").await {
                Ok(latest) if latest >= part => Ok(()),
                _ => Err("not that far yet"),
            })
            .await;
            engines.kill(Engine::MariaDb).await;
            engines.start_engine(Engine::MariaDb).await;
        }
    };
    let (refused, ()) = tokio::join!(writing, killing);
    assert!(refused > 0, "the outage was noticed");
    let all = in_the_end(async || store.after("lobby", 0, 100_000).await).await;
    assert_eq!(seqs(&all), (1..=15_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_is_noticed_in_time_and_forgiven_when_it_thaws() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let url = engines.fresh_database().await;
    let store = migrated(&url).await;
    store.create_user("ada", "a hash").await.unwrap();
    store.write(&[said("lobby", 1, "before")]).await.unwrap();

    engines.freeze(Engine::MariaDb).await;
    // More at once than there are connections.
    let callers: Vec<_> = (0..12)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(in_time(async move {
                match n % 3 {
                    0 => store.write(&[said("lobby", 2 + n, "hi")]).await.is_err(),
                    1 => matches!(
                        store.password_hash("ada").await,
                        Err(StoreError::Unavailable(_))
                    ),
                    _ => store.ping().await.is_err(),
                }
            }))
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap(), "nobody gets an answer that is none");
    }
    assert!(
        in_time(store.ping()).await.is_err(),
        "and not at a second try either"
    );
    assert!(in_time(MySqlStore::connect(&settings(&url))).await.is_err());
    assert!(in_time(MySqlStore::migrate(&settings(&url))).await.is_err());

    engines.thaw(Engine::MariaDb).await;
    in_the_end(async || store.ping().await).await;
    // Every connection is one again: as many calls at once as there are, all answered.
    for _ in 0..20 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.password_hash("ada").await })
            })
            .collect();
        for call in calls {
            assert_eq!(
                in_time(call).await.unwrap().unwrap().as_deref(),
                Some("a hash")
            );
        }
    }
    assert!(
        store
            .find("lobby", said("lobby", 1, "").message.id)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store
            .write(&[said("lobby", 100, "after")])
            .await
            .unwrap()
            .new,
        1
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_clear_word_and_no_wait_without_end() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let url = engines.fresh_database().await;
    let store = migrated(&url).await;
    engines.stop(Engine::MariaDb).await;
    assert!(matches!(
        in_time(store.ping()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(in_time(MySqlStore::connect(&settings(&url))).await.is_err());
    engines.start_engine(Engine::MariaDb).await;
    in_the_end(async || store.ping().await).await;
}

/// Whether a store says so within the time that `/readyz` gives it.
async fn is_ready(store: &MySqlStore) -> bool {
    let ping = tokio::time::timeout(Duration::from_secs(2), store.ping());
    matches!(ping.await, Ok(Ok(())))
}

async fn by_hand(url: &str) -> MySqlConnection {
    MySqlConnection::connect(url).await.unwrap()
}

async fn execute(db: &mut MySqlConnection, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    sql.execute(db).await.unwrap();
}

/// A server, a store on it as one who may not everything, which is what most may, and what makes its URL.
async fn store_of_an_ordinary_user(engines: &Engines) -> (std::sync::Arc<MySqlStore>, String) {
    let url = engines.fresh_database().await;
    migrated(&url).await;
    let name = url.rsplit('/').next().unwrap();
    let mut root = by_hand(&url).await;
    execute(
        &mut root,
        &format!("CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'app'; GRANT ALL ON {name}.* TO app@'%'"),
    )
    .await;
    let ordinary = settings(&url.replace("chinwag:chinwag@", "app:app@"));
    (MySqlStore::connect(&ordinary).await.unwrap(), url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_not_ready_and_is_again_when_it_does() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let (store, url) = store_of_an_ordinary_user(&engines).await;
    let mut root = by_hand(&url).await;
    store.write(&[said("lobby", 1, "before")]).await.unwrap();
    assert!(is_ready(&store).await);
    let outages = [
        ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
        ("LOCK TABLES messages WRITE", "UNLOCK TABLES"),
        ("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"),
        ("BEGIN; SELECT * FROM messages FOR UPDATE", "ROLLBACK"),
    ];
    for (place, (begins, ends)) in (2..).zip(outages) {
        execute(&mut root, begins).await;
        assert!(!is_ready(&store).await, "{begins}");
        if begins.contains("read_only") {
            let why = store.ping().await.unwrap_err().to_string();
            assert!(
                why.contains("MySQL or MariaDB (DATABASE_URL)") && why.contains("--read-only"),
                "{why}"
            );
        }
        assert!(!is_ready(&store).await, "{begins}");
        execute(&mut root, ends).await;
        in_the_end(async || is_ready(&store).await.then_some(()).ok_or("not ready")).await;
        let written =
            in_the_end(async || store.write(&[said("lobby", place, "after")]).await).await;
        assert_eq!(written.conflicts, [0; 0], "{ends}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_writes_fail_though_a_small_one_does_not_is_not_ready() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let (store, url) = store_of_an_ordinary_user(&engines).await;
    assert!(is_ready(&store).await);
    let mut root = by_hand(&url).await;
    // As where the disk is full: the row that is there can be changed, and none can be added.
    let full = "CREATE TRIGGER full BEFORE INSERT ON messages FOR EACH ROW \
                SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'the table is full'";
    execute(&mut root, full).await;
    for _ in 0..2 {
        let written = store.write(&[said("lobby", 1, "hi")]).await;
        assert!(
            matches!(written, Err(WriteError::Unavailable(_))),
            "{written:?}"
        );
    }
    let told = store.ping().await.unwrap_err().to_string();
    assert!(
        told.contains("the last 2 writes failed") && told.contains("full"),
        "{told}"
    );
    execute(&mut root, "DROP TRIGGER full").await;
    store.write(&[said("lobby", 1, "hi")]).await.unwrap();
    assert!(is_ready(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_as_large_as_the_server_takes_and_a_larger_row_is_rejected() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let url = engines.fresh_database().await;
    migrated(&url).await;
    let mut root = by_hand(&url).await;
    let mut seq = 0;
    for packet in [1_048_576, 65_536, 16_384, 4_096] {
        execute(
            &mut root,
            &format!("SET GLOBAL max_allowed_packet = {packet}"),
        )
        .await;
        // What the server takes is what it said when a connection was made.
        let store = MySqlStore::connect(&settings(&url)).await.unwrap();
        for (rows, chars) in [(600, 10), (300, 3_000), (40, 12_000)] {
            if chars + 1_000 > packet {
                continue;
            }
            let batch: Vec<Envelope> = (1..=rows)
                .map(|n| said("lobby", seq + n, &"x".repeat(chars)))
                .collect();
            assert_eq!(
                store.write(&batch).await.unwrap().new,
                batch.len(),
                "{packet} {chars}"
            );
            // Again, which goes the other way.
            assert_eq!(
                store.write(&batch).await.unwrap().new,
                0,
                "{packet} {chars}"
            );
            seq += rows;
        }
        if packet < 65_536 {
            let large = [
                said("lobby", seq + 1, "small"),
                said("lobby", seq + 2, &"x".repeat(20_000)),
            ];
            let refused = store.write(&large).await;
            assert!(
                matches!(&refused, Err(WriteError::Rejected(why)) if why.contains("max_allowed_packet")),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_server_refuses_in_words_of_its_own_is_told_from_a_server_that_refuses_rows()
{
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let (store, url) = store_of_an_ordinary_user(&engines).await;
    let mut root = by_hand(&url).await;
    let refuses = |condition: &str| {
        format!(
            "CREATE TRIGGER refuses BEFORE INSERT ON messages FOR EACH ROW IF {condition} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this'; END IF"
        )
    };
    execute(&mut root, &refuses("NEW.message LIKE '%cursed%'")).await;
    let refused = store.write(&[said("lobby", 1, "cursed")]).await;
    assert!(
        matches!(&refused, Err(WriteError::Unexplained(why)) if why.contains("not this")),
        "{refused:?}"
    );
    store.takes_rows(6).await.unwrap();
    store.takes_rows(50_000).await.unwrap();
    execute(&mut root, "DROP TRIGGER refuses").await;
    execute(&mut root, &refuses("TRUE")).await;
    assert!(store.takes_rows(6).await.is_err());
    assert_eq!(
        store.latest(":").await.unwrap(),
        1,
        "what was tried is not left there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_gets_no_connection_is_not_ready() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let (store, url) = store_of_an_ordinary_user(&engines).await;
    let mut root = by_hand(&url).await;
    execute(&mut root, "SET GLOBAL max_connections = 10").await;
    let ordinary = url.replace("chinwag:chinwag@", "app:app@");
    let kill = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = 'app'";
    let of_store: Vec<i64> = sqlx::query_scalar(kill).fetch_all(&mut root).await.unwrap();
    for connection in of_store {
        execute(&mut root, &format!("KILL {connection}")).await;
    }
    let mut others = Vec::new();
    in_the_end(async || match MySqlConnection::connect(&ordinary).await {
        Ok(other) => {
            others.push(other);
            Err("one more")
        }
        Err(_) => Ok(()),
    })
    .await;
    assert!(!is_ready(&store).await);
    drop(others);
    in_the_end(async || is_ready(&store).await.then_some(()).ok_or("not ready")).await;
}

/// A server is known by a name that another one does not have, and after a restart has still.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_has_another_name() {
    let one = Engines::start_only(&[Engine::MariaDb]).await;
    let other = Engines::start_only(&[Engine::MariaDb]).await;
    let store = migrated(&one.fresh_database().await).await;
    let name = store.server().await.unwrap();
    let of_other = migrated(&other.fresh_database().await).await;
    assert_ne!(of_other.server().await.unwrap(), name);
    assert_eq!(
        migrated(&one.fresh_database().await)
            .await
            .server()
            .await
            .unwrap(),
        name
    );
    one.kill(Engine::MariaDb).await;
    one.start_engine(Engine::MariaDb).await;
    let again = in_the_end(async || store.server().await).await;
    assert_eq!(again, name);
    let looked_up = store
        .look_up("lobby", &[said("lobby", 1, "").message.id])
        .await;
    assert_eq!(looked_up.unwrap().server, name);
}
