//! Many writers at once on the shared side, as with any number of persisters after a redelivery.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::Envelope,
    store::{Messages, Rooms},
};
use engines::sql::MySqlStore;
use private_engines::{Engine, Engines};
use rand::seq::SliceRandom;
use seam_suites::store::side::{answered, said, seqs};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use crate::side::migrated;

const ROUNDS: u64 = 200;
const ROOMS: [&str; 3] = ["attic", "cellar", "lobby"];

/// 40 messages in each room, half of them the bot's answers to the others.
fn round(number: u64) -> Vec<Envelope> {
    ROOMS
        .iter()
        .flat_map(|room| {
            (0..20).flat_map(move |n| {
                let request = said(room, number * 40 + 2 * n + 1, "hi");
                let reply = answered(&request, number * 40 + 2 * n + 2, "hi");
                [request, reply]
            })
        })
        .collect()
}

async fn write_shuffled(store: Arc<MySqlStore>, rounds: Arc<Vec<Vec<Envelope>>>) -> usize {
    let mut new = 0;
    for round in rounds.iter() {
        let mut batch = round.clone();
        batch.shuffle(&mut rand::rng());
        // Each leaves out some at the end, so that the batches overlap without being the same.
        let later = batch.split_off(batch.len() * 2 / 3);
        for batch in [batch, later] {
            let written = store
                .write(&batch)
                .await
                .expect("no writer sees another one's locks");
            assert_eq!(written.conflicts, [0; 0]);
            new += written.new;
        }
    }
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_messages_do_not_get_into_each_others_way() {
    let url = Engines::shared().await.fresh_database().await;
    let rounds: Arc<Vec<_>> = Arc::new((0..ROUNDS).map(round).collect());
    let mut writers = Vec::new();
    for _ in 0..2 {
        let store = migrated(&url).await;
        writers.push(tokio::spawn(write_shuffled(store, rounds.clone())));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let store = migrated(&url).await;
    for room in ROOMS {
        let all = store.after(room, 0, 1_000_000).await.unwrap();
        assert_eq!(seqs(&all), (1..=ROUNDS * 40).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_wait_for_a_writer() {
    let url = Engines::shared().await.fresh_database().await;
    let store = migrated(&url).await;
    let batch: Vec<Envelope> = (1..=2_000).map(|seq| said("lobby", seq, "hi")).collect();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.write(&batch).await }
    });
    while !writing.is_finished() {
        let seen = store.after("lobby", 0, 10_000).await.unwrap().len();
        assert!(
            seen == 0 || seen == 2_000,
            "half of a batch is never seen, but {seen} were"
        );
        store.rooms_listed("ada", None, 10).await.unwrap();
    }
    assert_eq!(writing.await.unwrap().unwrap().new, 2_000);
}

/// Among ourselves there is one order, but whoever works on the database by hand may take another.
#[tokio::test(flavor = "multi_thread")]
async fn who_loses_a_deadlock_tries_again() {
    let engines = Engines::start_only(&[Engine::MariaDb]).await;
    let url = engines.fresh_database().await;
    let store = migrated(&url).await;
    let mut stranger = MySqlConnection::connect(&url).await.unwrap();
    let mut watcher = MySqlConnection::connect(&url).await.unwrap();
    let insert = |seqs: std::ops::Range<u64>| {
        let row = |seq| {
            format!("('lobby', {seq}, UNHEX(LPAD({seq}, 32, '0')), 'eve', 'user', 'mine', NULL)")
        };
        let rows: Vec<String> = seqs.map(row).collect();
        AssertSqlSafe(format!("INSERT INTO messages VALUES {}", rows.join(", ")))
    };

    // The stranger has done more than we have: when both wait for each other, the server gives the stranger its way.
    sqlx::raw_sql("START TRANSACTION")
        .execute(&mut stranger)
        .await
        .unwrap();
    sqlx::raw_sql(insert(2..500))
        .execute(&mut stranger)
        .await
        .unwrap();
    let batch = [
        said("lobby", 1, "ours"),
        said("lobby", 2, "ours"),
        said("lobby", 500, "ours"),
    ];
    let writing = tokio::spawn(async move { store.write(&batch).await });
    // Not by the list of transactions: MySQL cannot show one whose statement has bytes in it.
    let waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
    loop {
        let status = sqlx::query_as::<_, (String, String)>(waits);
        let (_, waiting) = status.fetch_one(&mut watcher).await.unwrap();
        if waiting != "0" {
            break;
        }
        assert!(!writing.is_finished(), "it waits for the stranger");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::raw_sql(insert(1..2))
        .execute(&mut stranger)
        .await
        .expect("the stranger has its way");
    sqlx::raw_sql("COMMIT")
        .execute(&mut stranger)
        .await
        .unwrap();

    let written = writing
        .await
        .unwrap()
        .expect("a lost deadlock is no outage");
    assert_eq!((written.new, written.conflicts), (1, vec![0, 1]));
}
