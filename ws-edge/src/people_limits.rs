//! What one person or one address may take of accounts, sessions, rooms and disk. Each limit is on by default, with a value
//! that fits a server on the open internet; 0 is none.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;
use common::store::RoomLimits;

/// Limits on what people make.
#[derive(Args, Clone, Debug)]
pub struct PeopleLimits {
    /// The most rooms one person may own, their own not counted; 0 for none. A list that its owner can still look through:
    /// who needs more is a program, and has an operator who sets it.
    #[arg(long, env = "USER_ROOMS", default_value = "500")]
    pub user_rooms: u32,
    /// The most rooms one person may make within an hour, over all edges; 0 for none. More than anybody makes by hand, and
    /// five hours to what one may own at all.
    #[arg(long, env = "USER_ROOMS_PER_HOUR", default_value = "100")]
    pub user_rooms_per_hour: u32,
    /// The most sessions of one person; beyond it those end that were unused for longest. 0 for none. A person has a few
    /// devices, and programs that log in each time they start.
    #[arg(long, env = "USER_SESSIONS", default_value = "50")]
    pub user_sessions: u32,
    /// Days after which a session ends, however much it is used; 0 for never. Half a year: what was taken from somebody's
    /// device unseen is worth something for no longer than that.
    #[arg(long, env = "SESSION_MAX_DAYS", default_value = "180")]
    pub session_max_days: u32,
    /// The most accounts that one address may register within an hour on this edge; ten times as many from an IPv6 /48. 0
    /// for none. A school or a company in its first lesson, and no farm of accounts.
    #[arg(long, env = "ADDRESS_REGISTRATIONS_PER_HOUR", default_value = "100")]
    pub address_registrations_per_hour: u32,
    /// The most bytes of messages that one person may post within a day on this edge; 0 for none. A hundred times what
    /// anybody types in a day, and a year of it from one account is 36 GB: long enough for an operator to see it coming.
    #[arg(long, env = "USER_BYTES_PER_DAY", default_value = "100000000")]
    pub user_bytes_per_day: u64,
}

impl PeopleLimits {
    /// Those on rooms.
    pub(crate) fn rooms(&self) -> RoomLimits {
        RoomLimits {
            owned: NonZeroU32::new(self.user_rooms),
            per_hour: NonZeroU32::new(self.user_rooms_per_hour),
        }
    }

    /// The most sessions of one person.
    pub(crate) fn sessions(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.user_sessions)
    }

    /// A session's longest life.
    pub(crate) fn session_longest(&self) -> Option<Duration> {
        let days = NonZeroU32::new(self.session_max_days)?;
        Some(Duration::from_secs(u64::from(days.get()) * 24 * 60 * 60))
    }
}
