//! What is left of a deleted text in SQLite's files: nothing, a moment after it is deleted. Who has the files has no more than who
//! asks the store.

use std::path::Path;

use common::{
    envelope::Envelope,
    store::{Messages, Store},
};
use engines::sql::SqliteStore;
use seam_suites::store::side::{deletes, edits, said};

const SECRET: &str = "the-word-that-must-go";

/// How often the secret stands in the store's files.
fn remains(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = SECRET.as_bytes();
        let windows = bytes.windows(secret.len());
        count += windows.filter(|window| *window == secret).count();
    }
    count
}

/// Short and long ones, in a crowd of others.
fn crowd() -> (Vec<Envelope>, Vec<Envelope>) {
    let (mut all, mut secret) = (Vec::new(), Vec::new());
    for seq in 1..=600 {
        let one = match seq % 7 {
            0 => said("lobby", seq, SECRET),
            1 => said("lobby", seq, &SECRET.repeat(500)),
            _ => said("lobby", seq, &"something else ".repeat(seq as usize % 40)),
        };
        if seq % 7 < 2 {
            secret.push(one.clone());
        }
        all.push(one);
    }
    (all, secret)
}

#[tokio::test]
async fn a_deleted_text_leaves_nothing_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let (all, secret) = crowd();
    store.write(&all).await.unwrap();
    let of = secret.iter().zip(1_000..);
    let edited: Vec<Envelope> = of.map(|(one, seq)| edits(one, seq, SECRET)).collect();
    store.write(&edited).await.unwrap();
    assert!(remains(folder.path()) > 600, "as long as nobody deletes it");
    let of = secret.iter().zip(2_000..);
    let deleted: Vec<Envelope> = of.map(|(one, seq)| deletes(one, seq)).collect();
    for batch in deleted.chunks(30) {
        store.write(batch).await.unwrap();
        store.clear_remains().await.unwrap();
    }
    assert_eq!(remains(folder.path()), 0);
    // A copy that comes late is there for a moment only.
    store.write(&all).await.unwrap();
    let late = said("attic", 10, SECRET);
    store.write(&[deletes(&late, 20)]).await.unwrap();
    store.write(&[late]).await.unwrap();
    store.clear_remains().await.unwrap();
    assert_eq!(remains(folder.path()), 0);
}

#[tokio::test]
async fn what_a_process_left_in_the_log_the_next_one_clears() {
    let folder = tempfile::tempdir().unwrap();
    let next = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let (all, secret) = crowd();
    store.write(&all).await.unwrap();
    let of = secret.iter().zip(2_000..);
    let deleted: Vec<Envelope> = of.map(|(one, seq)| deletes(one, seq)).collect();
    store.write(&deleted).await.unwrap();
    // As it lies there when the process is killed.
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), next.path().join(entry.file_name())).unwrap();
    }
    assert!(remains(next.path()) > 0, "in the log");
    let store = SqliteStore::open(next.path()).await.unwrap();
    assert_eq!(store.after("lobby", 0, 1_000).await.unwrap().len(), 771);
    store.clear_remains().await.unwrap();
    assert_eq!(remains(next.path()), 0);
}
