//! Every socket of this edge, to be found by its session and to be closed when the edge drains. There are so many in
//! all and of one user; the last tenth is for users who have none yet.

use std::{collections::HashMap, sync::Arc};

use common::store::Session;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Duration};
use uuid::Uuid;

use super::{closing::Closing, inbox::Inbox};
use crate::{
    problem::Problem,
    shares::{Share, Shares},
};

/// When somebody may try again who has as many sockets as one may have.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Every socket of this edge.
pub(super) struct Registry {
    known: Mutex<Known>,
    sockets_max: usize,
    user_sockets: usize,
    of_user: Arc<Shares<String>>,
    /// Told when a socket goes.
    one_left: Notify,
}

#[derive(Default)]
struct Known {
    sockets: HashMap<Uuid, OfSession>,
    open: usize,
    next: u64,
}

/// The sockets of one session.
struct OfSession {
    user: String,
    inboxes: HashMap<u64, Arc<Inbox>>,
}

impl Registry {
    /// For at most so many sockets, and so many of one user (0: any number).
    pub(super) fn new(sockets_max: usize, user_sockets: usize) -> Registry {
        metrics::gauge!("chinwag_sockets_max").set(sockets_max as f64);
        Registry {
            known: Mutex::default(),
            sockets_max,
            user_sockets,
            of_user: Shares::new(user_sockets),
            one_left: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Notes a socket of a session. It is forgotten when the answer is dropped.
    ///
    /// # Errors
    /// If there are as many as there may be, in all or of this user.
    pub(super) fn enter(self: &Arc<Self>, session: &Session) -> Result<Registered, Problem> {
        let inbox = Arc::<Inbox>::default();
        let mut known = self.known();
        if known.open >= self.sockets_max {
            return Err(Problem::unavailable(
                "this edge has as many sockets as it may have (SOCKETS_MAX)",
            ));
        }
        let is_crowded = known.open >= self.sockets_max - self.sockets_max / 10;
        if is_crowded && self.of_user.held(&session.user) > 0 {
            return Err(Problem::unavailable(
                "this edge has nearly as many sockets as it may have (SOCKETS_MAX); the last are for people who have \
                 none yet",
            ));
        }
        let Some(share) = self.of_user.take(&session.user) else {
            let most = self.user_sockets;
            return Err(Problem::rate_limited(
                format!(
                    "you have as many sockets as one may have here (USER_SOCKETS, {most}); close one first"
                ),
                TRY_AGAIN,
            ));
        };
        known.open += 1;
        known.next += 1;
        let id = known.next;
        let of_session = known
            .sockets
            .entry(session.id)
            .or_insert_with(|| OfSession {
                user: session.user.clone(),
                inboxes: HashMap::new(),
            });
        of_session.inboxes.insert(id, Arc::clone(&inbox));
        Ok(Registered {
            registry: Arc::clone(self),
            session: session.id,
            id,
            inbox,
            _share: share,
        })
    }

    /// Closes every socket of a session.
    pub(super) fn close_session(&self, session: Uuid, closing: Closing) {
        for inbox in self
            .known()
            .sockets
            .get(&session)
            .into_iter()
            .flat_map(|of_session| of_session.inboxes.values())
        {
            inbox.close(closing);
        }
    }

    /// Every session that has a socket here.
    pub(super) fn sessions(&self) -> Vec<Uuid> {
        self.known().sockets.keys().copied().collect()
    }

    /// Those of a user.
    pub(super) fn sessions_of(&self, user: &str) -> Vec<Uuid> {
        let known = self.known();
        let theirs = known
            .sockets
            .iter()
            .filter(|(_, of_session)| of_session.user == user);
        theirs.map(|(session, _)| *session).collect()
    }

    /// Every socket.
    pub(super) fn all(&self) -> Vec<Arc<Inbox>> {
        self.known()
            .sockets
            .values()
            .flat_map(|of_session| of_session.inboxes.values())
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
    _share: Share<String>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut known = self.registry.known();
        known.open -= 1;
        if let Some(sockets) = known.sockets.get_mut(&self.session) {
            sockets.inboxes.remove(&self.id);
            if sockets.inboxes.is_empty() {
                known.sockets.remove(&self.session);
            }
        }
        drop(known);
        self.inbox.discard();
        self.registry.one_left.notify_waiters();
    }
}
