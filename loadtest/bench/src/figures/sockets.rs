//! Ten thousand sockets: what they weigh, how fast they come, and all of them at once again.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, stream};
use sqlx::{Connection as _, MySqlConnection};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Bench, Corner, MISSED, SOCKETS, say};
use crate::{
    client::Socket,
    report::{Findings, Row},
};

impl Bench {
    pub(super) async fn sockets(&self) -> Findings {
        let mut findings = Findings::default();
        let (mut memory, mut connects, mut resumes, mut queries) = (vec![], vec![], vec![], vec![]);
        let mut notes = [String::new(), String::new()];
        for _ in 0..self.runs {
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

/// How often the database was asked something.
async fn selects(db: &mut MySqlConnection) -> f64 {
    let asked: (String, String) = sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Com_select'")
        .fetch_one(db)
        .await
        .expect("a status");
    asked.1.parse().expect("a number")
}
