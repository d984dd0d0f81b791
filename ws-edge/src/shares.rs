//! How much of something anybody has at a time, and how often anybody may do something: the same two tables for persons,
//! addresses and whatever else shares what there is. Both are bounded, whoever calls.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The most keys in one table of rates. Beyond it, those without an entry have one allowance together until others have
/// all of theirs back: a flood from ever new addresses costs a bounded amount of memory, and limits itself.
const RATE_KEYS_MAX: usize = 200_000;

/// Between two sweeps of a full table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// For how long a burst lasts: what is allowed at once is what is allowed in this time.
pub(crate) const BURST_TIME: Duration = Duration::from_secs(10);

/// How long the longest debt lasts of one who was let do more than is allowed, since that showed only afterwards.
const DEBT_MOST: Duration = Duration::from_secs(10);

/// What each key holds at a time, of something that it may have only so many of.
pub(crate) struct Shares<K> {
    most: usize,
    held: Mutex<HashMap<K, usize>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// At most so many for each; 0: as many as anybody likes.
    pub(crate) fn new(most: usize) -> Arc<Shares<K>> {
        let most = if most == 0 { usize::MAX } else { most };
        let held = Mutex::default();
        Arc::new(Shares { most, held })
    }

    /// One for this key, until the answer is dropped; none if it has as many as it may have.
    pub(crate) fn take(self: &Arc<Self>, key: &K) -> Option<Share<K>> {
        let mut held = self.held.lock();
        let count = held.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share {
            shares: Arc::clone(self),
            key: key.clone(),
        })
    }

    /// How many this key holds.
    pub(crate) fn held(&self, key: &K) -> usize {
        self.held.lock().get(key).copied().unwrap_or(0)
    }
}

/// One of what somebody may have only so many of, for as long as this is kept.
pub(crate) struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

/// How often each key may do something: so many a second in the long run, and [`BURST_TIME`]'s worth at once.
pub(crate) struct Rates<K> {
    /// Between two in the long run; none: as often as anybody likes.
    interval: Option<Duration>,
    table: Mutex<RateTable<K>>,
}

struct RateTable<K> {
    /// When each has all of its allowance back. `None` is everybody who has no entry while the table is full.
    whole_at: HashMap<Option<K>, Instant>,
    /// When those were last forgotten who have.
    swept_at: Option<Instant>,
}

impl<K: Eq + Hash> Rates<K> {
    /// So many a second; 0: as many as anybody likes.
    pub(crate) fn new(per_second: u32) -> Rates<K> {
        Rates {
            interval: (per_second > 0).then(|| Duration::from_secs(1) / per_second),
            table: Mutex::new(RateTable {
                whole_at: HashMap::new(),
                swept_at: None,
            }),
        }
    }

    /// Whether one more would be allowed. Counts nothing.
    ///
    /// # Errors
    /// The time after which it is.
    pub(crate) fn look(&self, key: K, now: Instant) -> Result<(), Duration> {
        let Some(interval) = self.interval else {
            return Ok(());
        };
        let whole_at = self.table.lock().whole_at.get(&Some(key)).copied();
        let then = whole_at.unwrap_or(now).max(now) + interval;
        let wait = then.saturating_duration_since(now + BURST_TIME);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// It is one too many, and is not counted: the time after which the next one is allowed.
    pub(crate) fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        let Some(interval) = self.interval else {
            return Ok(());
        };
        let mut table = self.table.lock();
        let whole_at = table.entry(key, now);
        let then = (*whole_at).max(now) + interval;
        let wait = then.saturating_duration_since(now + BURST_TIME);
        if wait.is_zero() {
            *whole_at = then;
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// Counts one that waits for its turn, and says for how long; whoever comes later waits longer.
    ///
    /// # Errors
    /// It would wait for longer than `most`, and is not counted: the time that it would wait.
    pub(crate) fn reserve(
        &self,
        key: K,
        most: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let Some(interval) = self.interval else {
            return Ok(Duration::ZERO);
        };
        let mut table = self.table.lock();
        let whole_at = table.entry(key, now);
        let then = (*whole_at).max(now) + interval;
        let wait = then.saturating_duration_since(now + BURST_TIME);
        if wait > most {
            return Err(wait);
        }
        *whole_at = then;
        Ok(wait)
    }

    /// Counts what turned out to weigh as much as so many more, whether they were allowed or not: the next one waits for
    /// it, at most [`DEBT_MOST`] longer.
    pub(crate) fn charge(&self, key: K, weight: u32, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        let mut table = self.table.lock();
        let whole_at = table.entry(key, now);
        let then = (*whole_at).max(now) + interval.saturating_mul(weight);
        *whole_at = then.min(now + BURST_TIME + DEBT_MOST);
    }

    /// Forgets whoever has all of their allowance back. Called on a timer.
    pub(crate) fn upkeep(&self, now: Instant) {
        let mut table = self.table.lock();
        table.sweep(now);
        table.whole_at.shrink_to_fit();
    }
}

impl<K: Eq + Hash> RateTable<K> {
    fn entry(&mut self, key: K, now: Instant) -> &mut Instant {
        let key = Some(key);
        if self.whole_at.len() >= RATE_KEYS_MAX && !self.whole_at.contains_key(&key) {
            let is_due = self.swept_at.is_none_or(|at| now - at >= SWEEP_EVERY);
            if is_due {
                self.sweep(now);
            }
            if self.whole_at.len() >= RATE_KEYS_MAX {
                return self.whole_at.entry(None).or_insert(now);
            }
        }
        self.whole_at.entry(key).or_insert(now)
    }

    fn sweep(&mut self, now: Instant) {
        self.swept_at = Some(now);
        self.whole_at.retain(|_, whole_at| *whole_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_a_time_and_one_more_when_one_was_given_back() {
        let shares = Shares::new(2);
        let first = shares.take(&"ada").unwrap();
        let _second = shares.take(&"ada").unwrap();
        assert!(shares.take(&"ada").is_none());
        assert!(shares.take(&"bob").is_some(), "that is somebody else");
        drop(first);
        assert!(shares.take(&"ada").is_some());
        assert_eq!(shares.held.lock().len(), 1, "who holds none is forgotten");
        let unlimited = Shares::new(0);
        let many: Vec<_> = (0..10_000).map(|_| unlimited.take(&"ada")).collect();
        assert!(many.iter().all(Option::is_some));
        assert_eq!(unlimited.held(&"ada"), 10_000);
    }

    #[test]
    fn who_waits_has_a_turn_of_their_own_and_too_many_are_refused() {
        let (rates, now) = (Rates::new(5), Instant::now());
        let most = Duration::from_secs(1);
        let waits: Vec<_> = (0..60).map(|_| rates.reserve("ada", most, now)).collect();
        assert!(waits[..50].iter().all(|wait| *wait == Ok(Duration::ZERO)));
        let later: Vec<_> = (1..=5)
            .map(|n| Ok(Duration::from_millis(200 * n)))
            .collect();
        assert_eq!(waits[50..55], later, "one after the other");
        assert!(waits[55..].iter().all(Result::is_err));
    }

    #[test]
    fn ten_seconds_worth_at_once_and_then_as_many_a_second_as_was_said() {
        let (rates, began) = (Rates::new(5), Instant::now());
        let heard = |now| {
            (0..1_000)
                .filter(|_| rates.check("ada", now).is_ok())
                .count()
        };
        assert_eq!(heard(began), 50);
        assert_eq!(
            rates.check("ada", began),
            Err(Duration::from_millis(200)),
            "and it is said when the next one is heard"
        );
        assert_eq!(heard(began + Duration::from_secs(2)), 10);
        assert!(rates.check("bob", began).is_ok());
        rates.charge("bob", 54, began);
        assert_eq!(
            rates.check("bob", began),
            Err(Duration::from_millis(1_200)),
            "what was too much is waited for"
        );
        rates.upkeep(began + Duration::from_secs(100));
        assert_eq!(rates.table.lock().whole_at.len(), 0);
        let unlimited = Rates::new(0);
        assert!((0..10_000).all(|_| unlimited.check("ada", began).is_ok()));
    }

    #[test]
    fn ever_new_keys_fill_no_memory_and_those_that_are_known_go_on() {
        let (rates, now) = (Rates::new(1), Instant::now());
        assert!(rates.check(0_i64, now).is_ok());
        let keys = 1..2 * i64::try_from(RATE_KEYS_MAX).unwrap();
        let heard = keys.filter(|key| rates.check(*key, now).is_ok());
        assert_eq!(heard.count(), RATE_KEYS_MAX - 1 + 10);
        assert_eq!(rates.table.lock().whole_at.len(), RATE_KEYS_MAX + 1);
        assert!(rates.check(0, now).is_ok());
        // Whoever called once is forgotten as soon as there is need.
        let later = now + 2 * BURST_TIME;
        assert!(
            (0..50_i64)
                .filter(|key| rates.check(-key, later).is_ok())
                .count()
                == 50
        );
        assert!(rates.table.lock().whole_at.len() < 100);
    }
}
