//! Which accounts are programs, as far as this edge knows: it is asked for with every message.

use std::{collections::HashSet, sync::Arc, time::Duration};

use common::store::Store;
use tokio::time::timeout;

use crate::remembered::Remembered;

/// How long it is believed. An account that is changed clears it within a second on every edge.
const FRESH: Duration = Duration::from_secs(30);

/// A database that hangs must not slow the chat: every message waits for this.
const ASKING_TIME: Duration = Duration::from_millis(300);

/// Knows programs.
pub(crate) struct Programs {
    store: Arc<dyn Store>,
    names: Remembered<HashSet<String>>,
}

impl Programs {
    pub(crate) fn new(store: Arc<dyn Store>) -> Programs {
        Programs {
            store,
            names: Remembered::new(),
        }
    }

    /// An account may be another by now.
    pub(crate) fn forget(&self) {
        self.names.forget();
    }

    /// Whether this account is a program. While the database does not answer it is what it was; the worker looks it up
    /// once more before it answers.
    pub(crate) async fn has(&self, user: &str) -> bool {
        let ask = async || timeout(ASKING_TIME, self.store.programs()).await.ok()?.ok();
        let names = self.names.get(FRESH, ask).await;
        names.is_some_and(|names| names.contains(user))
    }
}
