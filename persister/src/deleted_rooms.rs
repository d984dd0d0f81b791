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
