//! What must not go on in silence: the all-in-one that lost one of its lasting tasks, or has not what it needs. It ends,
//! and the last line of its log says why.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on has nothing better to do"
)]

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    process::{Command, ExitCode, Output, Stdio, Termination},
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Parser;
use common::{
    supervise::{self, Exit, Supervisor},
    telemetry,
};
use standalone::{Settings, serve};

/// Every task that is to last, in the order of the alphabet. (The check of the models at start is watched too, and comes
/// to its end.)
const LASTING: [&str; 32] = [
    "HTTP server",
    "admin server",
    "bot offers",
    "bot worker",
    "budgets",
    "collector",
    "deleted rooms",
    "departures",
    "embedded queue",
    "engines' health",
    "eraser",
    "live events",
    "live outlet",
    "lost deletions",
    "metrics upkeep",
    "old messages",
    "old streams",
    "persister",
    "practice model",
    "presence",
    "quota showing",
    "read repair",
    "reading places",
    "rechecks",
    "reconciliation",
    "room sweep",
    "run queue",
    "session sweep",
    "signals",
    "standings",
    "stop requests",
    "upkeep",
];

/// How long a process may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set in a process that this test starts of itself: the task that is to be ended there, or [`LIST`].
const ENDS: &str = "CHINWAG_TEST_ENDS";
const LIST: &str = "none, but all that run are to be listed";

#[test]
fn the_end_of_any_lasting_task_ends_the_process_with_its_reason_in_the_last_line_of_the_log() {
    let listed = this_process_again(LIST);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    let running: BTreeSet<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("runs: "))
        .filter(|&task| task != "model check")
        .collect();
    assert_eq!(running, BTreeSet::from(LASTING), "{}", log_of(&listed));
    assert!(listed.status.success(), "{}", log_of(&listed));
    for task in running {
        let ended = this_process_again(task);
        let log = log_of(&ended);
        let last = log.lines().last().unwrap_or_default();
        let reason = format!("the task `{task}` ended before its time: it was aborted");
        assert!(last.contains("ERROR") && last.ends_with(&reason), "{log}");
        assert!(log.contains("draining"), "{log}");
        assert_eq!(ended.status.code(), Some(1), "{log}");
    }
}

/// Not a story: all of Chinwag, in a process of its own that can be told which of its tasks to lose. What ships cannot.
#[test]
fn a_process_that_loses_a_task() {
    let Ok(task) = std::env::var(ENDS) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let exit = runtime.block_on(loses(task));
    drop(runtime);
    std::process::exit(i32::from(exit.report() != ExitCode::SUCCESS));
}

async fn loses(task: String) -> Exit {
    let folder = tempfile::tempdir().unwrap();
    let line = [
        "chinwag",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let line = line
        .into_iter()
        .chain(["--drain-seconds", "5", "--data-dir"]);
    let settings = Settings::parse_from(line.chain(folder.path().to_str()));
    let metrics = telemetry::init(&settings.telemetry);
    supervise::process(async |stop| {
        let supervisor = Supervisor::current().expect("a process has one");
        let losing = async {
            let all_run = async {
                while !LASTING.iter().all(|task| supervisor.tasks().contains(task)) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            // Those that run are listed in any case.
            drop(tokio::time::timeout(PATIENCE / 2, all_run).await);
            if task == LIST {
                for task in supervisor.tasks() {
                    println!("runs: {task}");
                }
                stop.cancel();
            } else {
                supervisor.abort(&task);
            }
        };
        tokio::join!(serve(settings, metrics, stop.clone()), losing).0
    })
    .await
}

fn this_process_again(task: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "a_process_that_loses_a_task", "--nocapture"])
        .env_clear()
        .env(ENDS, task);
    ended(command)
}

#[test]
fn without_ca_certificates_the_practice_model_answers_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = chinwag_without_certificates(folder.path());
    command.stderr(File::create(&log).unwrap());
    let mut running = command.stdout(Stdio::null()).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    let until = Instant::now() + PATIENCE;
    while !said().contains("the model is there") {
        let ended = running.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < until, "{}", said());
        sleep(Duration::from_millis(20));
    }
    let told = Command::new("kill").arg(running.id().to_string()).status();
    assert!(told.unwrap().success());
    assert!(running.wait().unwrap().success(), "{}", said());
}

#[test]
fn without_ca_certificates_a_model_behind_https_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = chinwag_without_certificates(folder.path());
    command.env("GEMINI_API_KEY", "a-key");
    assert_refuses(&ended(command), &["GEMINI_BASE_URL", "CA certificates"]);
}

#[test]
fn a_data_folder_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "no folder").unwrap();
    let mut command = chinwag_without_certificates(folder.path());
    command.env("DATA_DIR", &file);
    assert_refuses(&ended(command), &["exists"]);
}

fn chinwag_without_certificates(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command
        .env_clear()
        .env("LISTEN", "127.0.0.1:0")
        .env("DATA_DIR", folder.join("chinwag"))
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent");
    command
}

#[track_caller]
fn assert_refuses(ended: &Output, words: &[&str]) {
    let log = log_of(ended);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("ERROR"), "{log}");
    assert!(words.iter().all(|word| last.contains(word)), "{log}");
    assert_eq!(ended.status.code(), Some(1), "{log}");
}

/// Runs it to its end, which it is to come to in time.
fn ended(mut command: Command) -> Output {
    let running = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = running.id().to_string();
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if waits.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            drop(Command::new("kill").args(["-9", &id]).status());
        }
    });
    let output = running.wait_with_output().unwrap();
    drop(done);
    guard.join().unwrap();
    output
}

fn log_of(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}
