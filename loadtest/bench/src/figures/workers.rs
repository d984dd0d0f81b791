//! Workers under a backlog: what an added one takes off the others, what is left when some are killed, what comes of four
//! times as many questions as can be answered; and how long somebody waits beside a flood.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, sleep, sleep_until},
};

use super::{Bench, Corner, bot::with_model, percentile};
use crate::{
    client::{Socket, masked},
    processes::{self, Process},
    report::{Findings, Row},
};

const ROOMS: usize = 64;
const PEOPLE_A_ROOM: usize = 8;
/// Questions a second in all.
const OFFERED: f64 = 16.0;
/// What one worker can do: so many calls at a time, each of a second.
const CONCURRENCY: usize = 4;
/// How long a request may wait; by then the backlog is as long as it gets.
const DEADLINE: Duration = Duration::from_secs(20);
/// A fleet that has changed counts from so long after.
const SETTLES: Duration = Duration::from_secs(6);
/// How long it is counted.
const COUNTED: Duration = Duration::from_secs(15);
/// Questions of the flood, all at once; ten a second follow.
const FLOOD: usize = 300;
/// The default's.
const FLOOD_DEADLINE: Duration = Duration::from_secs(60);

impl Bench {
    pub(super) async fn workers(&self) -> Findings {
        let mut backlog = [
            (
                "1 worker, four times as many questions as it can answer",
                "0.9",
            ),
            ("2 workers, one of them added", "0.90 of 2 alone"),
            ("4 workers, two of them added", "0.85 of 4 alone"),
            ("2 workers again, two killed", ""),
        ]
        .map(|(name, to_reach)| row(format!("answers a second: {name}"), "", to_reach));
        let mut beside = ["p50", "worst"].map(|part| {
            let name = format!("another person's answer beside {FLOOD} questions of one, {part}");
            row(name, "s", "1.5 × its time alone")
        });
        for _ in 0..self.runs {
            let rates = self.backlog().await;
            let alone = [
                CONCURRENCY as f64,
                rates[0] * 2.0,
                rates[0] * 4.0,
                rates[0] * 2.0,
            ];
            for ((row, rate), floor) in backlog.iter_mut().zip(rates).zip(alone) {
                row.runs.push(rate);
                row.floor.push(floor);
            }
            let (alone, beside_flood) = self.beside_a_flood().await;
            for (row, part) in beside.iter_mut().zip([0.5, 1.0]) {
                row.runs.push(percentile(&beside_flood, part));
                row.floor.push(percentile(&alone, part));
            }
        }
        Findings {
            rows: backlog.into_iter().chain(beside).collect(),
            ..Findings::default()
        }
    }

    /// Answers a second with one worker, with one more, with two more, and with two killed.
    async fn backlog(&self) -> [f64; 4] {
        let model = Model::start("delay=1s pace=0ms say=\"yes\"");
        let (corner, _persister) = self.kept_corner().await;
        let rooms = corner.rooms(ROOMS, "always").await;
        let environment = model.environment(&corner, DEADLINE);
        let answers = Arc::new(AtomicUsize::new(0));
        let mut people = JoinSet::new();
        for (place, room) in rooms.iter().enumerate() {
            for person in 0..PEOPLE_A_ROOM {
                let counts = (person == 0).then(|| Arc::clone(&answers));
                people.spawn(asks(&corner, room, place * PEOPLE_A_ROOM + person, counts));
            }
        }
        let worker = async || Process::service("bot-worker", &environment).await;
        let counts = async || {
            let before = answers.load(Relaxed);
            sleep(COUNTED).await;
            (answers.load(Relaxed) - before) as f64 / COUNTED.as_secs_f64()
        };
        let mut team = vec![worker().await];
        sleep(DEADLINE + SETTLES).await;
        let one = counts().await;
        team.push(worker().await);
        sleep(SETTLES).await;
        let two = counts().await;
        team.extend([worker().await, worker().await]);
        sleep(SETTLES).await;
        let four = counts().await;
        for worker in team.drain(..2) {
            worker.kill().await;
        }
        sleep(SETTLES).await;
        let killed = counts().await;
        people.shutdown().await;
        [one, two, four, killed]
    }

    /// How long one person waits for an answer, in seconds: alone, and while another's questions wait in another room.
    async fn beside_a_flood(&self) -> (Vec<f64>, Vec<f64>) {
        const QUESTIONS: usize = 10;
        let model = Model::start("delay=2s pace=0ms say=\"yes\"");
        let (corner, _persister) = self.kept_corner().await;
        let rooms = corner.rooms(2, "always").await;
        let environment = model.environment(&corner, FLOOD_DEADLINE);
        let _worker = Process::service("bot-worker", &environment).await;
        let mut person = enters(&corner, &rooms[0], 1).await;
        let mut waits = async || {
            let mut times = Vec::new();
            for _ in 0..QUESTIONS {
                let asked = Instant::now();
                person.write(&question()).await.expect("open");
                while !is_reply(&person.wait_for("message").await.expect("open")) {}
                times.push(asked.elapsed().as_secs_f64());
            }
            times
        };
        let alone = waits().await;
        let mut flood = enters(&corner, &rooms[1], 0).await;
        flood.write(&question().repeat(FLOOD)).await.expect("open");
        let goes_on = tokio::spawn(async move {
            let mut each = interval_at(Instant::now(), Duration::from_millis(100));
            loop {
                tokio::select! {
                    _ = each.tick() => flood.write(&question()).await.expect("open"),
                    read = flood.read(|_| ()) => read.expect("open"),
                }
            }
        });
        let beside = waits().await;
        goes_on.abort();
        (alone, beside)
    }
}

/// A model that takes a while, as a process of its own.
struct Model {
    url: String,
    _process: Process,
}

impl Model {
    fn start(behaviour: &str) -> Model {
        let address = processes::free_address().to_string();
        let process = Process::start(
            "practice-model",
            &["--listen", &address, "--behaviour", behaviour],
            &[("RUST_LOG".into(), "warn".into())],
        );
        Model {
            url: format!("http://{address}"),
            _process: process,
        }
    }

    fn environment(&self, corner: &Corner, deadline: Duration) -> Vec<(String, String)> {
        let mut environment = with_model(corner, &self.url);
        environment.retain(|(name, _)| name != "BOT_CONCURRENCY");
        environment.extend([
            ("BOT_CONCURRENCY".into(), CONCURRENCY.to_string()),
            ("BOT_DEADLINE".into(), deadline.as_secs().to_string()),
        ]);
        environment
    }
}

fn row(name: String, unit: &'static str, to_reach: &'static str) -> Row {
    Row {
        name,
        unit,
        runs: Vec::new(),
        floor: Vec::new(),
        to_reach,
        note: String::new(),
    }
}

async fn enters(corner: &Corner, room: &str, person: usize) -> Socket {
    let token = &corner.sessions[person % corner.sessions.len()];
    let path = format!("/ws/chat/{room}");
    let socket = Socket::connect(corner.edge.listen, token, &path).await;
    let mut socket = socket.expect("let in");
    socket.wait_for("joined").await.expect("joined");
    socket
}

fn question() -> Vec<u8> {
    masked(&json!({ "message": "is it so?" }).to_string())
}

/// Whether a frame is a reply, a model's or the fallback.
fn is_reply(frame: &[u8]) -> bool {
    contains(frame, b"\"reply_to\":")
}

fn contains(frame: &[u8], what: &[u8]) -> bool {
    frame.windows(what.len()).any(|window| window == what)
}

/// One person who asks again and again, however long the answers take; some count what the model answered in the room.
fn asks(
    corner: &Corner,
    room: &str,
    person: usize,
    counts: Option<Arc<AtomicUsize>>,
) -> impl Future<Output = ()> + Send + 'static {
    let (address, room) = (corner.edge.listen, room.to_owned());
    let token = corner.sessions[person % corner.sessions.len()].clone();
    async move {
        let every = Duration::from_secs_f64((ROOMS * PEOPLE_A_ROOM) as f64 / OFFERED);
        let first = Instant::now() + every.mul_f64(rand::random());
        let socket = Socket::connect(address, &token, &format!("/ws/chat/{room}")).await;
        let mut socket = socket.expect("let in");
        socket.wait_for("joined").await.expect("joined");
        let mut due = first;
        loop {
            let read = socket.read(|frame| {
                if let Some(counts) = &counts
                    && is_reply(frame)
                    && contains(frame, b"\"kind\":\"bot\"")
                {
                    counts.fetch_add(1, Relaxed);
                }
            });
            tokio::select! {
                read = read => read.expect("open"),
                () = sleep_until(due) => {
                    due += every;
                    socket.write(&question()).await.expect("open");
                }
            }
        }
    }
}
