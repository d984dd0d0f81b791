//! The embedded live engine, looked at while it is read: what is asked of it, and what else happens meanwhile.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    live::{
        AppendRequest, Appended, Live, LiveError, LiveEvent, Signal, Subscriber, Tail, Unsettled,
        turns::{Draft, DraftOutcome, DraftSnapshot, TurnMode, TurnRequest, TurnStatus, Turns},
    },
    wire::{Message, Seq},
};
use engines::embedded::EmbeddedLive;
use tokio::sync::mpsc;
use uuid::Uuid;

type Event = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct Watched {
    pub inner: Arc<EmbeddedLive>,
    meanwhile: Mutex<Option<Event>>,
    /// Messages that were read out of streams.
    pub read: AtomicUsize,
    /// Reads that go on in the middle of a stream: how many there are, and how many there were at once.
    going_on: AtomicUsize,
    pub most_going_on: AtomicUsize,
}

impl Watched {
    pub fn new() -> Arc<Watched> {
        Arc::new(Watched {
            inner: EmbeddedLive::new(),
            meanwhile: Mutex::default(),
            read: AtomicUsize::new(0),
            going_on: AtomicUsize::new(0),
            most_going_on: AtomicUsize::new(0),
        })
    }

    /// What happens as soon as a stream was read the next time, before its reader knows what was in it.
    pub fn then(&self, event: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().expect("not poisoned") = Some(Box::pin(event));
    }
}

#[async_trait]
impl Live for Watched {
    async fn append_all(
        &self,
        room: &str,
        offers: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        self.inner.append_all(room, offers, floor).await
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        let goes_on = usize::from(after > 0);
        let going_on = self.going_on.fetch_add(goes_on, SeqCst) + goes_on;
        self.most_going_on.fetch_max(going_on, SeqCst);
        // As over a network, others have their turn meanwhile.
        tokio::task::yield_now().await;
        let tail = self.inner.tail(room, after, limit).await?;
        self.going_on.fetch_sub(goes_on, SeqCst);
        self.read.fetch_add(tail.messages.len(), SeqCst);
        let event = self.meanwhile.lock().expect("not poisoned").take();
        if let Some(event) = event {
            event.await;
        }
        Ok(tail)
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        self.inner.find(room, id).await
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        self.inner.signal(signal).await
    }

    async fn announce(
        &self,
        process: &str,
        room: &str,
        users: &[String],
    ) -> Result<Vec<String>, LiveError> {
        self.inner.announce(process, room, users).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Unsettled>, LiveError> {
        self.inner.unsettled(limit).await
    }

    async fn settled(&self, room: &Unsettled) -> Result<(), LiveError> {
        self.inner.settled(room).await
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        self.inner.subscriber(capacity)
    }

    async fn ping(&self) -> Result<(), LiveError> {
        self.inner.ping().await
    }
}

#[async_trait]
impl Turns for Watched {
    async fn request_turn(
        &self,
        place: &TurnRequest,
        wish: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError> {
        self.inner.request_turn(place, wish, keep).await
    }

    async fn release_turn(&self, place: &TurnRequest, for_good: bool) -> Result<(), LiveError> {
        self.inner.release_turn(place, for_good).await
    }

    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError> {
        self.inner.draft(draft).await
    }

    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError> {
        self.inner.draft_snapshot(room).await
    }
}
