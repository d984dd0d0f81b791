//! Whether memory stays where it is while messages go by, and comes back after passwords were hashed.

use std::time::Duration;

use chat_client::Client;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{Bench, fill};
use crate::{
    processes::Process,
    report::{Findings, Row},
};

/// Messages by which a process has been everywhere that messages lead it.
const WARM: usize = 100_000;

/// Messages after which it has as much memory, if it keeps nothing of them.
const MANY: usize = 1_000_000;

/// In so few rooms that the first hundred thousand fill what is kept of each: its ring of frames, and its stream.
const ROOMS: usize = 5;

/// Log-ins, so many of them at a time.
const LOG_INS: usize = 400;
const AT_A_TIME: usize = 20;

/// How long a process is left alone before its memory is read: the threads that hashed passwords have ended.
const REST: Duration = Duration::from_secs(20);

/// The same after messages: their ids are forgotten by then.
const LONG_REST: Duration = Duration::from_secs(100);

impl Bench {
    /// Of the all-in-one, and of the processes that messages go through. Once: it takes minutes, and a process that
    /// kept what it should not would have hundreds of MiB more.
    pub(super) async fn memory(&self) -> Findings {
        let mut rows = all_in_one().await;
        let (corner, persister) = self.kept_corner().await;
        let rooms = corner.rooms(ROOMS, "off").await;
        let of_both = |done: usize| {
            let of = |name, process: &Process| row(&format!("{name}, {done} messages"), process);
            [of("edge", &corner.edge), of("persister", &persister)]
        };
        let mut done = 0;
        for count in [WARM, MANY] {
            fill(
                corner.edge.listen,
                &corner.sessions[0],
                &rooms,
                count - done,
            )
            .await;
            done = count;
            sleep(LONG_REST).await;
            rows.extend(of_both(done));
        }
        Findings {
            rows,
            curves: Vec::new(),
        }
    }
}

async fn all_in_one() -> Vec<Row> {
    let folder = TempDir::with_prefix("chinwag-bench-").expect("a folder");
    let settings = [
        ("DATA_DIR", folder.path().join("data").display().to_string()),
        ("USER_MESSAGES_PER_SECOND", "1000000".into()),
        ("USER_MESSAGES_BURST", "1000000".into()),
        ("USER_BYTES_PER_DAY", "0".into()),
        ("ADDRESS_REQUESTS_PER_SECOND", "0".into()),
    ];
    let environment = settings.map(|(name, value)| (name.to_owned(), value));
    let process = Process::service("chinwag", &environment).await;
    let ada = Client::register(&process.url(), "ada").await;
    for n in 0..AT_A_TIME {
        Client::register(&process.url(), &format!("person-{n}")).await;
    }
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let name = format!("room-{number}");
        let room = json!({ "name": name, "bot": "off" });
        ada.post("/api/rooms", room).await.is(StatusCode::CREATED);
        rooms.push(name);
    }
    sleep(REST).await;
    let mut rows = vec![row("all-in-one, new", &process)];
    log_in_often(&process).await;
    sleep(REST).await;
    rows.push(row(&format!("all-in-one, {LOG_INS} log-ins"), &process));
    let mut done = 0;
    for count in [WARM, MANY] {
        fill(process.listen, &ada.token, &rooms, count - done).await;
        done = count;
        sleep(LONG_REST).await;
        rows.push(row(&format!("all-in-one, {done} messages"), &process));
    }
    process.kill().await;
    rows
}

/// Each of them hashes a password, for which it takes 19 MiB.
async fn log_in_often(process: &Process) {
    for _ in 0..LOG_INS / AT_A_TIME {
        let mut log_ins = JoinSet::new();
        for n in 0..AT_A_TIME {
            let url = process.url();
            log_ins.spawn(async move { Client::log_in(&url, &format!("person-{n}")).await });
        }
        log_ins.join_all().await;
    }
}

fn row(name: &str, process: &Process) -> Row {
    Row {
        name: format!("memory of the {name}"),
        unit: "MiB",
        runs: vec![process.resident_kib() / 1024.0],
        floor: Vec::new(),
        to_reach: "",
        note: String::new(),
    }
}
