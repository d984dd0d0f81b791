//! What the live seam and the quota have in common: the connections to Redis, the names of its keys, and how a script is
//! called.

use std::{sync::Arc, time::Duration};

use common::{causes::WithCauses, live::LiveError};
use futures_util::future::join_all;
use redis::{FromRedisValue, from_redis_value};
use tokio::time::{Instant, sleep};

use super::{
    client::RedisClient,
    keys::{Keys, ListPart, slot},
    request::{COMMAND_LIMIT, Request},
    scripts::Script,
    settings::RedisSettings,
};

/// How long a process that starts waits for all of Redis to answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Redis, whatever it consists of.
#[derive(Clone)]
pub(super) struct RedisServer {
    pub(super) client: Arc<RedisClient>,
    pub(super) keys: Arc<Keys>,
}

impl RedisServer {
    /// Connects to what `REDIS_URL` names and waits until all of it answers, or ten seconds for as much of it as does.
    ///
    /// # Errors
    /// If the URL or the prefix cannot be used, or if no node answers within ten seconds.
    pub(super) async fn connect(settings: &RedisSettings) -> Result<RedisServer, LiveError> {
        const WHAT: &str = "connecting";
        let keys = settings.keys().map_err(|why| failed(WHAT, why))?;
        let deployment = settings.deployment().map_err(|why| failed(WHAT, why))?;
        let until = Instant::now() + START_LIMIT;
        let client = RedisClient::find(deployment)
            .await
            .map_err(|error| failed(WHAT, error))?;
        loop {
            let nodes = client.nodes().borrow().slots.nodes();
            let asked = nodes.iter().map(|node| client.ping(node, COMMAND_LIMIT));
            let answers = join_all(asked).await;
            let last = Instant::now() >= until;
            let answered = answers.iter().filter(|answer| answer.is_ok()).count();
            match answers.into_iter().find_map(Result::err) {
                // Whoever starts while one of several nodes is away serves the rooms of the others.
                None => break,
                Some(_) if last && answered > 0 => break,
                Some(error) if last => return Err(failed(WHAT, error)),
                Some(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        Ok(RedisServer {
            client: Arc::new(client),
            keys: Arc::new(keys),
        })
    }

    /// The part of the list of unsettled rooms that a room is on.
    pub(super) fn list_part(&self, room: &str) -> ListPart {
        if self.client.deployment().is_cluster() {
            ListPart::Slot(slot(self.keys.channel(room).as_bytes()))
        } else {
            ListPart::Common
        }
    }

    /// Calls a script on keys that share a slot.
    ///
    /// # Errors
    /// If it is not answered in time, or with something else than was expected. It may have been done all the same.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, LiveError> {
        self.call_within(COMMAND_LIMIT, what, script, keys, arguments)
            .await
    }

    /// The same within another time.
    ///
    /// # Errors
    /// As [`RedisServer::call`].
    pub(super) async fn call_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        what: &'static str,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, LiveError> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let slot = slot(keys.first().copied().unwrap_or_default());
        let request = Request::script(script, &keys, arguments);
        let answers = self.client.run_within(limit, slot, request).await;
        let answer = answers.map_err(|error| failed(what, error))?.pop();
        from_redis_value(answer.unwrap_or_default()).map_err(|error| failed(what, error))
    }
}

/// What was being done, and why it failed, in Redis's own words.
pub(super) fn failed(
    what: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LiveError {
    let source = source.into();
    let source = format!("Redis (REDIS_URL): {}", WithCauses(&*source)).into();
    LiveError { what, source }
}

/// As scripts take times.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
