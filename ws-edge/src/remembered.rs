//! One thing that somebody else knows, a database or another's server, remembered for a while: it is asked by one call
//! at a time, and not again at once when it did not answer.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// How long nobody asks again after there was no answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// One thing to remember.
pub(crate) struct Remembered<T> {
    known: Mutex<Known<T>>,
    /// Held by the one who asks, while others wait.
    asking: tokio::sync::Mutex<()>,
}

struct Known<T> {
    said: Option<(Arc<T>, Instant)>,
    failed_at: Option<Instant>,
    /// Counts what was forgotten: an answer that was asked for before is old when it comes.
    forgotten: u64,
    /// What was said is to be asked for again, though it will do where there is no other.
    is_old: bool,
}

impl<T> Remembered<T> {
    pub(crate) fn new() -> Remembered<T> {
        Remembered {
            known: Mutex::new(Known {
                said: None,
                failed_at: None,
                forgotten: 0,
                is_old: false,
            }),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// It may be otherwise by now.
    pub(crate) fn forget(&self) {
        let mut known = self.known.lock();
        known.forgotten += 1;
        known.is_old = true;
    }

    /// Something newer than this answer, which did not do. It is asked for when that one is as old as `pause`, and whoever comes
    /// earlier waits until then. The same answer if there is no other just now.
    pub(crate) async fn newer(
        &self,
        than: &Arc<T>,
        pause: Duration,
        ask: impl AsyncFnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        let said_at = {
            let known = self.known.lock();
            let said = known.said.as_ref();
            said.and_then(|(said, at)| Arc::ptr_eq(said, than).then_some(*at))
        };
        if let Some(at) = said_at {
            sleep_until(at + pause).await;
        }
        self.get(pause, ask).await
    }

    /// What was said within `fresh`, or is said now; or an older answer if there is none just now. None if there never
    /// was.
    pub(crate) async fn get(
        &self,
        fresh: Duration,
        ask: impl AsyncFnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        if let Ok(known) = self.known.lock().within(fresh) {
            return known;
        }
        let _asking = self.asking.lock().await;
        let forgotten = {
            let known = self.known.lock();
            if let Ok(known) = known.within(fresh) {
                return known;
            }
            known.forgotten
        };
        let said = ask().await.map(Arc::new);
        let mut known = self.known.lock();
        match said {
            Some(said) => {
                known.said = Some((Arc::clone(&said), Instant::now()));
                known.failed_at = None;
                known.is_old = known.forgotten != forgotten;
                Some(said)
            }
            None => {
                known.failed_at = Some(Instant::now());
                known.said.as_ref().map(|(said, _)| Arc::clone(said))
            }
        }
    }
}

impl<T> Known<T> {
    /// An error is that it has to be asked.
    fn within(&self, fresh: Duration) -> Result<Option<Arc<T>>, ()> {
        let failed = self.failed_at;
        let is_paused = failed.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE);
        let is_fresh = |at: Instant| !self.is_old && at.elapsed() < fresh;
        match &self.said {
            Some((said, at)) if is_paused || is_fresh(*at) => Ok(Some(Arc::clone(said))),
            None if is_paused => Ok(None),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_was_said_counts_for_a_while_and_longer_where_nothing_is_said() {
        let remembered = Remembered::new();
        let get = async |says: Option<u8>| {
            let said = remembered.get(MINUTE, async || says).await;
            said.map(|said| *said)
        };
        assert_eq!(get(None).await, None);
        assert_eq!(get(Some(1)).await, None, "it is not asked again at once");
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        assert_eq!(get(Some(1)).await, Some(1));
        assert_eq!(get(Some(2)).await, Some(1));
        tokio::time::advance(MINUTE).await;
        assert_eq!(get(None).await, Some(1));
        assert_eq!(get(Some(2)).await, Some(1));
        tokio::time::advance(PAUSE_AFTER_FAILURE).await;
        assert_eq!(get(Some(2)).await, Some(2));
        remembered.forget();
        assert_eq!(get(Some(3)).await, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_something_newer_waits_until_it_may_be_asked_for() {
        let (remembered, began) = (Remembered::new(), Instant::now());
        let pause = Duration::from_secs(2);
        let first = remembered.get(MINUTE, async || Some(1)).await.unwrap();
        let newer = async |says| {
            *remembered
                .newer(&first, pause, async || says)
                .await
                .unwrap()
        };
        let (one, other) = tokio::join!(newer(Some(2)), newer(Some(3)));
        assert_eq!(one, other, "it is asked for once");
        assert_eq!(began.elapsed(), pause);
        assert_eq!(newer(Some(4)).await, one, "that is newer");
        assert_eq!(began.elapsed(), pause);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_it_was_forgotten_is_old_when_it_comes() {
        let remembered = Remembered::new();
        let ask = async || {
            remembered.forget();
            Some(1)
        };
        assert_eq!(*remembered.get(MINUTE, ask).await.unwrap(), 1);
        assert_eq!(*remembered.get(MINUTE, async || Some(2)).await.unwrap(), 2);
    }
}
