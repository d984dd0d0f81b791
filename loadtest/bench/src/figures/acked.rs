//! How many messages are acked.

use super::{Bench, TEXT, TIME};
use crate::{
    client,
    fan_out::{self, Shape},
    floor,
    report::{Curves, Findings, Row, median},
};

impl Bench {
    /// Acked messages of one edge, nobody else in the rooms, and no persister: the floor has none either. Too short for repairs.
    pub(super) async fn acked(&self) -> Findings {
        let text = client::message(TEXT);
        let payload = vec![b'x'; TEXT + 250];
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
            let (mut into_two, mut into_one) = (Vec::new(), Vec::new());
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
                runs,
                floor: into_one,
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
}
