//! The fleet's run queue: requests whose turn has come in their room, and that wait for a free slot of any worker.
//!
//! A worker holds many requests, of which only a few can be asked at a time; another that has just started holds none, and
//! its slots are free. So whoever holds a request offers it here once it has the turn, and whoever has a free slot takes
//! what is next, whosever delivery it is. Why it is so, and what is fair: `docs/decisions/run-queue.md`.

use async_trait::async_trait;
use uuid::Uuid;

use super::QuotaError;
use crate::wire::Seq;

/// First by how little their askers have in the queue and had lately, then by age; each is taken once.
#[async_trait]
pub trait RunQueue: Send + Sync + 'static {
    /// Puts a request into the queue. Of one asker's, only the first competes with the first of everybody else's. To be
    /// called once for an id.
    ///
    /// # Errors
    /// [`QuotaError`]; it may be in the queue all the same.
    async fn offer(&self, offer: &Offer) -> Result<(), QuotaError>;

    /// How many stand before a request; none if it is not in the queue any more: somebody took it, or the engine has
    /// lost its memory.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn before(&self, place: Place) -> Result<Option<usize>, QuotaError>;

    /// Takes the first request whose asker is none of `passed_over`, if there is one among the first
    /// [`LOOKED_THROUGH`]. If the answer is lost, nobody has it; whoever offered it sees that it is gone.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn take(&self, passed_over: &[String]) -> Result<Option<Offer>, QuotaError>;

    /// Takes a request out of the queue. False if it was not there any more.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn withdraw(&self, place: Place) -> Result<bool, QuotaError>;
}

/// How many offers are looked through for one whose asker is not passed over.
pub const LOOKED_THROUGH: usize = 64;

/// What a request is known by in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// When it was asked.
    pub asked: Seq,
    /// A name of its own, never used again.
    pub id: Uuid,
}

/// A request that whoever has a free slot may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it is known by.
    pub place: Place,
    /// Who asked.
    pub user: String,
    /// Whatever is needed to answer it; the queue does not look into it.
    pub work: String,
}
