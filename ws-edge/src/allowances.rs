//! So much within a window of time: what an address may register within an hour, and how many bytes somebody may post
//! within a day.
//!
//! A window begins with the first that is counted in it, so that nobody has to know what the clock says. Each edge counts
//! for itself, in memory: these are there against floods, and a few times more of almost nothing does no harm; a message
//! would otherwise have to ask one more engine, which could be away.

use std::{collections::HashMap, hash::Hash, net::IpAddr, num::NonZeroU64, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::{
    PeopleLimits,
    network::{Network, Site, network, site},
};

/// The most keys that one table holds; about 100 bytes each.
const KEYS_MAX: usize = 100_000;

/// Addresses of IPv6 come by the /48, and then by tens of thousands of the /64 that count as one address. So a /48 has a
/// limit too: so many times what an address has.
const WIDE_TIMES: u64 = 10;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What addresses and people may still take.
pub(crate) struct Allowances {
    registrations: Option<Allowance<Network>>,
    /// The same of an IPv6 /48.
    site_registrations: Option<Allowance<Site>>,
    bytes: Option<Allowance<String>>,
}

impl Allowances {
    pub(crate) fn new(limits: &PeopleLimits) -> Allowances {
        let registrations = NonZeroU64::new(limits.address_registrations_per_hour.into());
        let of_addresses = |most| Allowance::new(most, HOUR);
        let of_sites = registrations.map(|most| most.saturating_mul(WIDE));
        Allowances {
            registrations: registrations.map(of_addresses),
            site_registrations: of_sites.map(of_addresses),
            bytes: NonZeroU64::new(limits.user_bytes_per_day).map(|most| Allowance::new(most, DAY)),
        }
    }

    /// Whether an address may register one more account. Counts nothing.
    ///
    /// # Errors
    /// The time after which it may.
    pub(crate) fn check_registration(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        if let Some(allowance) = &self.registrations {
            allowance.check(&network(address), 1, now)?;
        }
        match &self.site_registrations {
            Some(allowance) => allowance.check(&site(address), 1, now),
            None => Ok(()),
        }
    }

    /// Counts a registration.
    pub(crate) fn registered(&self, address: IpAddr) {
        let now = Instant::now();
        if let Some(allowance) = &self.registrations {
            allowance.count(network(address), 1, now);
        }
        if let Some(allowance) = &self.site_registrations {
            allowance.count(site(address), 1, now);
        }
    }

    /// Counts a message of so many bytes, if the user may post it.
    ///
    /// # Errors
    /// The time after which they may.
    pub(crate) fn take_bytes(&self, user: &str, bytes: usize) -> Result<(), Duration> {
        let Some(allowance) = &self.bytes else {
            return Ok(());
        };
        allowance.take(user.to_owned(), on_disk(bytes), Instant::now())
    }

    /// A message that was counted is not kept: it will be sent again, and counted then.
    pub(crate) fn give_back_bytes(&self, user: &str, bytes: usize) {
        if let Some(allowance) = &self.bytes {
            allowance.give_back(user, on_disk(bytes));
        }
    }

    /// Lets go of windows that are over. Called on a timer.
    pub(crate) fn upkeep(&self) {
        let now = Instant::now();
        let registrations = [&self.registrations, &self.site_registrations];
        for allowance in registrations.into_iter().flatten() {
            allowance.upkeep(now);
        }
        if let Some(allowance) = &self.bytes {
            allowance.upkeep(now);
        }
    }
}

/// What a message takes of a disk at the least, with its keys and what else is kept beside its text.
const MESSAGE_LEAST_BYTES: usize = 256;

fn on_disk(bytes: usize) -> u64 {
    bytes.max(MESSAGE_LEAST_BYTES) as u64
}

const WIDE: NonZeroU64 = NonZeroU64::new(WIDE_TIMES).expect("ten is not zero");

/// So much for each key within a window.
struct Allowance<K> {
    most: u64,
    window: Duration,
    taken: Mutex<HashMap<K, Taken>>,
}

/// What was taken in a window.
struct Taken {
    ends_at: Instant,
    amount: u64,
}

impl<K: Hash + Eq> Allowance<K> {
    fn new(most: NonZeroU64, window: Duration) -> Allowance<K> {
        Allowance {
            most: most.get(),
            window,
            taken: Mutex::default(),
        }
    }

    fn check<Q>(&self, key: &Q, amount: u64, now: Instant) -> Result<(), Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.taken().get(key) {
            Some(taken) if taken.ends_at > now && taken.amount + amount > self.most => {
                Err(taken.ends_at - now)
            }
            _ => Ok(()),
        }
    }

    fn count(&self, key: K, amount: u64, now: Instant) {
        let mut all = self.taken();
        if all.len() >= KEYS_MAX && !all.contains_key(&key) {
            make_room(&mut all, now);
        }
        let new = || Taken {
            ends_at: now + self.window,
            amount: 0,
        };
        let taken = all.entry(key).or_insert_with(new);
        if taken.ends_at <= now {
            *taken = new();
        }
        taken.amount = taken.amount.saturating_add(amount);
    }

    /// Both at once.
    fn take(&self, key: K, amount: u64, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        self.check(&key, amount, now)?;
        self.count(key, amount, now);
        Ok(())
    }

    fn give_back<Q>(&self, key: &Q, amount: u64)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(taken) = self.taken().get_mut(key) {
            taken.amount = taken.amount.saturating_sub(amount);
        }
    }

    fn upkeep(&self, now: Instant) {
        let mut all = self.taken();
        all.retain(|_, taken| taken.ends_at > now);
        all.shrink_to_fit();
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<K, Taken>> {
        self.taken.lock()
    }
}

/// Forgets who has taken least, half of all: who comes with many keys gains the most by each that is forgotten late.
fn make_room<K: Hash + Eq>(all: &mut HashMap<K, Taken>, now: Instant) {
    all.retain(|_, taken| taken.ends_at > now);
    if all.len() < KEYS_MAX {
        return;
    }
    let mut amounts: Vec<u64> = all.values().map(|taken| taken.amount).collect();
    let middle = amounts.len() / 2;
    let (_, median, _) = amounts.select_nth_unstable(middle);
    let median = *median;
    all.retain(|_, taken| taken.amount > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(most: u64) -> Allowance<String> {
        Allowance::new(NonZeroU64::new(most).unwrap(), HOUR)
    }

    #[test]
    fn so_much_within_a_window_and_then_again() {
        let (allowance, now) = (of(10), Instant::now());
        let take = |amount, at| allowance.take("ada".to_owned(), amount, at);
        assert_eq!(take(6, now), Ok(()));
        assert_eq!(take(5, now + HOUR / 4), Err(HOUR * 3 / 4));
        assert_eq!(take(4, now + HOUR / 2), Ok(()), "what still fits");
        assert_eq!(take(1, now + HOUR / 2), Err(HOUR / 2));
        assert_eq!(allowance.take("bob".to_owned(), 10, now), Ok(()));
        assert_eq!(take(10, now + HOUR), Ok(()));
        allowance.give_back("ada", 3);
        assert_eq!(take(3, now + HOUR), Ok(()));
        allowance.upkeep(now + HOUR * 3 / 2);
        assert_eq!(allowance.taken().len(), 1);
    }

    #[test]
    fn a_flood_of_keys_does_not_wash_away_who_took_most() {
        let (allowance, now) = (of(10), Instant::now());
        allowance.count("ada".to_owned(), 10, now);
        for key in 0..KEYS_MAX * 2 {
            allowance.count(key.to_string(), 1, now);
        }
        assert!(allowance.taken().len() <= KEYS_MAX);
        assert_eq!(allowance.check("ada", 1, now), Err(HOUR));
    }
}
