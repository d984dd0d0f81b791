//! What a consumer has fetched and nobody has taken yet. Many tasks may wait on it, and each wait may be cancelled: a
//! delivery leaves the inbox only in the same step in which it is returned.

use std::{collections::VecDeque, pin::pin};

use common::queue::Delivery;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Deliveries in the order they came. Bounded by its owner's prefetch.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    closed: bool,
}

impl Inbox {
    /// Puts deliveries behind those that wait. Gives them back if the inbox is closed.
    pub(crate) fn put(&self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let count = deliveries.len();
        {
            let mut state = self.lock();
            if state.closed {
                return deliveries;
            }
            state.waiting.extend(deliveries);
        }
        for _ in 0..count {
            self.changed.notify_one();
        }
        Vec::new()
    }

    /// The oldest delivery; waits for one. `None` once closed.
    pub(crate) async fn next(&self) -> Option<Delivery> {
        if let Some(delivery) = self.lock().waiting.pop_front() {
            return Some(delivery);
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            // Queued up before the check: of two that check at the same time, each gets a wake-up of its own.
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(delivery) = state.waiting.pop_front() {
                    return Some(delivery);
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Takes out all that nobody has taken.
    #[cfg(test)]
    pub(crate) fn clear(&self) -> Vec<Delivery> {
        self.lock().waiting.drain(..).collect()
    }

    /// Takes out what came by one connection and nobody has taken.
    pub(crate) fn take_of(&self, epoch: u64) -> Vec<Delivery> {
        let waiting = &mut self.lock().waiting;
        let (of_it, others) = waiting
            .drain(..)
            .partition(|delivery| delivery.receipt.epoch == epoch);
        *waiting = others;
        Vec::from(of_it)
    }

    /// Ends all waits, now and later, and takes out what nobody has taken.
    pub(crate) fn close(&self) -> Vec<Delivery> {
        let left = {
            let mut state = self.lock();
            state.closed = true;
            state.waiting.drain(..).collect()
        };
        self.changed.notify_waiters();
        left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
