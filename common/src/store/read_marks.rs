//! How far people have read: kept, so that what was read on one device is read on all.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::wire::Seq;

/// The most unread messages of a room that are counted: more are not told apart by anybody, and each costs a look.
pub const UNREAD_MAX: u32 = 100;

/// Somebody has read a room up to here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadMark {
    /// Who.
    pub user: String,
    /// Where.
    pub room: String,
    /// Up to which message.
    pub seq: Seq,
}

/// Keeps how far people have read.
#[async_trait]
pub trait ReadMarks: Send + Sync + 'static {
    /// Moves marks on, in few statements. A mark never goes back, whoever writes it at whatever time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some of them may have been written.
    async fn mark_read(&self, marks: &[ReadMark]) -> Result<(), StoreError>;

    /// How far somebody has read a room; 0 if nothing is known of that.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn read_up_to(&self, user: &str, room: &str) -> Result<Seq, StoreError>;
}
