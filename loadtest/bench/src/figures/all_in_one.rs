//! The all-in-one: its start, its size, its memory.

use std::time::Duration;

use chat_client::Client;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::TEXT;
use crate::{
    client::{self, Socket, masked},
    processes::{self, Process},
    report::{Findings, Row},
};

/// From its start to the first ack of somebody who is logged in, over a data folder that is there already.
pub(super) async fn all_in_one(runs: usize) -> Findings {
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    let folder = TempDir::with_prefix("chinwag-bench-").expect("a folder");
    let environment = [(
        "DATA_DIR".to_owned(),
        folder.path().join("data").display().to_string(),
    )];
    let first = Process::service("chinwag", &environment).await;
    let token = Client::register(&first.url(), "ada").await.token;
    first.kill().await;
    for _ in 0..runs {
        let began = Instant::now();
        let process = Process::start("chinwag", &[], &environment);
        let mut socket = loop {
            match Socket::connect(process.listen, &token, "/ws/chat/ada").await {
                Ok(socket) => break socket,
                Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
            }
            sleep(Duration::from_millis(1)).await;
        };
        socket
            .write(&masked(&client::message(TEXT)))
            .await
            .expect("open");
        socket.wait_for("ack").await.expect("acked");
        starts.push(began.elapsed().as_secs_f64());
        sleep(Duration::from_secs(3)).await;
        memory.push(process.resident_kib() / 1024.0);
        process.kill().await;
    }
    let size = std::fs::metadata(processes::path("chinwag"))
        .expect("it was built")
        .len() as f64
        / 1e6;
    let row = |name: &str, unit, runs, to_reach| Row {
        name: name.into(),
        unit,
        runs,
        floor: Vec::new(),
        to_reach,
        note: String::new(),
    };
    let rows = vec![
        row("start of the all-in-one to first ack", "s", starts, "< 0.3"),
        row("size of its binary", "MB", vec![size], "< 25"),
        row("idle memory", "MiB", memory, "< 40"),
    ];
    Findings {
        rows,
        curves: Vec::new(),
    }
}
