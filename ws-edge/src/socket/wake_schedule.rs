//! When a room's sockets are told that there is news: at once, but in a large and busy room not before they can have
//! written what they were told of last. What comes meanwhile leaves with the same write of each: see
//! `docs/decisions/waking-large-rooms.md`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::room::Room;

/// How long a room rests for each socket that was told: some two writes of one.
const REST_PER_SOCKET: Duration = Duration::from_micros(40);

/// The longest rest: nobody sees it.
const REST_MAX: Duration = Duration::from_millis(4);

/// No rest is shorter, since the runtime's clock counts milliseconds: rooms of fewer than 25 sockets have none.
const REST_MIN: Duration = Duration::from_millis(1);

/// The rooms that have news which their sockets have not been told of.
#[derive(Default)]
pub(super) struct WakeSchedule {
    /// Each once.
    rooms: Vec<Arc<Room>>,
    /// Until when those rest that were told a moment ago.
    resting: HashMap<Arc<str>, Instant>,
}

impl WakeSchedule {
    /// The room that was added last, if that is its name and it has not been told since.
    pub(super) fn latest(&self, name: &str) -> Option<Arc<Room>> {
        let latest = self.rooms.last()?;
        (*latest.name == *name).then(|| Arc::clone(latest))
    }

    /// There is something new in a room.
    pub(super) fn add(&mut self, room: Arc<Room>) {
        if !self.rooms.iter().any(|known| Arc::ptr_eq(known, &room)) {
            self.rooms.push(room);
        }
    }

    /// When somebody is to be told next. None if nobody waits for that.
    pub(super) fn due(&self) -> Option<Instant> {
        let rests = self.rooms.iter();
        rests
            .filter_map(|room| self.resting.get(&room.name))
            .min()
            .copied()
    }

    /// Tells the sockets of every room that does not rest.
    pub(super) fn wake(&mut self, now: Instant) {
        self.resting.retain(|_, until| *until > now);
        self.rooms.retain(|room| {
            if self.resting.contains_key(&room.name) {
                return true;
            }
            let sockets = u32::try_from(room.wake_all()).unwrap_or(u32::MAX);
            let rest = REST_PER_SOCKET.saturating_mul(sockets).min(REST_MAX);
            if rest >= REST_MIN {
                self.resting.insert(Arc::clone(&room.name), now + rest);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{feed::Feed, inbox::Inbox, room::Membership},
        *,
    };

    const MS: Duration = Duration::from_millis(1);

    /// A room, and the sockets in it.
    fn room(name: &str, sockets: u32) -> (Arc<Room>, Vec<(Arc<Inbox>, Membership)>) {
        let room = Arc::new(Room::new(name.into(), Feed::new(Arc::default())));
        let enter = |sub| {
            let inbox = Arc::new(Inbox::default());
            let membership = room.enter(&"ada".into(), sub, &inbox);
            (inbox, membership.expect("it is open"))
        };
        let sockets = (0..sockets).map(enter).collect();
        (room, sockets)
    }

    /// How many of the sockets have been told since this was asked last.
    fn told(sockets: &[(Arc<Inbox>, Membership)]) -> usize {
        let was_told = |(inbox, membership): &&(Arc<Inbox>, Membership)| {
            let mut rooms = Vec::new();
            inbox.take(&mut rooms);
            membership.look();
            !rooms.is_empty()
        };
        sockets.iter().filter(was_told).count()
    }

    #[test]
    fn a_small_room_is_told_of_everything_at_once() {
        let (lobby, sockets) = room("lobby", 24);
        let mut schedule = WakeSchedule::default();
        let now = Instant::now();
        for _ in 0..3 {
            schedule.add(Arc::clone(&lobby));
            schedule.wake(now);
            assert_eq!(told(&sockets), 24);
            assert_eq!(schedule.due(), None);
        }
    }

    #[test]
    fn a_large_room_is_told_at_once_and_then_rests_once_for_all_that_comes() {
        let (lobby, sockets) = room("lobby", 50);
        let mut schedule = WakeSchedule::default();
        let now = Instant::now();
        schedule.add(Arc::clone(&lobby));
        schedule.wake(now);
        assert_eq!(told(&sockets), 50);
        for _ in 0..3 {
            schedule.add(Arc::clone(&lobby));
            schedule.wake(now + MS);
            assert_eq!(told(&sockets), 0);
            assert_eq!(schedule.due(), Some(now + 2 * MS));
        }
        schedule.wake(now + 2 * MS);
        assert_eq!(told(&sockets), 50);
        assert_eq!(schedule.due(), None);
        // After a rest in which nothing came it is told at once again.
        schedule.add(Arc::clone(&lobby));
        schedule.wake(now + 4 * MS);
        assert_eq!(told(&sockets), 50);
    }

    #[test]
    fn no_room_rests_for_longer_than_the_longest_rest_or_for_another() {
        let (stadium, many) = room("stadium", 1_000);
        let (attic, few) = room("attic", 2);
        let mut schedule = WakeSchedule::default();
        let now = Instant::now();
        schedule.add(Arc::clone(&stadium));
        schedule.wake(now);
        assert_eq!(told(&many), 1_000);
        schedule.add(Arc::clone(&stadium));
        schedule.add(attic);
        schedule.wake(now + MS);
        assert_eq!((told(&many), told(&few)), (0, 2));
        assert_eq!(schedule.due(), Some(now + REST_MAX));
        schedule.wake(now + REST_MAX);
        assert_eq!(told(&many), 1_000);
    }
}
