//! What an edge does by itself, on timers: it looks after messages that nobody may ever ask for again, notes which
//! sessions are in use, and lets go of what is old.

use std::{sync::Arc, time::Duration};

use common::{
    live::{Control, Signal},
    supervise,
    timeline::TimelineError,
};
use tokio_util::sync::CancellationToken;

use crate::{departures, services::Services, sessions::now_ms};

/// Between two looks for messages that were shown and did not reach the database.
const REPAIR_EVERY: Duration = Duration::from_secs(15);

/// The most rooms in one look; those that wait longest come first.
const REPAIR_ROOMS: usize = 500;

/// After so many rooms of which the live engine does not answer, it is taken for away as a whole.
const LIVE_AWAY_MAX: usize = 5;

/// How long one room's look may take.
const REPAIR_TIME: Duration = Duration::from_secs(10);

/// Between two times that used sessions are noted, and memories tidied.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);

/// Between two times that expired sessions are deleted, and rooms are looked at that an edge of another version made.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Between two looks for people who left and whose messages are to go with them.
const DEPARTURES_EVERY: Duration = Duration::from_secs(10);

/// How long an invitation or a link is known that has expired or was withdrawn.
const DOOR_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it is known who did what to whom: a year, and what its end is looked through for.
const AUDIT_KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Between two looks for what is deleted and still in a stream: what a server that was lost alone had is gone within a minute.
const LOST_DELETIONS_EVERY: Duration = Duration::from_secs(15);

/// Between two looks for deleted rooms that are to be looked through.
const ERASE_EVERY: Duration = Duration::from_secs(3);

/// Between two looks for rooms of which something is gone by age that their streams still have.
const TRIM_EVERY: Duration = Duration::from_secs(3);

/// The most rooms in one such look.
const TRIM_ROOMS: usize = 100;

/// The most deleted rooms in one look.
const ERASE_ROOMS: usize = 20;

/// Between two times that it is written how far people have read: a process that is killed loses no more than that.
const WRITE_READ_EVERY: Duration = Duration::from_secs(1);

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
        "lost deletions",
        LOST_DELETIONS_EVERY,
        services,
        stop,
        |services| async move {
            if let Err(error) = services.lost_deletions.look(&services).await {
                tracing::warn!(%error, "what was deleted cannot be looked for in the streams");
            }
        },
    );
    every(
        "deleted rooms",
        ERASE_EVERY,
        services,
        stop,
        |services| async move {
            erase(&services).await;
        },
    );
    every(
        "old streams",
        TRIM_EVERY,
        services,
        stop,
        |services| async move {
            if let Err(why) = trim(&services).await {
                tracing::warn!(why, "what is old must wait to leave the streams");
            }
        },
    );
    every(
        "reading places",
        WRITE_READ_EVERY,
        services,
        stop,
        |services| async move {
            services.reading_places.write().await;
        },
    );
    every(
        "upkeep",
        UPKEEP_EVERY,
        services,
        stop,
        |services| async move {
            services.limits.upkeep();
            services.admission.upkeep();
            services.answers.upkeep();
            services.allowances.upkeep();
            services.access.upkeep();
            services.sessions.upkeep().await;
        },
    );
    every(
        "departures",
        DEPARTURES_EVERY,
        services,
        stop,
        |services| async move {
            departures::go_on(&services).await;
        },
    );
    every(
        "session sweep",
        SWEEP_EVERY,
        services,
        stop,
        |services| async move {
            services.sessions.sweep().await;
            sweep_door(&services).await;
            note_looks(&services).await;
        },
    );
}

/// Looks through deleted rooms for what came late: it was in somebody's hands when the room was deleted, or whoever deleted it
/// died in the middle.
async fn erase(services: &Services) {
    match services.store.deletions_due(now_ms(), ERASE_ROOMS).await {
        Ok(rooms) => {
            for room in rooms {
                // Whoever deleted it may have had no way to tell the edges: an operator at the command line has none.
                let changed = Signal::Control(Control::RoomChanged { room: room.clone() });
                if let Err(error) = services.live.signal(&changed).await {
                    tracing::debug!(%error, room, "other processes were not told that a room is deleted");
                }
                services.erase(&room).await;
                // Whoever deleted it may have died before they told anybody.
                let changed = Signal::Control(Control::RoomChanged { room });
                if let Err(error) = services.live.signal(&changed).await {
                    tracing::debug!(%error, "that a room was deleted is told at the next look");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "deleted rooms cannot be looked through"),
    }
}

/// Takes out of the rooms' streams what is gone by age. It is noted when that is done, so whoever dies in the middle is followed
/// by another edge, and two at once do no harm.
async fn trim(services: &Services) -> Result<(), String> {
    let Services { live, store, .. } = services;
    let rooms = store.streams_to_trim(TRIM_ROOMS).await;
    let mut failed = Ok(());
    for (room, until) in rooms.map_err(|error| error.to_string())? {
        // A part of the live engine may be away, and the next room lie on another.
        if let Err(error) = live.forget_until(&room, until).await {
            failed = Err(error.to_string());
            continue;
        }
        let noted = store.stream_is_trimmed(&room, until).await;
        noted.map_err(|error| error.to_string())?;
    }
    failed
}

/// While edges of the version before and of this one run side by side, those make rooms whose looks nobody notes.
async fn note_looks(services: &Services) {
    let mut after = String::new();
    loop {
        match services.store.note_looks(&after).await {
            Ok(Some(last)) => after = last,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "what new rooms look like must wait"),
        }
    }
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

/// Deletes invitations and links that ended a while ago (for so long whoever comes with one is told what is wrong with
/// it), and old lines of the log.
async fn sweep_door(services: &Services) {
    let before = |kept: Duration| now_ms().saturating_sub(kept.as_millis() as u64);
    let swept = services
        .store
        .sweep_door(before(DOOR_KEPT), before(AUDIT_KEPT));
    if let Err(error) = swept.await {
        tracing::warn!(%error, "old invitations must wait");
    }
}

/// Looks through the rooms that had messages lately: what was shown and is not in the database after half a minute is
/// handed to the queue again. A room is let go only when all of it was seen in the database, so it does not matter
/// whether anybody reads it again, nor which edge looks, nor whether this one dies meanwhile. One edge looks at a room for
/// all, as long as it lives and its looks succeed. When the database is on
/// another server, a replica that was promoted and may lack rows, all rooms come back to be looked through, at this pace.
async fn repair(services: &Services) {
    let (server, rooms) = match services.timeline.take_unsettled(REPAIR_ROOMS).await {
        Ok(listed) => listed,
        Err(error) => return tracing::warn!(%error, "repairs must wait"),
    };
    let (mut waiting, mut away) = (0, 0);
    for room in rooms {
        // Where something is still on its way, or was handed to the queue just now, it is looked at again next time.
        let look = services.timeline.repair(&room, &server);
        let why = match tokio::time::timeout(REPAIR_TIME, look).await {
            Ok(Ok(compared)) => {
                waiting += usize::from(compared.waits);
                continue;
            }
            // A part of the live engine may be away, and the next room lie on another.
            Ok(Err(error @ TimelineError::Live(_))) if away < LIVE_AWAY_MAX => {
                away += 1;
                tracing::warn!(%error, room = %room.room, "a room's repair must wait");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        // An engine is away, so the other rooms will not do any better.
        return tracing::warn!(why, room = %room.room, "repairs must wait");
    }
    if waiting > 0 {
        tracing::info!(
            rooms = waiting,
            "the persisters are behind: what is missing waits for them, and is not taken for lost"
        );
    }
}
