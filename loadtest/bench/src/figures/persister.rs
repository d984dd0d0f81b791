//! How fast a persister writes what waits.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Bench, Corner, TEXT};
use crate::{
    client::{self, Socket, masked},
    floor,
    processes::Process,
    report::{Findings, Row},
};

impl Bench {
    pub(super) async fn persister(&self) -> Findings {
        const ROWS: usize = 100_000;
        let (mut runs, mut floor, mut note) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..self.runs {
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
                // Asked when half of what is left should be done, since to answer costs it time as well; at the end it
                // is asked every 2 ms.
                let pace = (done - already).max(1.0) / began.elapsed().as_secs_f64();
                let half_of_it = (ROWS as f64 - done) / pace / 2.0;
                sleep(Duration::from_secs_f64(half_of_it.clamp(0.002, 0.1))).await;
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
