//! How far people have read, on its way to the database: what they read within a second or so is one write for all of them,
//! and never one for each message. Their other sockets are told then. What a process that is killed had not written yet is
//! read once more.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use common::{
    live::{Control, Live, ReadElsewhere, Signal},
    store::{ReadMark, Store},
    wire::Seq,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

/// The most marks that wait to be written; more come only while the database is away.
const WAITING_MAX: usize = 100_000;

/// The most marks in one control.
const TOLD_AT_ONCE: usize = 200;

/// Who, and where.
type Place = (String, String);

/// How far people have read, as far as that is not written yet.
pub(crate) struct ReadingPlaces {
    store: Arc<dyn Store>,
    live: Arc<dyn Live>,
    waiting: Mutex<HashMap<Place, ReadElsewhere>>,
    /// Held while they are written, so that nothing older is written behind something newer.
    writing: tokio::sync::Mutex<()>,
}

impl ReadingPlaces {
    pub(crate) fn new(store: Arc<dyn Store>, live: Arc<dyn Live>) -> ReadingPlaces {
        ReadingPlaces {
            store,
            live,
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Place, ReadElsewhere>> {
        self.waiting.lock()
    }

    /// Whether a mark of this user in this room waits already: another is only looked at, and costs nothing more.
    pub(crate) fn has(&self, user: &str, room: &str) -> bool {
        let place = (user.to_owned(), room.to_owned());
        self.waiting().contains_key(&place)
    }

    /// Notes how far somebody has read, by one of their sockets. False if too much waits already.
    pub(crate) fn note(&self, user: &str, room: &str, seq: Seq, socket: u64) -> bool {
        let mut waiting = self.waiting();
        let is_full = waiting.len() >= WAITING_MAX;
        match waiting.entry((user.to_owned(), room.to_owned())) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.mark.seq < seq {
                    known.mark.seq = seq;
                    known.socket = socket;
                }
                true
            }
            Entry::Vacant(_) if is_full => false,
            Entry::Vacant(place) => {
                let (user, room) = place.key().clone();
                let mark = ReadMark { user, room, seq };
                place.insert(ReadElsewhere { mark, socket });
                true
            }
        }
    }

    /// Writes what waits, and tells everybody's other sockets. What cannot be written waits on.
    pub(crate) async fn write(&self) {
        let _writing = self.writing.lock().await;
        let places: Vec<ReadElsewhere> = {
            let waiting = std::mem::take(&mut *self.waiting());
            waiting.into_values().collect()
        };
        if places.is_empty() {
            return;
        }
        let marks: Vec<ReadMark> = places.iter().map(|place| place.mark.clone()).collect();
        if let Err(error) = self.store.mark_read(&marks).await {
            tracing::warn!(%error, marks = marks.len(), "how far people have read is not written yet");
            for ReadElsewhere { mark, socket } in places {
                self.note(&mark.user, &mark.room, mark.seq, socket);
            }
            return;
        }
        for some in places.chunks(TOLD_AT_ONCE) {
            let control = Control::Read {
                places: some.to_vec(),
            };
            if let Err(error) = self.live.signal(&Signal::Control(control)).await {
                // They see it in the list.
                tracing::debug!(%error, "how far people have read is not told");
            }
        }
    }

    /// Writes what waits until all of it is written, or the time is up.
    pub(crate) async fn write_until(&self, until: Instant) {
        let writing = async {
            loop {
                self.write().await;
                if self.waiting().is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if timeout_at(until, writing).await.is_err() {
            tracing::warn!("how far people have read lately was not written in time");
        }
    }
}
