//! What is to go: the rest of rooms that were deleted. A deleted room's name is kept for ever, and with it that whatever
//! still lies in a queue, a dead letter or a process's hands for it is written nowhere
//! (`docs/decisions/deleted-rooms.md`).

use std::collections::HashSet;

use async_trait::async_trait;

use super::StoreError;

/// Takes away, in small steps, what must not last.
#[async_trait]
pub trait Removals: Send + Sync + 'static {
    /// Which of these rooms were deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deleted_among(&self, rooms: &[&str]) -> Result<HashSet<String>, StoreError>;

    /// Whether this room was deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn was_deleted(&self, room: &str) -> Result<bool, StoreError> {
        Ok(!self.deleted_among(&[room]).await?.is_empty())
    }

    /// Deleted rooms that somebody has to look through at `now_ms`, at most `limit` of them. Whoever is told of one is the
    /// only one, until it is due again: after some seconds first, then ever more seldom, and once a day for ever, since
    /// nobody knows when the last process that had something of it in hand writes that down.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deletions_due(&self, now_ms: u64, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Takes away at most so many messages of a deleted room, and as many of people's marks in it. Returns how many rows
    /// that were; 0 if nothing is left. Does nothing to a room that was not deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn erase_deleted(&self, room: &str, limit: usize) -> Result<u64, StoreError>;
}
