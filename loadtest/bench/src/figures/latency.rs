//! From sending to the ack and to the delivery, at fixed rates.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::{Bench, Corner, TEXT, TIME, percentile};
use crate::{
    client::{self, Socket, masked},
    fan_out::{self, Shape},
    floor,
    report::{Curves, Findings, Row, median},
};

/// A rate is served when nothing is refused and 99 of 100 acks come within this many milliseconds.
const SERVED_WITHIN_MS: f64 = 100.0;

/// How often the highest rate that is served is looked for between one that is and one that is not.
const HALVINGS: usize = 5;

impl Bench {
    /// In an open loop: a message is due when it is due, however late the one before it is.
    pub(super) async fn latency(&self) -> Findings {
        let (corner, persister) = self.kept_corner().await;
        let rooms = corner.rooms(50, "off").await;
        let shape = Shape {
            rooms: 50,
            sockets: 1,
            senders: 1,
            in_flight: 20,
        };
        let in_bunches = fan_out::run(
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
        let highest = highest_rate(&corner, &rooms, in_bunches).await;
        let mut findings = Findings::default();
        findings.rows.push(Row {
            name: "highest rate of an even stream".to_owned(),
            unit: "messages a second",
            runs: vec![highest],
            floor: Vec::new(),
            to_reach: "",
            note: format!("in bunches, 1,000 in flight: {in_bunches:.0}"),
        });
        let mut curves: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
        for share in [0.1, 0.5, 0.9] {
            let rate = highest * share;
            let mut runs: HashMap<&str, Vec<f64>> = HashMap::new();
            let (mut refused, mut note) = (0, String::new());
            for _ in 0..self.runs {
                let mut meter = self.meter(vec![("edge", &corner.edge), ("persister", &persister)]);
                self.rest().await;
                meter.mark();
                let ([acks, deliveries], some_refused) = open_loop(&corner, &rooms, rate).await;
                meter.mark();
                refused += some_refused;
                note = meter.note();
                self.rest().await;
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
                    note: match (name, refused) {
                        ("send to ack, p50", 0) => note.clone(),
                        (_, 0) => String::new(),
                        _ => format!("{refused} refused in all, for the queue was full"),
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
        let (_connection, channel) = floor::confirming(corner.setting("AMQP_URL"), 1).await;
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
}

/// The highest rate at which the same stream is served, a little below the truth.
async fn highest_rate(corner: &Corner, rooms: &[String], at_most: f64) -> f64 {
    let (mut served, mut too_much) = (0.0, at_most);
    for _ in 0..HALVINGS {
        let rate = f64::midpoint(served, too_much);
        let ([acks, _], refused) = open_loop(corner, rooms, rate).await;
        if refused == 0 && percentile(&acks, 0.99) <= SERVED_WITHIN_MS {
            served = rate;
        } else {
            too_much = rate;
        }
    }
    served
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
