//! Publishing: many callers, one confirm channel, one task that feeds it.
//!
//! One task, because the client library numbers a message in one step and queues its frames in another: two that
//! publish on the same channel at the same time can be confirmed for each other. It polls the confirms itself, so that
//! a returned message is found for exactly the publish it belongs to: see `docs/decisions/our-own-amqp-supervisor.md`.
//! Under load what may travel together leaves as one message: see `docs/decisions/grouped-publishing.md`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use common::supervise;
use lapin::{Channel, options::ConfirmSelectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    connection::{ManagedConnection, Session, State},
    in_flight::InFlight,
    limits::{BrokerError, in_time},
    request::{
        BYTES_IN_FLIGHT_MAX, Batching, CONFIRM_CHECK_EVERY, Caller, FIRST_CONFIRM, Gauges,
        IN_FLIGHT_MAX, PublishError, Request,
    },
};

/// The way to the task.
#[derive(Clone)]
pub(super) struct Publisher {
    requests: mpsc::UnboundedSender<Request>,
    connection: ManagedConnection,
    gauges: Arc<Gauges>,
}

impl Publisher {
    /// Starts the task; it ends with the connection. Each of its channels may begin with a probe of a partition.
    pub(super) fn start(connection: ManagedConnection, probes: Option<usize>) -> Publisher {
        let (requests, receiver) = mpsc::unbounded_channel();
        let gauges = Arc::new(Gauges::default());
        supervise::spawn_part(
            "RabbitMQ publisher",
            feed(receiver, connection.clone(), gauges.clone(), probes),
        );
        Publisher {
            requests,
            connection,
            gauges,
        }
    }

    /// Until the first channel is open, or the time is up.
    pub(super) async fn opened(&self, at_most: Duration) {
        let opened = async {
            while !self.gauges.open.load(Ordering::Acquire) {
                self.gauges.changed.notified().await;
            }
        };
        let _ = timeout(at_most, opened).await;
    }

    /// Why nothing should be published now.
    pub(super) fn obstacle(&self) -> Option<String> {
        let gauges = &self.gauges;
        match self.connection.now() {
            Err(error) => return Some(error.to_string()),
            Ok(session) if session.is_blocked() => {
                return Some("RabbitMQ's alarm: it is low on memory or disk, and takes nothing until that is over".to_owned());
            }
            Ok(_) => {}
        }
        let (messages, bytes) = (
            gauges.messages.load(Ordering::Relaxed),
            gauges.bytes.load(Ordering::Relaxed),
        );
        if !gauges.open.load(Ordering::Acquire) {
            Some("the channel is being opened".to_owned())
        } else if gauges.stalled.load(Ordering::Acquire) && messages > 0 {
            // One at a time tries whether that is over.
            Some("RabbitMQ confirms nothing".to_owned())
        } else {
            let full = messages >= IN_FLIGHT_MAX || bytes >= BYTES_IN_FLIGHT_MAX;
            full.then(|| format!("{messages} messages of {bytes} bytes wait for their confirm"))
        }
    }

    /// The connection as it is now.
    pub(super) fn connection(&self) -> State {
        self.connection.now()
    }

    /// Publishes, persistent and mandatory, and returns when it is confirmed.
    pub(super) async fn ask(&self, batching: Batching, payload: Bytes) -> Result<(), PublishError> {
        if let Some(why) = self.obstacle() {
            return Err(PublishError::Unavailable(why));
        }
        let (done, answer) = oneshot::channel();
        let request = Request {
            caller: Caller::new(done, &self.gauges, payload.len()),
            batching,
            payload,
        };
        self.requests.send(request).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> PublishError {
    PublishError::Unavailable("it is closed".to_owned())
}

/// Feeds one confirm channel after the other.
async fn feed(
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut connection: ManagedConnection,
    gauges: Arc<Gauges>,
    probes: Option<usize>,
) {
    let mut reopening = false;
    let mut patience = FIRST_CONFIRM.back_off();
    loop {
        let session = tokio::select! {
            session = connection.session() => session,
            request = requests.recv() => {
                // Sent just before the connection was lost.
                let Some(mut request) = request else { return };
                request.caller.answer(Err(PublishError::Unavailable("the connection is lost".to_owned())));
                continue;
            }
        };
        let Some(session) = session else { return };
        if reopening {
            // The channel died and the connection did not: the exchange may be gone.
            tokio::time::sleep(CONFIRM_CHECK_EVERY).await;
            session.redeclare_later();
        }
        match open_channel(&session).await {
            Ok(channel) => {
                let mut in_flight = InFlight::new(channel, gauges.clone());
                match probes {
                    Some(partition) => in_flight.begin_probe(partition, patience.next_pause()),
                    None => in_flight.open(),
                }
                if in_flight.run(&session, &mut requests).await {
                    patience.reset();
                }
            }
            Err(error) => {
                session.give_up(format!("no channel to publish on: {error}"));
            }
        }
        if requests.is_closed() && requests.is_empty() {
            return;
        }
        reopening =
            !session.is_lost() && connection.now().is_ok_and(|now| now.epoch == session.epoch);
    }
}

async fn open_channel(session: &Session) -> Result<Channel, BrokerError> {
    let channel = session.channel().await?;
    in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}
