//! Whether a room's age shows.

use sqlx::{Connection as _, MySqlConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Bench, TEXT, percentile, since_epoch};
use crate::{
    client::{self, Socket, masked},
    report::{Curves, Findings, Row, median},
};

impl Bench {
    /// A room's age must not show in what is read of its end.
    pub(super) async fn flatness(&self) -> Findings {
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
            for _ in 0..self.runs {
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
