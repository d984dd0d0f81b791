//! Accounts that were disabled or deleted, and sessions that ended, found in the database itself several times a second: so an
//! edge that heard nothing (the live engine is away, or whoever did it was a command line that does not know it) closes their
//! sockets within a second all the same. What is told through the live engine is faster, and this does not wait for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::store::StoreError;
use tokio::time::{Instant, sleep, timeout};

use super::Sockets;
use crate::sessions::now_ms;

/// Between two looks. A look is one row of an index.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long a look may take.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// How far back it looks: whoever made the change has a clock of their own.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// For so long after it was found a change is acted on again and again: whoever was let in before it may be registered after.
const ACTED_ON_FOR: Duration = Duration::from_secs(3);

/// After so long without a look every session is looked at.
const BLIND_MOST: Duration = Duration::from_secs(30);

/// What was found.
struct Found {
    changed_at_ms: u64,
    first_found: Instant,
}

/// Looks for as long as the process lives.
pub(super) async fn run(sockets: Arc<Sockets>) {
    let mut found: HashMap<String, Found> = HashMap::new();
    let mut last_look = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let began = Instant::now();
        match timeout(LOOK_TIME, look(&sockets, &mut found)).await {
            Ok(Ok(())) => {
                if last_look.elapsed() > BLIND_MOST {
                    sockets.services.deleted_accounts.forget();
                    sockets.services.programs.forget();
                    sockets.services.sessions.forget_all();
                    sockets.recheck_sessions();
                }
                last_look = began;
            }
            // That the database is away is told by those who need it.
            Ok(Err(error)) => tracing::debug!(%error, "who was disabled cannot be looked up"),
            Err(_) => tracing::debug!("who was disabled was not looked up in time"),
        }
    }
}

async fn look(sockets: &Sockets, found: &mut HashMap<String, Found>) -> Result<(), StoreError> {
    let back = LOOK_BACK.as_millis() as u64;
    let store = &sockets.services.store;
    let changed = store
        .standings_changed(now_ms().saturating_sub(back))
        .await?;
    found.retain(|_, found| found.first_found.elapsed() < 3 * LOOK_BACK);
    for (user, changed_at_ms) in changed {
        let known = found.get(&user);
        let known = known.filter(|found| found.changed_at_ms == changed_at_ms);
        if known.is_some_and(|found| found.first_found.elapsed() > ACTED_ON_FOR) {
            continue;
        }
        let first_found = known.map_or_else(Instant::now, |found| found.first_found);
        sockets.services.deleted_accounts.forget();
        sockets.services.programs.forget();
        sockets.services.sessions.forget_user(&user);
        let sessions = sockets.registry.sessions_of(&user);
        sockets.check_sessions(&sessions).await?;
        let change = Found {
            changed_at_ms,
            first_found,
        };
        found.insert(user, change);
    }
    Ok(())
}
