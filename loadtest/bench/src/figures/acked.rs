//! How many messages are acked.

use std::net::SocketAddr;

use super::{Bench, Corner, TEXT, TIME};
use crate::{
    client,
    fan_out::{self, Shape},
    floor,
    processes::{self, Process},
    report::{Curves, Findings, Row, median},
};

impl Bench {
    /// Acked messages of one edge, nobody else in the rooms, and no persister: the floor has none either. Too short for repairs.
    pub(super) async fn acked(&self) -> Findings {
        let text = client::message(TEXT);
        let payload = vec![b'x'; TEXT + 250];
        let address = processes::free_address();
        let plain = Process::start("bench", &["floor", &address.to_string()], &[]);
        let mut findings = Findings::default();
        let mut lines: Vec<(String, Vec<(f64, f64)>)> =
            ["acked", "bare confirms, two queues", "one"]
                .map(|name| (name.to_owned(), Vec::new()))
                .into();
        for in_flight in [50, 200, 1_000] {
            let shape = Shape {
                rooms: 50,
                sockets: 1,
                senders: 1,
                in_flight: in_flight / 50,
            };
            let (mut runs, mut note) = (Vec::new(), String::new());
            let (mut into_two, mut into_one, mut parts) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.runs {
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
                let amqp = corner.setting("AMQP_URL");
                into_two.push(floor::confirms(amqp, 2, in_flight, &payload, TIME).await);
                into_one.push(floor::confirms(amqp, 1, in_flight, &payload, TIME).await);
                parts.push(
                    self.sum_of_parts(&plain, address, &corner, &rooms, shape, in_flight)
                        .await,
                );
            }
            for ((_, points), runs) in lines.iter_mut().zip([&runs, &into_two, &into_one]) {
                points.push((in_flight as f64, median(runs)));
            }
            findings.rows.push(Row {
                name: format!("acked messages a second, {in_flight} in flight; floor: confirms into two queues"),
                unit: "",
                runs: runs.clone(),
                floor: into_two,
                to_reach: "0.75 of the floor",
                note,
            });
            findings.rows.push(Row {
                name: format!("the same, {in_flight} in flight; floor: confirms into one queue, where these messages go"),
                unit: "",
                runs: runs.clone(),
                floor: into_one,
                to_reach: "",
                note: String::new(),
            });
            findings.rows.push(Row {
                name: format!("the same, {in_flight} in flight; floor: all cores busy with frames, a script and a confirm, each as measured alone"),
                unit: "",
                runs,
                floor: parts,
                to_reach: "",
                note: String::new(),
            });
        }
        let curves = Curves {
            title: "Acked messages, one edge".into(),
            x: "in flight",
            y: "a second",
            lines,
        };
        findings.curves.push(("acked.svg".into(), curves));
        findings
    }

    /// What all cores could do a second if a message cost what its parts cost alone, each in a loop of its own with as many
    /// in flight: frames in and out of a WebSocket, the plainest script, a confirm into one queue. Clients and engines count.
    async fn sum_of_parts(
        &self,
        plain: &Process,
        address: SocketAddr,
        corner: &Corner,
        rooms: &[String],
        shape: Shape,
        in_flight: usize,
    ) -> f64 {
        let payload = "x".repeat(TEXT + 250);
        let amqp = corner.setting("AMQP_URL");
        let mut cpu_seconds = 0.0;

        // As long as what the edge sends for such a message.
        let text = format!(
            "{{\"type\":\"message\",\"message\":\"{}\"}}",
            "x".repeat(TEXT + 190)
        );
        let mut meter = self.meter(vec![("floor", plain)]);
        let frames = fan_out::run(address, &corner.sessions, rooms, shape, &text, TIME, || {
            meter.mark();
        })
        .await;
        let used = meter.used("floor") + meter.used("load");
        cpu_seconds += used / (frames.acks * frames.seconds);

        let mut meter = self.meter(Vec::new());
        meter.mark();
        let called = floor::scripts(self.engines.redis_url(), in_flight, &payload, TIME).await;
        meter.mark();
        let used = meter.used("Redis") + meter.used("load");
        cpu_seconds += used / (called * TIME.as_secs_f64());

        let mut meter = self.meter(Vec::new());
        meter.mark();
        let confirmed = floor::confirms(amqp, 1, in_flight, payload.as_bytes(), TIME).await;
        meter.mark();
        let used = meter.used("RabbitMQ") + meter.used("load");
        cpu_seconds += used / (confirmed * TIME.as_secs_f64());

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores as f64 / cpu_seconds
    }
}
