//! A fresh side of the seam for one story, and what a story says to it.

use std::{sync::Arc, time::Duration};

use common::{
    live::{Appended, Live, LiveTimings, embedded::EmbeddedLive, redis::RedisLive},
    settings::LiveSettings,
    wire::{Kind as Role, Message, NewMessage, Seq},
};
use private_engines::Engines;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ears::Ears;

/// How long a story waits for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Less patience than the real ones have, since stories wait for them.
pub const TIMINGS: LiveTimings = LiveTimings {
    presence_ttl: Duration::from_millis(1_500),
    mark_holds: Duration::from_millis(1_500),
    settle_after: Duration::from_millis(2_500),
    turn_lease: Duration::from_millis(2_500),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Redis,
    Cluster,
}

/// Two processes on one side. On the embedded side they are one.
pub struct Side {
    pub kind: Kind,
    pub one: Arc<dyn Live>,
    pub two: Arc<dyn Live>,
}

impl Side {
    pub async fn fresh(kind: Kind) -> Side {
        Side::with_idle(kind, Duration::from_secs(3_600)).await
    }

    /// With rooms that are forgotten after so long a silence.
    pub async fn with_idle(kind: Kind, idle: Duration) -> Side {
        let (one, two): (Arc<dyn Live>, Arc<dyn Live>) = match kind {
            Kind::Embedded => {
                let live = EmbeddedLive::with(TIMINGS, idle);
                (Arc::clone(&live) as _, live)
            }
            Kind::Redis | Kind::Cluster => {
                let engines = Engines::shared().await;
                let url = match kind {
                    Kind::Cluster => cluster_url(&engines.start_cluster().await),
                    _ => engines.redis_url().to_owned(),
                };
                let mut settings = settings(&url, &engines.fresh_prefix());
                settings.stream_idle_seconds = idle;
                (connect(&settings).await, connect(&settings).await)
            }
        };
        Side { kind, one, two }
    }
}

pub fn cluster_url(nodes: &[String]) -> String {
    let nodes: Vec<&str> = nodes
        .iter()
        .map(|node| node.trim_start_matches("redis://"))
        .collect();
    format!("redis-cluster://{}", nodes.join(","))
}

pub fn settings(url: &str, prefix: &str) -> LiveSettings {
    LiveSettings {
        redis_url: url.to_owned().into(),
        redis_prefix: prefix.to_owned(),
        stream_idle_seconds: Duration::from_secs(3_600),
    }
}

pub async fn connect(settings: &LiveSettings) -> Arc<RedisLive> {
    RedisLive::connect_with(settings, TIMINGS)
        .await
        .expect("Redis is there")
}

/// A message of somebody's in a room, with an id of its own.
pub fn says(room: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        room: room.to_owned(),
        id: Uuid::now_v7(),
        sender: sender.to_owned(),
        kind: Role::User,
        message: text.to_owned(),
        reply_to: None,
    }
}

/// What a story says to a process.
#[allow(async_fn_in_trait, reason = "only used with types that are known")]
pub trait Says {
    /// Appends; a cold room begins at 0. Returns the message in its place.
    async fn post(&self, message: &NewMessage) -> Message;

    /// Opens a line and subscribes to rooms.
    async fn listen(&self, rooms: &[&str]) -> Ears;
}

impl<T: Live + ?Sized> Says for T {
    async fn post(&self, message: &NewMessage) -> Message {
        match self.append(message, Some(0)).await {
            Ok(Appended::New(message)) => message,
            other => panic!("{message:?} was not appended: {other:?}"),
        }
    }

    async fn listen(&self, rooms: &[&str]) -> Ears {
        Ears::open(self, 4_096, rooms).await
    }
}

/// Asks again and again until the answer is yes.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "in {PATIENCE:?} not seen: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The places of messages.
pub fn places(messages: &[Message]) -> Vec<Seq> {
    messages.iter().map(|message| message.seq).collect()
}

/// Each message's `prev` is the place of the one before it.
pub fn assert_linked(messages: &[Message]) {
    for pair in messages.windows(2) {
        assert!(pair[0].seq < pair[1].seq, "{pair:?}");
        assert_eq!(pair[0].seq, pair[1].prev, "{pair:?}");
    }
}
