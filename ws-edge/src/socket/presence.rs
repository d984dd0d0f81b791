//! Who is in which room on this process, said to the live engine: at most once a second per room, however many come and
//! go, and again before what was said expires.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::Utf8Bytes;
use common::{
    live::{LiveError, PRESENCE_TTL},
    wire::ServerFrame,
};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    hub::Hub,
    inbox::Note,
    room::{Members, Room},
};

/// The least time between two announcements of one room.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// What was said is said again after this time.
const REFRESH_AFTER: Duration = Duration::from_secs(PRESENCE_TTL.as_secs() / 3);

/// The most announcements at once.
const AT_ONCE: usize = 16;

impl Hub {
    /// Who is in this room changed, or somebody came who is to be told. Announced at once, unless that was done within
    /// the last second.
    pub(super) fn want_announced(&self, room: &Arc<Room>) {
        room.members().to_announce = true;
        self.to_announce.lock().push(Arc::clone(room));
        self.announce.notify_one();
    }

    /// Announces, for as long as the hub lives.
    pub(super) async fn announce_presence(self: Arc<Self>) {
        let mut tick = interval(ANNOUNCE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let candidates = tokio::select! {
                _ = tick.tick() => self.rooms(),
                () = self.announce.notified() => {
                    std::mem::take(&mut *self.to_announce.lock())
                }
            };
            let now = Instant::now();
            let due: Vec<Arc<Room>> = candidates
                .into_iter()
                .filter(|room| take_due(&mut room.members(), now))
                .collect();
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, async |room| {
                    if let Err(error) = self.announce_room(&room).await {
                        tracing::warn!(room = %room.name, %error, "who is in a room cannot be announced; again in a second");
                        room.members().to_announce = true;
                    }
                })
                .await;
        }
    }

    async fn announce_room(&self, room: &Room) -> Result<(), LiveError> {
        let (users, was_announced) = {
            let mut members = room.members();
            let is_somebody_here = !members.is_empty();
            let was_announced = std::mem::replace(&mut members.is_announced, is_somebody_here);
            (members.users(), was_announced)
        };
        if users.is_empty() && !was_announced {
            return Ok(());
        }
        let announced = self.live.announce(&self.process, &room.name, &users).await;
        if announced.is_err() {
            // It may have been heard; so it has to be taken back some time.
            room.members().is_announced = true;
        }
        let present = announced?;
        let fresh = room.members().ungreeted();
        if !fresh.is_empty() {
            let frame = ServerFrame::Presence {
                room: room.name.to_string(),
                users: present,
            };
            let frame = Utf8Bytes::from(frame.frame());
            for member in fresh {
                member.inbox().put(Note::Frame {
                    sub: member.sub(),
                    frame: frame.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Whether the room is to be announced now; if so it is taken as done.
fn take_due(members: &mut Members, now: Instant) -> bool {
    let since = members.announced_at.map(|at| now.duration_since(at));
    let is_fresh = since.is_some_and(|since| since < ANNOUNCE_EVERY);
    let is_stale = members.is_announced && since.is_none_or(|since| since >= REFRESH_AFTER);
    let is_due = (members.to_announce && !is_fresh) || is_stale;
    if is_due {
        members.to_announce = false;
        members.announced_at = Some(now);
    }
    is_due
}
