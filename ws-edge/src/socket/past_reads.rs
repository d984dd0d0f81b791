//! Who reads rooms' pasts from the engines, and how much. Everybody's joins wait behind the same few reads, and one read may
//! be of a thousand large messages: so each person has a few of the reads at a time and so many bytes a second, and waits
//! behind themselves for more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::shares::Rates;

/// The most reads of rooms' pasts at once: when the live engine comes back with ten thousand rooms, it and the store
/// are asked at this pace.
const READS_AT_ONCE: usize = 32;

/// And those of one person.
const OF_ONE_USER: usize = 4;

/// What bytes are counted in: one read of a few messages is one.
const UNIT_BYTES: usize = 16 * 1024;

/// What is read for one person in a second, in [`UNIT_BYTES`]: 8 MiB, and ten seconds' worth at once. Somebody who comes
/// back to 300 rooms has missed some hundred messages in each, a few tens of KiB.
const UNITS_PER_SECOND: u32 = 512;

/// All reads of one edge.
pub(super) struct PastReads {
    all: Semaphore,
    of_users: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    bytes: Rates<Arc<str>>,
}

/// One person's turn to have a past read, for as long as this is kept.
pub(super) struct PastReadTurn {
    user: Arc<str>,
    _permit: OwnedSemaphorePermit,
}

impl PastReads {
    pub(super) fn new() -> PastReads {
        PastReads {
            all: Semaphore::new(READS_AT_ONCE),
            of_users: Mutex::default(),
            bytes: Rates::new(UNITS_PER_SECOND),
        }
    }

    /// Waits until something may be read for this person. Whoever waits here holds nothing that others need, and must not.
    pub(super) async fn turn(&self, user: &Arc<str>) -> PastReadTurn {
        let own = {
            let mut of_users = self.of_users.lock();
            let own = of_users.entry(Arc::clone(user));
            Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(OF_ONE_USER))))
        };
        let permit = own.acquire_owned().await.expect("never closed");
        let wait = self
            .bytes
            .reserve(Arc::clone(user), Duration::MAX, Instant::now());
        if let Ok(wait) | Err(wait) = wait
            && !wait.is_zero()
        {
            sleep(wait).await;
        }
        PastReadTurn {
            user: Arc::clone(user),
            _permit: permit,
        }
    }

    /// So much was read in this turn.
    pub(super) fn charge(&self, turn: &PastReadTurn, bytes: usize) {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        let user = Arc::clone(&turn.user);
        self.bytes.charge(user, units, Instant::now());
    }

    /// Waits for one of the reads that all share, whoever it is for.
    pub(super) async fn permit(&self) -> SemaphorePermit<'_> {
        self.all.acquire().await.expect("never closed")
    }

    /// Forgets who reads nothing. Called on a timer.
    pub(super) fn upkeep(&self) {
        let mut of_users = self.of_users.lock();
        of_users.retain(|_, own| Arc::strong_count(own) > 1);
        of_users.shrink_to_fit();
        self.bytes.upkeep(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_person_has_a_few_turns_at_a_time_and_is_forgotten_after_them() {
        let (reads, eve, ada) = (PastReads::new(), "eve".into(), "ada".into());
        let mut held: Vec<_> = (0..OF_ONE_USER)
            .map(|_| reads.turn(&eve).now_or_never().expect("a turn"))
            .collect();
        assert!(reads.turn(&eve).now_or_never().is_none());
        assert!(reads.turn(&ada).now_or_never().is_some());
        held.pop();
        assert!(reads.turn(&eve).now_or_never().is_some());
        drop(held);
        reads.upkeep();
        assert!(reads.of_users.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_much_read_waits_for_it_and_nobody_else_does() {
        let (reads, eve, ada) = (PastReads::new(), "eve".into(), "ada".into());
        let began = Instant::now();
        // What the largest resume reads: a thousand messages of 16 KiB out of each of two engines.
        for _ in 0..10 {
            let turn = reads.turn(&eve).await;
            reads.charge(&turn, 32 * MIB);
        }
        let took = began.elapsed();
        let expected = Duration::from_secs(4 * (10 - 1) - 10);
        assert!(took >= expected, "{took:?}");
        assert!(reads.turn(&ada).now_or_never().is_some());
    }
}
