//! How many deliveries an edge makes.

use super::{Bench, TEXT, TIME};
use crate::{
    client,
    fan_out::{self, Shape},
    processes::{self, Process},
    report::{Curves, Findings, Row, median},
};

impl Bench {
    /// Deliveries of one edge, with everything kept.
    pub(super) async fn fan_out(&self) -> Findings {
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
            for _ in 0..self.runs {
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
}
