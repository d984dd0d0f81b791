//! The client of the whole deployment, all its nodes: which one a command goes to, and what to do about answers that say
//! "not here" or "not now". There is one time limit, on the whole of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::supervise;
use redis::{Cmd, RedisError, ServerError, ServerErrorKind, Value, cmd};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    deployment::{Address, Deployment, SlotTable, Unreachable},
    node_connection::{Connected, NodeConnection},
    request::{COMMAND_LIMIT, Request, RequestError},
    topology_refresh::TopologyRefresh,
};

/// How often the slots are asked for while all is well: a Cluster also says so when they have moved, and each Sentinel
/// is listened to.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// And while a node is away, or somebody was sent elsewhere.
const REFRESH_SOON: Duration = Duration::from_millis(300);

/// Before a command is tried again on a node that could not take it just now.
const SHORTLY: Duration = Duration::from_millis(50);

/// The nodes, and the tasks that follow their moves.
pub(super) struct RedisClient {
    deployment: Arc<Deployment>,
    nodes: watch::Receiver<Arc<Nodes>>,
    refresh: Arc<TopologyRefresh>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// Who serves what, and the connections for commands.
pub(super) struct Nodes {
    pub(super) slots: SlotTable,
    connections: HashMap<Address, Arc<NodeConnection>>,
}

impl RedisClient {
    /// Finds the nodes and starts to connect to them.
    ///
    /// # Errors
    /// If nobody says where they are.
    pub(super) async fn find(deployment: Deployment) -> Result<RedisClient, Unreachable> {
        let deployment = Arc::new(deployment);
        let refresh = Arc::<TopologyRefresh>::default();
        let slots = deployment.locate(&[]).await?;
        let first = Nodes::of(slots, None, &deployment, &refresh);
        let (publish, nodes) = watch::channel(Arc::new(first));
        let following = follow_topology(Arc::clone(&deployment), publish, Arc::clone(&refresh));
        let mut tasks = vec![supervise::spawn_part("Redis topology", following)];
        if let Some(sentinels) = deployment.sentinels() {
            tasks.extend(sentinels.addresses.iter().map(|sentinel| {
                let (nodes, refresh) = (nodes.clone(), Arc::clone(&refresh));
                let listening = Arc::clone(sentinels).listen(sentinel.clone(), nodes, refresh);
                supervise::spawn_part("Redis Sentinel", listening)
            }));
        }
        Ok(RedisClient {
            deployment,
            nodes,
            refresh,
            _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect(),
        })
    }

    pub(super) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Who serves what, and whenever that changes.
    pub(super) fn nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.nodes.clone()
    }

    /// Somebody was sent elsewhere: see whether the slots have moved.
    pub(super) fn refresh_topology(&self) {
        self.refresh.request();
    }

    /// Changes whenever a connection is lost: its server may have lost what it knew.
    pub(super) fn losses(&self) -> u64 {
        self.refresh.losses()
    }

    /// Asks one node for a sign of life.
    ///
    /// # Errors
    /// If it gives none within `limit`.
    pub(super) async fn ping(&self, node: &Address, limit: Duration) -> Result<(), RequestError> {
        let until = Instant::now() + limit;
        let nodes = Arc::clone(&self.nodes.borrow());
        let Some(connection) = nodes.connections.get(node) else {
            return Err(RequestError::Away("it serves no slots any more".into()));
        };
        let mut connected = connection
            .connection(until)
            .await
            .map_err(RequestError::Away)?;
        let ping = cmd("PING");
        let pong = connected.connection.send_packed_command(&ping);
        let pong = timeout_at(until, pong)
            .await
            .map_err(|_| RequestError::Late)?;
        if let Err(error) = pong.and_then(Value::extract_error) {
            connection.broken(&connected);
            return Err(error.into());
        }
        Ok(())
    }

    /// Has the node that serves `slot` do what is asked, and returns its answer to each command.
    ///
    /// # Errors
    /// [`RequestError`] after [`COMMAND_LIMIT`] at the latest. It may have been done all the same.
    pub(super) async fn run(
        &self,
        slot: u16,
        request: Request<'_>,
    ) -> Result<Vec<Value>, RequestError> {
        self.run_within(COMMAND_LIMIT, slot, request).await
    }

    /// The same within another time.
    ///
    /// # Errors
    /// [`RequestError`] after `limit` at the latest.
    pub(super) async fn run_within(
        &self,
        limit: Duration,
        slot: u16,
        request: Request<'_>,
    ) -> Result<Vec<Value>, RequestError> {
        let until = Instant::now() + limit;
        let mut excuse = None;
        // One limit around everything: whatever the attempts wait for.
        match timeout_at(until, self.attempts(slot, request, until, &mut excuse)).await {
            // What a server said is more than that its connection is gone since.
            Ok(Err(RequestError::Away(_))) if excuse.is_some() => {
                Err(excuse.map_or(RequestError::Late, RequestError::Redis))
            }
            Ok(outcome) => outcome,
            Err(_) => Err(excuse.map_or(RequestError::Late, RequestError::Redis)),
        }
    }

    /// Has one node do commands of any of its slots, once, and returns its answer to each. Where a slot is not the node's
    /// any more, that answer is an error.
    ///
    /// # Errors
    /// [`RequestError`] after [`COMMAND_LIMIT`] at the latest. All may have been done all the same.
    pub(super) async fn run_on(
        &self,
        node: &Address,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Value>, RequestError> {
        let until = Instant::now() + COMMAND_LIMIT;
        let nodes = Arc::clone(&self.nodes.borrow());
        let Some(connection) = nodes.connections.get(node) else {
            return Err(RequestError::Away("it serves no slots any more".into()));
        };
        let connected = connection
            .connection(until)
            .await
            .map_err(RequestError::Away)?;
        let sent = timeout_at(until, connected.writes.send(commands)).await;
        sent.map_err(|_| RequestError::Late)?.map_err(|error| {
            connection.broken(&connected);
            error.into()
        })
    }

    async fn attempts(
        &self,
        slot: u16,
        mut request: Request<'_>,
        until: Instant,
        excuse: &mut Option<RedisError>,
    ) -> Result<Vec<Value>, RequestError> {
        let mut asking_at = None;
        loop {
            let nodes = Arc::clone(&self.nodes.borrow());
            let connection = match &asking_at {
                Some(node) => nodes.connections.get(node),
                None => nodes
                    .slots
                    .owner(slot)
                    .and_then(|owner| nodes.connections.get(owner)),
            };
            let Some(connection) = connection else {
                self.refresh_topology();
                if asking_at.take().is_none() && !self.deployment.moves() {
                    return Err(RequestError::Unserved(slot));
                }
                sleep(SHORTLY).await;
                continue;
            };
            let connected = connection
                .connection(until)
                .await
                .map_err(RequestError::Away)?;
            let asking = asking_at.take().is_some();
            let error = match send(&connected, &request, asking).await {
                Ok(values) => match first_error(&values) {
                    None => return Ok(values),
                    Some(error) => error.clone(),
                },
                Err(error) => {
                    connection.broken(&connected);
                    if !request.idempotent {
                        return Err(error.into());
                    }
                    *excuse = Some(error);
                    sleep(SHORTLY).await;
                    continue;
                }
            };
            match error.kind() {
                Some(ServerErrorKind::NoScript) if request.script.is_some() => {
                    let script = request.script.take();
                    for call in &mut request.commands {
                        *call =
                            script.map_or_else(|| call.clone(), |script| script.with_code(call));
                    }
                    continue;
                }
                Some(ServerErrorKind::Ask) => {
                    asking_at = redirect(&error, &nodes);
                    if asking_at.is_none() {
                        self.refresh_topology();
                        sleep(SHORTLY).await;
                    }
                }
                Some(ServerErrorKind::Moved) => {
                    self.refresh_topology();
                    asking_at = redirect(&error, &nodes);
                    if asking_at.is_none() {
                        sleep(SHORTLY).await;
                    }
                }
                _ => match not_now(&error) {
                    Some(server) => {
                        if server == NotNow::Replaced {
                            connection.broken(&connected);
                        }
                        self.refresh_topology();
                        sleep(SHORTLY).await;
                    }
                    None => return Err(RedisError::from(error).into()),
                },
            }
            *excuse = Some(error.into());
        }
    }
}

impl Nodes {
    fn of(
        slots: SlotTable,
        before: Option<&Nodes>,
        deployment: &Arc<Deployment>,
        refresh: &Arc<TopologyRefresh>,
    ) -> Nodes {
        let connection =
            |node: &Address| match before.and_then(|before| before.connections.get(node)) {
                Some(connection) => Arc::clone(connection),
                None => {
                    let deployment = Arc::clone(deployment);
                    Arc::new(NodeConnection::open(
                        deployment,
                        node.clone(),
                        Arc::clone(refresh),
                    ))
                }
            };
        let connections = slots
            .nodes()
            .into_iter()
            .map(|node| (node.clone(), connection(&node)))
            .collect();
        Nodes { slots, connections }
    }
}

async fn send(
    connected: &Connected,
    request: &Request<'_>,
    asking: bool,
) -> Result<Vec<Value>, RedisError> {
    if !asking {
        return connected.writes.send(request.commands.clone()).await;
    }
    let asked = request
        .commands
        .iter()
        .flat_map(|command| [cmd("ASKING"), command.clone()]);
    let values = connected.writes.send(asked.collect()).await?;
    Ok(values.into_iter().skip(1).step_by(2).collect())
}

fn first_error(values: &[Value]) -> Option<&ServerError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    })
}

/// Why a server did nothing of what it was asked, though it may do so soon, or another does in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotNow {
    /// It is not the master, and its connection is of no use.
    Replaced,
    /// It goes on reading, but takes no writes for now, perhaps because it is about to be replaced.
    Waiting,
}

/// Everything by which a server says that it is not to be written to now. Whoever watches over it knows if there is a
/// better one, so each is a reason to ask where the master is; and to try again within the time that the caller has.
fn not_now(error: &ServerError) -> Option<NotNow> {
    match error.code() {
        // A replica: it was replaced, or follows a master that it has lost.
        "READONLY" | "MASTERDOWN" => Some(NotNow::Replaced),
        // A master without its replicas: they may have made one of themselves the master (`min-replicas-to-write`).
        "NOREPLICAS"
        // Part of a Cluster that has no quorum, or a slot that is on the move.
        | "CLUSTERDOWN" | "TRYAGAIN"
        // It has only just started, or a script goes on for too long.
        | "LOADING" | "BUSY"
        // Its disk or its memory is full.
        | "MISCONF" | "OOM" => Some(NotNow::Waiting),
        _ => None,
    }
}

/// Where `MOVED slot host:port` or `ASK slot host:port` sends to, if that node is known.
fn redirect(error: &ServerError, nodes: &Nodes) -> Option<Address> {
    let to = error.details()?.split_ascii_whitespace().nth(1)?;
    nodes
        .connections
        .keys()
        .find(|node| node.to_string() == to)
        .cloned()
}

/// Keeps the table of slots right.
async fn follow_topology(
    deployment: Arc<Deployment>,
    publish: watch::Sender<Arc<Nodes>>,
    refresh: Arc<TopologyRefresh>,
) {
    if !deployment.moves() {
        // Those who wait for a change wait as long as the client is there.
        return publish.closed().await;
    }
    loop {
        let before = Arc::clone(&publish.borrow());
        let all_up = before
            .connections
            .values()
            .all(|connection| connection.is_up());
        let pause = if all_up { REFRESH_EVERY } else { REFRESH_SOON };
        // Asked for or not is the same: both mean to refresh.
        drop(timeout(pause, refresh.requested()).await);
        let (up, down): (Vec<_>, Vec<_>) = before
            .connections
            .iter()
            .partition(|(_, connection)| connection.is_up());
        let known: Vec<Address> = up
            .into_iter()
            .chain(down)
            .map(|(at, _)| at.clone())
            .collect();
        match deployment.locate(&known).await {
            Ok(slots) if slots == before.slots => {}
            Ok(slots) => {
                tracing::info!(nodes = ?slots.nodes(), "the nodes of Redis have changed");
                let nodes = Nodes::of(slots, Some(&before), &deployment, &refresh);
                publish.send_replace(Arc::new(nodes));
            }
            Err(error) => tracing::debug!(%error, "nobody says where Redis is"),
        }
        sleep(REFRESH_SOON.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> ServerError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_takes_no_writes_now_is_asked_again_and_one_that_never_will_is_not() {
        for replica in [
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down",
        ] {
            assert_eq!(not_now(&said(replica)), Some(NotNow::Replaced), "{replica}");
        }
        for master in [
            "NOREPLICAS Not enough good replicas to write.",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "OOM command not allowed when used memory > 'maxmemory'.",
        ] {
            assert_eq!(not_now(&said(master)), Some(NotNow::Waiting), "{master}");
        }
        for never in [
            "ERR unknown command",
            "WRONGTYPE Operation against a key",
            "NOPERM no permissions",
            "NOAUTH Authentication required.",
        ] {
            assert_eq!(not_now(&said(never)), None, "{never}");
        }
    }
}
