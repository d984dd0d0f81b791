//! Whether Redis takes messages. That it answers does not say so: its memory may be full, its user may not do what an
//! append does, or it may be a replica. So what an append does is tried, on each node and with nobody's keys.

use std::time::Duration;

use common::live::LiveError;

use super::{
    keys::slot,
    live::RedisLive,
    request::Request,
    server::{failed, micros},
};

const WHAT: &str = "trying to append";

/// How long one node may take, with all that may be waited for.
const TRY_LIMIT: Duration = Duration::from_secs(1);

/// How long what was tried may stay there.
const TRY_KEPT: Duration = Duration::from_secs(60);

/// So many names are looked through for one of each node's: far more than the nodes of a Cluster need.
const NAMES_MAX: usize = 2_000;

impl RedisLive {
    /// Tries to append, on every node.
    ///
    /// # Errors
    /// [`LiveError`] with what Redis says to it.
    pub(super) async fn try_writing(&self) -> Result<(), LiveError> {
        let server = self.server();
        let slots = server.client.nodes().borrow().slots.clone();
        let mut left = slots.nodes();
        for number in 0..NAMES_MAX {
            if left.is_empty() {
                break;
            }
            let room = format!(":try-{number}");
            let [stream, ids] = [server.keys.stream(&room), server.keys.ids(&room)];
            let slot = slot(stream.as_bytes());
            let owner = slots.owner(slot);
            let Some(at) = left.iter().position(|node| Some(node) == owner) else {
                continue;
            };
            left.swap_remove(at);
            let channel = server.keys.channel(&room);
            let kept = (micros(TRY_KEPT) / 1_000).to_string();
            let keys = [stream.as_bytes(), ids.as_bytes()];
            let arguments = [channel.as_bytes(), kept.as_bytes()];
            let request = Request::script(&self.scripts().attempt, &keys, &arguments);
            let tried = server.client.run_within(TRY_LIMIT, slot, request).await;
            tried.map_err(|error| failed(WHAT, error))?;
        }
        Ok(())
    }
}
