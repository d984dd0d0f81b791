//! In which order the hosts of `AMQP_URL` are tried: by chance, so that the processes spread over them, those that this
//! process is connected to for the same purpose after those that it is not, and those that did not answer lately after
//! all others. A host that stands still takes a connection and then says nothing: to meet it again costs whoever tries
//! it as long as an answer may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::seq::SliceRandom;

use super::{addresses::Address, connection::Role};

/// How long a host that did not answer comes after the others.
const LAST_FOR: Duration = Duration::from_secs(60);

/// One host, and when it was last seen not to answer.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) address: Address,
    silent_at: Mutex<Option<Instant>>,
    /// How many connections there are of each role.
    connections: [AtomicUsize; 2],
}

/// A connection to a host, for as long as it is held.
pub(super) struct Connected {
    pub(super) host: Arc<Host>,
    role: Role,
}

impl Connected {
    pub(super) fn new(host: Arc<Host>, role: Role) -> Connected {
        host.connections[role as usize].fetch_add(1, Ordering::Relaxed);
        Connected { host, role }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.host.connections[self.role as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Host {
    /// It did not answer, or would not have us.
    pub(super) fn is_silent(&self) {
        *self.silent_at.lock() = Some(Instant::now());
    }

    /// It has answered.
    pub(super) fn answers(&self) {
        *self.silent_at.lock() = None;
    }

    fn was_silent_lately(&self) -> bool {
        let silent_at = *self.silent_at.lock();
        silent_at.is_some_and(|at| at.elapsed() < LAST_FOR)
    }
}

/// All of them, known to every connection of the process.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<[Arc<Host>]>);

impl Hosts {
    pub(super) fn new(addresses: Vec<Address>) -> Hosts {
        let host = |address| {
            Arc::new(Host {
                address,
                silent_at: Mutex::default(),
                connections: Default::default(),
            })
        };
        Hosts(addresses.into_iter().map(host).collect())
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// The order in which to try them now.
    pub(super) fn in_order(&self, role: Role) -> Vec<Arc<Host>> {
        let mut order = self.0.to_vec();
        order.shuffle(&mut rand::rng());
        let connections = |host: &Host| host.connections[role as usize].load(Ordering::Relaxed);
        order.sort_by_key(|host| (host.was_silent_lately(), connections(host)));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::{super::addresses, *};

    fn three() -> Hosts {
        Hosts::new(addresses::parse("amqp://a,b,c").expect("it can be read"))
    }

    #[test]
    fn who_did_not_answer_comes_last_until_it_answers() {
        let hosts = three();
        let in_order = || hosts.in_order(Role::Publishing);
        let silent = in_order()[0].clone();
        silent.is_silent();
        for _ in 0..50 {
            assert!(Arc::ptr_eq(&in_order()[2], &silent));
        }
        silent.answers();
        let is_first = |_| Arc::ptr_eq(&in_order()[0], &silent);
        assert!((0..1_000).any(is_first), "by chance again");
    }

    #[test]
    fn connections_for_one_purpose_lead_to_different_hosts() {
        let hosts = three();
        let first = hosts.in_order(Role::Publishing)[0].clone();
        let connected = Connected::new(first.clone(), Role::Publishing);
        let comes = |role, place: usize| Arc::ptr_eq(&hosts.in_order(role)[place], &first);
        for _ in 0..50 {
            assert!(comes(Role::Publishing, 2));
        }
        assert!((0..1_000).any(|_| comes(Role::Consuming, 0)), "for another");
        drop(connected);
        assert!((0..1_000).any(|_| comes(Role::Publishing, 0)));
    }
}
