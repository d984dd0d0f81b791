//! What OpenTelemetry's traces cost the edge: none, one in a hundred, and all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use tokio::net::TcpListener;

use super::{Bench, TEXT, TIME};
use crate::{
    client,
    fan_out::{self, Shape},
    report::{Findings, Row},
};

/// How many messages are on their way at once, of fifty senders.
const IN_FLIGHT: usize = 200;

/// The share of all messages that is traced, and how a table calls it. Each is measured in each round, one after the other, since a
/// machine is not the same an hour later.
const SHARES: [(Option<&str>, &str); 3] = [
    (None, "off"),
    (Some("0.01"), "one in a hundred"),
    (Some("1.0"), "all"),
];

impl Bench {
    /// As [`Bench::acked`] loads, with a collector that takes everything and keeps nothing.
    pub(super) async fn traces(&self) -> Findings {
        let collector = Collector::start().await;
        let text = client::message(TEXT);
        let shape = Shape {
            rooms: 50,
            sockets: 1,
            senders: 1,
            in_flight: IN_FLIGHT / 50,
        };
        let mut acked = SHARES.map(|_| Vec::new());
        let mut cpu = SHARES.map(|_| Vec::new());
        let mut notes = SHARES.map(|_| String::new());
        for _ in 0..self.runs {
            for (place, (share, _)) in SHARES.into_iter().enumerate() {
                let corner = self.corner_with(settings(share, &collector.url)).await;
                let rooms = corner.rooms(50, "off").await;
                let mut meter = self.meter(vec![("edge", &corner.edge)]);
                let (listen, sessions) = (corner.edge.listen, &corner.sessions);
                let before = collector.bytes.load(Ordering::Relaxed);
                let mark = || meter.mark();
                let run = fan_out::run(listen, sessions, &rooms, shape, &text, TIME, mark).await;
                let bytes = collector.bytes.load(Ordering::Relaxed) - before;
                let messages = run.acks * run.seconds;
                acked[place].push(run.acks);
                cpu[place].push(meter.used("edge") * 1e6 / messages);
                let sent = bytes as f64 / messages;
                notes[place] = format!(
                    "{sent:.0} bytes a message to the collector; {}",
                    meter.note()
                );
            }
        }
        let mut findings = Findings::default();
        for (place, (_, name)) in SHARES.into_iter().enumerate() {
            let goal = if place == 1 {
                "1.00, within the range"
            } else {
                ""
            };
            findings.rows.push(Row {
                name: format!(
                    "acked messages a second, {IN_FLIGHT} in flight, traces: {name}; floor: off"
                ),
                unit: "",
                runs: acked[place].clone(),
                floor: acked[0].clone(),
                to_reach: goal,
                note: notes[place].clone(),
            });
            findings.rows.push(Row {
                name: format!("CPU of the edge a message, traces: {name}; floor: off"),
                unit: "µs",
                runs: cpu[place].clone(),
                floor: cpu[0].clone(),
                to_reach: goal,
                note: String::new(),
            });
        }
        findings
    }
}

fn settings(share: Option<&str>, collector: &str) -> Vec<(String, String)> {
    let Some(share) = share else {
        return Vec::new();
    };
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", share),
        // So that the sending is within the time that is measured.
        ("OTEL_BSP_SCHEDULE_DELAY", "500"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    settings.map(owned).into()
}

/// Takes spans by OTLP over HTTP and counts their bytes.
struct Collector {
    url: String,
    bytes: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Collector {
    async fn start() -> Collector {
        let bytes = Arc::new(AtomicUsize::new(0));
        let take = async |State(bytes): State<Arc<AtomicUsize>>, body: Bytes| {
            bytes.fetch_add(body.len(), Ordering::Relaxed);
        };
        let app = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&bytes));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let serving = async move { axum::serve(listener, app).await.expect("it serves") };
        Collector {
            url: format!("http://{address}"),
            bytes,
            serving: tokio::spawn(serving),
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
