//! What `REDIS_URL` names: one server, a Cluster, or a server that Sentinels watch over; and how one connects to a node
//! of it. To the rest of this side all three are the same: a table of which node serves which slots.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, Value,
    aio::{AsyncPushSender, MultiplexedConnection},
    cmd, from_redis_value,
};
use tokio::time::timeout;

use super::{
    keys::SLOTS,
    request::own_words,
    sentinels::Sentinels,
    urls::{Several, connection_info},
};

/// How long a node may take to accept a connection and to answer the first commands on it.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long one node or Sentinel may take to say where the others are; then the next one is asked.
pub(super) const LOCATE_LIMIT: Duration = Duration::from_secs(1);

/// The most commands of one connection that wait to be written.
const COMMANDS_WAITING_MAX: usize = 4_096;

/// How many bytes of commands are gathered into one write while the socket is busy.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    host: Arc<str>,
    port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Address {
        let host = host.into();
        Address { host, port }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Which node serves which slots: ranges, ascending, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotTable(pub(super) Vec<(u16, u16, Address)>);

impl SlotTable {
    /// The node that serves a slot, if any does.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let at = self.0.partition_point(|(_, last, _)| *last < slot);
        let (first, _, node) = self.0.get(at)?;
        (*first <= slot).then_some(node)
    }

    /// One node that serves everything.
    pub(super) fn all(node: Address) -> SlotTable {
        SlotTable(vec![(0, SLOTS - 1, node)])
    }

    /// How many slots are served by anybody.
    pub(super) fn served(&self) -> usize {
        let ranges = self.0.iter();
        ranges
            .map(|(first, last, _)| usize::from(last.saturating_sub(*first)) + 1)
            .sum()
    }

    /// The slots of a node, ascending.
    pub(super) fn of<'a>(&'a self, node: &'a Address) -> impl Iterator<Item = u16> + 'a {
        let own = self.0.iter().filter(move |(_, _, owner)| owner == node);
        own.flat_map(|(first, last, _)| *first..=*last)
    }

    /// Each node once.
    pub(super) fn nodes(&self) -> Vec<Address> {
        let mut nodes: Vec<Address> = self.0.iter().map(|(_, _, node)| node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }
}

/// A deployment of Redis.
pub(super) struct Deployment {
    kind: Kind,
    /// What every connection to a data node shares: credentials, database, TLS.
    node: ConnectionInfo,
}

enum Kind {
    Single(Address),
    Cluster { seeds: Vec<Address> },
    Sentinel(Arc<Sentinels>),
}

/// Tells the memory of one server from any other: it is another one after a restart, which may have cost its last second,
/// and where another server has taken over, which may not have been told everything yet. Two that could not be read are
/// not the same.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerMemory(Option<Arc<str>>);

impl PartialEq for ServerMemory {
    fn eq(&self, other: &ServerMemory) -> bool {
        self.0.is_some() && self.0 == other.0
    }
}

impl ServerMemory {
    /// The run's id, which changes with a restart, and that of its replication, which changes when a replica is promoted.
    async fn behind(connection: &mut MultiplexedConnection) -> ServerMemory {
        let mut asking = Pipeline::new();
        asking.cmd("INFO").arg("server");
        asking.cmd("INFO").arg("replication");
        let Ok(answers) = connection.send_packed_commands(&asking, 0, 2).await else {
            return ServerMemory(None);
        };
        let sections = answers
            .into_iter()
            .map(|section| from_redis_value::<String>(section).unwrap_or_default());
        ServerMemory::read(&sections.collect::<String>())
    }

    fn read(info: &str) -> ServerMemory {
        let value = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let ids = value("run_id").zip(value("master_replid"));
        ServerMemory(ids.map(|(run, replication)| format!("{run} {replication}").into()))
    }
}

/// Why a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("{what}: {}", own_words(.error))]
    Redis { what: String, error: RedisError },
    #[error("{0} did not answer in time")]
    Late(String),
    #[error("{0}")]
    Unfit(String),
}

impl Deployment {
    /// Reads `REDIS_URL`.
    ///
    /// # Errors
    /// What is wrong with it, without its secrets.
    pub(super) fn parse(url: &str) -> Result<Deployment, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("REDIS_URL is not a URL: it has no ://")?;
        let (plain, kind) = match scheme.split_once('-') {
            Some((plain, kind)) => (plain, kind),
            None => (scheme, "single"),
        };
        if kind == "single" {
            let node = connection_info(url)?;
            let address = address_of(&node);
            return Ok(Deployment {
                kind: Kind::Single(address),
                node,
            });
        }
        if !matches!(plain, "redis" | "rediss") {
            return Err(format!("REDIS_URL: unknown scheme {scheme}"));
        }
        let several = Several::split(rest);
        let addresses: Vec<ConnectionInfo> = several
            .hosts
            .iter()
            .map(|host| connection_info(&several.one(plain, host)))
            .collect::<Result<_, _>>()?;
        let node = addresses.first().ok_or("REDIS_URL names no host")?.clone();
        let addresses: Vec<Address> = addresses.iter().map(address_of).collect();
        match kind {
            "cluster" => Ok(Deployment {
                kind: Kind::Cluster { seeds: addresses },
                node,
            }),
            "sentinel" => {
                let service = several
                    .service()
                    .ok_or("REDIS_URL names no service: redis-sentinel://host:port/service")?;
                let sentinel = several.sentinel_info(plain)?;
                Ok(Deployment {
                    kind: Kind::Sentinel(Arc::new(Sentinels::new(addresses, service, sentinel))),
                    node,
                })
            }
            _ => Err(format!("REDIS_URL: unknown scheme {scheme}")),
        }
    }

    /// Whether it is a Cluster, in which each key has its node.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// Whether nodes may come and go.
    pub(super) fn moves(&self) -> bool {
        !matches!(self.kind, Kind::Single(_))
    }

    /// Those who say where the master is, and may change that at any time; none where nobody does.
    pub(super) fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        match &self.kind {
            Kind::Sentinel(sentinels) => Some(sentinels),
            Kind::Single(_) | Kind::Cluster { .. } => None,
        }
    }

    /// Asks who serves what at this moment; nodes that were known are asked before those of the URL.
    ///
    /// # Errors
    /// If nobody could say.
    pub(super) async fn locate(&self, known: &[Address]) -> Result<SlotTable, Unreachable> {
        let mut last = Unreachable::Unfit("nobody to ask".into());
        match &self.kind {
            Kind::Single(address) => return Ok(SlotTable::all(address.clone())),
            Kind::Cluster { seeds } => {
                let asked = known
                    .iter()
                    .chain(seeds.iter().filter(|seed| !known.contains(seed)));
                for node in asked {
                    match limited(node, self.ask_cluster(node)).await {
                        Ok(table) => return Ok(table),
                        Err(error) => last = error,
                    }
                }
            }
            Kind::Sentinel(sentinels) => return Ok(SlotTable::all(sentinels.locate().await?)),
        }
        Err(last)
    }

    async fn ask_cluster(&self, node: &Address) -> Result<SlotTable, Unreachable> {
        let mut connection = open(&self.node, node, AsyncConnectionConfig::new()).await?;
        let slots = cmd("CLUSTER").arg("SLOTS").clone();
        let reply = slots.query_async::<Value>(&mut connection).await;
        read_slots(reply.map_err(|source| failed(node, source))?, node)
    }

    /// A connection for commands.
    ///
    /// # Errors
    /// If the node does not answer in time or is no master.
    pub(super) async fn connect(
        &self,
        node: &Address,
    ) -> Result<MultiplexedConnection, Unreachable> {
        self.connect_with(node, commands()).await
    }

    /// A connection for subscriptions, whose pushes go to `pushes`, which must not block; and whose memory it is that
    /// answers there.
    ///
    /// # Errors
    /// As [`Deployment::connect`].
    pub(super) async fn connect_subscriber(
        &self,
        node: &Address,
        pushes: impl AsyncPushSender,
    ) -> Result<(MultiplexedConnection, ServerMemory), Unreachable> {
        let mut connection = self
            .connect_with(node, commands().set_push_sender(pushes))
            .await?;
        let memory = timeout(CONNECT_LIMIT, ServerMemory::behind(&mut connection)).await;
        let memory = memory.map_err(|_| Unreachable::Late(node.to_string()))?;
        Ok((connection, memory))
    }

    async fn connect_with(
        &self,
        node: &Address,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Unreachable> {
        let connecting = async {
            let mut connection = open(&self.node, node, config).await?;
            if matches!(self.kind, Kind::Sentinel(_)) {
                // A master that was replaced while it was away takes itself for one until a Sentinel corrects it; a
                // replica that is about to be promoted is none yet.
                let role = cmd("ROLE").query_async::<Vec<Value>>(&mut connection).await;
                let role = role.map_err(|source| failed(node, source))?;
                if role.first() != Some(&Value::BulkString(b"master".to_vec())) {
                    return Err(Unreachable::Unfit(format!("{node} is not the master")));
                }
            }
            Ok(connection)
        };
        timeout(CONNECT_LIMIT, connecting)
            .await
            .unwrap_or_else(|_| Err(Unreachable::Late(node.to_string())))
    }
}

pub(super) fn commands() -> AsyncConnectionConfig {
    // The limits are on whole operations, not on single answers, so the client's own are off.
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(COMMANDS_WAITING_MAX)
        .set_write_backpressure_boundary(WRITE_BUFFER_BYTES)
}

pub(super) async fn open(
    template: &ConnectionInfo,
    node: &Address,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Unreachable> {
    let address = match template.addr() {
        ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(node.host.to_string(), node.port),
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: node.host.to_string(),
            port: node.port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        other => other.clone(),
    };
    let info = template.clone().set_addr(address);
    let client = Client::open(info).map_err(|source| failed(node, source))?;
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|source| failed(node, source))
}

pub(super) async fn limited<T>(
    node: &Address,
    asking: impl Future<Output = Result<T, Unreachable>>,
) -> Result<T, Unreachable> {
    timeout(LOCATE_LIMIT, asking)
        .await
        .unwrap_or_else(|_| Err(Unreachable::Late(node.to_string())))
}

pub(super) fn failed(node: &Address, error: RedisError) -> Unreachable {
    Unreachable::Redis {
        what: node.to_string(),
        error,
    }
}

/// The answer to `CLUSTER SLOTS`: for each range its first and last slot and its nodes, the master first.
fn read_slots(reply: Value, asked: &Address) -> Result<SlotTable, Unreachable> {
    let unreadable = |_| Unreachable::Unfit(format!("{asked} answers CLUSTER SLOTS with riddles"));
    let rows: Vec<Vec<Value>> = from_redis_value(reply).map_err(unreadable)?;
    let mut table = Vec::with_capacity(rows.len());
    for row in rows {
        let mut row = row.into_iter();
        let mut next = || row.next().unwrap_or_default();
        let first: u16 = from_redis_value(next()).map_err(unreadable)?;
        let last: u16 = from_redis_value(next()).map_err(unreadable)?;
        let mut master = from_redis_value::<Vec<Value>>(next())
            .map_err(unreadable)?
            .into_iter();
        let mut next = || master.next().unwrap_or_default();
        let host: Option<String> = from_redis_value(next()).map_err(unreadable)?;
        let port: u16 = from_redis_value(next()).map_err(unreadable)?;
        // A node that does not know its own name leaves it out: it is where it was asked.
        let host = match host.as_deref() {
            None | Some("" | "?") => Arc::clone(&asked.host),
            Some(host) => host.into(),
        };
        table.push((first, last, Address { host, port }));
    }
    if table.is_empty() {
        return Err(Unreachable::Unfit(format!(
            "{asked} knows of no slot that is served"
        )));
    }
    table.sort_by_key(|(first, ..)| *first);
    Ok(SlotTable(table))
}

fn address_of(info: &ConnectionInfo) -> Address {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Address::new(host, *port)
        }
        other => Address::new(&other.to_string(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_server_a_cluster_or_sentinels() {
        let single = Deployment::parse("redis://:secret@one:7000/2").unwrap();
        assert!(matches!(single.kind, Kind::Single(at) if at == Address::new("one", 7000)));
        assert_eq!(single.node.redis_settings().db(), 2);

        let cluster = Deployment::parse("redis-cluster://ada:se%40cret@one:1,[::1]:2").unwrap();
        assert!(
            matches!(cluster.kind, Kind::Cluster { seeds } if seeds == [Address::new("one", 1), Address::new("::1", 2)])
        );
        assert_eq!(cluster.node.redis_settings().password(), Some("se@cret"));

        let sentinel =
            Deployment::parse("rediss-sentinel://:pw@one:1,two:2/chat/3?sentinel_password=other")
                .unwrap();
        assert_eq!(sentinel.node.redis_settings().db(), 3);
        assert_eq!(sentinel.node.redis_settings().password(), Some("pw"));
        assert!(matches!(
            sentinel.node.addr(),
            ConnectionAddr::TcpTls { .. }
        ));
        let Kind::Sentinel(sentinels) = sentinel.kind else {
            panic!("no sentinels");
        };
        assert_eq!(sentinels.service, "chat");
        assert_eq!(
            sentinels.connection.redis_settings().password(),
            Some("other")
        );
        assert_eq!(
            sentinels.addresses,
            [Address::new("one", 1), Address::new("two", 2)]
        );
    }

    #[test]
    fn a_server_is_known_by_its_run_and_its_replication_and_a_stranger_is_never_the_same() {
        let info = |run: &str, replication: &str| {
            ServerMemory::read(&format!(
                "# Server\r\nrun_id:{run}\r\n# Replication\r\nmaster_replid:{replication}\r\n"
            ))
        };
        assert_eq!(info("a", "x"), info("a", "x"));
        assert_ne!(info("a", "x"), info("b", "x"));
        assert_ne!(info("a", "x"), info("a", "y"));
        assert_ne!(ServerMemory::read("no"), ServerMemory::read("no"));
    }

    #[test]
    fn a_bad_url_is_refused_without_its_secrets() {
        for bad in [
            "one:secret@7000",
            "redis-ring://:secret@one:1",
            "redis-sentinel://:secret@one:1",
            "redis-cluster://:secret@/",
            "redis://:secret@one:x/",
        ] {
            let error = Deployment::parse(bad).err().expect(bad);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_slot_has_one_owner_or_none() {
        let table = SlotTable(vec![
            (0, 99, Address::new("a", 1)),
            (200, 300, Address::new("b", 1)),
        ]);
        assert_eq!(table.owner(99), Some(&Address::new("a", 1)));
        assert_eq!(table.owner(100), None);
        assert_eq!(table.owner(200), Some(&Address::new("b", 1)));
        assert_eq!(table.owner(301), None);
    }
}
