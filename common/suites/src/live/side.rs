//! A fresh side of the seam for one story, and what a story says to it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    live::{Appended, Live, LiveTimings},
    wire::{Kind as Role, Message, NewMessage, Seq},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::ears::Ears;
pub use super::ears::PATIENCE;

/// Less patience than the real ones have, since stories wait for them.
pub const TIMINGS: LiveTimings = LiveTimings {
    presence_ttl: Duration::from_millis(1_500),
    mark_holds: Duration::from_millis(1_500),
    settle_after: Duration::from_millis(2_500),
    turn_lease: Duration::from_millis(2_500),
    look_lease: Duration::from_secs(10),
};

/// An engine of the live seam.
#[async_trait]
pub trait LiveUnderTest: Send + Sync + 'static {
    /// Opens it as two processes do, with nothing in it, with [`TIMINGS`], and with rooms that are forgotten after so long
    /// a silence. An engine inside one process gives the same twice.
    async fn open(&self, idle: Duration) -> [Arc<dyn Live>; 2];
}

/// Two processes on one side. On the embedded side they are one.
pub struct Side {
    engine: Box<dyn LiveUnderTest>,
    pub one: Arc<dyn Live>,
    pub two: Arc<dyn Live>,
}

impl Side {
    pub async fn fresh(engine: impl LiveUnderTest) -> Side {
        Side::open(Box::new(engine), Duration::from_secs(3_600)).await
    }

    /// Another one, with rooms that are forgotten after so long a silence.
    pub async fn with_idle(self, idle: Duration) -> Side {
        Side::open(self.engine, idle).await
    }

    async fn open(engine: Box<dyn LiveUnderTest>, idle: Duration) -> Side {
        let [one, two] = engine.open(idle).await;
        Side { engine, one, two }
    }
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
        of: None,
        stopped_by: None,
        grounding: Default::default(),
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
