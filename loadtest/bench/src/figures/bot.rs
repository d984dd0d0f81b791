//! The bot: how many requests a second, and what a worker adds to the model's time.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{Bench, Corner, percentile, since_epoch};
use crate::{
    client::{Socket, masked},
    processes::{self, Process},
    report::{Curves, Findings, Row, median},
};

impl Bench {
    pub(super) async fn bot(&self) -> Findings {
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
            for _ in 0..self.runs {
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

    /// What the worker adds to the model's own time: before it, from the question's append in the room to the request on
    /// the model's socket; behind it, from the model's last byte to the reply on the asker's socket.
    async fn bot_overhead(&self, model_url: &str) -> Findings {
        let mut rows = [
            "from the question's append to the request on the model's socket, p50",
            "from the question's append to the request on the model's socket, p99",
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
        for _ in 0..self.runs {
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
}

/// The settings of a worker that asks this model.
pub(super) fn with_model(corner: &Corner, model_url: &str) -> Vec<(String, String)> {
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
