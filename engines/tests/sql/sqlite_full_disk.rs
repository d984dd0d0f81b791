//! A disk that is full, and then is not: SQLite's side writes again, without anybody starting anything anew. And the embedded
//! queue, whose file lies on the same disk.

use std::process::Command;

use common::{
    queue::{Queue, Route},
    store::{Accounts, Store},
};
use engines::{embedded::EmbeddedQueue, sql::SqliteStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use uuid::Uuid;

/// Set in the process in which the disk is full: that no file may grow is said of a whole process.
const IS_THAT_PROCESS: &str = "CHINWAG_TEST_FULL_DISK";

#[test]
fn what_could_not_be_written_while_the_disk_was_full_can_be_when_it_is_not() {
    // A process that writes more than it may is killed, unless its parent has said otherwise.
    let again = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite_full_disk::a_process_on_a_full_disk"])
        .env(IS_THAT_PROCESS, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let complained = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said} {complained}");
}

/// Not a story: what happens in that process.
#[tokio::test]
async fn a_process_on_a_full_disk() {
    if std::env::var_os(IS_THAT_PROCESS).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let queue = EmbeddedQueue::open(folder.path(), 0).await.unwrap();
    let publishes = async || {
        let payload = "a message".into();
        queue
            .publish(Route::Persist, 0, Uuid::now_v7(), payload)
            .await
    };
    store.create_user("ada", "a hash").await.unwrap();
    publishes().await.unwrap();

    let room = getrlimit(Resource::Fsize);
    let none = Rlimit {
        current: Some(0),
        ..room
    };
    setrlimit(Resource::Fsize, none).unwrap();
    for name in ["bob", "eve", "kim"] {
        let refused = store.create_user(name, "a hash").await.unwrap_err();
        let why = refused.to_string();
        assert!(
            why.contains("SQLite (DATA_DIR)") && why.contains("code: "),
            "{why}"
        );
    }
    assert!(store.ping().await.is_err());
    let refused = publishes().await.unwrap_err().to_string();
    assert_eq!(refused.matches("DATA_DIR").count(), 1, "{refused}");

    setrlimit(Resource::Fsize, room).unwrap();
    for name in ["bob", "eve", "kim"] {
        store.create_user(name, "a hash").await.unwrap();
    }
    store.ping().await.unwrap();
    while publishes().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
