//! What the tests of the sets look at: whether an engine answers on its port, and what is left of a set.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long an engine that does not answer is waited for, in tests that expect it not to.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(30);

/// Sends `question` to the server of a URL and returns the first bytes of the answer, `None` if there is no connection,
/// or no answer within a time in which a running engine gives one.
pub(crate) async fn ask(url: &str, question: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let server = url.split("://").nth(1)?;
    let server = server.split('/').next()?;
    let server = server.rsplit('@').next()?;
    timeout(patience, async {
        let mut connection = TcpStream::connect(server).await.ok()?;
        connection.write_all(question).await.ok()?;
        let mut answer = vec![0; 512];
        let read = connection
            .read(&mut answer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        answer.truncate(read);
        Some(answer)
    })
    .await
    .ok()?
}

/// Sends Redis one command and returns what it answered.
pub(crate) async fn redis(url: &str, command: &str) -> String {
    let answer = ask(url, format!("{command}\r\n").as_bytes(), LIMIT)
        .await
        .expect("Redis answers");
    String::from_utf8_lossy(&answer).trim_end().to_owned()
}

pub(crate) async fn redis_answers(url: &str, patience: Duration) -> bool {
    ask(url, b"PING\r\n", patience)
        .await
        .is_some_and(|answer| answer.starts_with(b"+PONG"))
}

/// The broker's first frame, after the header: a method on channel 0.
pub(crate) async fn rabbitmq_answers(url: &str, patience: Duration) -> bool {
    ask(url, b"AMQP\x00\x00\x09\x01", patience)
        .await
        .is_some_and(|answer| answer.starts_with(&[1, 0, 0]))
}

/// MariaDB greets first; its name is in the greeting.
pub(crate) async fn mariadb_answers(url: &str, patience: Duration) -> bool {
    ask(url, b"", patience)
        .await
        .is_some_and(|answer| answer.windows(7).any(|part| part == b"MariaDB"))
}

/// The folder of a set, from the line that says that it is ready.
pub(crate) fn folder(ready: &str) -> PathBuf {
    let control = ready
        .split_whitespace()
        .find_map(|word| word.strip_prefix("CONTROL="))
        .expect("a ready line");
    Path::new(control)
        .parent()
        .expect("the FIFO lies in the folder")
        .to_owned()
}

/// The processes that run in a folder or were told of it when they were started.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_str().expect("its name is ASCII");
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    processes
        .filter(|process| {
            let works_there =
                fs::read_link(process.path().join("cwd")).is_ok_and(|at| at.starts_with(folder));
            let told = fs::read(process.path().join("cmdline")).unwrap_or_default();
            works_there || String::from_utf8_lossy(&told).contains(name)
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until neither a process nor the folder of a set is left.
pub(crate) async fn nothing_is_left_of(folder: &Path) {
    let started = Instant::now();
    loop {
        let processes = processes_of(folder);
        if processes.is_empty() && !folder.exists() {
            return;
        }
        assert!(
            started.elapsed() < LIMIT,
            "left of {}: processes {processes:?}",
            folder.display()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a file holds a whole line.
pub(crate) async fn line_in(file: &Path) -> String {
    let started = Instant::now();
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim_end().to_owned(),
            _ => assert!(
                started.elapsed() < Duration::from_secs(100),
                "nothing in {}",
                file.display()
            ),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
