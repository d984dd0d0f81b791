//! Accounts that are deleted, and whose messages stay: those are shown as somebody's who is gone.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::Store;
use crate::wire::Message;

/// How long whoever reads a room's past waits for the names.
const PATIENCE: Duration = Duration::from_millis(500);

/// What stands in the place of the name of somebody who is gone: nobody's name, since none has a blank.
pub const DELETED_USER: &str = "deleted user";

/// The names of deleted accounts, remembered for a while, or until it is heard that an account was changed.
pub struct DeletedAccounts {
    store: Arc<dyn Store>,
    /// How long they are remembered.
    kept_for: Duration,
    known: Mutex<Known>,
    /// Held by whoever reads them, for all who want them at that moment.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    names: Option<Arc<HashSet<String>>>,
    read_at: Option<Instant>,
    /// Counts the changes: an answer that was asked for before one is not remembered.
    changes: u64,
    /// Counts the answers that did not come: who has waited for one of them does not ask in turn.
    failures: u64,
}

impl Known {
    fn names(&self, kept_for: Duration) -> Option<Arc<HashSet<String>>> {
        let is_fresh = self.read_at.is_some_and(|at| at.elapsed() < kept_for);
        self.names.clone().filter(|_| is_fresh)
    }
}

impl DeletedAccounts {
    /// For a process that believes for so long what it has read, if it does not hear of a change.
    pub fn new(store: Arc<dyn Store>, kept_for: Duration) -> DeletedAccounts {
        DeletedAccounts {
            store,
            kept_for,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Another account may be deleted by now.
    pub fn forget(&self) {
        let mut known = self.known.lock();
        known.names = None;
        known.changes += 1;
    }

    /// As [`DeletedAccounts::rename`], for whoever must not wait long for a database that does not answer.
    pub async fn rename_soon(&self, messages: &mut [Message]) {
        if !messages.is_empty() {
            // Without an answer the names stay.
            drop(timeout(PATIENCE, self.rename(messages)).await);
        }
    }

    /// Whether anybody of these is gone. For whoever must not wait long, too: without an answer nobody is.
    pub async fn has_any(&self, names: &HashSet<String>) -> bool {
        let gone = timeout(PATIENCE, self.names()).await;
        gone.is_ok_and(|gone| names.iter().any(|name| gone.contains(name)))
    }

    /// Takes the names of those who are gone off what they wrote. While the database does not answer they stay.
    pub async fn rename(&self, messages: &mut [Message]) {
        let names = self.names().await;
        for message in messages {
            if names.contains(&message.sender) {
                message.sender = DELETED_USER.to_owned();
            }
            let stopped_by = message.stopped_by.as_mut();
            if let Some(name) = stopped_by.filter(|name| names.contains(*name)) {
                *name = DELETED_USER.to_owned();
            }
        }
    }

    async fn names(&self) -> Arc<HashSet<String>> {
        let failures = {
            let known = self.known.lock();
            if let Some(names) = known.names(self.kept_for) {
                return names;
            }
            known.failures
        };
        let _turn = self.reading.lock().await;
        let changes = {
            let known = self.known.lock();
            if let Some(names) = known.names(self.kept_for) {
                return names;
            }
            if known.failures != failures {
                return Arc::default();
            }
            known.changes
        };
        let Ok(names) = self.store.deleted_accounts().await else {
            self.known.lock().failures += 1;
            return Arc::default();
        };
        let names = Arc::new(names.into_iter().collect::<HashSet<_>>());
        let mut known = self.known.lock();
        if known.changes == changes {
            known.names = Some(Arc::clone(&names));
            known.read_at = Some(Instant::now());
        }
        names
    }
}
