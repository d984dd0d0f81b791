//! Whether Redis takes messages. That it answers does not say so: its memory may be full, its user may not do what an
//! append does, or it may be a replica. So what an append does is tried, on each node and with nobody's keys.

use std::time::Duration;

use common::{live::LiveError, readiness::Health};
use futures_util::future::join_all;

use super::{
    deployment::Address,
    keys::{SLOTS, slot},
    live::RedisLive,
    request::{Request, RequestError},
    server::{failed, micros},
};

const WHAT: &str = "trying to append";

/// How long one node may take for a sign of life, and then for what is tried, with all that may be waited for: together
/// less than a look at all engines has.
const PING_LIMIT: Duration = Duration::from_millis(800);
const TRY_LIMIT: Duration = Duration::from_secs(1);

/// How long what was tried may stay there.
const TRY_KEPT: Duration = Duration::from_secs(60);

/// So many names are looked through for one of each node's: far more than the nodes of a Cluster need.
const NAMES_MAX: usize = 2_000;

impl RedisLive {
    /// Tries to append, on every node at the same time.
    ///
    /// # Errors
    /// [`LiveError`] with what Redis says to it, if no node takes it.
    pub(super) async fn try_writing(&self) -> Result<Health, LiveError> {
        let slots = self.server().client.nodes().borrow().slots.clone();
        let nodes = slots.nodes();
        let tried = join_all(nodes.iter().map(|node| self.try_node(node))).await;
        let mut away: Vec<(&Address, RequestError)> = nodes
            .iter()
            .zip(tried)
            .filter_map(|(node, tried)| tried.err().map(|why| (node, why)))
            .collect();
        if away.len() == nodes.len() {
            let why = away.pop().map_or(RequestError::Unserved(0), |(_, why)| why);
            return Err(failed(WHAT, why));
        }
        let unserved = usize::from(SLOTS) - slots.served();
        if away.is_empty() && unserved == 0 {
            return Ok(Health::Well);
        }
        let mut told: Vec<String> = away
            .iter()
            .map(|(node, why)| format!("{node}: {why}"))
            .collect();
        if unserved > 0 {
            told.push(format!("{unserved} slots are served by nobody"));
        }
        let (well, all) = (nodes.len() - away.len(), nodes.len());
        let told = told.join("; ");
        Ok(Health::Degraded(format!(
            "{well} of {all} Redis masters (REDIS_URL) take messages: {told}"
        )))
    }

    /// Asks a node for a sign of life, and then has it do what an append does, for a room that lies there.
    async fn try_node(&self, node: &Address) -> Result<(), RequestError> {
        let server = self.server();
        server.client.ping(node, PING_LIMIT).await?;
        let slots = server.client.nodes().borrow().slots.clone();
        for number in 0..NAMES_MAX {
            let room = format!(":try-{number}");
            let [stream, ids] = [server.keys.stream(&room), server.keys.ids(&room)];
            let slot = slot(stream.as_bytes());
            if slots.owner(slot) != Some(node) {
                continue;
            }
            let channel = server.keys.channel(&room);
            let kept = (micros(TRY_KEPT) / 1_000).to_string();
            let keys = [stream.as_bytes(), ids.as_bytes()];
            let arguments = [channel.as_bytes(), kept.as_bytes()];
            let request = Request::script(&self.scripts().attempt, &keys, &arguments);
            server.client.run_within(TRY_LIMIT, slot, request).await?;
            break;
        }
        Ok(())
    }
}
