//! The live seam: beside what can befall every call, what is shown can get lost on its way, and reads can be looked at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    live::{
        AppendRequest, Appended, Change, Live, LiveError, LiveEvent, Looker, Signal, Subscriber,
        Tail, Unsettled,
        turns::{Draft, DraftOutcome, DraftSnapshot, TurnMode, TurnRequest, TurnStatus, Turns},
    },
    readiness::Health,
    wire::{Message, Seq},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{Faults, passes_on};

/// A read of a stream that is still to be made.
pub type Read = BoxFuture<'static, Result<Tail, LiveError>>;

type AroundRead = Arc<dyn Fn(Seq, Read) -> Read + Send + Sync>;

/// A live engine behind a network.
pub struct FaultyLive {
    inner: Arc<dyn Live>,
    /// What befalls its calls; a subscription is the call `subscribe`.
    pub faults: Faults,
    /// Messages that are shown get lost, without a word.
    pub loses_messages: Arc<AtomicBool>,
    /// And signals.
    pub loses_signals: Arc<AtomicBool>,
    around_read: Mutex<Option<AroundRead>>,
    receivers: Mutex<Vec<mpsc::Sender<LiveEvent>>>,
}

impl FaultyLive {
    /// This engine, behind a network in which all is well.
    pub fn over(inner: Arc<dyn Live>) -> Arc<FaultyLive> {
        Arc::new(FaultyLive {
            inner,
            faults: Faults::of(CALLS),
            loses_messages: Arc::default(),
            loses_signals: Arc::default(),
            around_read: Mutex::default(),
            receivers: Mutex::default(),
        })
    }

    /// Each read of a stream becomes what this makes of it. It is given where the read begins, and the read.
    pub fn around_reads(&self, around: impl Fn(Seq, Read) -> Read + Send + Sync + 'static) {
        *self.around_read.lock() = Some(Arc::new(around));
    }

    /// Tells every process something out of turn, as the engine does after a break.
    pub async fn tells(&self, event: LiveEvent) {
        let receivers = self.receivers.lock().clone();
        for receiver in receivers {
            // An error says that the process is gone.
            let _ = receiver.send(event.clone()).await;
        }
    }
}

passes_on! { FaultyLive, beside ["tail", "subscribe"],
    Turns {
        async fn request_turn(place: &TurnRequest, wish: TurnMode, keep: Duration) -> Result<TurnStatus, LiveError>;
        async fn release_turn(place: &TurnRequest, for_good: bool) -> Result<(), LiveError>;
        async fn draft(draft: &Draft) -> Result<DraftOutcome, LiveError>;
        async fn requests_before(room: &str, reply: Uuid) -> Result<Option<usize>, LiveError>;
        async fn draft_snapshot(room: &str) -> Result<Option<DraftSnapshot>, LiveError>;
    }
    Live {
        async fn append_all(room: &str, offers: &[AppendRequest], floor: Option<Seq>) -> Result<Vec<Appended>, LiveError>;
        async fn find(room: &str, id: Uuid) -> Result<Option<Message>, LiveError>;
        async fn changes(room: &str, ids: &[Uuid]) -> Result<Vec<Change>, LiveError>;
        async fn signal(signal: &Signal) -> Result<(), LiveError>;
        async fn announce(process: &str, room: &str, users: &[String]) -> Result<Vec<String>, LiveError>;
        async fn unsettled(limit: usize, server: &str) -> Result<Vec<Unsettled>, LiveError>;
        async fn take_unsettled(limit: usize, server: &str, looker: &Looker) -> Result<Vec<Unsettled>, LiveError>;
        async fn settled(room: &Unsettled) -> Result<(), LiveError>;
        async fn compare_anew() -> Result<(), LiveError>;
        async fn erase(room: &str) -> Result<(), LiveError>;
        async fn forget_until(room: &str, until: Seq) -> Result<(), LiveError>;
        async fn scrub(room: &str, deleted: &[(Uuid, Seq)]) -> Result<usize, LiveError>;
        async fn ping() -> Result<Health, LiveError>;
        by hand {
            async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
                self.faults.pass("tail").await?;
                let around = self.around_read.lock().clone();
                let Some(around) = around else {
                    return self.inner.tail(room, after, limit).await;
                };
                let (inner, room) = (Arc::clone(&self.inner), room.to_owned());
                around(after, Box::pin(async move { inner.tail(&room, after, limit).await })).await
            }

            fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
                let (inner, mut events) = self.inner.subscriber(capacity);
                let (sender, receiver) = mpsc::channel(capacity);
                self.receivers.lock().push(sender.clone());
                let (loses_messages, loses_signals) = (self.loses_messages.clone(), self.loses_signals.clone());
                tokio::spawn(async move {
                    while let Some(event) = events.recv().await {
                        let is_lost = match event {
                            LiveEvent::Message { .. } => loses_messages.load(SeqCst),
                            LiveEvent::Signal { .. } => loses_signals.load(SeqCst),
                            _ => false,
                        };
                        if !is_lost && sender.send(event).await.is_err() {
                            return;
                        }
                    }
                });
                let faults = self.faults.clone();
                (Arc::new(FaultySubscriber { inner, faults }), receiver)
            }
        }
    }
}

struct FaultySubscriber {
    inner: Arc<dyn Subscriber>,
    faults: Faults,
}

#[async_trait]
impl Subscriber for FaultySubscriber {
    async fn subscribe(&self, room: &str) -> Result<(), LiveError> {
        self.faults.pass("subscribe").await?;
        self.inner.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &str) {
        self.inner.unsubscribe(room).await;
    }
}
