//! All nodes of the deployment: which one a command goes to, and what to do about answers that say "not here" or "not
//! now". There is one time limit, on the whole of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::supervise;
use redis::{RedisError, ServerError, ServerErrorKind, Value, cmd};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    deployment::{Address, Deployment, SlotTable, Unreachable},
    link::{Connected, Link},
    look::Look,
    request::{COMMAND_LIMIT, Failed, Request},
};

/// How often the slots are asked for while all is well: a Cluster also says so when they have moved.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// And while a node is away, or somebody was sent elsewhere.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Before a command is tried again on a node that could not take it just now.
const SHORTLY: Duration = Duration::from_millis(50);

/// The nodes, and the task that follows their moves.
pub(super) struct Fleet {
    deployment: Arc<Deployment>,
    nodes: watch::Receiver<Arc<Nodes>>,
    look: Arc<Look>,
    _task: AbortOnDropHandle<()>,
}

/// Who serves what, and the connections for commands.
pub(super) struct Nodes {
    pub(super) slots: SlotTable,
    links: HashMap<Address, Arc<Link>>,
}

impl Fleet {
    /// Finds the nodes and starts to connect to them.
    ///
    /// # Errors
    /// If nobody says where they are.
    pub(super) async fn find(deployment: Deployment) -> Result<Fleet, Unreachable> {
        let deployment = Arc::new(deployment);
        let look = Arc::<Look>::default();
        let slots = deployment.locate(&[]).await?;
        let first = Nodes::of(slots, None, &deployment, &look);
        let (tell, nodes) = watch::channel(Arc::new(first));
        let following = follow(Arc::clone(&deployment), tell, Arc::clone(&look));
        Ok(Fleet {
            deployment,
            nodes,
            look,
            _task: AbortOnDropHandle::new(supervise::spawn_part("Redis topology", following)),
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
    pub(super) fn look_again(&self) {
        self.look.again();
    }

    /// Changes whenever a connection is lost: its server may have lost what it knew.
    pub(super) fn losses(&self) -> u64 {
        self.look.losses()
    }

    /// Asks every node for a sign of life.
    ///
    /// # Errors
    /// If one gives none.
    pub(super) async fn ping(&self) -> Result<(), Failed> {
        let until = Instant::now() + COMMAND_LIMIT;
        let nodes = Arc::clone(&self.nodes.borrow());
        for link in nodes.links.values() {
            let mut connected = link.connection(until).await.map_err(Failed::Away)?;
            let ping = cmd("PING");
            let pong = connected.connection.send_packed_command(&ping);
            let pong = timeout_at(until, pong).await.map_err(|_| Failed::Late)?;
            if let Err(error) = pong.and_then(Value::extract_error) {
                link.broken(&connected);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Has the node that serves `slot` do what is asked, and returns its answer to each command.
    ///
    /// # Errors
    /// [`Failed`] after [`COMMAND_LIMIT`] at the latest. It may have been done all the same.
    pub(super) async fn run(&self, slot: u16, request: Request<'_>) -> Result<Vec<Value>, Failed> {
        let until = Instant::now() + COMMAND_LIMIT;
        let mut excuse = None;
        // One limit around everything: whatever the attempts wait for.
        match timeout_at(until, self.attempts(slot, request, until, &mut excuse)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(excuse.map_or(Failed::Late, Failed::Redis)),
        }
    }

    async fn attempts(
        &self,
        slot: u16,
        mut request: Request<'_>,
        until: Instant,
        excuse: &mut Option<RedisError>,
    ) -> Result<Vec<Value>, Failed> {
        let mut asking_at = None;
        loop {
            let nodes = Arc::clone(&self.nodes.borrow());
            let link = match &asking_at {
                Some(node) => nodes.links.get(node),
                None => nodes
                    .slots
                    .owner(slot)
                    .and_then(|owner| nodes.links.get(owner)),
            };
            let Some(link) = link else {
                self.look_again();
                if asking_at.take().is_none() && !self.deployment.moves() {
                    return Err(Failed::Unserved(slot));
                }
                sleep(SHORTLY).await;
                continue;
            };
            let connected = link.connection(until).await.map_err(Failed::Away)?;
            let asking = asking_at.take().is_some();
            let error = match send(&connected, &request, asking).await {
                Ok(values) => match first_error(&values) {
                    None => return Ok(values),
                    Some(error) => error.clone(),
                },
                Err(error) => {
                    link.broken(&connected);
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
                        self.look_again();
                        sleep(SHORTLY).await;
                    }
                }
                Some(ServerErrorKind::Moved) => {
                    self.look_again();
                    asking_at = redirect(&error, &nodes);
                    if asking_at.is_none() {
                        sleep(SHORTLY).await;
                    }
                }
                // A master that was replaced: whoever watches over it knows the new one.
                Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                    link.broken(&connected);
                    self.look_again();
                    sleep(SHORTLY).await;
                }
                Some(
                    ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::BusyLoading,
                ) => {
                    self.look_again();
                    sleep(SHORTLY).await;
                }
                _ => return Err(RedisError::from(error).into()),
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
        look: &Arc<Look>,
    ) -> Nodes {
        let link = |node: &Address| match before.and_then(|before| before.links.get(node)) {
            Some(link) => Arc::clone(link),
            None => {
                let deployment = Arc::clone(deployment);
                Arc::new(Link::open(deployment, node.clone(), Arc::clone(look)))
            }
        };
        let links = slots
            .nodes()
            .into_iter()
            .map(|node| (node.clone(), link(&node)))
            .collect();
        Nodes { slots, links }
    }
}

async fn send(
    connected: &Connected,
    request: &Request<'_>,
    asking: bool,
) -> Result<Vec<Value>, RedisError> {
    if !asking {
        return connected.gather.send(request.commands.clone()).await;
    }
    let asked = request
        .commands
        .iter()
        .flat_map(|command| [cmd("ASKING"), command.clone()]);
    let values = connected.gather.send(asked.collect()).await?;
    Ok(values.into_iter().skip(1).step_by(2).collect())
}

fn first_error(values: &[Value]) -> Option<&ServerError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    })
}

/// Where `MOVED slot host:port` or `ASK slot host:port` sends to, if that node is known.
fn redirect(error: &ServerError, nodes: &Nodes) -> Option<Address> {
    let to = error.details()?.split_ascii_whitespace().nth(1)?;
    nodes
        .links
        .keys()
        .find(|node| node.to_string() == to)
        .cloned()
}

/// Keeps the table of slots right.
async fn follow(deployment: Arc<Deployment>, tell: watch::Sender<Arc<Nodes>>, look: Arc<Look>) {
    if !deployment.moves() {
        // Those who wait for a change wait as long as the fleet is there.
        return tell.closed().await;
    }
    loop {
        let before = Arc::clone(&tell.borrow());
        let all_up = before.links.values().all(|link| link.is_up());
        let pause = if all_up { LOOK_EVERY } else { LOOK_AGAIN };
        // Told or not is the same: both mean to look.
        drop(timeout(pause, look.wanted()).await);
        let (up, down): (Vec<_>, Vec<_>) = before.links.iter().partition(|(_, link)| link.is_up());
        let known: Vec<Address> = up
            .into_iter()
            .chain(down)
            .map(|(at, _)| at.clone())
            .collect();
        match deployment.locate(&known).await {
            Ok(slots) if slots == before.slots => {}
            Ok(slots) => {
                tracing::info!(nodes = ?slots.nodes(), "the nodes of Redis have changed");
                let nodes = Nodes::of(slots, Some(&before), &deployment, &look);
                tell.send_replace(Arc::new(nodes));
            }
            Err(error) => tracing::debug!(%error, "nobody says where Redis is"),
        }
        sleep(LOOK_AGAIN.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}
