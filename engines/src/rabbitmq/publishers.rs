//! Publishing over more than one node of a cluster.
//!
//! When the node stands still that leads a queue, the others choose a new leader within 5 to 9 s and tell every channel
//! that has published to the queue before. One that has not must find the leader by itself, and in RabbitMQ 3.10 it
//! asks the old one, without a limit, and nothing else that is published on it gets on: a process whose node stands
//! still could publish over none of the others until it is thawed or given up, a minute or more. So where there are
//! several hosts each process has a second connection, to another one, and each channel begins with a message to every
//! queue that it is for ([`PROBE`](super::request::PROBE)): only when that is confirmed is it used. Each partition has
//! channels of its own, so that what hangs with one of them does not hang for the rooms of the others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::BasicProperties;
use uuid::Uuid;

use super::{
    connection::{ManagedConnection, State, first_of},
    publisher::Publisher,
    request::{Batching, PublishError, Target},
};

/// The publishers of one partition, each with a connection of its own. The first that can is the one that does.
pub(super) struct Publishers(Vec<Publisher>);

impl Publishers {
    /// Starts one for each connection, of which there is at least one.
    pub(super) fn start(connections: &[ManagedConnection], partition: usize) -> Publishers {
        let probes = (connections.len() > 1).then_some(partition);
        let start = |connection: &ManagedConnection| Publisher::start(connection.clone(), probes);
        Publishers(connections.iter().map(start).collect())
    }

    /// Until each has a channel, or the time is up.
    pub(super) async fn opened(&self, at_most: Duration) {
        join_all(self.0.iter().map(|one| one.opened(at_most))).await;
    }

    /// Why nothing should be published now.
    pub(super) fn obstacle(&self) -> Option<String> {
        let mut obstacles = self.0.iter().map(Publisher::obstacle);
        let first = obstacles.next().flatten()?;
        obstacles.all(|other| other.is_some()).then_some(first)
    }

    /// The connection of one that is connected, or why none is.
    pub(super) fn connection(&self) -> State {
        first_of(self.0.iter().map(Publisher::connection))
    }

    /// Publishes, persistent and mandatory, and returns when it is confirmed.
    pub(super) async fn publish(
        &self,
        target: Target,
        properties: BasicProperties,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let batching = Batching::Alone(target, Box::new(properties));
        self.chosen().ask(batching, payload).await
    }

    /// The same, under load as a part of one message with others that are published in this way. There is one target
    /// for all of them.
    pub(super) async fn publish_grouped(
        &self,
        target: Target,
        id: Uuid,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let batching = Batching::Grouped(target, id);
        self.chosen().ask(batching, payload).await
    }

    fn chosen(&self) -> &Publisher {
        let free = self.0.iter().find(|one| one.obstacle().is_none());
        free.unwrap_or(&self.0[0])
    }
}
