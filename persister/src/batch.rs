//! When a batch is full: pure counting, no clock and no queue.

use common::queue::Delivery;

/// How much a batch may hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload. The message that reaches it still belongs to the batch.
    pub bytes: usize,
}

/// Deliveries that are to be written together.
pub struct Batch {
    limits: BatchLimits,
    bytes: usize,
    deliveries: Vec<Delivery>,
}

impl Batch {
    pub fn new(limits: BatchLimits) -> Batch {
        Batch {
            limits,
            bytes: 0,
            deliveries: Vec::with_capacity(limits.messages.min(512)),
        }
    }

    pub fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.payload.len();
        self.deliveries.push(delivery);
    }

    pub fn is_full(&self) -> bool {
        self.deliveries.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }
}
