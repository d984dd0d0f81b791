//! When a batch is full: pure counting, no clock and no queue. (How long one may wait for more is the collector's.)

use common::queue::Delivery;

/// How much a batch may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of payload. The message that reaches it still belongs to the batch.
    pub bytes: usize,
}

/// Deliveries that are to be written together.
pub(crate) struct Batch {
    limits: BatchLimits,
    bytes: usize,
    deliveries: Vec<Delivery>,
}

impl Batch {
    pub(crate) fn new(limits: BatchLimits) -> Batch {
        Batch {
            limits,
            bytes: 0,
            deliveries: Vec::with_capacity(limits.messages.min(512)),
        }
    }

    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.payload.len();
        self.deliveries.push(delivery);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.deliveries.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    pub(crate) fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }
}
