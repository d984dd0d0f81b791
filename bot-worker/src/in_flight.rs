//! What this worker has in hand, by the reply's id: a request that is delivered again while it is being answered is
//! the same work, not a second one.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use common::queue::Receipt;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::interrupts::Stop;

/// All that is in hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    jobs: Arc<Mutex<HashMap<Uuid, Job>>>,
}

#[derive(Debug)]
struct Job {
    /// Every delivery of it. After a break of the connection only the last one counts, and settling the others does
    /// nothing; but a message may also be in the queue twice.
    receipts: Vec<Receipt>,
    stopped: Stop,
}

impl InFlight {
    /// Takes a delivery in hand. None if its reply is under way already: it will be settled along with that.
    pub(crate) fn take(&self, reply: Uuid, receipt: Receipt) -> Option<Ticket> {
        match self.jobs().entry(reply) {
            Entry::Occupied(mut job) => {
                job.get_mut().receipts.push(receipt);
                None
            }
            Entry::Vacant(vacant) => {
                let stopped = Stop::default();
                vacant.insert(Job {
                    receipts: vec![receipt],
                    stopped: stopped.clone(),
                });
                Some(Ticket {
                    in_flight: self.clone(),
                    reply,
                    stopped,
                    is_done: false,
                })
            }
        }
    }

    /// This person wants this reply stopped. False if it is not in hand here.
    pub(crate) fn stop(&self, reply: Uuid, by: &str) -> bool {
        let jobs = self.jobs();
        let job = jobs.get(&reply);
        if let Some(job) = job {
            job.stopped.want(by);
        }
        job.is_some()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<Uuid, Job>> {
        self.jobs.lock()
    }
}

/// One reply in hand, until [`Ticket::done`] or until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    in_flight: InFlight,
    reply: Uuid,
    /// Whether somebody wants the reply stopped.
    pub stopped: Stop,
    is_done: bool,
}

impl Ticket {
    /// It is out of hand; these deliveries are to be settled.
    pub(crate) fn done(mut self) -> Vec<Receipt> {
        self.is_done = true;
        self.in_flight
            .jobs()
            .remove(&self.reply)
            .map(|job| job.receipts)
            .unwrap_or_default()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Once it is out of hand, the same id may be in hand anew.
        if self.is_done {
            return;
        }
        self.in_flight.jobs().remove(&self.reply);
    }
}
