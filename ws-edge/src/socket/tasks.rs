//! What a socket has done beside it, each in a task of its own whose answer comes into the inbox.

use std::{sync::Arc, time::Duration};

use common::{
    envelope::Again,
    live::{Control, Signal},
    retry::{RetryPolicy, retry},
    store::BotPolicy,
    timeline::TimelineError,
    wire::{ErrorCode, Kind, Seq, ServerFrame, now_seq},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Sockets,
    connection::{Done, Refusal},
    hub::EnterError,
    inbox::{Inbox, Note},
    replay::{Replay, Replays},
    room::{Membership, Room},
    send_queue::unavailable,
};

/// When a join may be tried again that failed because something was away.
const JOIN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When another answer may be asked for again that could not be asked for because something was away.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When it is tried again to catch a socket up.
const CATCH_UP_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(200), Duration::from_secs(5));

/// Joins a room. One who joins too often waits for it, and nobody else does.
pub(super) async fn join(
    sockets: Arc<Sockets>,
    user: Arc<str>,
    replays: Replays,
    sub: u32,
    room: Arc<str>,
    after: Option<Seq>,
    inbox: Arc<Inbox>,
) {
    match sockets.services.limits.reserve_join(&user) {
        Ok(wait) => sleep(wait).await,
        Err(wait) => {
            let refusal = Refusal {
                code: ErrorCode::RateLimited,
                message: "too many joins".into(),
                retry_after: Some(wait),
            };
            return inbox.put(Note::Lost { sub, refusal });
        }
    }
    let slot = match after {
        Some(_) => Some(replays.slot(&sockets.services.answers).await),
        None => None,
    };
    let begun = Instant::now();
    let note = match enter(&sockets, &user, sub, &room, after, &inbox).await {
        Ok((membership, replay)) => {
            sockets.meters.join_seconds.record(begun.elapsed());
            if after.is_some() {
                sockets.meters.resumed(replay.complete);
            }
            Note::Joined {
                sub,
                membership,
                slot: slot.filter(|_| replay.is_large()),
                replay,
            }
        }
        Err(refusal) => {
            if after.is_some() {
                sockets.meters.resumes_refused.increment(1);
            }
            Note::Lost { sub, refusal }
        }
    };
    inbox.put(note);
}

async fn enter(
    sockets: &Arc<Sockets>,
    user: &Arc<str>,
    sub: u32,
    room: &str,
    after: Option<Seq>,
    inbox: &Arc<Inbox>,
) -> Result<(Membership, Replay), Refusal> {
    // Before anything is done for somebody who may not see it.
    sockets.services.access.room(user, room).await?;
    let entered = sockets.hub.enter(room, user, sub, inbox, after).await?;
    // In the room first and asked again then: a change in between finds this socket either way.
    let known = sockets.services.access.room(user, room).await?;
    if known.owner != **user {
        let taking = Arc::clone(sockets).take_invitation(Arc::clone(user), room.into());
        sockets.hub.tasks.spawn(taking);
    }
    Ok(entered)
}

impl From<EnterError> for Refusal {
    fn from(error: EnterError) -> Refusal {
        tracing::warn!(%error, "a room cannot be joined");
        unavailable("the room cannot be joined just now", JOIN_AGAIN_AFTER)
    }
}

/// Reads what a socket missed that was too slow, for as long as it takes.
pub(super) async fn catch_up(
    sockets: Arc<Sockets>,
    replays: Replays,
    room: Arc<Room>,
    sub: u32,
    after: Seq,
    inbox: Arc<Inbox>,
) {
    let slot = replays.slot(&sockets.services.answers).await;
    let read = || sockets.hub.replay(&room, &replays.user, Some(after), false);
    let told = |error: &TimelineError, again_in| {
        tracing::warn!(room = %room.name, %error, ?again_in, "a slow reader waits for what it missed");
    };
    if let Ok(replay) = retry(CATCH_UP_AGAIN, read, told).await {
        let slot = Some(slot).filter(|_| replay.is_large());
        inbox.put(Note::CaughtUp { sub, replay, slot });
    }
}

/// Shows that somebody types. If that is not possible just now, nobody needs to know.
pub(super) async fn typing(sockets: Arc<Sockets>, user: Arc<str>, room: String, inbox: Arc<Inbox>) {
    let outcome = match sockets.services.access.room(&user, &room).await {
        Ok(_) => {
            let frame = ServerFrame::Typing {
                room: room.clone(),
                user: user.to_string(),
            }
            .frame()
            .into();
            if let Err(error) = sockets
                .services
                .live
                .signal(&Signal::Room { room, frame })
                .await
            {
                tracing::debug!(%error, "that somebody types was not shown");
            }
            Ok(Done::Quietly)
        }
        Err(error) => match Refusal::from(error) {
            refusal if refusal.code == ErrorCode::Unavailable => Ok(Done::Quietly),
            refusal => Err(refusal),
        },
    };
    inbox.put(Note::TaskDone { id: None, outcome });
}

/// Notes how far somebody has read a room, which is no further than what was said in it.
pub(super) async fn read(
    sockets: Arc<Sockets>,
    user: Arc<str>,
    room: String,
    seq: Seq,
    inbox: Arc<Inbox>,
) {
    let outcome = note_read(&sockets, &user, &room, seq, inbox.socket).await;
    inbox.put(Note::TaskDone { id: None, outcome });
}

async fn note_read(
    sockets: &Sockets,
    user: &str,
    room: &str,
    seq: Seq,
    socket: u64,
) -> Result<Done, Refusal> {
    let services = &sockets.services;
    services.access.room(user, room).await?;
    let latest = match sockets.latest_shown(room) {
        0 => services.timeline.latest(room).await?,
        latest => latest,
    };
    // Where one mark waits already, another is no further write.
    if !services.reading_places.has(user, room)
        && let Err(wait) = services.limits.check_read(user)
    {
        return Err(Refusal {
            code: ErrorCode::RateLimited,
            message: "too many rooms were read at once".into(),
            retry_after: Some(wait),
        });
    }
    let seq = seq.min(latest);
    if seq > 0 && !services.reading_places.note(user, room, seq, socket) {
        return Err(unavailable(
            "how far you have read cannot be kept just now",
            ASK_AGAIN_AFTER,
        ));
    }
    Ok(Done::Quietly)
}

/// Has a reply stopped.
pub(super) async fn stop(
    sockets: Arc<Sockets>,
    user: Arc<str>,
    room: String,
    reply: Uuid,
    inbox: Arc<Inbox>,
) {
    let outcome = async {
        sockets.services.access.room(&user, &room).await?;
        sockets
            .services
            .live
            .signal(&Signal::Control(Control::StopReply {
                room,
                reply,
                by: user.to_string(),
            }))
            .await?;
        Ok(Done::Quietly)
    };
    let outcome = outcome.await;
    inbox.put(Note::TaskDone {
        id: Some(reply),
        outcome,
    });
}

/// Has a reply's request answered again.
pub(super) async fn again(
    sockets: Arc<Sockets>,
    user: Arc<str>,
    room: String,
    reply: Uuid,
    inbox: Arc<Inbox>,
) {
    let outcome = ask_again(&sockets, &user, &room, reply).await;
    inbox.put(Note::TaskDone {
        id: Some(reply),
        outcome,
    });
}

async fn ask_again(
    sockets: &Sockets,
    user: &str,
    room: &str,
    reply: Uuid,
) -> Result<Done, Refusal> {
    if sockets.services.access.room(user, room).await?.bot == BotPolicy::Off {
        return Err(no(ErrorCode::Forbidden, "the bot is off in this room"));
    }
    let found = sockets.services.timeline.find(room, reply).await?;
    let Some(found) = found.filter(|found| found.kind != Kind::User) else {
        return Err(no(ErrorCode::NotFound, "there is no such reply of the bot"));
    };
    let request = match found.reply_to {
        Some(request) => sockets.services.timeline.find(room, request).await?,
        None => None,
    };
    let request = request
        .filter(|request| !request.deleted)
        .ok_or_else(|| no(ErrorCode::NotFound, "what that reply answers is not there"))?;
    let again = Again {
        after: reply,
        at: now_seq(),
        by: Some(user.to_owned()),
    };
    sockets.services.poster.ask_again(request, again).await?;
    Ok(Done::Acked {
        id: reply,
        seq: found.seq,
    })
}

/// A plain no.
pub(super) fn no(code: ErrorCode, message: &str) -> Refusal {
    Refusal {
        code,
        message: message.to_owned(),
        retry_after: None,
    }
}

impl From<TimelineError> for Refusal {
    fn from(error: TimelineError) -> Refusal {
        tracing::warn!(%error, "a message cannot be looked up");
        unavailable("it cannot be looked up just now", ASK_AGAIN_AFTER)
    }
}

/// A user posts too fast.
pub(super) fn too_many_messages(wait: Duration) -> Refusal {
    Refusal {
        code: ErrorCode::RateLimited,
        message: "too many messages".into(),
        retry_after: Some(wait),
    }
}

/// A user has posted as much as one may within a day.
pub(super) fn too_many_bytes(wait: Duration) -> Refusal {
    Refusal {
        code: ErrorCode::RateLimited,
        message:
            "as many bytes of messages as may be within a day were posted (USER_BYTES_PER_DAY)"
                .into(),
        retry_after: Some(wait),
    }
}
