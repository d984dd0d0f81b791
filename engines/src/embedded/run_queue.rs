//! The run queue of a process that is all there is: what the script does on Redis, without I/O.

use std::collections::{BTreeMap, HashMap};

use common::quota::run_queue::{LOOKED_THROUGH, Offer, Place};

/// Start-time fair queueing: each asker's offers begin, in virtual time, one after the other, and none before what was
/// taken last.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    offers: BTreeMap<(u64, Place), Offer>,
    begins: HashMap<Place, u64>,
    /// When each asker's last offer begins; only what is later than the clock matters.
    tags: HashMap<String, u64>,
    clock: u64,
}

impl FairQueue {
    pub(super) fn offer(&mut self, offer: Offer) {
        let tag = self.tags.entry(offer.user.clone()).or_default();
        *tag = self.clock.max(*tag) + 1;
        self.begins.insert(offer.place, *tag);
        self.offers.insert((*tag, offer.place), offer);
    }

    pub(super) fn before(&self, place: Place) -> Option<usize> {
        let begins = *self.begins.get(&place)?;
        Some(self.offers.range(..(begins, place)).count())
    }

    pub(super) fn take(&mut self, passed_over: &[String]) -> Option<Offer> {
        let (begins, place) = *self
            .offers
            .iter()
            .take(LOOKED_THROUGH)
            .find(|(_, offer)| !passed_over.contains(&offer.user))?
            .0;
        let offer = self.remove(begins, place);
        self.clock = self.clock.max(begins);
        let clock = self.clock;
        self.tags.retain(|_, tag| *tag > clock);
        if self.offers.is_empty() {
            *self = FairQueue::default();
        }
        offer
    }

    pub(super) fn withdraw(&mut self, place: Place) -> bool {
        let begins = self.begins.get(&place).copied();
        begins.is_some_and(|begins| self.remove(begins, place).is_some())
    }

    fn remove(&mut self, begins: u64, place: Place) -> Option<Offer> {
        self.begins.remove(&place);
        self.offers.remove(&(begins, place))
    }
}
