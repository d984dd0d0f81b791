//! Who may have a message on its way next. So many of one process are appended and wait for the queue's confirm at a time;
//! when all of these places are taken, people wait, each person behind oneself: places that become free go round among
//! those who wait. So what one sends waits for one's own, and the first message of somebody else waits for one of each.
//! Why so: `docs/decisions/waiting-before-refusing.md`.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::oneshot, time::Instant};

/// As many are on their way as are confirmed within about this time: more would wait in front of the broker, where what
/// many send stands before what one sends. A broker that keeps up takes far less.
const AIM: Duration = Duration::from_millis(250);

/// But never fewer places than this part of the most: a broker that is slow for each message is quicker for many together. It
/// begins with so many, since nobody knows the broker yet.
const LEAST: usize = 16;

/// And not more than so many times as were taken lately: a broker that becomes slow is not handed all that there could be
/// before that is noticed.
const AHEAD: usize = 2;

/// How often the number of places is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The most bytes of text of those who wait. Beyond it who waits with most is refused first.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a message that waits takes beside its text, about.
const WAITING_OVERHEAD: usize = 512;

/// The places of one process.
pub(super) struct Places {
    state: Mutex<State>,
    waiting: metrics::Gauge,
}

struct State {
    window: Window,
    taken: usize,
    line: Line,
}

impl State {
    /// Whether a place was free, which then is taken.
    fn has_taken(&mut self) -> bool {
        let is_free = self.taken < self.window.size;
        if is_free {
            self.taken += 1;
            self.window.taken_lately = self.window.taken_lately.max(self.taken);
        }
        is_free
    }
}

/// A place; free again when dropped.
pub(super) struct Place {
    places: Option<Arc<Places>>,
    since: Instant,
}

/// Somebody who waits for a place; who drops it has left.
pub(super) struct Waiting {
    places: Arc<Places>,
    who: Arc<str>,
    ticket: u64,
    granted: oneshot::Receiver<Place>,
}

impl Places {
    /// So many at most.
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places {
            state: Mutex::new(State {
                window: Window::new(most, Instant::now()),
                taken: 0,
                line: Line::new(WAITING_BYTES_MAX),
            }),
            waiting: metrics::gauge!("chinwag_posts_waiting_messages"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A place for a message of so many bytes, or the end of the line of whoever it is. Nobody overtakes who waits.
    pub(super) fn take(self: &Arc<Self>, who: &str, bytes: usize) -> Result<Place, Waiting> {
        let mut state = self.state();
        if state.line.is_empty() && state.has_taken() {
            return Ok(self.place());
        }
        let who: Arc<str> = Arc::from(who);
        let (grant, granted) = oneshot::channel();
        let bytes = bytes + WAITING_OVERHEAD;
        let (ticket, refused) = state.line.join(&who, bytes, grant);
        drop(state);
        self.waiting.increment(1.0);
        // Not while the lock is held: it wakes them.
        drop(refused);
        let waiting = Waiting {
            places: Arc::clone(self),
            who,
            ticket,
            granted,
        };
        // A place may have become free since nobody waited.
        self.let_in();
        Err(waiting)
    }

    fn place(self: &Arc<Self>) -> Place {
        Place {
            places: Some(Arc::clone(self)),
            since: Instant::now(),
        }
    }

    /// Gives what is free to those who wait.
    fn let_in(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.line.is_empty() || !state.has_taken() {
                return;
            }
            let Some(grant) = state.line.next() else {
                state.taken -= 1;
                return;
            };
            drop(state);
            if let Err(mut place) = grant.send(self.place()) {
                place.places = None;
                self.state().taken -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.places.take() else {
            return;
        };
        let now = Instant::now();
        let mut state = places.state();
        state.taken -= 1;
        state.window.note(now.duration_since(self.since), now);
        let nobody_waits = state.line.is_empty();
        drop(state);
        if !nobody_waits {
            places.let_in();
        }
    }
}

impl Waiting {
    /// The place, when it is there. None if others who wait with less needed the room. Safe to cancel.
    pub(super) async fn granted(&mut self) -> Option<Place> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.places.state().line.leave(&self.who, self.ticket);
        self.places.waiting.decrement(1.0);
    }
}

/// How many places there are: fewer, the longer a message holds its own.
struct Window {
    least: usize,
    most: usize,
    size: usize,
    /// The most at a time since the last look.
    taken_lately: usize,
    since: Instant,
    held: Duration,
    count: u32,
}

impl Window {
    fn new(most: usize, now: Instant) -> Window {
        let least = (most / LEAST).max(1);
        Window {
            least,
            most,
            size: least,
            taken_lately: 0,
            since: now,
            held: Duration::ZERO,
            count: 0,
        }
    }

    /// A place was held for so long.
    fn note(&mut self, held: Duration, now: Instant) {
        self.held += held;
        self.count += 1;
        let mean = self.held / self.count;
        // What was begun before the last look says nothing of what that has led to.
        if now.duration_since(self.since) < LOOK_EVERY.max(mean) {
            return;
        }
        let factor = AIM.as_secs_f64() / mean.as_secs_f64().max(1e-6);
        let size = self.size as f64 * factor.clamp(0.5, 2.0);
        let size = (size as usize).min(AHEAD * self.taken_lately);
        self.size = size.clamp(self.least, self.most);
        (self.since, self.held, self.count) = (now, Duration::ZERO, 0);
        self.taken_lately = 0;
    }
}

/// Those who wait.
struct Line {
    bytes_max: usize,
    bytes: usize,
    people: HashMap<Arc<str>, Person>,
    /// Whose turn it is, one after the other; each person who waits is in it once.
    round: VecDeque<Arc<str>>,
    next_ticket: u64,
}

#[derive(Default)]
struct Person {
    bytes: usize,
    waiting: VecDeque<Ticket>,
}

struct Ticket {
    number: u64,
    bytes: usize,
    grant: oneshot::Sender<Place>,
}

impl Line {
    fn new(bytes_max: usize) -> Line {
        Line {
            bytes_max,
            bytes: 0,
            people: HashMap::new(),
            round: VecDeque::new(),
            next_ticket: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    /// Returns the number of the ticket, and who has to go for it: the last of whoever waits with most.
    fn join(
        &mut self,
        who: &Arc<str>,
        bytes: usize,
        grant: oneshot::Sender<Place>,
    ) -> (u64, Vec<oneshot::Sender<Place>>) {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let person = self.people.entry(Arc::clone(who)).or_default();
        if person.waiting.is_empty() {
            self.round.push_back(Arc::clone(who));
        }
        person.waiting.push_back(Ticket {
            number,
            bytes,
            grant,
        });
        person.bytes += bytes;
        self.bytes += bytes;
        let mut refused = Vec::new();
        while self.bytes > self.bytes_max {
            let most = self.people.iter().max_by_key(|(_, person)| person.bytes);
            let Some((who, person)) = most else { break };
            let (who, last) = (Arc::clone(who), person.waiting.len() - 1);
            refused.extend(self.remove(&who, last));
        }
        (number, refused)
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let who = self.round.pop_front()?;
        let person = self.people.get_mut(&who)?;
        let ticket = person.waiting.pop_front()?;
        person.bytes -= ticket.bytes;
        self.bytes -= ticket.bytes;
        if person.waiting.is_empty() {
            self.people.remove(&who);
        } else {
            // Behind the others.
            self.round.push_back(who);
        }
        Some(ticket.grant)
    }

    fn leave(&mut self, who: &Arc<str>, number: u64) {
        let Some(person) = self.people.get(who) else {
            return;
        };
        // In the order of their numbers.
        if let Ok(at) = person
            .waiting
            .binary_search_by_key(&number, |ticket| ticket.number)
        {
            self.remove(who, at);
        }
    }

    fn remove(&mut self, who: &Arc<str>, at: usize) -> Option<oneshot::Sender<Place>> {
        let person = self.people.get_mut(who)?;
        let ticket = person.waiting.remove(at)?;
        person.bytes -= ticket.bytes;
        self.bytes -= ticket.bytes;
        if person.waiting.is_empty() {
            self.people.remove(who);
            self.round.retain(|other| other != who);
        }
        Some(ticket.grant)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn take(places: &Arc<Places>, who: &str) -> Place {
        let place = places.take(who, 10).ok();
        place.expect("there is a free place")
    }

    fn wait(places: &Arc<Places>, who: &str) -> Waiting {
        let waiting = places.take(who, 10).err();
        waiting.expect("all places are taken")
    }

    fn granted(waiting: &mut Waiting) -> Option<Place> {
        waiting.granted().now_or_never().flatten()
    }

    #[tokio::test]
    async fn places_go_round_among_the_people_who_wait() {
        let places = Places::new(1);
        let mut place = take(&places, "ada");
        let mut adas: VecDeque<_> = (0..3).map(|_| wait(&places, "ada")).collect();
        let mut bobs = wait(&places, "bob");
        for whose in ["ada", "bob", "ada", "ada"] {
            drop(place);
            let next = match whose {
                "bob" => &mut bobs,
                _ => &mut adas[0],
            };
            place = granted(next).unwrap_or_else(|| panic!("it is the turn of {whose}"));
            if whose == "ada" {
                adas.pop_front();
            }
        }
        drop(place);
        assert!(places.take("eve", 10).is_ok());
    }

    #[tokio::test]
    async fn who_leaves_takes_no_place_along() {
        let places = Places::new(1);
        let place = take(&places, "ada");
        let (first, mut second) = (wait(&places, "ada"), wait(&places, "bob"));
        drop(first);
        drop(place);
        let place = granted(&mut second).expect("ada has left");
        // Granted, and not looked at.
        let third = wait(&places, "eve");
        drop(place);
        drop(third);
        drop(take(&places, "bob"));
    }

    #[tokio::test]
    async fn who_waits_with_most_is_refused_first() {
        let places = Places::new(1);
        let _place = take(&places, "ada");
        places.state().line.bytes_max = 10 * (10 + WAITING_OVERHEAD);
        let mut bobs = wait(&places, "bob");
        let mut adas: Vec<_> = (0..9).map(|_| wait(&places, "ada")).collect();
        let mut eves = wait(&places, "eve");
        let is_refused = |one: &mut Waiting| matches!(one.granted().now_or_never(), Some(None));
        assert!(is_refused(adas.last_mut().expect("there are nine")));
        assert!(!adas[..8].iter_mut().any(is_refused));
        assert!(!is_refused(&mut bobs) && !is_refused(&mut eves));
    }

    /// A broker that confirms so many a second and answers none sooner than this, with everybody in a hurry: how long a message
    /// holds its place when that has settled, and how many are confirmed a second.
    fn settled(a_second: f64, at_least: f64) -> (f64, f64) {
        let begin = Instant::now();
        let mut window = Window::new(4_096, begin);
        let (mut in_flight, mut free_at, mut now) = (VecDeque::new(), 0.0_f64, 0.0_f64);
        let (mut held, mut count) = (0.0, 0.0);
        while now < 30.0 {
            while in_flight.len() < window.size {
                free_at = free_at.max(now) + 1.0 / a_second;
                in_flight.push_back((now, free_at.max(now + at_least)));
            }
            window.taken_lately = in_flight.len();
            let (since, done) = in_flight.pop_front().expect("there is one");
            now = done;
            window.note(
                Duration::from_secs_f64(now - since),
                begin + Duration::from_secs_f64(now),
            );
            if now > 20.0 {
                held += now - since;
                count += 1.0;
            }
        }
        (held / count, count / (now - 20.0))
    }

    #[test]
    fn a_slow_broker_is_handed_what_it_confirms_in_a_quarter_of_a_second() {
        let (held, rate) = settled(4_000.0, 0.001);
        assert!((0.15..0.4).contains(&held), "{held}");
        assert!((3_900.0..4_100.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_quick_or_a_distant_one_is_not_held_back() {
        let (held, rate) = settled(40_000.0, 0.001);
        assert!(held < 0.11 && rate > 39_000.0, "{held} {rate}");
        let (held, rate) = settled(40_000.0, 0.1);
        assert!(held < 0.11 && rate > 39_000.0, "{held} {rate}");
    }
}
