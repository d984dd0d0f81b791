//! Each figure: what is started, what is loaded, what is read.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, stream};
use private_engines::Engines;
use serde_json::{Value, json};
use sqlx::{Connection as _, MySqlConnection};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    RUNS,
    client::{self, Socket, masked},
    fan_out::{self, Shape},
    floor,
    processes::{self, Process},
    report::{Curves, Findings, Row, median},
};

/// All figures, in the order in which they matter.
pub const ALL: [&str; 8] = [
    "fan-out",
    "acked",
    "persister",
    "latency",
    "sockets",
    "bot",
    "all-in-one",
    "flatness",
];

/// How long one run of a figure loads.
const TIME: Duration = Duration::from_secs(4);

/// Characters of a message.
const TEXT: usize = 300;

/// The most sockets of the figures about many.
const SOCKETS: usize = 10_000;

/// Messages that each of them misses in the storm.
const MISSED: usize = 5;

/// The engines, for all figures.
pub struct Bench {
    engines: Engines,
    engine_ids: Vec<(&'static str, u32)>,
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

    /// Rooms with fresh names.
    async fn rooms(&self, count: usize, bot: &str) -> Vec<String> {
        let word = Uuid::new_v4().simple().to_string();
        let names: Vec<String> = (0..count).map(|n| format!("{word}-{n}")).collect();
        for name in &names {
            client::make_room(self.edge.listen, &self.sessions[0], name, bot).await;
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
    pub async fn start() -> Bench {
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
        }
    }

    /// Measures one.
    pub async fn figure(&self, name: &str) -> Findings {
        match name {
            "fan-out" => self.fan_out().await,
            "acked" => self.acked().await,
            "persister" => self.persister().await,
            "latency" => self.latency().await,
            "sockets" => self.sockets().await,
            "bot" => self.bot().await,
            "all-in-one" => all_in_one().await,
            "flatness" => self.flatness().await,
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
        let database = self.engines.fresh_database().await;
        let settings = [
            ("REDIS_URL", self.engines.redis_url().to_owned()),
            ("REDIS_PREFIX", self.engines.fresh_prefix()),
            ("AMQP_URL", self.engines.fresh_vhost().await),
            ("DATABASE_URL", database),
            ("USER_MESSAGES_PER_SECOND", "1000000".into()),
            ("USER_MESSAGES_BURST", "1000000".into()),
            ("PING_MS", "600000".into()),
        ];
        let environment: Vec<_> = settings
            .map(|(name, value)| (name.to_owned(), value))
            .into();
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
            sessions.push(client::register(edge.listen, &format!("user-{n}")).await);
        }
        Corner {
            environment,
            edge,
            sessions,
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

    /// Deliveries of one edge, with everything kept.
    async fn fan_out(&self) -> Findings {
        let shapes = [
            (
                "1 room × 100 sockets",
                Shape {
                    rooms: 1,
                    sockets: 100,
                    senders: 10,
                    in_flight: 4,
                },
            ),
            (
                "1 room × 1,000 sockets",
                Shape {
                    rooms: 1,
                    sockets: 1_000,
                    senders: 10,
                    in_flight: 4,
                },
            ),
            (
                "50 rooms × 10 sockets",
                Shape {
                    rooms: 50,
                    sockets: 10,
                    senders: 1,
                    in_flight: 4,
                },
            ),
            (
                "100 rooms × 20 sockets",
                Shape {
                    rooms: 100,
                    sockets: 20,
                    senders: 1,
                    in_flight: 4,
                },
            ),
        ];
        let (corner, persister) = self.kept_corner().await;
        let address = processes::free_address();
        let plain = Process::start("bench", &["floor", &address.to_string()], &[]);
        let rooms = corner.rooms(100, "off").await;
        let text = client::message(TEXT);
        // As long as what the edge sends for such a message.
        let forwarded = format!(
            "{{\"type\":\"message\",\"message\":\"{}\"}}",
            "x".repeat(TEXT + 190)
        );
        let mut findings = Findings::default();
        for (name, shape) in shapes {
            let (mut all, mut per_cpu, mut floor_all, mut floor_per_cpu) =
                (vec![], vec![], vec![], vec![]);
            let mut note = String::new();
            for _ in 0..RUNS {
                let mut meter = self.meter(vec![("edge", &corner.edge), ("persister", &persister)]);
                let found = fan_out::run(
                    corner.edge.listen,
                    &corner.sessions,
                    &rooms,
                    shape,
                    &text,
                    TIME,
                    || meter.mark(),
                )
                .await;
                all.push(found.deliveries);
                per_cpu.push(found.deliveries * found.seconds / meter.used("edge"));
                note = format!("{:.0} acked/s; {}", found.acks, meter.note());
                let mut meter = self.meter(vec![("floor", &plain)]);
                let found = fan_out::run(
                    address,
                    &corner.sessions,
                    &rooms,
                    shape,
                    &forwarded,
                    TIME,
                    || meter.mark(),
                )
                .await;
                floor_all.push(found.deliveries);
                floor_per_cpu.push(found.deliveries * found.seconds / meter.used("floor"));
            }
            findings.rows.push(Row {
                name: format!("deliveries a second, {name}"),
                unit: "",
                runs: all,
                floor: floor_all,
                to_reach: "",
                note,
            });
            findings.rows.push(Row {
                name: format!("deliveries a CPU second of the edge, {name}"),
                unit: "",
                runs: per_cpu,
                floor: floor_per_cpu,
                to_reach: "0.80 of the floor",
                note: String::new(),
            });
        }
        let of = |rows: &[Row], kind: &str, floor: bool| {
            let rows = rows.iter().filter(|row| row.name.starts_with(kind));
            let sockets = [100.0, 1_000.0, 500.0, 2_000.0];
            let mut points: Vec<(f64, f64)> = sockets
                .iter()
                .zip(rows)
                .map(|(sockets, row)| {
                    (*sockets, median(if floor { &row.floor } else { &row.runs }))
                })
                .collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            points
        };
        let kind = "deliveries a CPU second";
        let lines = vec![
            ("the edge".to_owned(), of(&findings.rows, kind, false)),
            ("floor".to_owned(), of(&findings.rows, kind, true)),
        ];
        let curves = Curves {
            title: "Fan-out: deliveries a CPU second of the server".into(),
            x: "sockets (500: 50 rooms × 10; 2,000: 100 × 20)",
            y: "deliveries a CPU second",
            lines,
        };
        findings.curves.push(("fan-out.svg".into(), curves));
        findings
    }

    /// Acked messages of one edge, nobody else in the rooms, and no persister: the floor has none either. Too short for repairs.
    async fn acked(&self) -> Findings {
        let text = client::message(TEXT);
        let payload = vec![b'x'; TEXT + 250];
        let mut findings = Findings::default();
        let (mut measured, mut bare) = (Vec::new(), Vec::new());
        for in_flight in [50, 200, 1_000] {
            let shape = Shape {
                rooms: 50,
                sockets: 1,
                senders: 1,
                in_flight: in_flight / 50,
            };
            let (mut runs, mut floor, mut note) = (Vec::new(), Vec::new(), String::new());
            for _ in 0..RUNS {
                let corner = self.corner().await;
                let rooms = corner.rooms(50, "off").await;
                let mut meter = self.meter(vec![("edge", &corner.edge)]);
                runs.push(
                    fan_out::run(
                        corner.edge.listen,
                        &corner.sessions,
                        &rooms,
                        shape,
                        &text,
                        TIME,
                        || meter.mark(),
                    )
                    .await
                    .acks,
                );
                note = meter.note();
                floor.push(
                    floor::confirms(corner.setting("AMQP_URL"), in_flight, &payload, TIME).await,
                );
            }
            measured.push((in_flight as f64, median(&runs)));
            bare.push((in_flight as f64, median(&floor)));
            findings.rows.push(Row {
                name: format!("acked messages a second, {in_flight} in flight"),
                unit: "",
                runs,
                floor,
                to_reach: "0.75 of the floor",
                note,
            });
        }
        let lines = vec![
            ("acked".to_owned(), measured),
            ("bare confirms".to_owned(), bare),
        ];
        let curves = Curves {
            title: "Acked messages, one edge".into(),
            x: "in flight",
            y: "a second",
            lines,
        };
        findings.curves.push(("acked.svg".into(), curves));
        findings
    }

    async fn persister(&self) -> Findings {
        const ROWS: usize = 100_000;
        let (mut runs, mut floor, mut note) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..RUNS {
            let corner = self.corner().await;
            let rooms = corner.rooms(50, "off").await;
            let database = corner.setting("DATABASE_URL").to_owned();
            fill(&corner, &rooms, ROWS).await;
            let persister = Process::service("persister", &corner.environment).await;
            let mut meter = self.meter(vec![("persister", &persister)]);
            meter.mark();
            let (began, already) = (
                Instant::now(),
                persister.metric("chinwag_persisted_messages_total").await,
            );
            let mut done = already;
            while done < ROWS as f64 {
                assert!(
                    began.elapsed() < Duration::from_secs(120),
                    "{done} rows came"
                );
                sleep(Duration::from_millis(10)).await;
                done = persister.metric("chinwag_persisted_messages_total").await;
            }
            runs.push((done - already) / began.elapsed().as_secs_f64());
            meter.mark();
            note = meter.note();
            drop(meter);
            persister.kill().await;
            floor.push(floor::inserts(&database, ROWS, 512, &"x".repeat(TEXT)).await);
        }
        let row = Row {
            name: "rows a second, one persister, 100,000 waiting".into(),
            unit: "",
            runs,
            floor,
            to_reach: "0.80 of the floor",
            note,
        };
        Findings {
            rows: vec![row],
            curves: Vec::new(),
        }
    }

    /// In an open loop: a message is due when it is due, however late the one before it is.
    async fn latency(&self) -> Findings {
        let (corner, _persister) = self.kept_corner().await;
        let rooms = corner.rooms(50, "off").await;
        let shape = Shape {
            rooms: 50,
            sockets: 1,
            senders: 1,
            in_flight: 20,
        };
        let highest = fan_out::run(
            corner.edge.listen,
            &corner.sessions,
            &rooms,
            shape,
            &client::message(TEXT),
            TIME,
            || (),
        )
        .await
        .acks;
        let mut findings = Findings::default();
        let mut curves: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
        for share in [0.1, 0.5, 0.9] {
            let rate = highest * share;
            let mut runs: HashMap<&str, Vec<f64>> = HashMap::new();
            let mut refused = 0;
            for _ in 0..RUNS {
                let ([acks, deliveries], some_refused) = open_loop(&corner, &rooms, rate).await;
                refused += some_refused;
                let plain = self.open_loop_floor(&corner, rate).await;
                for (name, times) in [("ack", acks), ("delivery", deliveries), ("floor", plain)] {
                    for (part, key) in [(0.5, "p50"), (0.99, "p99")] {
                        let key: &str = match (name, key) {
                            ("ack", "p50") => "send to ack, p50",
                            ("ack", _) => "send to ack, p99",
                            ("delivery", "p50") => "send to delivery, p50",
                            ("delivery", _) => "send to delivery, p99",
                            (_, "p50") => "floor p50",
                            _ => "floor p99",
                        };
                        runs.entry(key).or_default().push(percentile(&times, part));
                    }
                }
            }
            for (name, floor, to_reach) in [
                ("send to ack, p50", "floor p50", "1.5 × the floor at half"),
                ("send to ack, p99", "floor p99", "3 × the floor at half"),
                (
                    "send to delivery, p50",
                    "floor p50",
                    "1.5 × the floor at half",
                ),
                (
                    "send to delivery, p99",
                    "floor p99",
                    "3 × the floor at half",
                ),
            ] {
                curves
                    .entry(name.into())
                    .or_default()
                    .push((rate, median(&runs[name])));
                findings.rows.push(Row {
                    name: format!("{name}, {share} of the highest rate ({rate:.0}/s)"),
                    unit: "ms",
                    runs: runs[name].clone(),
                    floor: runs[floor].clone(),
                    to_reach,
                    note: if refused > 0 {
                        format!("{refused} refused in all, for the queue was full")
                    } else {
                        String::new()
                    },
                });
            }
            for name in ["floor p50", "floor p99"] {
                curves
                    .entry(name.into())
                    .or_default()
                    .push((rate, median(&runs[name])));
            }
        }
        let mut lines: Vec<_> = curves.into_iter().collect();
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        let curves = Curves {
            title: "Latency".into(),
            x: "messages a second",
            y: "ms",
            lines,
        };
        findings.curves.push(("latency.svg".into(), curves));
        findings
    }

    async fn open_loop_floor(&self, corner: &Corner, rate: f64) -> Vec<f64> {
        let client = redis::Client::open(self.engines.redis_url()).expect("a URL");
        let redis = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers");
        let (_connection, channel) = floor::confirming(corner.setting("AMQP_URL")).await;
        let script = floor::plainest_script();
        let payload = "x".repeat(TEXT + 250);
        let mut calls = JoinSet::new();
        let count = (rate * TIME.as_secs_f64()) as usize;
        let began = Instant::now();
        let mut clock = interval(Duration::from_millis(1));
        let mut started = 0;
        while started < count {
            clock.tick().await;
            let due = ((began.elapsed().as_secs_f64() * rate) as usize).min(count);
            for number in started..due {
                let (mut redis, channel, script, payload) = (
                    redis.clone(),
                    channel.clone(),
                    script.clone(),
                    payload.clone(),
                );
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                calls.spawn(async move {
                    floor::script(
                        &mut redis,
                        &script,
                        &format!("floor-{}", number % 50),
                        &payload,
                    )
                    .await;
                    floor::confirm(&channel, payload.as_bytes()).await;
                    due.elapsed().as_secs_f64() * 1e3
                });
            }
            started = due;
        }
        calls.join_all().await
    }

    async fn sockets(&self) -> Findings {
        let mut findings = Findings::default();
        let (mut memory, mut connects, mut resumes, mut queries) = (vec![], vec![], vec![], vec![]);
        let mut notes = [String::new(), String::new()];
        for _ in 0..RUNS {
            let (corner, _persister) = self.kept_corner().await;
            let rooms = corner.rooms(100, "off").await;
            let before = corner.edge.resident_kib();
            let mut meter = self.meter(vec![("edge", &corner.edge)]);
            meter.mark();
            let began = Instant::now();
            let sockets = connect_all(&corner, &rooms, &HashMap::new()).await;
            connects.push(SOCKETS as f64 / began.elapsed().as_secs_f64());
            meter.mark();
            notes[0] = meter.note();
            // Until the last presence is announced.
            sleep(Duration::from_secs(3)).await;
            memory.push((corner.edge.resident_kib() - before) / SOCKETS as f64);

            // Where everyone is, then all are dropped at once, five more messages come into each room, and all resume.
            let mut lasts = HashMap::new();
            for room in &rooms {
                lasts.insert(room.clone(), say(&corner, room, 1).await);
            }
            drop(sockets);
            for room in &rooms {
                say(&corner, room, MISSED).await;
            }
            let mut db = MySqlConnection::connect(corner.setting("DATABASE_URL"))
                .await
                .expect("the database answers");
            let asked = selects(&mut db).await;
            meter.mark();
            let began = Instant::now();
            let sockets = connect_all(&corner, &rooms, &lasts).await;
            resumes.push(SOCKETS as f64 / began.elapsed().as_secs_f64());
            meter.mark();
            notes[1] = meter.note();
            check_silent(sockets).await;
            queries.push(selects(&mut db).await - asked);
        }
        let [connect_note, resume_note] = notes;
        let row = |name: &str, unit, runs, to_reach, note| Row {
            name: name.into(),
            unit,
            runs,
            floor: Vec::new(),
            to_reach,
            note,
        };
        findings.rows = vec![
            row(
                "resident memory an idle joined socket, 10,000 of them",
                "KiB",
                memory,
                "≤ 8",
                String::new(),
            ),
            row(
                "connects a second, upgrade and join, 10,000 in 100 rooms",
                "",
                connects,
                "8,000",
                connect_note,
            ),
            row(
                "storm: resumes a second, 10,000 at once, each missing 5 messages; none lost, none double",
                "",
                resumes,
                "every one",
                resume_note,
            ),
            row(
                "database queries of the storm",
                "",
                queries,
                "< 10",
                String::new(),
            ),
        ];
        findings
    }

    async fn bot(&self) -> Findings {
        const CONCURRENCY: f64 = 16.0;
        let address = processes::free_address();
        let _model = Process::start(
            "practice-model",
            &[
                "--listen",
                &address.to_string(),
                "--behaviour",
                "delay=200ms pace=0ms say=\"yes\"",
            ],
            &[("RUST_LOG".into(), "warn".into())],
        );
        let model_url = format!("http://{address}");
        let mut findings = self.bot_overhead(&model_url).await;
        let mut points = Vec::new();
        for workers in [1_usize, 2, 4, 8] {
            let (mut runs, mut note) = (Vec::new(), String::new());
            for _ in 0..RUNS {
                let (corner, _persister) = self.kept_corner().await;
                // In one room the bot answers one after the other: as many rooms as may be asked, and as many again that
                // wait.
                let rooms = corner.rooms(2 * 16 * workers, "always").await;
                let environment = with_model(&corner, &model_url);
                let mut team = Vec::new();
                for _ in 0..workers {
                    team.push(Process::service("bot-worker", &environment).await);
                }
                let mut meter = self.meter(vec![("edge", &corner.edge), ("one worker", &team[0])]);
                meter.mark();
                runs.push(replies(&corner, &rooms).await);
                meter.mark();
                note = meter.note();
            }
            let floor = vec![workers as f64 * CONCURRENCY / 0.2];
            points.push((workers as f64, median(&runs), floor[0]));
            findings.rows.push(Row {
                name: format!("requests a second, {workers} workers, a model that takes 200 ms"),
                unit: "",
                runs,
                floor,
                to_reach: "0.95 until cores end it",
                note,
            });
        }
        let lines = vec![
            (
                "replies".to_owned(),
                points
                    .iter()
                    .map(|(workers, replies, _)| (*workers, *replies))
                    .collect(),
            ),
            (
                "what the model allows".to_owned(),
                points
                    .iter()
                    .map(|(workers, _, floor)| (*workers, *floor))
                    .collect(),
            ),
        ];
        let curves = Curves {
            title: "Bot: requests a second, 16 at a time a worker".into(),
            x: "workers",
            y: "a second",
            lines,
        };
        findings.curves.push(("bot.svg".into(), curves));
        findings
    }

    /// What the worker adds to the model's own time: before it, from the question's place in the room to the request on
    /// the model's socket; behind it, from the model's last byte to the reply on the asker's socket.
    async fn bot_overhead(&self, model_url: &str) -> Findings {
        let mut rows = [
            "from the question's place to the request on the model's socket, p50",
            "from the question's place to the request on the model's socket, p99",
            "from the model's last byte to the reply on the asker's socket, p50",
            "from the model's last byte to the reply on the asker's socket, p99",
        ]
        .map(|name| Row {
            name: name.to_owned(),
            unit: "ms",
            runs: Vec::new(),
            floor: Vec::new(),
            to_reach: "",
            note: String::new(),
        });
        for _ in 0..RUNS {
            let (corner, _persister) = self.kept_corner().await;
            let rooms = corner.rooms(8, "always").await;
            let _worker = Process::service("bot-worker", &with_model(&corner, model_url)).await;
            let (before, behind) = overheads(&corner, &rooms, model_url).await;
            let parts = [
                (&before, 0.5),
                (&before, 0.99),
                (&behind, 0.5),
                (&behind, 0.99),
            ];
            for (row, (times, part)) in rows.iter_mut().zip(parts) {
                row.runs.push(percentile(times, part));
            }
        }
        Findings {
            rows: rows.into(),
            ..Findings::default()
        }
    }

    /// A room's age must not show in what is read of its end.
    async fn flatness(&self) -> Findings {
        let (corner, _persister) = self.kept_corner().await;
        let mut db = MySqlConnection::connect(corner.setting("DATABASE_URL"))
            .await
            .expect("the database answers");
        let mut findings = Findings::default();
        let mut lines = vec![
            ("history".to_owned(), Vec::new()),
            ("resume".to_owned(), Vec::new()),
            ("send to ack".to_owned(), Vec::new()),
        ];
        for age in [1_000_usize, 10_000, 100_000, 1_000_000] {
            let room = corner.rooms(1, "off").await.remove(0);
            let latest = grow(&mut db, &room, age).await;
            let session = &corner.sessions[0];
            let http = reqwest::Client::new();
            let url = format!("http://{}/api/rooms/{room}/messages", corner.edge.listen);
            let mut socket =
                Socket::connect(corner.edge.listen, session, &format!("/ws/chat/{room}"))
                    .await
                    .expect("let in");
            socket.wait_for("joined").await.expect("joined");
            let (mut history, mut resume, mut acks) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let mut times = [Vec::new(), Vec::new(), Vec::new()];
                for _ in 0..100 {
                    let began = Instant::now();
                    let answer = http
                        .get(&url)
                        .bearer_auth(session)
                        .send()
                        .await
                        .expect("an answer");
                    assert!(
                        answer.bytes().await.expect("a body").len() > 1_000,
                        "fifty messages"
                    );
                    times[0].push(began.elapsed().as_secs_f64() * 1e3);
                    let began = Instant::now();
                    let path = format!("/ws/chat/{room}?after={}", latest - 20);
                    let mut again = Socket::connect(corner.edge.listen, session, &path)
                        .await
                        .expect("let in");
                    again.wait_for("message").await.expect("what was missed");
                    times[1].push(began.elapsed().as_secs_f64() * 1e3);
                }
                for _ in 0..20 {
                    let began = Instant::now();
                    socket
                        .write(&masked(&client::message(TEXT)))
                        .await
                        .expect("open");
                    socket.wait_for("ack").await.expect("acked");
                    times[2].push(began.elapsed().as_secs_f64() * 1e3);
                }
                for (runs, times) in [&mut history, &mut resume, &mut acks]
                    .into_iter()
                    .zip(&times)
                {
                    runs.push(percentile(times, 0.5));
                }
            }
            let names = [
                "a page of history, p50",
                "connect and resume 20 messages, p50",
                "send to ack, p50",
            ];
            for ((name, runs), (_, points)) in
                names.iter().zip([history, resume, acks]).zip(&mut lines)
            {
                points.push((age as f64, median(&runs)));
                findings.rows.push(Row {
                    name: format!("{name}, {age} messages in the room"),
                    unit: "ms",
                    runs,
                    floor: Vec::new(),
                    to_reach: "flat",
                    note: String::new(),
                });
            }
        }
        let curves = Curves {
            title: "A room's age".into(),
            x: "messages in the room",
            y: "ms",
            lines,
        };
        findings.curves.push(("flatness.svg".into(), curves));
        findings
    }
}

/// Puts so many messages into the queue, by way of the edge.
async fn fill(corner: &Corner, rooms: &[String], count: usize) {
    let each = count / rooms.len();
    let mut senders = JoinSet::new();
    for room in rooms {
        let (address, token, room) = (corner.edge.listen, corner.sessions[0].clone(), room.clone());
        senders.spawn(async move {
            let mut socket = Socket::connect(address, &token, &format!("/ws/chat/{room}"))
                .await
                .expect("let in");
            let frame = masked(&client::message(TEXT));
            let (mut sent, mut acked) = (0, 0);
            while acked < each {
                // So many in flight.
                let more = (acked + 40).min(each) - sent;
                socket.write(&frame.repeat(more)).await.expect("open");
                sent += more;
                socket
                    .read(|text| match text.get(9) {
                        Some(b'a') => acked += 1,
                        Some(b'e') => panic!("refused: {}", String::from_utf8_lossy(text)),
                        _ => {}
                    })
                    .await
                    .expect("open");
            }
        });
    }
    senders.join_all().await;
}

/// Sends at a rate, and returns the times to the ack and to the delivery in milliseconds, from when each was due, and
/// how many messages were refused.
async fn open_loop(corner: &Corner, rooms: &[String], rate: f64) -> ([Vec<f64>; 2], usize) {
    let run: u32 = rand::random();
    let count = (rate * TIME.as_secs_f64()) as usize / rooms.len() * rooms.len();
    // Everyone in their room first.
    let began = Instant::now() + Duration::from_secs(2);
    let due = move |number: usize| began + Duration::from_secs_f64(number as f64 / rate);
    let mut people = JoinSet::new();
    for (place, room) in rooms.iter().enumerate() {
        let (address, room, all) = (corner.edge.listen, room.clone(), rooms.len());
        let token = corner.sessions[place % corner.sessions.len()].clone();
        people.spawn(async move {
            let mut socket = Socket::connect(address, &token, &format!("/ws/chat/{room}"))
                .await
                .expect("let in");
            socket.wait_for("joined").await.expect("joined");
            let text = "x".repeat(TEXT);
            let (mut acks, mut deliveries, mut refused) = (Vec::new(), Vec::new(), 0);
            let mut next = place;
            while acks.len().min(deliveries.len()) + refused < count / all {
                let is_due = tokio::time::sleep_until(if next < count {
                    due(next)
                } else {
                    Instant::now() + Duration::from_secs(60)
                });
                let mut heard = |text: &[u8]| {
                    let times = match text.get(9) {
                        Some(b'a') => &mut acks,
                        Some(b'm') => &mut deliveries,
                        Some(b'e') => {
                            refused += 1;
                            return;
                        }
                        _ => return,
                    };
                    if let Some(number) = number_of(text) {
                        times.push(due(number).elapsed().as_secs_f64() * 1e3);
                    }
                };
                tokio::select! {
                    read = socket.read(&mut heard) => read.expect("open"),
                    () = is_due => {
                        let id = format!("{run:08x}-0000-4000-8000-{next:012x}");
                        let frame = json!({ "id": id, "message": text }).to_string();
                        socket.write(&masked(&frame)).await.expect("open");
                        next += all;
                    }
                }
            }
            ([acks, deliveries], refused)
        });
    }
    let mut together = [Vec::new(), Vec::new()];
    let mut all_refused = 0;
    for ([acks, deliveries], refused) in people.join_all().await {
        all_refused += refused;
        together[0].extend(acks);
        together[1].extend(deliveries);
    }
    (together, all_refused)
}

/// The number that the load put into a message's id.
fn number_of(text: &[u8]) -> Option<usize> {
    let field = b"\"id\":\"";
    let at = text
        .windows(field.len())
        .position(|window| window == field)?
        + field.len();
    usize::from_str_radix(std::str::from_utf8(text.get(at + 24..at + 36)?).ok()?, 16).ok()
}

fn percentile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// All sockets, in their rooms, each after the place its room was at.
async fn connect_all(
    corner: &Corner,
    rooms: &[String],
    after: &HashMap<String, u64>,
) -> Vec<Socket> {
    let connecting = (0..SOCKETS).map(|number| {
        let room = &rooms[number % rooms.len()];
        let path = match after.get(room) {
            Some(seq) => format!("/ws/chat/{room}?after={seq}"),
            None => format!("/ws/chat/{room}"),
        };
        let (address, token) = (
            corner.edge.listen,
            corner.sessions[number % corner.sessions.len()].clone(),
        );
        let is_new = after.is_empty();
        async move {
            let mut socket = Socket::connect(address, &token, &path)
                .await
                .expect("let in");
            if is_new {
                socket.wait_for("joined").await.expect("joined");
                return socket;
            }
            let mut seen = 0;
            while seen < MISSED {
                let read = socket.read(|text| seen += usize::from(text.get(9) == Some(&b'm')));
                let read = timeout(Duration::from_secs(60), read).await;
                read.expect("nothing is lost").expect("open");
            }
            assert_eq!(seen, MISSED, "nothing comes twice");
            socket
        }
    });
    stream::iter(connecting)
        .buffer_unordered(200)
        .collect()
        .await
}

/// Nobody gets anything that they have had already.
async fn check_silent(sockets: Vec<Socket>) {
    let mut reading = JoinSet::new();
    for mut socket in sockets {
        reading.spawn(async move {
            let is_message = |text: &[u8]| assert_ne!(text.get(9), Some(&b'm'), "it came twice");
            let listening = async { while socket.read(is_message).await.is_ok() {} };
            drop(timeout(Duration::from_millis(500), listening).await);
        });
    }
    reading.join_all().await;
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

/// How often the database was asked something.
async fn selects(db: &mut MySqlConnection) -> f64 {
    let asked: (String, String) = sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Com_select'")
        .fetch_one(db)
        .await
        .expect("a status");
    asked.1.parse().expect("a number")
}

/// The settings of a worker that asks this model.
fn with_model(corner: &Corner, model_url: &str) -> Vec<(String, String)> {
    let mut environment = corner.environment.clone();
    environment.extend([
        ("GEMINI_BASE_URL".to_owned(), model_url.to_owned()),
        ("GEMINI_API_KEY".to_owned(), "practice".to_owned()),
        ("BOT_CONCURRENCY".to_owned(), "16".to_owned()),
    ]);
    environment
}

/// Asks in each room one question after the other. Returns the milliseconds before the model had each, and those behind
/// its answer.
async fn overheads(corner: &Corner, rooms: &[String], model_url: &str) -> (Vec<f64>, Vec<f64>) {
    const QUESTIONS: usize = 40;
    let run = Uuid::new_v4().simple().to_string();
    let mut askers = JoinSet::new();
    for (place, room) in rooms.iter().enumerate() {
        let (address, room, run) = (corner.edge.listen, room.clone(), run.clone());
        let token = corner.sessions[place % corner.sessions.len()].clone();
        askers.spawn(async move {
            let mut socket = Socket::connect(address, &token, &format!("/ws/chat/{room}"))
                .await
                .expect("let in");
            socket.wait_for("joined").await.expect("joined");
            let mut asked = Vec::new();
            for number in 0..QUESTIONS {
                let text = format!("{run} {place} {number}");
                let frame = masked(&json!({ "message": text }).to_string());
                socket.write(&frame).await.expect("open");
                let question = socket.wait_for("message").await.expect("it is shown");
                let question: Value = serde_json::from_slice(&question).expect("JSON");
                let posted = question["seq"].as_u64().expect("its place is a time");
                socket.wait_for("message").await.expect("it is answered");
                let shown = since_epoch().as_micros() as u64;
                asked.push((text, posted, shown));
            }
            asked
        });
    }
    let asked: Vec<(String, u64, u64)> = askers.join_all().await.into_iter().flatten().collect();
    let url = format!("{model_url}/practice/requests");
    let calls = reqwest::get(url).await.expect("the model is there");
    let calls: Value = calls.json().await.expect("JSON");
    let calls: HashMap<&str, (u64, u64)> = calls["requests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|call| {
            // `name: text`
            let (_, text) = call["text"].as_str()?.split_once(": ")?;
            Some((text, (call["at"].as_u64()?, call["took"].as_u64()?)))
        })
        .collect();
    let millis = |micros: u64| micros as f64 / 1_000.0;
    asked
        .iter()
        .map(|(text, posted, shown)| {
            let (at, took) = calls[text.as_str()];
            (
                millis(at.saturating_sub(*posted)),
                millis(shown.saturating_sub(at + took)),
            )
        })
        .unzip()
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Questions to the bot in a closed loop; replies a second.
async fn replies(corner: &Corner, rooms: &[String]) -> f64 {
    let (warm_up, time) = (Duration::from_secs(2), Duration::from_secs(6));
    let began = Instant::now();
    let mut askers = JoinSet::new();
    for (place, room) in rooms.iter().enumerate() {
        let (address, room) = (corner.edge.listen, room.clone());
        let token = corner.sessions[place % corner.sessions.len()].clone();
        askers.spawn(async move {
            let mut socket = Socket::connect(address, &token, &format!("/ws/chat/{room}"))
                .await
                .expect("let in");
            socket.wait_for("joined").await.expect("joined");
            let frame = masked(&json!({ "message": "is it so?" }).to_string());
            socket.write(&frame).await.expect("open");
            let mut counted = 0;
            while began.elapsed() < warm_up + time {
                let mut replies = 0;
                let read = socket.read(|text| {
                    let is_reply = text.get(9) == Some(&b'm')
                        && text.windows(11).any(|window| window == b"\"reply_to\":");
                    replies += usize::from(is_reply);
                });
                if let Ok(read) = timeout(Duration::from_millis(200), read).await {
                    read.expect("open");
                }
                if replies > 0 {
                    socket.write(&frame.repeat(replies)).await.expect("open");
                }
                if began.elapsed() > warm_up {
                    counted += replies;
                }
            }
            counted
        });
    }
    let counted: usize = askers.join_all().await.into_iter().sum();
    counted as f64 / time.as_secs_f64()
}

/// From its start to the first ack of somebody who is logged in, over a data folder that is there already.
async fn all_in_one() -> Findings {
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    let folder = TempDir::with_prefix("chinwag-bench-").expect("a folder");
    let environment = [(
        "DATA_DIR".to_owned(),
        folder.path().join("data").display().to_string(),
    )];
    let first = Process::service("chinwag", &environment).await;
    let token = client::register(first.listen, "ada").await;
    first.kill().await;
    for _ in 0..RUNS {
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

/// A room with so many messages, and its latest place. The oldest came an hour ago.
async fn grow(db: &mut MySqlConnection, room: &str, count: usize) -> u64 {
    const AT_ONCE: usize = 500;
    let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; AT_ONCE].join(", ");
    let statement = format!(
        "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) VALUES {values}"
    );
    let first = i64::try_from(since_epoch().as_micros()).expect("before 292,277") - 3_600_000_000;
    let mut latest = first;
    for _ in 0..count / AT_ONCE {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.clone()));
        for _ in 0..AT_ONCE {
            latest += 1;
            query = query.bind(room).bind(latest).bind(Uuid::now_v7());
            query = query
                .bind("user-0")
                .bind("user")
                .bind("x".repeat(TEXT))
                .bind(None::<Uuid>);
        }
        query.execute(&mut *db).await.expect("rows");
    }
    u64::try_from(latest).expect("after 1970")
}
