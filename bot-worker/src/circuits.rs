//! Whose calls a failing model is passed over for. A question can be such that every model fails at it, and its asker may
//! have ten of them: so each person's failures open a circuit of their own, and only those of several people together
//! open that of all. Pure: the time is passed in.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::breaker::{Breaker, FAILURES_TO_OPEN, WINDOW};

/// So many of one person's failures in a row count for all: fewer than half of what opens a circuit, so that it takes
/// three people.
const FAILURES_OF_ONE: u32 = 2;
const _: () = assert!(FAILURES_OF_ONE * 2 < FAILURES_TO_OPEN);
/// So many people's circuits are kept: far more than ask one worker within [`WINDOW`].
const PEOPLE_MAX: usize = 10_000;

/// One model's circuits.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    of_all: Breaker,
    /// Whose probe of that has failed. It may be their question that did: the next probe is somebody else's.
    failed_probe_of: Option<String>,
    people: HashMap<String, Person>,
}

/// Somebody for whom the model has lately failed.
#[derive(Debug)]
struct Person {
    circuit: Breaker,
    /// Failures since the last success of anybody.
    failures: u32,
    last: Instant,
}

impl Circuits {
    /// How long no call of theirs may pass from `now` on, as far as is known; none if one may.
    pub(crate) fn barred_for(&self, user: &str, now: Instant) -> Option<Duration> {
        let own = self.people.get(user);
        let own = own.and_then(|own| own.circuit.barred_for(now));
        self.of_all.barred_for(now).max(own)
    }

    /// Lets a call of theirs pass, if one may. It has to be followed by one of the three verdicts.
    pub(crate) fn let_pass(&mut self, user: &str, now: Instant) -> bool {
        if self.barred_for(user, now).is_some() {
            return false;
        }
        let own = self.people.get_mut(user);
        own.is_none_or(|own| own.circuit.let_pass(now)) && self.of_all.let_pass(now)
    }

    /// A call of theirs went well.
    pub(crate) fn succeeded(&mut self, user: &str) {
        self.of_all.succeeded();
        self.failed_probe_of = None;
        self.people.remove(user);
        for other in self.people.values_mut() {
            other.failures = 0;
        }
    }

    /// A call of theirs failed in a way that the next one may as well.
    pub(crate) fn failed(&mut self, user: &str, now: Instant) {
        self.people
            .retain(|_, person| now.saturating_duration_since(person.last) <= WINDOW);
        if !self.people.contains_key(user) && self.people.len() >= PEOPLE_MAX {
            self.of_all.failed(now);
            return;
        }
        let own = self.people.entry(user.to_owned()).or_insert(Person {
            circuit: Breaker::default(),
            failures: 0,
            last: now,
        });
        own.circuit.failed(now);
        own.last = now;
        own.failures += 1;
        if matches!(self.of_all, Breaker::HalfOpen { .. }) {
            if self
                .failed_probe_of
                .as_ref()
                .is_some_and(|other| other != user)
            {
                self.failed_probe_of = None;
                self.of_all.failed(now);
            } else {
                self.failed_probe_of = Some(user.to_owned());
                own.circuit.open(now);
                self.of_all.abandoned(now);
            }
        } else if own.failures <= FAILURES_OF_ONE {
            self.of_all.failed(now);
        }
    }

    /// A call of theirs ended without saying anything about the model.
    pub(crate) fn abandoned(&mut self, user: &str, now: Instant) {
        self.of_all.abandoned(now);
        if let Some(own) = self.people.get_mut(user) {
            own.circuit.abandoned(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{OPEN_FIRST, OPEN_LONGEST};

    #[test]
    fn one_persons_failures_bar_that_person_alone() {
        let (mut circuits, mut now) = (Circuits::default(), Instant::now());
        for _ in 0..100 {
            if circuits.let_pass("ada", now) {
                circuits.failed("ada", now);
            }
            assert!(circuits.let_pass("bob", now));
            circuits.abandoned("bob", now);
            now += Duration::from_millis(100);
        }
        assert!(circuits.barred_for("ada", now).is_some());
        now += OPEN_LONGEST;
        assert!(circuits.let_pass("ada", now));
        circuits.succeeded("ada");
        assert_eq!(circuits.barred_for("ada", now), None);
    }

    #[test]
    fn several_peoples_failures_bar_all_until_a_probe_went_well() {
        let (mut circuits, now) = (Circuits::default(), Instant::now());
        for user in ["ada", "ada", "bob", "bob", "eve"] {
            assert!(circuits.let_pass(user, now), "{user}");
            circuits.failed(user, now);
        }
        assert_eq!(circuits.barred_for("kim", now), Some(OPEN_FIRST));
        let later = now + OPEN_FIRST;
        assert!(circuits.let_pass("kim", later) && !circuits.let_pass("ada", later));
        circuits.succeeded("kim");
        assert!(circuits.let_pass("ada", later));
    }

    #[test]
    fn one_persons_probe_does_not_bar_all_once_more_and_two_peoples_do() {
        let (mut circuits, now) = (Circuits::default(), Instant::now());
        for user in ["ada", "ada", "bob", "bob", "eve"] {
            circuits.failed(user, now);
        }
        let mut now = now + OPEN_FIRST;
        for _ in 0..3 {
            assert!(circuits.let_pass("mallory", now));
            circuits.failed("mallory", now);
            assert!(!circuits.let_pass("mallory", now));
            assert_eq!(circuits.barred_for("kim", now), None);
            now += OPEN_LONGEST;
        }
        assert!(circuits.let_pass("kim", now));
        circuits.failed("kim", now);
        assert!(circuits.barred_for("ida", now) > Some(OPEN_FIRST));
    }

    #[test]
    fn a_success_between_two_failures_begins_the_count_anew() {
        let (mut circuits, now) = (Circuits::default(), Instant::now());
        for user in ["ada", "bob", "eve"].into_iter().cycle().take(60) {
            circuits.failed(user, now);
            circuits.succeeded("kim");
        }
        assert!(circuits.let_pass("kim", now) && circuits.people.len() <= 3);
    }

    #[test]
    fn people_are_forgotten() {
        let (mut circuits, now) = (Circuits::default(), Instant::now());
        for n in 0..2 * PEOPLE_MAX {
            circuits.failed(&format!("user-{n}"), now);
        }
        assert!(circuits.people.len() <= PEOPLE_MAX);
        circuits.failed("ada", now + 2 * WINDOW);
        assert_eq!(circuits.people.len(), 1);
    }
}
