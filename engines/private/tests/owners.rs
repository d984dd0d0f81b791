//! Sets do not know of each other, and nothing is left of one when its owner ends, whatever ended it.

mod sets;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use private_engines::{Engine, Engines};
use sets::{SILENCE, folder, line_in, nothing_is_left_of, processes_of, redis, redis_answers};

/// The file into which the owner that is to be killed writes where its set is.
const OWNER_REPORTS_TO: &str = "PRIVATE_ENGINES_TEST_OWNER_REPORTS_TO";

fn script() -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("engines.sh"));
    command
}

fn kill_9(process: &mut Child) {
    // `Child::kill` is SIGKILL.
    process.kill().expect("it is our child");
    assert_eq!(process.wait().expect("it is our child").signal(), Some(9));
}

#[tokio::test]
async fn two_sets_run_side_by_side() {
    let only = [Engine::Redis, Engine::MariaDb];
    let (one, other) = tokio::join!(Engines::start_only(&only), Engines::start_only(&only));
    assert_ne!(one.redis_url(), other.redis_url());
    assert_ne!(one.database_url(""), other.database_url(""));
    redis(one.redis_url(), "SET room lobby").await;
    assert_eq!(redis(other.redis_url(), "GET room").await, "$-1");

    one.kill(Engine::Redis).await;
    assert!(redis_answers(other.redis_url(), SILENCE * 10).await);
    drop(one);
    assert!(redis_answers(other.redis_url(), SILENCE * 10).await);
}

/// Also the program of the owner in the next test, which runs this very test in a process of its own.
#[tokio::test]
async fn nothing_is_left_of_a_set_that_was_dropped() {
    let report = std::env::var_os(OWNER_REPORTS_TO);
    let engines = if report.is_some() {
        Engines::start().await
    } else {
        Engines::start_only(&[Engine::Redis]).await
    };
    // The folder is found as another process would find it: by who runs there.
    let port = engines
        .redis_url()
        .rsplit(':')
        .next()
        .map(str::to_owned)
        .unwrap();
    let answer = redis(engines.redis_url(), "CONFIG GET dir").await;
    let at = answer
        .lines()
        .find(|line| line.starts_with('/'))
        .expect("Redis says where it runs");
    let at = Path::new(at.trim()).parent().unwrap().to_owned();
    assert!(
        !processes_of(&at).is_empty(),
        "Redis on {port} runs in {}",
        at.display()
    );

    if let Some(report) = report {
        engines.freeze(Engine::MariaDb).await;
        fs::write(report, format!("ready CONTROL={}/control\n", at.display())).unwrap();
        std::future::pending::<()>().await;
    }
    drop(engines);
    nothing_is_left_of(&at).await;
}

#[tokio::test]
async fn nothing_is_left_when_the_owner_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("report");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_of_a_set_that_was_dropped"])
        .env(OWNER_REPORTS_TO, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let folder = folder(&line_in(&report).await);
    assert!(
        processes_of(&folder).len() >= 5,
        "three engines, a port mapper, a guard"
    );
    kill_9(&mut owner);
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn nothing_is_left_when_the_script_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let said = place.path().join("said");
    let mut script = script()
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let folder = folder(&line_in(&said).await);
    kill_9(&mut script);
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn up_hands_over_the_urls_and_the_exit_code() {
    let command = r#"printf '%s\n' "$REDIS_URL" "$DATABASE_URL" "$CHINWAG_ENGINES"; exit 7"#;
    let output = script()
        .args(["up", "--only", "redis,mariadb", "--", "sh", "-c", command])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("redis://127.0.0.1:"), "{said}");
    assert!(lines[1].ends_with("/chinwag"), "{said}");
    nothing_is_left_of(&folder(lines[2])).await;
}

#[tokio::test]
async fn nothing_is_left_when_up_was_killed_or_told_to_end() {
    for signal in ["KILL", "TERM", "HUP"] {
        let place = tempfile::tempdir().unwrap();
        let report = place.path().join("report");
        let command = r#"printf '%s\n' "$CHINWAG_ENGINES" >"$0"; exec cat"#;
        let mut up = script()
            .args(["up", "--only", "redis", "--", "sh", "-c", command])
            .arg(&report)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let folder = folder(&line_in(&report).await);
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(up.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
        up.wait().unwrap();
        nothing_is_left_of(&folder).await;
    }
}

#[tokio::test]
async fn a_set_that_is_there_already_is_shared() {
    let place = tempfile::tempdir().unwrap();
    let said = place.path().join("said");
    let mut other = script()
        .args(["--only", "redis,mariadb"])
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let ready = line_in(&said).await;
    // The variable is read by a process of its own, as in a test run under `engines.sh up`.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_shared_set_makes_databases", "--nocapture"])
        .env(private_engines::SHARED_SET_VARIABLE, &ready)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let url = ready
        .split_whitespace()
        .find_map(|word| word.strip_prefix("DATABASE_URL="))
        .unwrap();
    assert!(text.contains(url), "{text}");
    drop(other.stdin.take());
    other.wait().unwrap();
    nothing_is_left_of(&folder(&ready)).await;
}

#[tokio::test]
async fn the_shared_set_makes_databases() {
    let shared = Engines::shared().await;
    let [one, other] = [shared.fresh_database().await, shared.fresh_database().await];
    assert_ne!(one, other);
    assert!(std::ptr::eq(shared, Engines::shared().await));
    println!("{one} {other}");
}
