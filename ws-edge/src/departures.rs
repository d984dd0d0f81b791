//! What goes with somebody whose account is deleted, if they wanted that: what they wrote.
//!
//! Any edge does it, room by room, and notes after each how far it has come; one that dies is followed by another.
//! Each message is deleted by an event like anybody's, under an id that follows from the message's: twice is once.

use std::time::Duration;

use common::{
    posting::{PLACE_PATIENCE, PostError},
    queue::Route,
    store::Departure,
    timeline::PAGE_MAX_MESSAGES,
    wire::{Kind, Message, NewMessage, Seq},
};
use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{services::Services, sessions::now_ms};

/// How long a process that goes on with it may be silent before another one does.
const CLAIMED_FOR: Duration = Duration::from_secs(60);

/// How long after somebody has left it begins: by then no socket of theirs is open anywhere, and what one had sent has waited for
/// its place and is appended, or refused.
const BEGINS_AFTER: Duration = PLACE_PATIENCE.saturating_add(Duration::from_secs(5));

/// How many rooms are looked through between two words of how far it has come, at most.
const ROOMS_AT_ONCE: usize = 100;

/// Goes on with what somebody who left wants deleted, if there is anybody. Called on a timer, by every edge.
pub(crate) async fn go_on(services: &Services) {
    loop {
        let now = now_ms();
        let left_before = now.saturating_sub(ms(BEGINS_AFTER));
        let claimed = services
            .store
            .claim_departure(now, now + ms(CLAIMED_FOR), left_before);
        let departure = match claimed.await {
            Ok(Some(departure)) => departure,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "what people took with them must wait"),
        };
        if let Err(why) = erase(services, departure).await {
            return tracing::warn!(why, "what somebody took with them must wait");
        }
    }
}

/// Deletes what somebody wrote, from where it was left.
async fn erase(services: &Services, departure: Departure) -> Result<(), String> {
    let Departure {
        user,
        mut after_room,
    } = departure;
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let mut deleted = 0;
    loop {
        let rooms = services.store.room_names(&after_room, ROOMS_AT_ONCE).await;
        let rooms = rooms.map_err(|error| failed(&error))?;
        if rooms.is_empty() {
            let done = services.store.departure_done(&user).await;
            done.map_err(|error| failed(&error))?;
            tracing::info!(deleted, "all that somebody wrote who left is deleted");
            return Ok(());
        }
        for room in rooms {
            deleted += erase_in(services, &user, &room, &after_room).await?;
            after_room = room;
        }
        goes_on(services, &user, &after_room).await?;
    }
}

/// Says how far it has come, and that it goes on.
async fn goes_on(services: &Services, user: &str, after_room: &str) -> Result<(), String> {
    let until = now_ms() + ms(CLAIMED_FOR);
    let noted = services.store.departure_reached(user, after_room, until);
    noted.await.map_err(|error| error.to_string())
}

async fn erase_in(
    services: &Services,
    user: &str,
    room: &str,
    after_room: &str,
) -> Result<usize, String> {
    let (mut after, mut deleted) = (0, 0);
    loop {
        let page = services
            .timeline
            .after(room, after, PAGE_MAX_MESSAGES)
            .await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else {
            return Ok(deleted);
        };
        after = last.seq;
        let theirs = page.iter().filter(|message| goes_with(user, message));
        let deletions: Vec<_> = theirs
            .map(|message| delete(services, deletion(user, message)))
            .collect();
        deleted += deletions.len();
        try_join_all(deletions).await?;
        if deleted > 0 {
            goes_on(services, user, after_room).await?;
        }
    }
}

/// Posts a deletion, in its time.
async fn delete(services: &Services, deletion: NewMessage) -> Result<(), String> {
    loop {
        let posting = services.poster.post(deletion.clone(), Route::Persist, None);
        match posting.await {
            // It was deleted by somebody else meanwhile.
            Ok(_) | Err(PostError::Gone) => return Ok(()),
            Err(PostError::TooSoon { retry_after }) => sleep(retry_after).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What goes with somebody: what they wrote, and in their own room also what the bot answered there.
fn goes_with(user: &str, message: &Message) -> bool {
    let is_theirs = match message.kind {
        Kind::User => message.sender == user,
        Kind::Bot | Kind::Fallback => message.room == user,
        Kind::Edited | Kind::Deleted => false,
    };
    is_theirs && !message.deleted
}

/// The event that deletes a message.
fn deletion(user: &str, message: &Message) -> NewMessage {
    let digest = Sha256::new()
        .chain_update("chinwag departure\0")
        .chain_update(&message.room)
        .chain_update(message.id)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    NewMessage {
        room: message.room.clone(),
        id: Uuid::new_v8(id),
        sender: user.to_owned(),
        kind: Kind::Deleted,
        message: String::new(),
        reply_to: None,
        of: Some(message.id),
        stopped_by: None,
        grounding: Default::default(),
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One's own messages in a room after a place, and the place up to which was looked; none if there is no more.
pub(crate) async fn own_messages(
    services: &Services,
    user: &str,
    room: &str,
    after: Seq,
) -> Result<Option<(Vec<Message>, Seq)>, String> {
    let page = services
        .timeline
        .after(room, after, PAGE_MAX_MESSAGES)
        .await;
    let mut page = page.map_err(|error| error.to_string())?;
    let Some(last) = page.last().map(|last| last.seq) else {
        return Ok(None);
    };
    page.retain(|message| message.kind == Kind::User && message.sender == user);
    Ok(Some((page, last)))
}
