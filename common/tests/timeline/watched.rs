//! The embedded live engine, looked at while it is read: what is asked of it, and what else happens meanwhile.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use common::{
    live::{LiveError, Tail},
    wire::Seq,
};
use engines::embedded::EmbeddedLive;
use seam_fakes::{FaultyLive, Read};

type Event = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What was seen of the reads.
pub(crate) struct Watched {
    pub inner: Arc<EmbeddedLive>,
    meanwhile: Mutex<Option<Event>>,
    /// Messages that were read out of streams.
    pub read: AtomicUsize,
    /// Reads that go on in the middle of a stream: how many there are, and how many there were at once.
    going_on: AtomicUsize,
    pub most_going_on: AtomicUsize,
}

impl Watched {
    /// An engine, and what is seen of it.
    pub(crate) fn new() -> (Arc<FaultyLive>, Arc<Watched>) {
        let inner = EmbeddedLive::new();
        let live = FaultyLive::over(inner.clone());
        let watched = Arc::new(Watched {
            inner,
            meanwhile: Mutex::default(),
            read: AtomicUsize::new(0),
            going_on: AtomicUsize::new(0),
            most_going_on: AtomicUsize::new(0),
        });
        let watching = Arc::clone(&watched);
        live.around_reads(move |after, read| Box::pin(Arc::clone(&watching).sees(after, read)));
        (live, watched)
    }

    /// What happens as soon as a stream was read the next time, before its reader knows what was in it.
    pub(crate) fn then(&self, event: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().expect("not poisoned") = Some(Box::pin(event));
    }

    async fn sees(self: Arc<Watched>, after: Seq, read: Read) -> Result<Tail, LiveError> {
        let goes_on = usize::from(after > 0);
        let going_on = self.going_on.fetch_add(goes_on, SeqCst) + goes_on;
        self.most_going_on.fetch_max(going_on, SeqCst);
        // As over a network, others have their turn meanwhile.
        tokio::task::yield_now().await;
        let tail = read.await?;
        self.going_on.fetch_sub(goes_on, SeqCst);
        self.read.fetch_add(tail.messages.len(), SeqCst);
        let event = self.meanwhile.lock().expect("not poisoned").take();
        if let Some(event) = event {
            event.await;
        }
        Ok(tail)
    }
}
