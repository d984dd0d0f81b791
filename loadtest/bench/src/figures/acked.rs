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
        let (mut measured, mut bare) = (Vec::new(), Vec::new());
        for in_flight in [50, 200, 1_000] {
            let shape = Shape {
                rooms: 50,
                sockets: 1,
                senders: 1,
                in_flight: in_flight / 50,
            };
            let (mut runs, mut floor, mut note) = (Vec::new(), Vec::new(), String::new());
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
                floor.push(
                    floor::confirms(corner.setting("AMQP_URL"), in_flight, &payload, TIME).await,
                );
            }
            measured.push((in_flight as f64, median(&runs)));
            bare.push((in_flight as f64, median(&floor)));
            findings.rows.push(Row {
                name: format!("acked messages a second, {in_flight} in flight"),
                unit: "",
                runs,
                floor,
                to_reach: "0.75 of the floor",
                note,
            });
        }
        let lines = vec![
            ("acked".to_owned(), measured),
            ("bare confirms".to_owned(), bare),
        ];
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
