//! Every socket of this edge, to be found by its session and to be closed when the edge drains.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{closing::Closing, inbox::Inbox};

/// Every socket of this edge.
pub(super) struct Registry {
    known: Mutex<Known>,
    permits: Arc<Semaphore>,
    /// Told when a socket goes.
    one_left: Notify,
}

#[derive(Default)]
struct Known {
    sockets: HashMap<Uuid, HashMap<u64, Arc<Inbox>>>,
    next: u64,
}

impl Registry {
    /// For at most so many sockets.
    pub(super) fn new(sockets_max: usize) -> Registry {
        let permits = Arc::new(Semaphore::new(sockets_max.min(Semaphore::MAX_PERMITS)));
        Registry {
            known: Mutex::default(),
            permits,
            one_left: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Notes a socket of a session; none if there are as many as there may be. It is forgotten when the answer is
    /// dropped.
    pub(super) fn enter(self: &Arc<Self>, session: Uuid) -> Option<Registered> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let inbox = Arc::<Inbox>::default();
        let mut known = self.known();
        known.next += 1;
        let id = known.next;
        known
            .sockets
            .entry(session)
            .or_default()
            .insert(id, Arc::clone(&inbox));
        Some(Registered {
            registry: Arc::clone(self),
            session,
            id,
            inbox,
            _permit: permit,
        })
    }

    /// Closes every socket of a session.
    pub(super) fn close_session(&self, session: Uuid, closing: Closing) {
        for inbox in self
            .known()
            .sockets
            .get(&session)
            .into_iter()
            .flat_map(HashMap::values)
        {
            inbox.close(closing);
        }
    }

    /// Every session that has a socket here.
    pub(super) fn sessions(&self) -> Vec<Uuid> {
        self.known().sockets.keys().copied().collect()
    }

    /// Every socket.
    pub(super) fn all(&self) -> Vec<Arc<Inbox>> {
        self.known()
            .sockets
            .values()
            .flat_map(HashMap::values)
            .map(Arc::clone)
            .collect()
    }

    /// Waits until there is no socket any more.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.one_left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.known().sockets.is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// One socket's entry, for as long as it is held.
pub(super) struct Registered {
    registry: Arc<Registry>,
    session: Uuid,
    id: u64,
    pub(super) inbox: Arc<Inbox>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut known = self.registry.known();
        if let Some(sockets) = known.sockets.get_mut(&self.session) {
            sockets.remove(&self.id);
            if sockets.is_empty() {
                known.sockets.remove(&self.session);
            }
        }
        drop(known);
        self.inbox.discard();
        self.registry.one_left.notify_waiters();
    }
}
