//! Which addresses somebody was logged in from lately: they have the last places when a flood takes the others.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::network::Network;

/// How long an address is known after the last call, or the last sign of life of a socket, with a session.
const KNOWN_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The most addresses that are known by one person: home, work, a phone. Few, so that one account does not make a
/// whole provider's network known.
const ADDRESSES_PER_USER: usize = 4;

/// The most people in the table; about 200 bytes each.
const USERS_MAX: usize = 100_000;

/// How long nothing is noted again.
const NOTED_TIME: Duration = Duration::from_secs(60);

/// The addresses.
#[derive(Default)]
pub(crate) struct KnownAddresses {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Each one's own, the latest last.
    by_user: HashMap<String, VecDeque<(Network, Instant)>>,
    /// By how many people each is known.
    people: HashMap<Network, usize>,
}

impl KnownAddresses {
    /// Somebody with a session calls from here.
    pub(crate) fn note(&self, user: &str, network: Network, now: Instant) {
        let mut table = self.table.lock();
        let Table { by_user, people } = &mut *table;
        if by_user.len() >= USERS_MAX && !by_user.contains_key(user) {
            return;
        }
        if !by_user.contains_key(user) {
            by_user.insert(user.to_owned(), VecDeque::new());
        }
        let Some(own) = by_user.get_mut(user) else {
            return;
        };
        match own.iter().position(|(known, _)| *known == network) {
            Some(index) if now - own[index].1 < NOTED_TIME => return,
            Some(index) => drop(own.remove(index)),
            None => *people.entry(network).or_default() += 1,
        }
        own.push_back((network, now));
        if own.len() > ADDRESSES_PER_USER
            && let Some((gone, _)) = own.pop_front()
        {
            one_less(people, gone);
        }
    }

    /// Whether somebody with a session called from here lately.
    pub(crate) fn knows(&self, network: Network) -> bool {
        self.table.lock().people.contains_key(&network)
    }

    /// Forgets what is too long ago. Called on a timer.
    pub(crate) fn upkeep(&self, now: Instant) {
        let mut table = self.table.lock();
        let Table { by_user, people } = &mut *table;
        by_user.retain(|_, own| {
            own.retain(|(network, at)| {
                let is_known = now - *at < KNOWN_TIME;
                if !is_known {
                    one_less(people, *network);
                }
                is_known
            });
            !own.is_empty()
        });
    }
}

fn one_less(people: &mut HashMap<Network, usize>, network: Network) {
    if let Some(count) = people.get_mut(&network) {
        *count -= 1;
        if *count == 0 {
            people.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(n: u8) -> Network {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    #[test]
    fn an_account_makes_a_handful_of_addresses_known_and_no_more() {
        let (known, now) = (KnownAddresses::default(), Instant::now());
        for n in 1..=100 {
            known.note("eve", at(n), now);
        }
        let count = (1..=100).filter(|n| known.knows(at(*n))).count();
        assert_eq!(count, ADDRESSES_PER_USER);
        assert!(known.knows(at(100)));
    }

    #[test]
    fn who_was_not_there_for_long_is_forgotten_and_who_was_is_not() {
        let (known, now) = (KnownAddresses::default(), Instant::now());
        known.note("ada", at(1), now);
        known.note("bob", at(1), now);
        known.note("bob", at(2), now);
        known.note("bob", at(1), now + KNOWN_TIME / 2);
        known.upkeep(now + KNOWN_TIME);
        assert!(known.knows(at(1)));
        assert!(!known.knows(at(2)));
        known.upkeep(now + 2 * KNOWN_TIME);
        let table = known.table.lock();
        assert!(table.by_user.is_empty() && table.people.is_empty());
    }
}
