//! How often somebody may do something on this edge: messages, and failed attempts at log-in and registration.
//!
//! Each edge counts for itself. With several, what is allowed in all is the sum: the limits are there against floods
//! and guessing, and a factor of a few does not help either.

use std::{collections::HashMap, hash::Hash, net::IpAddr, num::NonZeroU32, time::Duration};

use common::secret_token::TokenHash;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::{
    EdgeSettings,
    network::{Network, SITE_SHARE, Site, network, site},
    shares::Rates,
};

/// The most keys that one table of failures holds. A failure costs a password's hashing, so a flood of keys would take
/// an hour to get there; beyond it new keys are not counted.
const KEYS_MAX: usize = 100_000;

/// Joins of one user a second, on all sockets; ten seconds' worth at once: some devices that come back to hundreds of
/// rooms each.
const JOINS_PER_SECOND: u32 = 300;

/// For so long a join waits for its turn; beyond it is refused.
const JOIN_WAITS_MOST: Duration = Duration::from_secs(60);

/// `typing` of one user a second, on all sockets: each goes to everybody in a room.
const TYPING_PER_SECOND: u32 = 5;

/// Rooms that one user reads on in within a second, on all sockets, ten seconds' worth at once: each is a row that is written.
const READS_PER_SECOND: u32 = 5;

/// A deletion has the live engine go through all of a room's stream: a flood of them must leave it time for others.
const DELETION_WEIGHT: NonZeroU32 = NonZeroU32::new(10).expect("above zero");

/// What is allowed here.
pub(crate) struct RateLimits {
    messages: DefaultKeyedRateLimiter<String>,
    messages_burst: NonZeroU32,
    joins: Rates<String>,
    typing: Rates<String>,
    reads: Rates<String>,
    /// Guessing one user's password from one address.
    by_name_and_address: Failures<(String, Network)>,
    /// Guessing one user's password from many addresses. High, so that it takes many addresses to keep a user out.
    by_name: Failures<String>,
    /// Guessing one user's password on a device on which they have logged in. It has nothing to do with the others.
    by_device: Failures<TokenHash>,
    /// Coming back from the provider with what is worth nothing, on such a device. A foreign page can make it come back so,
    /// which is why passwords have nothing to do with it.
    sign_ons_by_device: Failures<TokenHash>,
    /// Logging in as one user from one customer's addresses, again and again: a right password costs as much as a wrong one.
    log_ins: Failures<(String, Network)>,
    /// Guessing many users' passwords, or asking which names are taken. High, since many may live behind one address.
    by_address: Failures<Network>,
    /// Archives of all that somebody wrote.
    exports: Failures<String>,
    /// The same from the many networks of one site.
    by_site: Failures<Site>,
    /// Coming back from single sign-on with what is worth nothing, for which the provider is asked all the same. By itself: whoever
    /// sends made-up codes keeps nobody behind the same address from logging in by a password, nor the other way round.
    sign_ons_by_address: Failures<Network>,
    sign_ons_by_site: Failures<Site>,
}

impl RateLimits {
    pub(crate) fn new(settings: &EdgeSettings) -> RateLimits {
        let messages = Quota::per_second(settings.user_messages_per_second)
            .allow_burst(settings.user_messages_burst);
        RateLimits {
            messages: RateLimiter::keyed(messages),
            messages_burst: settings.user_messages_burst,
            joins: Rates::new(JOINS_PER_SECOND),
            typing: Rates::new(TYPING_PER_SECOND),
            reads: Rates::new(READS_PER_SECOND),
            by_name_and_address: Failures::new(10, Duration::from_secs(30)),
            by_name: Failures::new(300, Duration::from_secs(10)),
            by_device: Failures::new(10, Duration::from_secs(30)),
            sign_ons_by_device: Failures::new(10, Duration::from_secs(30)),
            log_ins: Failures::new(100, Duration::from_secs(5)),
            exports: Failures::new(5, Duration::from_secs(600)),
            by_address: Failures::new(100, Duration::from_secs(1)),
            by_site: Failures::new(100 * SITE_SHARE, Duration::from_secs(1) / SITE_SHARE),
            sign_ons_by_address: Failures::new(100, Duration::from_secs(1)),
            sign_ons_by_site: Failures::new(100 * SITE_SHARE, Duration::from_secs(1) / SITE_SHARE),
        }
    }

    /// Counts one message of a user.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn check_user_message(&self, user: &str) -> Result<(), Duration> {
        let verdict = self.messages.check_key(&user.to_owned());
        verdict.map_err(|until| until.wait_time_from(self.messages.clock().now()))
    }

    /// Counts one deletion of a user, which weighs as much as [`DELETION_WEIGHT`] messages.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn check_user_deletion(&self, user: &str) -> Result<(), Duration> {
        let weight = DELETION_WEIGHT.min(self.messages_burst);
        match self.messages.check_key_n(&user.to_owned(), weight) {
            Ok(Err(until)) => Err(until.wait_time_from(self.messages.clock().now())),
            // It is never more than all that may come at once.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Counts one join of a user, and says how long it waits for its turn.
    ///
    /// # Errors
    /// Too many wait already: the time after which to come again.
    pub(crate) fn reserve_join(&self, user: &str) -> Result<Duration, Duration> {
        self.joins
            .reserve(user.to_owned(), JOIN_WAITS_MOST, Instant::now())
    }

    /// Counts one `typing` of a user.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn check_typing(&self, user: &str) -> Result<(), Duration> {
        self.typing.check(user.to_owned(), Instant::now())
    }

    /// Counts that a user has read on in one more room.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn check_read(&self, user: &str) -> Result<(), Duration> {
        self.reads.check(user.to_owned(), Instant::now())
    }

    /// Whether an attempt at a user's password from an address is heard, right or wrong: a right one that was heard
    /// beyond the limit would tell a guesser that it was right. Counts nothing. On a known device of this user only what
    /// failed there counts, and there it counts alone.
    ///
    /// # Errors
    /// The time after which it is.
    pub(crate) fn check_log_in(
        &self,
        name: &str,
        address: IpAddr,
        device: Option<&TokenHash>,
    ) -> Result<(), Duration> {
        let (now, network) = (Instant::now(), network(address));
        self.log_ins.check(&(name.to_owned(), site(address)), now)?;
        if let Some(device) = device {
            return self.by_device.check(device, now);
        }
        self.by_name_and_address
            .check(&(name.to_owned(), network), now)?;
        self.by_name.check(&name.to_owned(), now)?;
        self.by_address.check(&network, now)?;
        self.by_site.check(&site(address), now)
    }

    /// Whether somebody is heard who comes back from single sign-on. On a device that is known, whoever's, only what failed there
    /// counts, and there it counts alone. Counts nothing.
    ///
    /// # Errors
    /// The time after which they are.
    pub(crate) fn check_coming_back(
        &self,
        address: IpAddr,
        device: Option<&TokenHash>,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        if let Some(device) = device {
            return self.sign_ons_by_device.check(device, now);
        }
        self.sign_ons_by_address.check(&network(address), now)?;
        self.sign_ons_by_site.check(&site(address), now)
    }

    /// Counts that somebody came back with what is worth nothing.
    pub(crate) fn sign_on_failed(&self, address: IpAddr, device: Option<&TokenHash>) {
        let now = Instant::now();
        if let Some(device) = device {
            return self.sign_ons_by_device.count(*device, now);
        }
        self.sign_ons_by_address.count(network(address), now);
        self.sign_ons_by_site.count(site(address), now);
    }

    /// Whether a log-in by single sign-on is heard, where nothing can be guessed: only what comes again and again is not. Counts
    /// nothing.
    ///
    /// # Errors
    /// The time after which it is.
    pub(crate) fn check_sign_on(&self, name: &str, address: IpAddr) -> Result<(), Duration> {
        let key = (name.to_owned(), site(address));
        self.log_ins.check(&key, Instant::now())
    }

    /// Counts a log-in that was right.
    pub(crate) fn logged_in(&self, name: &str, address: IpAddr) {
        let key = (name.to_owned(), site(address));
        self.log_ins.count(key, Instant::now());
    }

    /// Counts a wrong password.
    pub(crate) fn log_in_failed(&self, name: &str, address: IpAddr, device: Option<&TokenHash>) {
        let (now, network) = (Instant::now(), network(address));
        if let Some(device) = device {
            return self.by_device.count(*device, now);
        }
        self.by_name_and_address
            .count((name.to_owned(), network), now);
        self.by_name.count(name.to_owned(), now);
        self.by_address.count(network, now);
        self.by_site.count(site(address), now);
    }

    /// Counts an archive of all that somebody wrote.
    ///
    /// # Errors
    /// The time after which the next one is allowed.
    pub(crate) fn check_export(&self, user: &str) -> Result<(), Duration> {
        let (user, now) = (user.to_owned(), Instant::now());
        self.exports.check(&user, now)?;
        self.exports.count(user, now);
        Ok(())
    }

    /// Whether an attempt to register from an address is heard. Counts nothing.
    ///
    /// # Errors
    /// The time after which it is.
    pub(crate) fn check_register(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        self.by_address.check(&network(address), now)?;
        self.by_site.check(&site(address), now)
    }

    /// Counts a registration under a name that is taken, or with a password that is guessed first.
    pub(crate) fn register_failed(&self, address: IpAddr) {
        let now = Instant::now();
        self.by_address.count(network(address), now);
        self.by_site.count(site(address), now);
    }

    /// Lets go of keys that have all their allowance back. Called on a timer.
    pub(crate) fn upkeep(&self) {
        self.messages.retain_recent();
        self.messages.shrink_to_fit();
        let now = Instant::now();
        self.joins.upkeep(now);
        self.typing.upkeep(now);
        self.reads.upkeep(now);
        self.by_name_and_address.upkeep(now);
        self.by_name.upkeep(now);
        self.by_device.upkeep(now);
        self.sign_ons_by_device.upkeep(now);
        self.log_ins.upkeep(now);
        self.exports.upkeep(now);
        self.by_address.upkeep(now);
        self.by_site.upkeep(now);
        self.sign_ons_by_address.upkeep(now);
        self.sign_ons_by_site.upkeep(now);
    }
}

/// So many failures at once, then one in every `interval`: a bucket that leaks. Unlike governor's it can be looked at
/// without being counted, since only a failure counts, and that is known afterwards.
struct Failures<K> {
    burst: u32,
    interval: Duration,
    /// When the bucket of a key is empty again.
    empty_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Failures<K> {
    fn new(burst: u32, interval: Duration) -> Failures<K> {
        Failures {
            burst,
            interval,
            empty_at: Mutex::default(),
        }
    }

    fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let empty_at = self.table().get(key).copied().unwrap_or(now);
        // One more must still fit.
        let room_at = empty_at
            .checked_sub(self.interval * (self.burst - 1))
            .unwrap_or(now);
        let wait = room_at.saturating_duration_since(now);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    fn count(&self, key: K, now: Instant) {
        let mut table = self.table();
        if table.len() >= KEYS_MAX && !table.contains_key(&key) {
            return;
        }
        // What was under way when the bucket filled up must not fill it without end.
        let most = now + self.interval * self.burst;
        let empty_at = table.entry(key).or_insert(now);
        *empty_at = ((*empty_at).max(now) + self.interval).min(most);
    }

    fn upkeep(&self, now: Instant) {
        let mut table = self.table();
        table.retain(|_, empty_at| *empty_at > now);
        table.shrink_to_fit();
    }

    fn table(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.empty_at.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn so_many_at_once_and_then_one_in_every_interval() {
        let failures = Failures::new(3, SECOND * 10);
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(failures.check(&"ada", began), Ok(()));
            failures.count("ada", began);
        }
        assert_eq!(failures.check(&"ada", began), Err(SECOND * 10));
        assert_eq!(failures.check(&"bob", began), Ok(()));
        let later = began + SECOND * 10;
        assert_eq!(failures.check(&"ada", later), Ok(()));
        failures.count("ada", later);
        assert_eq!(failures.check(&"ada", later), Err(SECOND * 10));
        assert_eq!(failures.check(&"ada", later + SECOND * 4), Err(SECOND * 6));
    }

    #[test]
    fn what_is_counted_beyond_the_limit_keeps_nobody_out_for_longer() {
        let failures = Failures::new(3, SECOND * 10);
        let now = Instant::now();
        for _ in 0..1_000 {
            failures.count("ada", now);
        }
        assert_eq!(failures.check(&"ada", now), Err(SECOND * 10));
    }

    #[test]
    fn who_has_all_back_is_forgotten() {
        let failures = Failures::new(3, SECOND * 10);
        let now = Instant::now();
        failures.count("ada", now);
        failures.upkeep(now + SECOND * 9);
        assert_eq!(failures.table().len(), 1);
        failures.upkeep(now + SECOND * 10);
        assert_eq!(failures.table().len(), 0);
    }
}
