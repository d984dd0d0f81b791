//! The queue in memory.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    envelope::Envelope,
    queue::{
        Consumer, DeadLetters, Delivery, Queue, QueueError, QueueName, Receipt, Route, Verdict,
    },
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::locked;

/// The queue; clones are the same one.
#[derive(Clone, Default)]
pub struct FakeQueue(Arc<QueueInside>);

#[derive(Default)]
struct QueueInside {
    state: Mutex<QueueState>,
    away: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Delivery>,
    taken: HashSet<Receipt>,
    settled: Vec<Verdict>,
    persisted: Vec<Envelope>,
    tags: u64,
    closed: bool,
}

impl FakeQueue {
    /// Puts a request into `bot.requests`, as if delivered for the `attempt`th time.
    pub fn deliver(&self, payload: Bytes, attempt: u32) {
        let mut state = locked(&self.0.state);
        state.tags += 1;
        let receipt = Receipt::new(1, state.tags);
        state.waiting.push_back(Delivery {
            payload,
            attempt,
            receipt,
        });
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// What `persist` was given.
    pub fn persisted(&self) -> Vec<Envelope> {
        locked(&self.0.state).persisted.clone()
    }

    /// How deliveries were settled, in that order.
    pub fn settled(&self) -> Vec<Verdict> {
        locked(&self.0.state).settled.clone()
    }

    pub async fn settled_when(&self, count: usize) -> Vec<Verdict> {
        let seen = async {
            loop {
                let changed = self.0.changed.notified();
                let settled = self.settled();
                if settled.len() >= count {
                    return settled;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), seen).await {
            Ok(settled) => settled,
            Err(_) => panic!("not {count} settled, but {:?}", self.settled()),
        }
    }

    pub fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    fn here(&self) -> Result<(), QueueError> {
        if self.0.away.load(Ordering::SeqCst) {
            return Err(QueueError::Unavailable {
                why: "away".into(),
                retry_after: Duration::from_millis(50),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for FakeQueue {
    async fn publish(&self, _: Route, _: Uuid, payload: Bytes) -> Result<(), QueueError> {
        self.here()?;
        let envelope = Envelope::read(&payload).unwrap();
        locked(&self.0.state).persisted.push(envelope);
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, queue: QueueName, _: u16) -> Arc<dyn Consumer> {
        assert_eq!(queue, QueueName::BotRequests);
        Arc::new(FakeConsumer(self.clone()))
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        panic!("no operator here")
    }

    fn ready(&self) -> Result<(), QueueError> {
        self.here()
    }

    async fn ping(&self) -> Result<(), QueueError> {
        self.here()
    }

    async fn close(&self) {}
}

struct FakeConsumer(FakeQueue);

#[async_trait]
impl Consumer for FakeConsumer {
    async fn next(&self) -> Option<Delivery> {
        loop {
            let changed = self.0.0.changed.notified();
            {
                let mut state = locked(&self.0.0.state);
                if state.closed {
                    return None;
                }
                if let Some(delivery) = state.waiting.pop_front() {
                    state.taken.insert(delivery.receipt);
                    return Some(delivery);
                }
            }
            changed.await;
        }
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        let mut state = locked(&self.0.0.state);
        for receipt in receipts {
            if state.taken.remove(&receipt) {
                state.settled.push(verdict.clone());
            }
        }
        drop(state);
        self.0.0.changed.notify_waiters();
        Ok(())
    }

    async fn close(&self) {
        locked(&self.0.0.state).closed = true;
        self.0.0.changed.notify_waiters();
    }
}
