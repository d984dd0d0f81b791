//! What is old goes: how long a server and its rooms keep what is said in them, and how it is taken away in small steps by whichever
//! process comes first. What is gone by age is known by its place alone: of each room everything up to one place is gone, for
//! ever (`docs/decisions/retention.md`).

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::wire::{Seq, now_seq};

/// The most days that can be set: a hundred years, which is as good as for ever.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// Nothing younger than this is gone by age, since nobody can set less than a day, give or take the clocks of two machines: so
/// whoever handles what was said today needs not ask.
pub const NEVER_GONE_WITHIN: Duration = Duration::from_secs(12 * 60 * 60);

/// The place up to which all is gone moves in steps of so much, so that a room is looked at a few times an hour and not for
/// every message that has come of age.
const STEP: Duration = Duration::from_secs(15 * 60);

/// Whether something in this place may be gone by age.
pub fn may_be_gone(seq: Seq) -> bool {
    seq < now_seq().saturating_sub(micros(NEVER_GONE_WITHIN))
}

/// How long a room keeps what is said in it, and what is gone of it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomRetention {
    /// Days, if that is set for the room.
    pub days: Option<NonZeroU32>,
    /// All up to this place is gone, whatever is set now.
    pub gone_until: Seq,
}

impl RoomRetention {
    /// Up to which place all of the room is to be gone at this time: by what is set for the room or the server, the shorter of
    /// the two. It never goes back.
    pub fn ends_at(self, server_days: Option<NonZeroU32>, now: Seq) -> Seq {
        let days = [self.days, server_days].into_iter().flatten().min();
        let by_age = days.map_or(0, |days| {
            let age = Duration::from_secs(u64::from(days.get()) * 24 * 60 * 60);
            let until = now.saturating_sub(micros(age));
            until - until % micros(STEP)
        });
        by_age.max(self.gone_until)
    }
}

fn micros(time: Duration) -> Seq {
    Seq::try_from(time.as_micros()).unwrap_or(Seq::MAX)
}

/// A page of rooms in which something is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldRooms {
    /// Each with the place up to which all of it is to be gone.
    pub rooms: Vec<(String, Seq)>,
    /// Whether there is another page now.
    pub is_more: bool,
}

/// Takes away what is older than people want it kept.
#[async_trait]
pub trait Retention: Send + Sync + 'static {
    /// What holds for these rooms; those of which nothing is set and nothing is gone are left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn retention_of(
        &self,
        rooms: &[&str],
    ) -> Result<HashMap<String, RoomRetention>, StoreError>;

    /// Up to which place all of a room is gone by age; 0 if nothing is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn gone_until(&self, room: &str) -> Result<Seq, StoreError> {
        let known = self.retention_of(&[room]).await?;
        Ok(known.get(room).map_or(0, |room| room.gone_until))
    }

    /// The next page of at most `limit` rooms to be looked at, and which of them have something older than they keep at `now`.
    /// All rooms are looked at in turn, again and again with a pause of 20 s between two rounds, whichever processes
    /// ask: a page is told to one of them. What that one does not get done is found in the next round.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn take_old_rooms(
        &self,
        now: Seq,
        server_days: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<OldRooms, StoreError>;

    /// The time by the database's clock, which all processes share, as a place.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn clock(&self) -> Result<Seq, StoreError>;

    /// Takes at most so many of the oldest messages and events away that a room does not keep at `now`, with what is kept beside
    /// them, and notes that all of it up to there is gone: nothing of that is read any more. What is set for the room is what is set
    /// at this moment, so whoever has it keep things for longer is heeded from the next call on. Returns how many were
    /// taken away; 0 if nothing is left, or there is no such room.
    ///
    /// An edit or a deletion is as old as its own place, and what is known by it stays as long.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn remove_old(
        &self,
        room: &str,
        now: Seq,
        server_days: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// Rooms whose streams may still have what is gone, at most `limit` of them, and up to which place.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn streams_to_trim(&self, limit: usize) -> Result<Vec<(String, Seq)>, StoreError>;

    /// A room's stream has nothing up to this place any more. Does nothing if more is gone by now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn stream_is_trimmed(&self, room: &str, until: Seq) -> Result<(), StoreError>;

    /// Takes away at most so many lines of the log of replies of the days before this one, such as `2026-11-22`. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn sweep_reply_log(&self, before_day: &str, limit: usize) -> Result<u64, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Seq = 24 * 60 * 60 * 1_000_000;

    fn kept(days: u32, gone_until: Seq) -> RoomRetention {
        RoomRetention {
            days: NonZeroU32::new(days),
            gone_until,
        }
    }

    #[test]
    fn the_shorter_of_the_two_holds_and_what_is_gone_stays_gone() {
        let now = 1_000 * DAY;
        for (room, server, until) in [
            (0, 0, 0),
            (30, 0, now - 30 * DAY),
            (0, 10, now - 10 * DAY),
            (30, 10, now - 10 * DAY),
            (10, 30, now - 10 * DAY),
            (RETENTION_DAYS_MAX, 0, 0),
        ] {
            let server = NonZeroU32::new(server);
            assert_eq!(
                kept(room, 0).ends_at(server, now),
                until,
                "{room} {server:?}"
            );
            assert_eq!(kept(room, now - DAY).ends_at(server, now), now - DAY);
        }
    }

    #[test]
    fn the_place_moves_a_few_times_an_hour() {
        let at = |micros| kept(1, 0).ends_at(None, 10 * DAY + micros);
        assert_eq!(at(0), at(micros(STEP) - 1));
        assert_eq!(at(micros(STEP)), at(0) + micros(STEP));
    }

    #[test]
    fn what_was_said_today_is_not_asked_about() {
        assert!(!may_be_gone(now_seq()));
        assert!(may_be_gone(now_seq() - DAY));
    }
}
