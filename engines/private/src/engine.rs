//! The names of what can be killed, frozen and started on its own.

use std::fmt;

/// One engine of a set, or one node of its Cluster or Sentinel part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The single Redis server, with an append-only file synced every second.
    Redis,
    /// The RabbitMQ broker.
    RabbitMq,
    /// The MariaDB server.
    MariaDb,
    /// A node of the Redis Cluster: 1, 2 or 3, and their replicas 4, 5 and 6.
    Cluster(u8),
    /// The Redis server that was the master when the Sentinel part was started.
    SentinelMaster,
    /// The Redis server that was the replica when the Sentinel part was started.
    SentinelReplica,
    /// A Sentinel: 1, 2 or 3.
    Sentinel(u8),
    /// A node of the RabbitMQ cluster: 1, 2 or 3.
    Broker(u8),
}

impl fmt::Display for Engine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Engine::Redis => out.write_str("redis"),
            Engine::RabbitMq => out.write_str("rabbitmq"),
            Engine::MariaDb => out.write_str("mariadb"),
            Engine::Cluster(node) => write!(out, "cluster-{node}"),
            Engine::SentinelMaster => out.write_str("sentinel-master"),
            Engine::SentinelReplica => out.write_str("sentinel-replica"),
            Engine::Sentinel(node) => write!(out, "sentinel-{node}"),
            Engine::Broker(node) => write!(out, "broker-{node}"),
        }
    }
}

/// Where the Sentinel part of a set is.
#[derive(Debug, Clone)]
pub struct Sentinels {
    /// The name under which the Sentinels know the master.
    pub master_name: String,
    /// The Sentinels' URLs.
    pub sentinels: Vec<String>,
    /// The URL of [`Engine::SentinelMaster`]; after a failover it is the replica.
    pub first_master: String,
    /// The URL of [`Engine::SentinelReplica`].
    pub first_replica: String,
}
