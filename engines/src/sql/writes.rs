//! What the last writes of this process came to. That the engine answers, and even that it takes a small write, does not
//! say that it takes others: its disk may be full, or rows locked. Whoever asks whether the store is ready is told.

use std::time::{Duration, Instant};

use common::store::StoreError;
use parking_lot::Mutex;

use super::{failure::Failure, limits::CALL_LIMIT};

/// One may have had bad luck with one row.
const IN_A_ROW: u32 = 2;

/// How long they count: longer than a persister that waits needs from one to the next.
const COUNT_FOR: Duration = CALL_LIMIT.saturating_add(Duration::from_secs(9));

/// Writes that failed, one after the other.
#[derive(Default)]
pub(super) struct Writes(Mutex<Option<Failing>>);

struct Failing {
    in_a_row: u32,
    last: Instant,
    why: String,
}

impl Writes {
    /// Passes on what a write comes to, and remembers it.
    pub(super) async fn noted<T>(
        &self,
        write: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let outcome = write.await;
        let mut failing = self.0.lock();
        match &outcome {
            Err(
                Failure::Away(why)
                | Failure::Unexplained(why)
                | Failure::ReadOnly(why)
                | Failure::Again(why),
            ) => {
                let before = failing.take().map_or(0, |failing| failing.in_a_row);
                *failing = Some(Failing {
                    in_a_row: before.saturating_add(1),
                    last: Instant::now(),
                    why: why.clone(),
                });
            }
            _ if failing.is_some() => *failing = None,
            _ => (),
        }
        drop(failing);
        outcome
    }

    /// Whether they fail.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the last one's reason.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.0.lock() {
            Some(failing) if failing.in_a_row >= IN_A_ROW && failing.last.elapsed() < COUNT_FOR => {
                let Failing { in_a_row, why, .. } = failing;
                Err(StoreError::Unavailable(format!(
                    "the last {in_a_row} writes failed: {why}"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ends(writes: &Writes, outcome: Result<(), Failure>) -> Result<(), StoreError> {
        let _ = writes.noted(std::future::ready(outcome)).await;
        writes.check()
    }

    #[tokio::test]
    async fn writes_that_fail_one_after_the_other_are_told_until_one_does_not() {
        let writes = Writes::default();
        let full = || Err(Failure::Away("the disk is full".into()));
        assert!(ends(&writes, full()).await.is_ok());
        let told = ends(&writes, full()).await.unwrap_err();
        assert!(
            told.to_string().contains("the last 2 writes failed"),
            "{told}"
        );
        assert!(told.to_string().contains("disk is full"), "{told}");
        // A row that is not taken says that rows are.
        assert!(ends(&writes, Err(Failure::Duplicate)).await.is_ok());
        assert!(ends(&writes, full()).await.is_ok());
        assert!(ends(&writes, full()).await.is_err());
        assert!(ends(&writes, Ok(())).await.is_ok());
    }
}
