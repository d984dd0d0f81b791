//! Running summaries: what stands in a long room's context in the place of what no longer fits. They live in this
//! process alone, so that a text that is deleted lives on in none of them anywhere else, and one is used only as long
//! as nothing that it was made of has changed. Why it is so: `docs/decisions/catching-up.md`.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::{
    live::Tail,
    wire::{Kind, Message, Seq},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    commands::{self, ContextEffect},
    context::SINCE_MAX_MESSAGES,
};

/// The most rooms of which a worker keeps a summary, a few kilobytes each.
const ROOMS_MAX: usize = 1_000;
/// The most messages that one is made of; behind them it begins anew.
const MESSAGES_MAX: usize = 10_000;
/// How old one becomes before it is made anew from what is there still: rooms may keep messages for a time only.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// How soon a room is looked at again in which there was too little to sum up, or no call for it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What one worker has summed up of its rooms.
#[derive(Default)]
pub(crate) struct RunningSummaries {
    rooms: Mutex<HashMap<String, Entry>>,
    /// Those that are being made.
    pub making: TaskTracker,
}

struct Entry {
    summary: Option<RunningSummary>,
    /// Somebody makes one.
    is_being_made: bool,
    /// When it was last looked at.
    looked_at: Instant,
    used_at: Instant,
}

/// What was said in a room up to some place.
#[derive(Clone, Debug)]
pub(crate) struct RunningSummary {
    /// A model's words.
    pub text: String,
    /// The messages that it was made of.
    pub ids: HashSet<Uuid>,
    /// Who wrote them.
    pub senders: HashSet<String>,
    /// The place of the last of them.
    pub through: Seq,
    /// Up to which place changes of them are taken in.
    pub as_of: Seq,
    /// When it, or the first one that it goes on from, was begun.
    pub begun: Instant,
}

/// Whether what was made of these messages still says what was said, by what the room's stream has behind the place up to
/// which changes of them are taken in.
pub(crate) fn still_holds(ids: &HashSet<Uuid>, since: &Tail) -> bool {
    let is_all = since.reaches_back && since.messages.len() < SINCE_MAX_MESSAGES;
    let ends_it = |message: &Message| match message.kind {
        Kind::Edited | Kind::Deleted => message.of.is_none_or(|of| ids.contains(&of)),
        Kind::User => commands::read(&message.message)
            .is_some_and(|command| command.context == ContextEffect::BeginsAnew),
        Kind::Bot | Kind::Fallback => false,
    };
    is_all && !since.messages.iter().any(ends_it)
}

impl RunningSummaries {
    /// Up to which place the room's summary has taken in what changed; none if there is no summary.
    pub(crate) fn as_of(&self, room: &str) -> Option<Seq> {
        let rooms = self.rooms.lock();
        Some(rooms.get(room)?.summary.as_ref()?.as_of)
    }

    /// The room's summary, if it holds by what the stream has behind the place that [`RunningSummaries::as_of`]
    /// returned; else it is thrown away.
    pub(crate) fn checked(&self, room: &str, as_of: Seq, since: &Tail) -> Option<RunningSummary> {
        let mut rooms = self.rooms.lock();
        let entry = rooms.get_mut(room)?;
        let summary = entry.summary.as_mut()?;
        // Another was made meanwhile, which nobody has checked.
        if summary.as_of != as_of {
            return None;
        }
        if !still_holds(&summary.ids, since)
            || summary.begun.elapsed() > AGE_MAX
            || summary.ids.len() > MESSAGES_MAX
        {
            rooms.remove(room);
            return None;
        }
        summary.as_of = summary.as_of.max(since.latest);
        entry.used_at = Instant::now();
        Some(summary.clone())
    }

    /// The room's summary is thrown away.
    pub(crate) fn forget(&self, room: &str) {
        self.rooms.lock().remove(room);
    }

    /// Whether whoever asks is to see whether there is more to sum up, and is the only one who does until
    /// [`RunningSummaries::made`].
    pub(crate) fn is_to_be_made(&self, room: &str) -> bool {
        let now = Instant::now();
        let mut rooms = self.rooms.lock();
        if let Some(entry) = rooms.get_mut(room) {
            let is_due = !entry.is_being_made && now - entry.looked_at >= LOOK_AGAIN;
            if is_due {
                (entry.is_being_made, entry.looked_at) = (true, now);
            }
            return is_due;
        }
        if rooms.len() >= ROOMS_MAX {
            let idle = rooms.iter().filter(|(_, entry)| !entry.is_being_made);
            let idle = idle.min_by_key(|(_, entry)| entry.used_at);
            let Some(idle) = idle.map(|(room, _)| room.clone()) else {
                return false;
            };
            rooms.remove(&idle);
        }
        let entry = Entry {
            summary: None,
            is_being_made: true,
            looked_at: now,
            used_at: now,
        };
        rooms.insert(room.to_owned(), entry);
        true
    }

    /// It has been made, or there is none yet.
    pub(crate) fn made(&self, room: &str, summary: Option<RunningSummary>) {
        let mut rooms = self.rooms.lock();
        // It may have been thrown away meanwhile; a new one is checked before it is used in any case.
        if let Some(entry) = rooms.get_mut(room) {
            entry.is_being_made = false;
            if summary.is_some() {
                entry.summary = summary;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::wire::NewMessage;

    use super::*;

    fn summary(of: Uuid) -> RunningSummary {
        RunningSummary {
            text: "they meet at five".into(),
            ids: HashSet::from([of]),
            senders: HashSet::from(["ada".to_owned()]),
            through: 10,
            as_of: 20,
            begun: Instant::now(),
        }
    }

    fn event(kind: Kind, of: Option<Uuid>, text: &str) -> Message {
        let new = NewMessage {
            room: "lobby".into(),
            id: Uuid::now_v7(),
            sender: "ada".into(),
            kind,
            message: text.into(),
            reply_to: None,
            of,
            stopped_by: None,
            grounding: Default::default(),
        };
        new.at(21, 20)
    }

    fn since(messages: Vec<Message>, reaches_back: bool) -> Tail {
        Tail {
            messages,
            reaches_back,
            latest: 21,
        }
    }

    fn kept(summary: RunningSummary) -> RunningSummaries {
        let summaries = RunningSummaries::default();
        assert!(summaries.is_to_be_made("lobby"));
        assert!(!summaries.is_to_be_made("lobby"), "one at a time");
        summaries.made("lobby", Some(summary));
        summaries
    }

    #[tokio::test]
    async fn it_is_thrown_away_once_anything_in_it_has_changed_or_that_cannot_be_told() {
        let (of, other) = (Uuid::now_v7(), Uuid::now_v7());
        let cases = [
            (event(Kind::User, None, "hello"), true),
            (event(Kind::Deleted, Some(other), ""), true),
            (event(Kind::Deleted, Some(of), ""), false),
            (event(Kind::Edited, Some(of), "at six"), false),
            (event(Kind::User, None, "@bot /reset"), false),
        ];
        for (event, holds) in cases {
            let summaries = kept(summary(of));
            let tail = since(vec![event.clone()], true);
            let checked = summaries.checked("lobby", 20, &tail);
            assert_eq!(checked.is_some(), holds, "{event:?}");
            assert_eq!(summaries.as_of("lobby"), holds.then_some(21));
            assert_eq!(
                summaries.is_to_be_made("lobby"),
                !holds,
                "begun anew at once"
            );
        }
        let summaries = kept(summary(of));
        assert!(
            summaries
                .checked("lobby", 20, &since(Vec::new(), false))
                .is_none()
        );
        assert_eq!(summaries.as_of("lobby"), None);
    }

    #[tokio::test]
    async fn one_that_nobody_has_checked_is_not_used() {
        let summaries = kept(summary(Uuid::now_v7()));
        let tail = since(Vec::new(), true);
        assert!(summaries.checked("lobby", 19, &tail).is_none());
        assert!(summaries.checked("lobby", 20, &tail).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow_old() {
        let summaries = kept(summary(Uuid::now_v7()));
        tokio::time::advance(AGE_MAX + Duration::from_secs(1)).await;
        let tail = since(Vec::new(), true);
        assert!(summaries.checked("lobby", 20, &tail).is_none());
        assert_eq!(summaries.as_of("lobby"), None);
    }

    #[tokio::test]
    async fn only_so_many_rooms_have_one() {
        let summaries = RunningSummaries::default();
        for n in 0..=ROOMS_MAX {
            assert!(summaries.is_to_be_made(&format!("room-{n}")));
            summaries.made(&format!("room-{n}"), None);
        }
        assert_eq!(summaries.rooms.lock().len(), ROOMS_MAX);
        assert!(
            summaries.is_to_be_made("room-0"),
            "the one used longest ago went"
        );
    }
}
