//! Who may still listen. A session that ends closes its sockets, and a room that changes loses those who may no longer
//! see it: at once when this process is told, and by a regular look at everything where it was not. While the store does
//! not answer, what is to be checked is kept.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use common::{
    live::{Control, LiveEvent},
    retry::RetryPolicy,
    store::{Store, StoreError},
    wire::ErrorCode,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{Sockets, closing::Closing, connection::Refusal, hub::Hub, inbox::Note, room::Room};
use crate::sessions::now_ms;

/// How often every session and every private room is looked at, told or not.
const REGULARLY_EVERY: Duration = Duration::from_secs(60);

/// Public rooms are looked at in every so many of these rounds: one that turns private is nearly always told.
const PUBLIC_EVERY_ROUNDS: u32 = 5;

/// The most sessions in one question to the store.
const SESSIONS_AT_ONCE: usize = 500;

/// When it is checked again after a check that failed.
const CHECK_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(200), Duration::from_secs(5));

/// What is to be checked.
#[derive(Default)]
pub(super) struct Rechecks {
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Default)]
struct Due {
    rooms: HashSet<Arc<str>>,
    sessions: bool,
}

impl Rechecks {
    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock()
    }

    fn add(&self, rooms: impl IntoIterator<Item = Arc<str>>, sessions: bool) {
        let mut due = self.due();
        due.rooms.extend(rooms);
        due.sessions |= sessions;
        drop(due);
        self.wake.notify_one();
    }
}

/// Acts on an event that concerns the whole process.
pub(super) fn hear(sockets: &Sockets, event: LiveEvent) {
    match event {
        LiveEvent::Control(control) => sockets.handle_control(&control),
        LiveEvent::ControlGap { .. } => {
            sockets.services.forget_all();
            sockets.rechecks.add(names(&sockets.hub, |_| true), true);
        }
        // These go to their rooms.
        LiveEvent::Message { .. } | LiveEvent::Signal { .. } | LiveEvent::Gap { .. } => {}
    }
}

impl Sockets {
    /// Acts on what this process was told, or tells itself: forgets what is not so any more, and does to the sockets of
    /// this process what follows from it. Idempotent: its own words come back to it.
    pub(crate) fn handle_control(&self, control: &Control) {
        self.services.forget(control);
        match control {
            Control::SessionRevoked { session } => {
                self.registry.close_session(*session, Closing::SessionGone);
            }
            Control::RoomChanged { room } => {
                if let Some(room) = self.hub.room(room) {
                    self.rechecks.add([Arc::clone(&room.name)], false);
                }
            }
            Control::Invited { user, room, by } => self.tell_invited(user, room, by),
            Control::Read { places } => self.tell_read(places),
            // Replies are the workers' business; what they offer is remembered and no more.
            Control::StopReply { .. } | Control::BotOffers(_) => {}
        }
    }
}

fn names(hub: &Hub, is_wanted: impl Fn(&Room) -> bool) -> Vec<Arc<str>> {
    let rooms = hub.rooms();
    rooms
        .iter()
        .filter(|room| is_wanted(room))
        .map(|room| Arc::clone(&room.name))
        .collect()
}

/// Checks what is due, and everything regularly, for as long as the process lives.
pub(super) async fn run(sockets: Arc<Sockets>) {
    let mut private: HashSet<Arc<str>> = HashSet::new();
    let mut round = 0_u32;
    let mut next_round = Instant::now() + REGULARLY_EVERY;
    let mut back_off = CHECK_AGAIN.back_off();
    loop {
        tokio::select! {
            () = sockets.rechecks.wake.notified() => {}
            () = sleep_until(next_round) => {
                round = round.wrapping_add(1);
                next_round = Instant::now() + REGULARLY_EVERY;
                let with_public = round.is_multiple_of(PUBLIC_EVERY_ROUNDS);
                let names = names(&sockets.hub, |room| with_public || private.contains(&room.name));
                private.retain(|name| sockets.hub.room(name).is_some());
                sockets.rechecks.add(names, true);
            }
        }
        let Due { rooms, sessions } = std::mem::take(&mut *sockets.rechecks.due());
        let mut failed = None;
        for name in rooms {
            let Some(room) = sockets.hub.room(&name) else {
                continue;
            };
            let checked = match &failed {
                None => check_room(&*sockets.services.store, &room).await,
                Some(_) => Err(StoreError::Unavailable(
                    "it did not answer for another room".into(),
                )),
            };
            match checked {
                Ok(true) => drop(private.insert(name)),
                Ok(false) => drop(private.remove(&name)),
                Err(error) => {
                    sockets.rechecks.due().rooms.insert(name);
                    failed.get_or_insert(error);
                }
            }
        }
        let check_all = || async { sockets.check_sessions(&sockets.registry.sessions()).await };
        if sessions && let Err(error) = check_all().await {
            sockets.rechecks.due().sessions = true;
            failed.get_or_insert(error);
        }
        match failed {
            None => back_off.reset(),
            Some(error) => {
                let pause = back_off.next_pause();
                tracing::warn!(%error, again_in = ?pause, "who may still listen cannot be checked");
                sleep(pause).await;
                sockets.rechecks.wake.notify_one();
            }
        }
    }
}

/// Takes those out of a room who may no longer see it. Returns whether it is private, or gone.
async fn check_room(store: &dyn Store, room: &Room) -> Result<bool, StoreError> {
    if room.members().is_empty() {
        return Ok(true);
    }
    let known = store.room(&room.name).await?;
    let is_private = known.as_ref().is_none_or(|known| known.private);
    // Who sees it, or, of a public room, who does not.
    let listed: BTreeSet<String> = match &known {
        Some(known) if known.private => {
            let members = store.members(&room.name).await?.into_iter();
            members.chain([known.owner.clone()]).collect()
        }
        Some(_) => store.bans(&room.name).await?.into_iter().collect(),
        None => BTreeSet::new(),
    };
    let leaving = room
        .members()
        .evict(|user| listed.contains(user) != is_private);
    for member in leaving {
        let refusal = Refusal {
            code: ErrorCode::NotFound,
            message: "it is gone, or you may no longer see it".into(),
            retry_after: None,
        };
        member.inbox().put(Note::Lost {
            sub: member.sub(),
            refusal,
        });
    }
    Ok(is_private)
}

impl Sockets {
    /// Has every session looked at.
    pub(super) fn recheck_sessions(&self) {
        self.rechecks.add([], true);
    }

    /// Closes the sockets of those sessions that have ended.
    pub(super) async fn check_sessions(&self, sessions: &[Uuid]) -> Result<(), StoreError> {
        let Sockets {
            registry, services, ..
        } = self;
        for some in sessions.chunks(SESSIONS_AT_ONCE) {
            let mut live = services.store.live_sessions(some, now_ms()).await?;
            let others: Vec<Uuid> = some
                .iter()
                .filter(|session| !live.contains(session))
                .copied()
                .collect();
            live.extend(services.store.live_tokens(&others, now_ms()).await?);
            for gone in some.iter().filter(|session| !live.contains(session)) {
                services.sessions.forget(*gone);
                registry.close_session(*gone, Closing::SessionGone);
            }
        }
        Ok(())
    }
}
