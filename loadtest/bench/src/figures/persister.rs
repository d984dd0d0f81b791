//! How fast a persister writes what waits.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Bench, TEXT, fill};
use crate::{
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
            fill(corner.edge.listen, &corner.sessions[0], &rooms, ROWS).await;
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
