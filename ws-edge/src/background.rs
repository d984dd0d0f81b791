//! What an edge does by itself, on timers: it looks after messages that nobody may ever ask for again, notes which
//! sessions are in use, and lets go of what is old.

use std::{sync::Arc, time::Duration};

use common::supervise;
use tokio_util::sync::CancellationToken;

use crate::services::Services;

/// Between two looks for messages that were shown and did not reach the database.
const REPAIR_EVERY: Duration = Duration::from_secs(15);

/// The most rooms in one look; those that wait longest come first.
const REPAIR_ROOMS: usize = 500;

/// How long one room's look may take.
const REPAIR_TIME: Duration = Duration::from_secs(10);

/// Between two times that used sessions are noted, and memories tidied.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);

/// Between two times that expired sessions are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Starts all of it; it ends with `stop`.
pub(crate) fn start(services: &Arc<Services>, stop: &CancellationToken) {
    every(
        "read repair",
        REPAIR_EVERY,
        services,
        stop,
        |services| async move {
            repair(&services).await;
        },
    );
    every(
        "upkeep",
        UPKEEP_EVERY,
        services,
        stop,
        |services| async move {
            services.limits.upkeep();
            services.access.upkeep();
            services.sessions.upkeep().await;
        },
    );
    every(
        "session sweep",
        SWEEP_EVERY,
        services,
        stop,
        |services| async move {
            services.sessions.sweep().await;
        },
    );
}

/// Does something again and again, with pauses of half to one and a half times `pause`, so that edges that were
/// started together do not all do it at once.
fn every<F, W>(
    name: &'static str,
    pause: Duration,
    services: &Arc<Services>,
    stop: &CancellationToken,
    mut work: F,
) where
    F: FnMut(Arc<Services>) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let services = Arc::clone(services);
    supervise::spawn_until(name, stop, async move {
        loop {
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            work(Arc::clone(&services)).await;
        }
    });
}

/// Looks through the rooms that had messages lately: what was shown and is not in the database after half a minute is
/// handed to the queue again. A room is let go only when all of it was seen in the database, so it does not matter
/// whether anybody reads it again, nor which edge looks, nor whether this one dies meanwhile.
async fn repair(services: &Services) {
    let rooms = match services.live.unsettled(REPAIR_ROOMS).await {
        Ok(rooms) => rooms,
        Err(error) => return tracing::warn!(%error, "repairs must wait"),
    };
    for room in rooms {
        let look = async {
            match services.timeline.repair(&room.room).await {
                Ok(true) => services
                    .live
                    .settled(&room)
                    .await
                    .map_err(|error| error.to_string()),
                // Something is still on its way, or was handed to the queue just now: looked at again next time.
                Ok(false) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        };
        let looked = tokio::time::timeout(REPAIR_TIME, look).await;
        if let Err(error) = looked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            // An engine is away, so the other rooms will not do any better.
            return tracing::warn!(%error, room = %room.room, "repairs must wait");
        }
    }
}
