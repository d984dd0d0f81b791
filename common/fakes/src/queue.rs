//! The queue seam: beside what can befall every call, what was published and settled is kept to be looked at, and a
//! delivery can be said to be a later one than it is.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use common::queue::{
    Consumer, DeadLetters, Delivery, Queue, QueueError, QueueName, Receipt, Route, Verdict,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Faults, passes_on};

/// A queue behind a network.
pub struct FaultyQueue {
    inner: Arc<dyn Queue>,
    /// What befalls its calls; those of consumers are let alone.
    pub faults: Faults,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    published: Mutex<Vec<Bytes>>,
    settled: watch::Sender<Vec<Verdict>>,
    attempts: Mutex<VecDeque<u32>>,
}

impl FaultyQueue {
    /// This engine, behind a network in which all is well.
    pub fn over(inner: Arc<dyn Queue>) -> Arc<FaultyQueue> {
        Arc::new(FaultyQueue {
            inner,
            faults: Faults::of(CALLS),
            seen: Arc::default(),
        })
    }

    /// What was published and confirmed, in that order.
    pub fn published(&self) -> Vec<Bytes> {
        self.seen.published.lock().clone()
    }

    /// How deliveries were settled, one by one and in that order.
    pub fn settled(&self) -> Vec<Verdict> {
        self.seen.settled.borrow().clone()
    }

    /// Waits until so many were.
    pub async fn settled_when(&self, count: usize) -> Vec<Verdict> {
        let mut settled = self.seen.settled.subscribe();
        let seen = settled.wait_for(|settled| settled.len() >= count).await;
        seen.expect("the sender is held here").clone()
    }

    /// Puts a payload into the route's queues past all faults, and unseen. The deliveries that follow from such calls are
    /// said to be this attempt, one after the other; any other delivery is what the engine says it is.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn delivers(
        &self,
        route: Route,
        id: Uuid,
        payload: Bytes,
        attempt: u32,
    ) -> Result<(), QueueError> {
        self.seen.attempts.lock().push_back(attempt);
        self.inner.publish(route, 0, id, payload).await
    }
}

passes_on! { FaultyQueue, beside ["publish"],
    Queue {
        async fn ping() -> Result<(), QueueError>;
        async fn clear_remains() -> Result<(), QueueError>;
        by hand {
            async fn publish(&self, route: Route, partition: usize, id: Uuid, payload: Bytes) -> Result<(), QueueError> {
                self.faults.pass("publish").await?;
                self.inner.publish(route, partition, id, payload.clone()).await?;
                self.seen.published.lock().push(payload);
                Ok(())
            }

            async fn consume(&self, queue: QueueName, prefetch: u16) -> Arc<dyn Consumer> {
                let inner = self.inner.consume(queue, prefetch).await;
                let seen = Arc::clone(&self.seen);
                Arc::new(SeenConsumer { inner, seen })
            }

            fn dead_letters(&self) -> Arc<dyn DeadLetters> {
                self.inner.dead_letters()
            }

            async fn close(&self) {
                self.inner.close().await;
            }

            fn partitions(&self) -> usize {
                self.inner.partitions()
            }

            fn partition_of(&self, room: &str) -> usize {
                self.inner.partition_of(room)
            }

            fn ready(&self) -> Result<(), QueueError> {
                self.faults.is_there()?;
                self.inner.ready()
            }

            fn ready_in(&self, partition: usize) -> Result<(), QueueError> {
                self.faults.is_there()?;
                self.inner.ready_in(partition)
            }
        }
    }
}

struct SeenConsumer {
    inner: Arc<dyn Consumer>,
    seen: Arc<Seen>,
}

#[async_trait]
impl Consumer for SeenConsumer {
    async fn next(&self) -> Option<Delivery> {
        let mut delivery = self.inner.next().await?;
        if let Some(attempt) = self.seen.attempts.lock().pop_front() {
            delivery.attempt = attempt;
        }
        Some(delivery)
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        let count = receipts.len();
        self.inner.settle(receipts, verdict.clone()).await?;
        self.seen.settled.send_modify(|settled| {
            settled.extend(std::iter::repeat_n(verdict, count));
        });
        Ok(())
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
