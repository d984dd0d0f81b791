//! What one person or one address may take of accounts, sessions, rooms and disk. Each limit is on by default, with a value
//! that fits a server on the open internet; 0 is none.

use std::num::NonZeroU32;

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
}

impl PeopleLimits {
    /// Those on rooms.
    pub(crate) fn rooms(&self) -> RoomLimits {
        RoomLimits {
            owned: NonZeroU32::new(self.user_rooms),
            per_hour: NonZeroU32::new(self.user_rooms_per_hour),
        }
    }
}
