//! What is told to every socket of a person: invitations, which whoever joins the room takes, and what they have read elsewhere.

use std::{collections::HashMap, sync::Arc};

use common::{
    live::{Control, ReadElsewhere, Signal},
    store::ReadMark,
    wire::{Seq, ServerFrame},
};
use parking_lot::Mutex;

use super::{
    Sockets,
    inbox::{Inbox, Note},
};

/// The most rooms of a person of which it is remembered how far they are told to have read; beyond it all are forgotten, and
/// a place may be told twice.
const READ_ROOMS_MAX: usize = 1_000;

/// Every socket of this edge, to be found by whose it is.
#[derive(Default)]
pub(super) struct SocketsByUser(Mutex<HashMap<Arc<str>, Person>>);

/// Somebody with a socket here.
#[derive(Default)]
struct Person {
    sockets: Vec<Arc<Inbox>>,
    /// How far they have read by what was told lately, room by room. What another edge tells may be older.
    read: HashMap<String, Seq>,
}

impl SocketsByUser {
    /// Notes one. It is forgotten when the answer is dropped.
    pub(super) fn enter(self: &Arc<Self>, user: &Arc<str>, inbox: &Arc<Inbox>) -> ByUser {
        let mut known = self.0.lock();
        known
            .entry(Arc::clone(user))
            .or_default()
            .sockets
            .push(Arc::clone(inbox));
        ByUser {
            all: Arc::clone(self),
            user: Arc::clone(user),
            inbox: Arc::clone(inbox),
        }
    }

    fn tell(&self, user: &str, frame: &ServerFrame) {
        self.tell_others(user, frame, None);
    }

    /// Tells all but one of them.
    fn tell_others(&self, user: &str, frame: &ServerFrame, but: Option<u64>) {
        let sockets = {
            let known = self.0.lock();
            known.get(user).map(|person| person.sockets.clone())
        };
        let sockets = sockets.unwrap_or_default();
        for inbox in sockets.iter().filter(|inbox| Some(inbox.socket) != but) {
            inbox.put(Note::Told(frame.clone()));
        }
    }

    /// Whether somebody with a socket here has read further than was told before.
    fn goes_further(&self, ReadMark { user, room, seq }: &ReadMark) -> bool {
        let mut known = self.0.lock();
        let Some(person) = known.get_mut(user.as_str()) else {
            return false;
        };
        if person.read.get(room).is_some_and(|until| until >= seq) {
            return false;
        }
        if person.read.len() >= READ_ROOMS_MAX {
            person.read.clear();
        }
        person.read.insert(room.clone(), *seq);
        true
    }
}

/// One socket's entry, for as long as it is held.
pub(super) struct ByUser {
    all: Arc<SocketsByUser>,
    user: Arc<str>,
    inbox: Arc<Inbox>,
}

impl Drop for ByUser {
    fn drop(&mut self) {
        let mut known = self.all.0.lock();
        if let Some(Person { sockets, .. }) = known.get_mut(&self.user) {
            sockets.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            if sockets.is_empty() {
                known.remove(&self.user);
            }
        }
    }
}

impl Sockets {
    /// Tells somebody's sockets here that they are invited.
    pub(super) fn tell_invited(&self, user: &str, room: &str, by: &str) {
        let frame = ServerFrame::Invited {
            room: room.to_owned(),
            by: by.to_owned(),
        };
        self.by_user.tell(user, &frame);
    }

    /// Tells people's sockets here how far they have read on another; never less than was told before.
    pub(super) fn tell_read(&self, places: &[ReadElsewhere]) {
        let further = places
            .iter()
            .filter(|place| self.by_user.goes_further(&place.mark));
        for ReadElsewhere { mark, socket } in further {
            let frame = ServerFrame::Read {
                room: mark.room.clone(),
                seq: mark.seq,
            };
            self.by_user.tell_others(&mark.user, &frame, Some(*socket));
        }
    }

    /// The highest `seq` that this edge has shown in a room; 0 if the room is not open here.
    pub(crate) fn latest_shown(&self, room: &str) -> Seq {
        let room = self.hub.room(room);
        room.map_or(0, |room| room.feed().ring.last())
    }

    /// Whoever joins a room takes the invitation to it, if one stands: beside the join, which does not wait for it. Should
    /// it fail, the next join takes it.
    pub(super) async fn take_invitation(self: Arc<Self>, user: Arc<str>, room: Arc<str>) {
        let services = &self.services;
        if !services.access.is_invited(&user, &room).await {
            return;
        }
        match services.store.take_invitation(&room, &user).await {
            Ok(true) => {
                let control = Control::RoomChanged {
                    room: room.to_string(),
                };
                self.handle_control(&control);
                if let Err(error) = services.live.signal(&Signal::Control(control)).await {
                    tracing::debug!(%error, "that an invitation was taken is not told");
                }
            }
            Ok(false) => services.access.forget(&room),
            Err(error) => tracing::debug!(%error, "an invitation is not taken yet"),
        }
    }
}
