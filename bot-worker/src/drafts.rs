//! Shows a reply as it grows. The model's reader only leaves the text here; one task for each reply shows the latest
//! of it, at most 25 times a second, so that a slow engine costs drafts and never the answer's pace.

use std::{sync::Arc, time::Duration};

use common::{
    live::{
        Live,
        turns::{Draft, DraftOutcome, Fence},
    },
    wire::MESSAGE_MAX_CHARS,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reply_text::shown;

/// Between two drafts of one reply: 25 a second.
const BETWEEN_DRAFTS: Duration = Duration::from_millis(40);
/// How long the reply waits for a draft that is on its way, lest the draft come after it.
const LAST_DRAFT_TIME: Duration = Duration::from_millis(250);
/// Numbers of attempts that one turn has for itself: more than the calls it may make.
const ATTEMPTS_PER_TURN: u32 = 100;

/// The number of an attempt: higher than all of those who had the turn before, whichever workers they were.
pub(crate) fn attempt_number(fence: u32, call: u32) -> u32 {
    fence
        .saturating_mul(ATTEMPTS_PER_TURN)
        .saturating_add(call.min(ATTEMPTS_PER_TURN - 1))
}

/// The drafts of one reply.
pub(crate) struct Drafts {
    text: watch::Sender<Growing>,
    ended: CancellationToken,
    showing: JoinHandle<()>,
}

/// What the model has written so far.
#[derive(Debug, Default)]
struct Growing {
    attempt: u32,
    raw: String,
}

impl Drafts {
    /// Begins to show what will be written for the reply `id` to the request `reply_to`, as long as the fence holds; tells
    /// `lost` when it does not.
    pub(crate) fn begin(
        live: Arc<dyn Live>,
        room: String,
        id: Uuid,
        reply_to: Uuid,
        fence: Fence,
        lost: CancellationToken,
    ) -> Drafts {
        let (text, growing) = watch::channel(Growing::default());
        let ended = CancellationToken::new();
        let painter = Painter {
            live,
            room,
            id,
            reply_to,
            fence,
            lost,
            seen: Seen::default(),
        };
        let showing = tokio::spawn(painter.show(growing, ended.clone()));
        Drafts {
            text,
            ended,
            showing,
        }
    }

    /// A new attempt begins, with nothing written.
    pub(crate) fn attempt(&self, number: u32) {
        self.text.send_modify(|growing| {
            *growing = Growing {
                attempt: number,
                raw: String::new(),
            }
        });
    }

    /// The model has written more. Never waits.
    pub(crate) fn grow(&self, piece: &str) {
        self.text.send_modify(|growing| growing.raw.push_str(piece));
    }

    /// No more drafts; when this returns, none is on its way.
    pub(crate) async fn end(mut self) {
        self.ended.cancel();
        if timeout(LAST_DRAFT_TIME, &mut self.showing).await.is_err() {
            self.showing.abort();
        }
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// What was shown last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    attempt: u32,
    chars: usize,
}

/// What is to be shown: where its text begins in the reply, and the text.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    chars: usize,
    bytes: usize,
    text: String,
}

impl Seen {
    /// What is to be shown next, and what will have been shown then. An attempt begins with an empty text, which says that the
    /// model thinks.
    fn next(&self, growing: &Growing) -> Option<(Seen, Next)> {
        let is_begun = growing.attempt == self.attempt;
        let chars = if is_begun { self.chars } else { 0 };
        let all = shown(&growing.raw, false);
        let mut rest = all.chars();
        let bytes = rest.by_ref().take(chars).map(char::len_utf8).sum();
        let text: String = rest.take(MESSAGE_MAX_CHARS.saturating_sub(chars)).collect();
        let seen = Seen {
            attempt: growing.attempt,
            chars: chars + text.chars().count(),
        };
        let is_news = !text.is_empty() || !is_begun;
        is_news.then_some((seen, Next { chars, bytes, text }))
    }
}

struct Painter {
    live: Arc<dyn Live>,
    room: String,
    id: Uuid,
    reply_to: Uuid,
    fence: Fence,
    lost: CancellationToken,
    seen: Seen,
}

impl Painter {
    async fn show(mut self, mut growing: watch::Receiver<Growing>, ended: CancellationToken) {
        while let Some(Ok(())) = ended.run_until_cancelled(growing.changed()).await {
            let next = self.seen.next(&growing.borrow_and_update());
            let Some((seen, next)) = next else {
                continue;
            };
            let draft = Draft {
                room: self.room.clone(),
                reply: self.id,
                reply_to: self.reply_to,
                fence: self.fence,
                attempt: seen.attempt,
                offset: next.chars,
                offset_bytes: next.bytes,
                text: next.text,
            };
            // A draft that was not shown is shown with the next one.
            match self.live.draft(&draft).await {
                Ok(DraftOutcome::Shown) => self.seen = seen,
                Ok(DraftOutcome::FromStart) => self.seen = Seen::default(),
                Ok(DraftOutcome::Fenced) => return self.lost.cancel(),
                Err(error) => tracing::debug!(reply = %self.id, %error, "a draft was not shown"),
            }
            ended.run_until_cancelled(sleep(BETWEEN_DRAFTS)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(attempt: u32, raw: &str) -> Growing {
        Growing {
            attempt,
            raw: raw.into(),
        }
    }

    fn next(seen: &Seen, attempt: u32, raw: &str) -> Option<(usize, usize, String)> {
        let (after, next) = seen.next(&growing(attempt, raw))?;
        let end = next.chars + next.text.chars().count();
        assert_eq!((after.attempt, after.chars), (attempt, end));
        Some((next.chars, next.bytes, next.text))
    }

    #[test]
    fn each_draft_goes_on_where_the_last_one_ended() {
        let mut seen = Seen::default();
        let thinks = Some((0, 0, String::new()));
        assert_eq!(next(&seen, 101, ""), thinks, "it thinks");
        seen = seen.next(&growing(101, "")).unwrap().0;
        assert_eq!(next(&seen, 101, ""), None, "which is said once");
        assert_eq!(
            next(&seen, 101, " bot"),
            None,
            "it may be about to name itself"
        );
        let zwölf = " bot: zwölf";
        assert_eq!(next(&seen, 101, zwölf), Some((0, 0, "zwölf".into())));
        seen = seen.next(&growing(101, zwölf)).unwrap().0;
        assert_eq!(next(&seen, 101, zwölf), None);
        assert_eq!(
            next(&seen, 101, " bot: zwölf 🦉!"),
            Some((5, 6, " 🦉!".into()))
        );
        assert_eq!(
            next(&seen, 102, "el"),
            Some((0, 0, "el".into())),
            "a new attempt begins anew"
        );
        assert_eq!(next(&seen, 102, ""), thinks, "and thinks anew");
    }

    #[test]
    fn drafts_are_no_longer_than_a_message() {
        let most = |chars| Seen { attempt: 1, chars };
        let before = MESSAGE_MAX_CHARS - 1;
        assert_eq!(
            next(&most(before), 1, &"x".repeat(5_000)),
            Some((before, before, "x".into()))
        );
        assert_eq!(next(&most(MESSAGE_MAX_CHARS), 1, &"x".repeat(5_000)), None);
    }

    #[test]
    fn later_attempts_have_higher_numbers() {
        let numbers = [(1, 1), (1, 2), (1, 99), (2, 1), (3, 500), (4, 0)]
            .map(|(fence, call)| attempt_number(fence, call));
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
