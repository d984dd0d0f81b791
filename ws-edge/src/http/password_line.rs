//! Who waits for a core to have a password hashed, and whose turn is next: round and round by network, so that whoever sends
//! many waits behind themselves. Without I/O.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::IpAddr,
};

use crate::network::{network, site};

/// Lines side by side, one for each key; each gets a turn, then the next.
#[derive(Debug)]
struct RoundRobin<K, L> {
    lines: HashMap<K, L>,
    turns: VecDeque<K>,
}

impl<K, L> Default for RoundRobin<K, L> {
    fn default() -> Self {
        RoundRobin {
            lines: HashMap::new(),
            turns: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, L: Default> RoundRobin<K, L> {
    fn line(&mut self, key: K) -> &mut L {
        self.lines.entry(key).or_insert_with(|| {
            self.turns.push_back(key);
            L::default()
        })
    }

    /// Takes from the line whose turn it is.
    fn next<T>(&mut self, take: impl FnOnce(&mut L) -> (T, bool)) -> Option<T> {
        let key = self.turns.pop_front()?;
        let line = self.lines.get_mut(&key)?;
        let (taken, is_empty) = take(line);
        if is_empty {
            self.lines.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some(taken)
    }

    fn forget(&mut self, key: K) {
        self.lines.remove(&key);
        self.turns.retain(|turn| *turn != key);
    }
}

/// Those of one customer of a provider: an IPv4 address, or an IPv6 /48 with its /64s side by side.
#[derive(Debug)]
struct Customer<T> {
    networks: RoundRobin<IpAddr, VecDeque<T>>,
    length: usize,
}

impl<T> Default for Customer<T> {
    fn default() -> Self {
        Customer {
            networks: RoundRobin::default(),
            length: 0,
        }
    }
}

/// All who wait.
#[derive(Debug)]
pub(super) struct PasswordLine<T> {
    customers: RoundRobin<IpAddr, Customer<T>>,
    length: usize,
}

impl<T> Default for PasswordLine<T> {
    fn default() -> Self {
        PasswordLine {
            customers: RoundRobin::default(),
            length: 0,
        }
    }
}

impl<T> PasswordLine<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many of them are of the same customer as this address.
    pub(super) fn of_customer(&self, address: IpAddr) -> usize {
        let customer = self.customers.lines.get(&site(address));
        customer.map_or(0, |customer| customer.length)
    }

    /// Waits behind those of the same network.
    pub(super) fn push(&mut self, address: IpAddr, one: T) {
        let customer = self.customers.line(site(address));
        customer.networks.line(network(address)).push_back(one);
        customer.length += 1;
        self.length += 1;
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let next = self.customers.next(|customer| {
            customer.length -= 1;
            let next = customer.networks.next(|line| {
                let first = line.pop_front();
                (first, line.is_empty())
            });
            (next.flatten(), customer.length == 0)
        });
        let next = next.flatten();
        self.length -= usize::from(next.is_some());
        next
    }

    /// Takes away the one who came last of the customer who has most, if that has more than this address would have with
    /// one more. Somebody else gets their place.
    pub(super) fn displace_for(&mut self, address: IpAddr) -> Option<T> {
        let all = self.customers.lines.iter_mut();
        let (key, most) = all.max_by_key(|(_, customer)| customer.length)?;
        let (key, length) = (*key, most.length);
        if length <= self.of_customer(address) + 1 {
            return None;
        }
        let customer = self.customers.lines.get_mut(&key)?;
        let lines = customer.networks.lines.iter_mut();
        let (network, line) = lines.max_by_key(|(_, line)| line.len())?;
        let (network, last, is_empty) = (*network, line.pop_back(), line.is_empty());
        if is_empty {
            customer.networks.forget(network);
        }
        customer.length -= 1;
        self.length -= 1;
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn all(line: &mut PasswordLine<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn whoever_sends_many_waits_behind_themselves() {
        let mut line = PasswordLine::default();
        let (eve, ada, bob) = ("192.0.2.1", "192.0.2.2", "2001:db8::1");
        for who in ["eve 1", "eve 2", "eve 3", "eve 4"] {
            line.push(address(eve), who);
        }
        line.push(address(ada), "ada 1");
        line.push(address(bob), "bob 1");
        line.push(address(ada), "ada 2");
        assert_eq!((line.len(), line.of_customer(address(eve))), (7, 4));
        let order = [
            "eve 1", "ada 1", "bob 1", "eve 2", "ada 2", "eve 3", "eve 4",
        ];
        assert_eq!(all(&mut line), order);
        assert_eq!(line.len(), 0);
        assert!(line.customers.lines.is_empty() && line.customers.turns.is_empty());
    }

    #[test]
    fn tens_of_thousands_of_ipv6_networks_are_one_customer() {
        let mut line = PasswordLine::default();
        for network in 0..1_000 {
            let eve = format!("2001:db8:7:{network:x}::1");
            line.push(address(&eve), "eve");
        }
        line.push(address("2001:db8:8::1"), "ada");
        line.push(address("2001:db8:7:2::1"), "her neighbour");
        assert_eq!(line.of_customer(address("2001:db8:7:ffff::1")), 1_001);
        assert_eq!([line.pop(), line.pop()], [Some("eve"), Some("ada")]);
        assert_eq!(line.len(), 1_000);
    }

    #[test]
    fn where_all_places_are_taken_who_has_most_gives_one() {
        let mut line = PasswordLine::default();
        let (eve, ada) = (address("192.0.2.1"), address("192.0.2.2"));
        for who in ["first", "second", "third"] {
            line.push(eve, who);
        }
        assert_eq!(line.displace_for(eve), None);
        assert_eq!(line.displace_for(ada), Some("third"));
        line.push(ada, "ada");
        assert_eq!(line.displace_for(ada), None, "she would have as many then");
        assert_eq!(line.len(), 3);
        assert_eq!(all(&mut line), ["first", "ada", "second"]);
    }
}
