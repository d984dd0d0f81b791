//! Each figure: what is started, what is loaded, what is read.

mod acked;
mod all_in_one;
mod bot;
mod deliveries;
mod flatness;
mod instructions;
mod latency;
mod memory;
mod persister;
mod sockets;
mod traces;
mod workers;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chat_client::Client;
pub(crate) use instructions::instructions;
use private_engines::Engines;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    client::{self, Socket, masked},
    processes::{self, Process},
    report::Findings,
};

/// All figures, in the order in which they matter.
pub(crate) const ALL: [&str; 11] = [
    "fan-out",
    "acked",
    "persister",
    "latency",
    "sockets",
    "bot",
    "workers",
    "all-in-one",
    "memory",
    "flatness",
    "traces",
];

/// Engines rest when they use no more than this share of a core for so long; after the limit it goes on all the same.
const REST_SHARE: f64 = 0.1;
const REST_LOOK: Duration = Duration::from_millis(500);
const REST_LIMIT: Duration = Duration::from_secs(30);

/// How long one run of a figure loads.
const TIME: Duration = Duration::from_secs(4);

/// Characters of a message.
const TEXT: usize = 300;

/// The most sockets of the figures about many.
const SOCKETS: usize = 10_000;

/// Messages that each of them misses in the storm.
const MISSED: usize = 5;

/// The engines, for all figures.
pub(crate) struct Bench {
    engines: Engines,
    engine_ids: Vec<(&'static str, u32)>,
    /// How often each figure is measured.
    runs: usize,
}

/// A fresh corner of the engines, with an edge on it.
struct Corner {
    environment: Vec<(String, String)>,
    edge: Process,
    sessions: Vec<String>,
}

impl Corner {
    fn setting(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(setting, _)| setting == name);
        &found.expect("it is set").1
    }

    /// Rooms with fresh names, in which the bot keeps silent, or answers everything.
    async fn rooms(&self, count: usize, bot: &str) -> Vec<String> {
        let word = Uuid::new_v4().simple().to_string();
        let names: Vec<String> = (0..count).map(|n| format!("{word}-{n}")).collect();
        let owner = Client::new(self.edge.url()).with_token("user-0", &self.sessions[0]);
        for name in &names {
            let room = json!({ "name": name, "bot": bot });
            owner.post("/api/rooms", room).await.is(StatusCode::CREATED);
        }
        names
    }
}

/// A process by its name, and how to read the CPU seconds that it has used.
type Metered<'a> = (&'a str, Box<dyn Fn() -> f64 + 'a>);

/// CPU seconds of some processes since then.
struct Meter<'a> {
    processes: Vec<Metered<'a>>,
    marks: Vec<Vec<f64>>,
}

impl Meter<'_> {
    fn mark(&mut self) {
        self.marks
            .push(self.processes.iter().map(|(_, cpu)| cpu()).collect());
    }

    /// Between the last two marks.
    fn used(&self, name: &str) -> f64 {
        let place = self
            .processes
            .iter()
            .position(|(known, _)| *known == name)
            .expect("it is metered");
        let [.., before, after] = &self.marks[..] else {
            return 0.0;
        };
        after[place] - before[place]
    }

    fn note(&self) -> String {
        let used = self
            .processes
            .iter()
            .map(|(name, _)| format!("{name} {:.2}", self.used(name)));
        format!("CPU s: {}", used.collect::<Vec<_>>().join(", "))
    }
}

impl Bench {
    /// Starts the engines.
    pub(crate) async fn start(runs: usize) -> Bench {
        let engines = Engines::start().await;
        let (amqp, database) = (engines.amqp_url("/"), engines.database_url("mysql"));
        let urls = [
            ("Redis", engines.redis_url()),
            ("RabbitMQ", &*amqp),
            ("MariaDB", &*database),
        ];
        let found = urls.iter().filter_map(|(name, url)| {
            let port = url.rsplit(':').next()?.split('/').next()?.parse().ok()?;
            Some((*name, processes::listener(port)?))
        });
        let engine_ids = found.collect();
        Bench {
            engines,
            engine_ids,
            runs,
        }
    }

    /// Measures one.
    pub(crate) async fn figure(&self, name: &str) -> Findings {
        match name {
            "fan-out" => self.fan_out().await,
            "acked" => self.acked().await,
            "persister" => self.persister().await,
            "latency" => self.latency().await,
            "sockets" => self.sockets().await,
            "bot" => self.bot().await,
            "workers" => self.workers().await,
            "all-in-one" => all_in_one::all_in_one(self.runs).await,
            "memory" => self.memory().await,
            "flatness" => self.flatness().await,
            "traces" => self.traces().await,
            _ => unreachable!("checked before"),
        }
    }

    /// With a persister, since what is not in the database after 30 s the edge begins to repair.
    async fn kept_corner(&self) -> (Corner, Process) {
        let corner = self.corner().await;
        let persister = Process::service("persister", &corner.environment).await;
        (corner, persister)
    }

    async fn corner(&self) -> Corner {
        self.corner_with(Vec::new()).await
    }

    /// With settings beyond those that all figures have.
    async fn corner_with(&self, more: Vec<(String, String)>) -> Corner {
        let database = self.engines.fresh_database().await;
        let settings = [
            ("REDIS_URL", self.engines.redis_url().to_owned()),
            ("REDIS_PREFIX", self.engines.fresh_prefix()),
            ("AMQP_URL", self.engines.fresh_vhost().await),
            ("DATABASE_URL", database),
            ("USER_MESSAGES_PER_SECOND", "1000000".into()),
            ("USER_MESSAGES_BURST", "1000000".into()),
            ("PING_MS", "600000".into()),
            // Everybody comes from one address, and some are thousands.
            ("USER_SOCKETS", "0".into()),
            ("USER_REQUESTS_PER_SECOND", "0".into()),
            ("ADDRESS_CONNECTIONS", "0".into()),
            ("ADDRESS_REQUESTS_PER_SECOND", "0".into()),
            ("BOT_USER_RPM", "0".into()),
            ("USER_ROOMS", "0".into()),
            ("USER_ROOMS_PER_HOUR", "0".into()),
            ("USER_BYTES_PER_DAY", "0".into()),
        ];
        let mut environment: Vec<_> = settings
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        environment.extend(more);
        let mut migrate = tokio::process::Command::new(processes::path("persister"));
        let migrated = migrate
            .arg("migrate")
            .envs(environment.clone())
            .status()
            .await;
        assert!(
            migrated.is_ok_and(|status| status.success()),
            "the schema is not there"
        );
        let edge = Process::service("ws-edge", &environment).await;
        let mut sessions = Vec::new();
        for n in 0..20 {
            let user = Client::register(&edge.url(), &format!("user-{n}")).await;
            sessions.push(user.token);
        }
        Corner {
            environment,
            edge,
            sessions,
        }
    }

    /// Waits until the engines do next to nothing: what the load before left them to do is not the next one's.
    async fn rest(&self) {
        let used = || self.engine_ids.iter().map(|(_, id)| processes::cpu(*id));
        let until = Instant::now() + REST_LIMIT;
        loop {
            let before: f64 = used().sum();
            sleep(REST_LOOK).await;
            let share = (used().sum::<f64>() - before) / REST_LOOK.as_secs_f64();
            if share < REST_SHARE || Instant::now() >= until {
                return;
            }
        }
    }

    fn meter<'a>(&'a self, own: Vec<(&'a str, &'a Process)>) -> Meter<'a> {
        let mut processes: Vec<Metered<'a>> = Vec::new();
        for (name, process) in own {
            processes.push((name, Box::new(|| process.cpu())));
        }
        processes.push(("load", Box::new(|| processes::cpu(std::process::id()))));
        for (name, id) in &self.engine_ids {
            processes.push((name, Box::new(|| processes::cpu(*id))));
        }
        Meter {
            processes,
            marks: Vec::new(),
        }
    }
}

fn percentile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// Says so much in a room, and returns the last place.
async fn say(corner: &Corner, room: &str, count: usize) -> u64 {
    let path = format!("/ws/chat/{room}");
    let mut socket = Socket::connect(corner.edge.listen, &corner.sessions[0], &path)
        .await
        .expect("let in");
    let mut ack = Vec::new();
    for _ in 0..count {
        socket
            .write(&masked(&client::message(TEXT)))
            .await
            .expect("open");
        ack = socket.wait_for("ack").await.expect("acked");
    }
    let ack: Value = serde_json::from_slice(&ack).expect("JSON");
    ack["seq"].as_u64().expect("a place")
}

/// Says so much in all of these rooms together, with a few messages in flight in each, and waits until all is acked.
async fn fill(address: SocketAddr, session: &str, rooms: &[String], count: usize) {
    let each = count / rooms.len();
    let mut senders = JoinSet::new();
    for room in rooms {
        let (session, path) = (session.to_owned(), format!("/ws/chat/{room}"));
        senders.spawn(async move {
            let socket = Socket::connect(address, &session, &path).await;
            let mut socket = socket.expect("let in");
            let frame = masked(&client::message(TEXT));
            let (mut sent, mut acked) = (0, 0);
            while acked < each {
                // So many in flight.
                let more = (acked + 40).min(each) - sent;
                socket.write(&frame.repeat(more)).await.expect("open");
                sent += more;
                let read = socket.read(|text| match text.get(9) {
                    Some(b'a') => acked += 1,
                    Some(b'e') => panic!("refused: {}", String::from_utf8_lossy(text)),
                    _ => {}
                });
                read.await.expect("open");
            }
        });
    }
    senders.join_all().await;
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
