//! Who may change which message: its author edits it; its author deletes it, the room's owner and an administrator any, and
//! whoever asked also the bot's reply.

use std::time::Duration;

use common::{
    store::Room,
    wire::{ErrorCode, Kind, Message, NewMessage, Seq, made_at, now_seq},
};
use uuid::Uuid;

use super::{connection::Refusal, send_queue::unavailable, tasks::no};
use crate::services::Services;

/// When it may be tried again after the database did not answer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a message may be on its way to the database, in microseconds: longer than the persisters are ever behind.
const ON_ITS_WAY_US: Seq = 600_000_000;

/// Returns if this event may be posted, by what is known at this moment; what is posted at the same moment is seen by the
/// live engine. Of an event that was posted before it is not asked again: it is the same event, also where the message
/// is deleted since.
///
/// # Errors
/// What the sender is told. A message of another room is none of this one.
pub(super) async fn check(
    services: &Services,
    room: &Room,
    event: &NewMessage,
    of: Uuid,
    by_program: bool,
) -> Result<(), Refusal> {
    let target = services.timeline.find(&room.name, of).await?;
    let checked = match target.filter(|target| !target.kind.is_change()) {
        Some(target) => check_target(services, room, event, &target, by_program).await,
        None if may_be_on_its_way(services, &room.name, of).await? => Err(unavailable(
            "the message may be on its way to the database still",
            LOOK_AGAIN_AFTER,
        )),
        None => Err(no(
            ErrorCode::NotFound,
            "there is no such message in this room",
        )),
    };
    let Err(refusal) = checked else { return Ok(()) };
    let known = services.timeline.find(&room.name, event.id).await?;
    let is_same = known.is_some_and(|known| {
        known.sender == event.sender && known.kind == event.kind && known.of == event.of
    });
    if is_same { Ok(()) } else { Err(refusal) }
}

/// Whether a message that is found nowhere may be in the queue all the same: it was made a while ago, and the room's
/// stream was lost since and does not reach back as far.
async fn may_be_on_its_way(services: &Services, room: &str, of: Uuid) -> Result<bool, Refusal> {
    let Some(made) = made_at(of).filter(|made| now_seq().abs_diff(*made) < ON_ITS_WAY_US) else {
        return Ok(false);
    };
    let tail = services.live.tail(room, 0, 1).await?;
    match tail.messages.first() {
        Some(first) => Ok(first.prev > 0 && made < first.seq),
        None => {
            let latest = services.timeline.latest(room).await?;
            Ok(latest > 0)
        }
    }
}

async fn check_target(
    services: &Services,
    room: &Room,
    event: &NewMessage,
    target: &Message,
    by_program: bool,
) -> Result<(), Refusal> {
    let is_author = target.kind == Kind::User && target.sender == event.sender;
    if event.kind == Kind::Edited {
        if target.kind != Kind::User {
            return Err(no(
                ErrorCode::Forbidden,
                "what the bot has said cannot be edited",
            ));
        }
        if !is_author {
            return Err(no(
                ErrorCode::Forbidden,
                "only whoever wrote a message may edit it",
            ));
        }
    } else if !is_author
        && !may_delete_anothers(services, room, &event.sender, target, by_program).await?
    {
        return Err(no(
            ErrorCode::Forbidden,
            "this message is not yours to delete",
        ));
    }
    if target.deleted {
        return Err(no(ErrorCode::BadRequest, "the message is deleted"));
    }
    Ok(())
}

async fn may_delete_anothers(
    services: &Services,
    room: &Room,
    user: &str,
    target: &Message,
    by_program: bool,
) -> Result<bool, Refusal> {
    if room.owner == user {
        return Ok(true);
    }
    if target.kind != Kind::User
        && let Some(asked) = target.reply_to
    {
        let request = services.timeline.find(&room.name, asked).await?;
        if request.is_some_and(|request| request.sender == user) {
            return Ok(true);
        }
    }
    if by_program {
        return Ok(false);
    }
    let is_administrator = services.sessions.is_administrator(user).await;
    is_administrator.map_err(|_| {
        unavailable(
            "it cannot be looked up just now who may delete it",
            LOOK_AGAIN_AFTER,
        )
    })
}
