//! What an operator is given to watch with, held against a system that runs: Prometheus scrapes it, every panel of the
//! dashboard and every alert finds what it asks for, and no name breaks Prometheus' rules.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use chat_client::http;
use serde_json::Value;
use stories::{Chat, PATIENCE, Process, Setup, free_address, until};
use tempfile::TempDir;

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/prometheus")
}

fn document(name: &str) -> String {
    fs::read_to_string(documents().join(name)).expect("it is in the documents")
}

/// Runs promtool, and returns what it said if it found a fault.
fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(documents())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: see ./test");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let said = promtool.wait_with_output().expect("it ends");
    let words = [said.stdout, said.stderr].concat();
    match said.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&words).into_owned()),
    }
}

#[test]
fn every_alert_fires_when_it_should_and_none_on_a_healthy_day() {
    promtool(&["check", "rules", "alerts.yml"], "").unwrap_or_else(|said| panic!("{said}"));
    promtool(&["test", "rules", "alerts.test.yml"], "").unwrap_or_else(|said| panic!("{said}"));
    let tests = document("alerts.test.yml");
    let page = fs::read_to_string(documents().join("../running.md")).expect("it is there");
    let alerts = document("alerts.yml");
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&fires), "no test of {name}");
        assert!(
            page.contains(&format!("\n### {name}\n")),
            "nothing to do for {name}"
        );
    }
}

/// A Prometheus that scrapes these processes each second.
async fn prometheus(chat: &Chat, folder: &Path) -> Process {
    let mut settings = document("prometheus.yml").replace("15s", "1s");
    let rules = documents().join("alerts.yml");
    settings = settings.replace("- alerts.yml", &format!("- {}", rules.display()));
    for (name, process) in [
        ("edge-1.internal:9090", &chat.edges[0]),
        ("worker-1.internal:9090", &chat.workers[0]),
        ("persister-1.internal:9090", &chat.persisters[0]),
    ] {
        assert!(settings.contains(name), "{name} is not scraped");
        settings = settings.replace(name, &process.admin.to_string());
    }
    let path = folder.join("prometheus.yml");
    fs::write(&path, settings).expect("the folder is there");
    let listen = free_address();
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={listen}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start_other(Path::new("/usr/bin/prometheus"), &arguments, listen, folder)
}

/// How many series a question finds; none if it was not answered.
async fn series(prometheus: &Process, question: &str) -> Option<usize> {
    let url = format!("http://{}/api/v1/query", prometheus.listen);
    let answer = http().get(url).query(&[("query", question)]).send().await;
    let answer: Value = answer.ok()?.json().await.ok()?;
    assert_ne!(answer["status"], "error", "{question}: {answer}");
    Some(answer["data"]["result"].as_array()?.len())
}

/// Everything that a panel asks, with what Grafana fills in.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&document("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut questions = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let question = target["expr"].as_str().expect("a question");
            questions.push((
                title.to_owned(),
                question.replace("$__rate_interval", "10s"),
            ));
        }
    }
    questions
}

/// What an alert's expression looks at: each metric with what it chooses of it.
fn looked_at(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in expression.match_indices("chinwag_") {
        let rest = &expression[at..];
        let name = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(rest.len());
        let chosen = match rest[name..].strip_prefix('{') {
            Some(inner) => name + inner.find('}').expect("it ends") + 2,
            None => name,
        };
        found.insert(rest[..chosen].to_owned());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_all_that_the_dashboard_and_the_alerts_ask_for() {
    let model = "gemini-3.8-flash";
    let chat = Chat::with(Setup {
        settings: vec![
            ("GEMINI_MODELS", model.to_owned()),
            ("BOT_RPM", "1000".to_owned()),
            ("BOT_TPM", "1000000".to_owned()),
            ("BOT_PRICES", format!("{model}=0.3/2.5")),
        ],
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    ada.says_and_is_acked("good morning").await;
    let question = ada.says("@bot what is two plus two?").await;
    ada.gets_reply_to(question).await;
    bob.leaves();
    ada.says_and_is_acked("bob has gone").await;
    assert!(bob.comes_back().await, "nothing that he missed is lost");

    for process in chat
        .edges
        .iter()
        .chain(&chat.workers)
        .chain(&chat.persisters)
    {
        let url = format!("http://{}/metrics", process.admin);
        let answer = http().get(url).send().await.expect("it answers");
        let metrics = answer.text().await.expect("text");
        promtool(&["check", "metrics"], &metrics)
            .unwrap_or_else(|said| panic!("{}: {said}", process.name()));
    }

    let folder = TempDir::with_prefix("chinwag-prometheus-").expect("a folder");
    let prometheus = prometheus(&chat, folder.path()).await;
    let questions = panels();
    assert!(questions.len() > 30, "{questions:?}");
    for (title, question) in &questions {
        let what = format!("the panel {title:?} finds {question}");
        until(&what, PATIENCE, async || {
            prometheus.assert_running();
            (series(&prometheus, question).await? > 0).then_some(())
        })
        .await;
    }
    for metric in looked_at(&document("alerts.yml")) {
        let what = format!("the alerts find {metric}");
        until(&what, PATIENCE, async || {
            (series(&prometheus, &metric).await? > 0).then_some(())
        })
        .await;
    }
    assert_eq!(series(&prometheus, "up == 1").await, Some(3));
}
