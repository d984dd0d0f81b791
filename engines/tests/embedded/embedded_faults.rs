//! What only the embedded side can suffer: a process that dies, and two that want the same folder.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use common::queue::{Queue, QueueError, QueueName, Route, Verdict};
use engines::embedded::{EmbeddedQueue, SqliteStore};
use futures_util::future::join_all;
use uuid::Uuid;

use seam_suites::queue::side::{ack, drain_until, next, publish, publish_somehow, word, words};

/// A child that ends with its story, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Errors say that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names the folder to a child.
const CHILDS_FOLDER: &str = "CHINWAG_TEST_QUEUE_FOLDER";

/// A child's own file: this program, started again with other orders.
fn this_program() -> PathBuf {
    std::env::current_exe().expect("tests are files")
}

#[tokio::test]
async fn a_folder_that_is_none_is_told_with_its_setting() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let queue = EmbeddedQueue::open(file.path(), 0).await.err();
    let store = SqliteStore::open(file.path()).await.err();
    for why in [
        queue.map(|error| error.to_string()),
        store.map(|error| error.to_string()),
    ] {
        let why = why.expect("it cannot be opened");
        let has = |words: &str| why.matches(words).count() == 1;
        assert!(
            has("DATA_DIR") && has(&file.path().display().to_string()),
            "{why}"
        );
    }
}

#[tokio::test]
async fn what_an_earlier_opening_left_is_counted_until_it_is_settled() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("it is free");
    assert_eq!(*queue.left_over().borrow(), 0);
    publish(&*queue, Route::PersistAndAsk, &["one", "two", "three"]).await;
    assert_eq!(*queue.left_over().borrow(), 0, "it is of this opening");
    queue.close().await;

    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("it is free");
    let mut left = queue.left_over();
    assert_eq!(*left.borrow(), 3);
    publish(&*queue, Route::Persist, &["four"]).await;
    let consumer = queue.consume(QueueName::Persist, 10).await;
    let asked = queue.consume(QueueName::BotRequests, 10).await;
    ack(&asked, &next(&asked).await).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(next(&consumer).await);
    }
    ack(&consumer, &deliveries[3]).await;
    ack(&consumer, &deliveries[0]).await;
    assert_eq!(
        *left.borrow(),
        2,
        "what is new does not count, nor does another queue"
    );
    consumer
        .settle(vec![deliveries[1].receipt], Verdict::HandBack)
        .await
        .expect("it can be handed back");
    let again = next(&consumer).await;
    assert_eq!((word(&again), *left.borrow()), ("two".to_owned(), 2));
    consumer
        .settle(
            vec![again.receipt],
            Verdict::DeadLetter("unreadable".to_owned()),
        )
        .await
        .expect("it can be put aside");
    ack(&consumer, &deliveries[2]).await;
    left.wait_for(|left| *left == 0)
        .await
        .expect("the queue is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_in_the_middle_of_publishing_loses_nothing_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut confirmed = HashSet::new();
    for _ in 0..3 {
        let mut child = Command::new(this_program())
            .args([
                "--exact",
                "embedded_faults::a_child_publishes_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILDS_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .map(Running)
            .expect("this program starts again");
        let mut said = BufReader::new(child.0.stdout.take().expect("it is a pipe")).lines();
        let mut heard = 0;
        while heard < 300 {
            let line = said
                .next()
                .expect("the child goes on")
                .expect("it can be read");
            if let Some(word) = line.strip_prefix("confirmed ") {
                confirmed.insert(word.to_owned());
                heard += 1;
            }
        }
        // SIGKILL.
        child.0.kill().expect("it lives");
        child.0.wait().expect("it is a child");
        // What it had said before it died counts too.
        confirmed.extend(
            said.filter_map(|line| Some(line.ok()?.strip_prefix("confirmed ")?.to_owned())),
        );
    }
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the dead hold no lock");
    drain_until(&*queue, QueueName::Persist, confirmed).await;
}

/// Does nothing unless the story above starts it: then it publishes and says so until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_publishes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILDS_FOLDER).map(PathBuf::from) else {
        return;
    };
    let queue = EmbeddedQueue::open(&folder, 0)
        .await
        .expect("the folder is free");
    let publish = |queue: Arc<EmbeddedQueue>| async move {
        loop {
            let id = Uuid::now_v7();
            if queue
                .publish(Route::PersistAndAsk, 0, id, id.to_string().into())
                .await
                .is_ok()
            {
                println!("confirmed {id}");
            }
        }
    };
    let publishers: Vec<_> = (0..20)
        .map(|_| tokio::spawn(publish(queue.clone())))
        .collect();
    join_all(publishers).await;
}

#[tokio::test]
async fn what_a_dead_process_held_comes_at_once_and_counts_as_a_try() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the folder is ours");
    publish(&*queue, Route::Persist, &["held", "not looked at"]).await;
    let consumer = queue.consume(QueueName::Persist, 1).await;
    let held = next(&consumer).await;
    // As a killed process leaves it: the files as they are, and nobody's.
    let copy = tempfile::tempdir().expect("a folder");
    for entry in folder.path().read_dir().expect("it can be read") {
        let entry = entry.expect("it can be read");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("it can be copied");
    }
    let again = EmbeddedQueue::open(copy.path(), 0)
        .await
        .expect("the folder is ours");
    let other = again.consume(QueueName::Persist, 10).await;
    for (expected, attempt) in [(word(&held), 2), ("not looked at".to_owned(), 1)] {
        let delivery = next(&other).await;
        assert_eq!((word(&delivery), delivery.attempt), (expected, attempt));
        ack(&other, &delivery).await;
    }
}

#[tokio::test]
async fn a_folder_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the folder is ours");
    let Err(QueueError::Unavailable { why, .. }) = EmbeddedQueue::open(folder.path(), 0).await
    else {
        panic!("the folder is taken");
    };
    assert!(why.contains("another chinwag uses the folder"), "{why}");
    queue.close().await;
    EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the folder is free again");
}

#[tokio::test]
async fn a_closed_queue_refuses_and_ends_its_consumers() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the folder is ours");
    publish(&*queue, Route::Persist, &["kept"]).await;
    let consumer = queue.consume(QueueName::BotRequests, 1).await;
    queue.close().await;
    assert!(consumer.next().await.is_none());
    assert!(queue.ready().is_err());
    let refused = queue
        .publish(Route::Persist, 0, Uuid::now_v7(), "late".into())
        .await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable { .. })),
        "{refused:?}"
    );
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("the folder is free again");
    let consumer = queue.consume(QueueName::Persist, 2).await;
    assert_eq!(words(&consumer, 1).await, ["kept"]);
}

/// A disk that is full, as far as that can be had by anyone: a file that may not grow, and later may again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_in_words_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$@\"", "bash"])
        .arg(this_program())
        .args([
            "--exact",
            "embedded_faults::a_child_publishes_into_a_full_disk",
            "--nocapture",
        ])
        .env(CHILDS_FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("this program starts again");
    let mut said = BufReader::new(child.0.stdout.take().expect("it is a pipe"))
        .lines()
        .map_while(Result::ok);
    let refused = said.find_map(|line| line.strip_prefix("refused: ").map(str::to_owned));
    let why = refused.expect("it is refused and does not panic");
    let room = [
        "--fsize=unlimited:unlimited",
        "--pid",
        &child.0.id().to_string(),
    ];
    assert!(
        Command::new("prlimit")
            .args(room)
            .status()
            .expect("prlimit is there")
            .success()
    );
    assert!(
        said.any(|line| line == "all that was confirmed came"),
        "it goes on; it was refused with: {why}"
    );
    assert!(child.0.wait().expect("it is a child").success());
}

/// Does nothing unless the story above starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_publishes_into_a_full_disk() {
    let Some(folder) = std::env::var_os(CHILDS_FOLDER).map(PathBuf::from) else {
        return;
    };
    let queue = EmbeddedQueue::open(&folder, 0)
        .await
        .expect("the folder is free");
    let mut confirmed = HashSet::new();
    let why = loop {
        let word = format!("{:050000}", confirmed.len());
        match queue
            .publish(Route::Persist, 0, Uuid::now_v7(), word.clone().into())
            .await
        {
            Ok(()) => drop(confirmed.insert(word)),
            Err(QueueError::Unavailable { why, .. }) => break why,
            Err(error) => panic!("{error}"),
        }
    };
    println!("refused: {why}");
    publish_somehow(&*queue, "after").await;
    confirmed.insert("after".to_owned());
    drain_until(&*queue, QueueName::Persist, confirmed).await;
    println!("all that was confirmed came");
}

#[tokio::test]
async fn a_disk_that_runs_short_refuses_what_is_new_and_keeps_what_was_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let queue = EmbeddedQueue::open(folder.path(), u64::MAX)
        .await
        .expect("it is free");
    for refusal in [queue.ready(), queue.ping().await] {
        let Err(QueueError::Unavailable { why, .. }) = refusal else {
            panic!("it was not refused: {refusal:?}");
        };
        assert!(why.contains("DISK_FREE_MIN_MB"), "{why}");
    }
    // The room that stays free is there for it.
    publish(&*queue, Route::Persist, &["seen already"]).await;
    let confirmed = HashSet::from(["seen already".to_owned()]);
    drain_until(&*queue, QueueName::Persist, confirmed).await;
}

/// What is settled is gone from the queue's files as well, a moment later: a payload may be the last copy of a deleted text.
#[tokio::test]
async fn what_is_settled_or_forgotten_leaves_nothing_in_the_files() {
    const SECRET: &str = "the-word-that-must-go";
    let folder = tempfile::tempdir().expect("a folder");
    let remains = || {
        let files = std::fs::read_dir(folder.path()).expect("the folder is there");
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            std::fs::read(file.expect("a file").path()).expect("it can be read")
        };
        files
            .map(read)
            .filter(|bytes| {
                bytes
                    .windows(SECRET.len())
                    .any(|word| word == SECRET.as_bytes())
            })
            .count()
    };
    let queue = EmbeddedQueue::open(folder.path(), 0)
        .await
        .expect("it is free");
    let long = SECRET.repeat(700);
    let words: Vec<&str> = [SECRET, &long, "another"].repeat(100);
    publish(&*queue, Route::Persist, &words).await;
    let consumer = queue.consume(QueueName::Persist, 1_000).await;
    for count in 0..words.len() {
        let delivery = next(&consumer).await;
        let verdict = match count % 10 {
            0 => Verdict::DeadLetter("for the story".into()),
            _ => Verdict::Ack,
        };
        let settled = consumer.settle(vec![delivery.receipt], verdict).await;
        settled.expect("it is settled");
    }
    queue.clear_remains().await.expect("the file is there");
    assert!(remains() > 0, "in the dead letters");
    let operator = queue.dead_letters();
    let dropped = operator.discard(QueueName::Persist, &[]).await;
    assert_eq!(dropped.expect("it is there"), 30);
    queue.clear_remains().await.expect("the file is there");
    assert_eq!(remains(), 0);
}
