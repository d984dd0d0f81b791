//! What lies in the queue for rooms that were deleted is written nowhere. Which rooms those are is asked for once in a moment
//! for all that have messages; what is written in between is found by whoever looks through deleted rooms
//! (`docs/decisions/deleted-rooms.md`).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::store::{Removals, StoreError};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long it is believed that a room is there.
const FRESH: Duration = Duration::from_secs(2);

/// The most rooms of which that is remembered.
const REMEMBERED_MAX: usize = 50_000;

/// Knows which rooms were deleted.
#[derive(Default)]
pub(crate) struct DeletedRooms {
    /// When each was last not among them.
    there_at: Mutex<HashMap<String, Instant>>,
}

impl DeletedRooms {
    /// Those of these rooms that were deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn among<'a>(
        &self,
        store: &(impl Removals + ?Sized),
        rooms: impl Iterator<Item = &'a str>,
    ) -> Result<HashSet<String>, StoreError> {
        let asked_at = Instant::now();
        let rooms: HashSet<&str> = rooms.collect();
        let unsure: Vec<&str> = {
            let there_at = self.there_at.lock();
            let is_fresh = |room: &&&str| {
                let at = there_at.get(**room);
                at.is_some_and(|at| asked_at.duration_since(*at) < FRESH)
            };
            rooms
                .iter()
                .filter(|room| !is_fresh(room))
                .copied()
                .collect()
        };
        if unsure.is_empty() {
            return Ok(HashSet::new());
        }
        let deleted = store.deleted_among(&unsure).await?;
        let mut there_at = self.there_at.lock();
        if there_at.len() + unsure.len() > REMEMBERED_MAX {
            there_at.retain(|_, at| asked_at.duration_since(*at) < FRESH);
        }
        for room in unsure {
            if deleted.contains(room) {
                there_at.remove(room);
            } else if there_at.len() < REMEMBERED_MAX {
                there_at.insert(room.to_owned(), asked_at);
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use async_trait::async_trait;

    use super::*;

    /// A store in which `ship` was deleted.
    #[derive(Default)]
    struct Asked(AtomicUsize);

    #[async_trait]
    impl Removals for Asked {
        async fn deleted_among(&self, rooms: &[&str]) -> Result<HashSet<String>, StoreError> {
            self.0.fetch_add(1, Relaxed);
            let deleted = rooms.iter().filter(|room| **room == "ship");
            Ok(deleted.map(|room| (*room).to_owned()).collect())
        }

        async fn deletions_due(&self, _: u64, _: usize) -> Result<Vec<String>, StoreError> {
            Ok(Vec::new())
        }

        async fn erase_deleted(&self, _: &str, _: usize) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_is_there_is_asked_for_once_in_a_moment_and_one_that_is_not_each_time() {
        let (rooms, store) = (DeletedRooms::default(), Asked::default());
        let deleted = async |names: &[&'static str]| -> Vec<String> {
            let among = rooms.among(&store, names.iter().copied()).await;
            among.unwrap().into_iter().collect()
        };
        for _ in 0..3 {
            assert!(deleted(&["lobby", "den", "lobby"]).await.is_empty());
        }
        assert_eq!(store.0.load(Relaxed), 1);
        for asked in 2..4 {
            assert_eq!(deleted(&["lobby", "ship"]).await, ["ship"]);
            assert_eq!(store.0.load(Relaxed), asked);
        }
        tokio::time::sleep(FRESH).await;
        assert!(deleted(&["lobby"]).await.is_empty());
        assert_eq!(store.0.load(Relaxed), 4);
    }
}
