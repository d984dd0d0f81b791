//! Logs, metrics and traces, set up once in every `main`.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{ParseError, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    repeated_lines::RepeatedLines,
    traces::{self, TraceSettings},
};

/// How a process logs.
#[derive(Args, Clone, Debug)]
pub struct TelemetrySettings {
    /// What to log: a level, or levels per module (`info,sqlx=warn`).
    #[arg(long, env = "LOG", default_value = "info", value_parser = check_filter)]
    pub log: String,
    /// How to write it.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceSettings,
}

/// How log lines look. They go to standard error.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

fn check_filter(log: &str) -> Result<String, String> {
    filter(log)
        .map(|_| log.to_owned())
        .map_err(|error| error.to_string())
}

/// Which lines are written. RabbitMQ's client is heard only where it is named: of a connection that is lost these programs tell
/// themselves, and to the client one is an error also when the program ends as it should.
fn filter(log: &str) -> Result<EnvFilter, ParseError> {
    let but = match log.contains("lapin") {
        true => "",
        false => "lapin=off,",
    };
    EnvFilter::try_new(format!("{but}{log}"))
}

/// Bounds of the latency histograms, in seconds.
const SECONDS_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

/// Bounds of the histograms that count: what goes together in one batch, group or write.
const COUNT_BUCKETS: [f64; 14] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0,
];

/// Starts logging, counting, tracing and TLS for this process. The handle renders the metrics. Must be called on a Tokio
/// runtime.
///
/// # Panics
/// If called twice in one process.
pub fn init(settings: &TelemetrySettings) -> PrometheusHandle {
    let filter = filter(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let repeated = RepeatedLines::default();
    // For all that is written, not for one layer of it: such a filter forgets to take back what it said to whoever only
    // asks whether a line would be written, as the database's driver does, and the next line of that thread is lost.
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .with(filter_fn(tells_no_secret))
        .with(repeated.clone())
        .init();
    repeated.tell_regularly();
    // Two crates could each bring a provider of their own; with none named, the first TLS connection would panic.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("telemetry is set up once, first of all");
    let handle = with_buckets(PrometheusBuilder::new())
        .install_recorder()
        .expect("telemetry is set up once");
    let program = program();
    describe(&program);
    traces::begin(&settings.traces, &program);
    handle
}

/// The name of the program that runs, without its path.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What each metric means, as the documents say it: `/metrics` tells it too.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// One metric of the documents.
#[derive(Debug, PartialEq, Eq)]
struct Described<'a> {
    /// The heading it stands under, which says who counts it.
    part: &'a str,
    name: &'a str,
    kind: &'a str,
    has_labels: bool,
    meaning: &'a str,
}

fn described() -> impl Iterator<Item = Described<'static>> {
    let mut part = "";
    PAGE.lines().filter_map(move |line| {
        if let Some(heading) = line.strip_prefix("## ") {
            part = heading;
        }
        let mut cells = line.strip_prefix("| `chinwag_").map(|_| line.split('|'))?;
        let mut cell = || cells.next().unwrap_or_default().trim();
        cell();
        let (name, kind, labels, meaning) = (cell(), cell(), cell(), cell());
        Some(Described {
            part,
            name: name.trim_matches('`'),
            kind,
            has_labels: !labels.is_empty(),
            meaning,
        })
    })
}

/// Whether a program counts what stands under this heading.
fn counts(program: &str, part: &str) -> bool {
    let all = part.contains("very process") || part.contains("wherever") || program == "chinwag";
    let word = match program {
        "ws-edge" => "edge",
        "bot-worker" => "worker",
        other => other,
    };
    all || part.contains(word)
}

/// Gives each metric its meaning, and has this program's counters begin at 0: whoever is alerted by a counter that grows
/// would not see it come into being at 1.
fn describe(program: &str) {
    for metric in described() {
        let Described { name, meaning, .. } = metric;
        if metric.kind.starts_with("counter") {
            metrics::describe_counter!(name, meaning);
            if !metric.has_labels && counts(program, metric.part) {
                metrics::counter!(name).absolute(0);
            }
        } else if metric.kind.starts_with("gauge") {
            metrics::describe_gauge!(name, meaning);
        } else {
            metrics::describe_histogram!(name, meaning);
        }
    }
}

/// The crates whose lines are written with secrets in mind.
const OURS: [&str; 8] = [
    "bot_worker",
    "chinwag",
    "common",
    "engines",
    "persister",
    "practice_model",
    "standalone",
    "ws_edge",
];

/// Whether a line may be logged, whatever is asked for. At `trace` some libraries write down what they send and receive,
/// byte by byte, and passwords are among it; at `debug` none does.
fn tells_no_secret(line: &Metadata<'_>) -> bool {
    let krate = line.target().split("::").next().unwrap_or_default();
    *line.level() != Level::TRACE || OURS.contains(&krate)
}

/// Histograms are of seconds, but for those that count.
fn with_buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let mut builder = builder
        .set_buckets(&SECONDS_BUCKETS)
        .expect("the buckets are not empty");
    for suffix in ["_messages", "_per_write"] {
        let counts = Matcher::Suffix(suffix.to_owned());
        builder = builder
            .set_buckets_for_metric(counts, &COUNT_BUCKETS)
            .expect("the buckets are not empty");
    }
    builder
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn what_counts_is_not_put_into_buckets_of_seconds() {
        let recorder = with_buckets(PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("chinwag_persist_batch_messages").record(1_000.0);
            metrics::histogram!("chinwag_frames_per_write").record(40.0);
            metrics::histogram!("chinwag_persist_batch_seconds").record(0.2);
        });
        let text = handle.render();
        for line in [
            r#"chinwag_persist_batch_messages_bucket{le="512"} 0"#,
            r#"chinwag_persist_batch_messages_bucket{le="1024"} 1"#,
            r#"chinwag_frames_per_write_bucket{le="64"} 1"#,
            r#"chinwag_persist_batch_seconds_bucket{le="0.25"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_programs_counters_begin_at_nothing_and_say_what_they_mean() {
        let recorder = with_buckets(PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe("persister");
            metrics::gauge!("chinwag_sockets").set(1.0);
        });
        let text = handle.render();
        for line in [
            "chinwag_persist_waits_total 0",
            "# HELP chinwag_sockets sockets that are open now; `SOCKETS_MAX` is the limit",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is not in {text}"
            );
        }
        assert!(!text.contains("chinwag_deliveries_total 0"), "{text}");
    }

    #[test]
    fn every_metric_has_its_line_in_the_documents() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut counted = BTreeSet::new();
        for part in [
            "bot-worker",
            "common",
            "engines",
            "persister",
            "standalone",
            "ws-edge",
        ] {
            names_in(&root.join(part).join("src"), &mut counted);
        }
        let page = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
        let told: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `chinwag_")?.split('`').next())
            .map(|name| format!("chinwag_{name}"))
            .collect();
        assert!(counted.len() > 40, "only {counted:?} were found");
        assert_eq!(counted, told);
    }

    /// The names that stand in sources as texts of their own.
    fn names_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_in(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                let texts = ["counter!(", "gauge!(", "histogram!("]
                    .into_iter()
                    .flat_map(|call| source.split(call).skip(1))
                    .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
                names.extend(
                    texts
                        .filter(|text| text.starts_with("chinwag_"))
                        .map(str::to_owned),
                );
            }
        }
    }
}
