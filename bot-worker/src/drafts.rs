//! Shows a reply as it grows. The model's reader only leaves the text here; one task for each reply shows the latest
//! of it, at most 25 times a second, so that a slow engine costs drafts and never the answer's pace.

use std::{sync::Arc, time::Duration};

use common::{
    live::{Live, Signal},
    wire::{MESSAGE_MAX_CHARS, ServerFrame},
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
/// Numbers of attempts that one delivery has for itself: more than the calls it may make.
const ATTEMPTS_PER_DELIVERY: u32 = 100;

/// The number of an attempt: higher than all of earlier deliveries, whichever worker made those.
pub fn attempt_number(delivery_attempt: u32, call: u32) -> u32 {
    delivery_attempt
        .saturating_mul(ATTEMPTS_PER_DELIVERY)
        .saturating_add(call.min(ATTEMPTS_PER_DELIVERY - 1))
}

/// The drafts of one reply.
pub struct Drafts {
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
    /// Begins to show what will be written for the reply `id` to the request `reply_to`.
    pub fn begin(live: Arc<dyn Live>, room: String, id: Uuid, reply_to: Uuid) -> Drafts {
        let (text, growing) = watch::channel(Growing::default());
        let ended = CancellationToken::new();
        let painter = Painter {
            live,
            room,
            id,
            reply_to,
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
    pub fn attempt(&self, number: u32) {
        self.text.send_modify(|growing| {
            *growing = Growing {
                attempt: number,
                raw: String::new(),
            }
        });
    }

    /// The model has written more. Never waits.
    pub fn grow(&self, piece: &str) {
        self.text.send_modify(|growing| growing.raw.push_str(piece));
    }

    /// No more drafts; when this returns, none is on its way.
    pub async fn end(mut self) {
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
#[derive(Debug, Default)]
struct Seen {
    attempt: u32,
    chars: usize,
}

impl Seen {
    /// What is to be shown next: the attempt, where its text begins in the reply, in characters, and the text.
    fn next(&self, growing: &Growing) -> Option<(u32, usize, String)> {
        let offset = if growing.attempt == self.attempt {
            self.chars
        } else {
            0
        };
        let text: String = shown(&growing.raw, false)
            .chars()
            .take(MESSAGE_MAX_CHARS)
            .skip(offset)
            .collect();
        (!text.is_empty()).then_some((growing.attempt, offset, text))
    }
}

struct Painter {
    live: Arc<dyn Live>,
    room: String,
    id: Uuid,
    reply_to: Uuid,
    seen: Seen,
}

impl Painter {
    async fn show(mut self, mut growing: watch::Receiver<Growing>, ended: CancellationToken) {
        while let Some(Ok(())) = ended.run_until_cancelled(growing.changed()).await {
            let next = self.seen.next(&growing.borrow_and_update());
            let Some((attempt, offset, text)) = next else {
                continue;
            };
            let chars = offset + text.chars().count();
            let (room, id, reply_to) = (self.room.clone(), self.id, self.reply_to);
            let frame = ServerFrame::Draft {
                room,
                id,
                reply_to,
                attempt,
                offset,
                text,
            }
            .frame();
            let signal = Signal::Room {
                room: self.room.clone(),
                frame: frame.into(),
            };
            // A draft that was not shown is shown with the next one.
            match self.live.signal(&signal).await {
                Ok(()) => self.seen = Seen { attempt, chars },
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

    #[test]
    fn each_draft_goes_on_where_the_last_one_ended_in_characters() {
        let mut seen = Seen::default();
        assert_eq!(seen.next(&growing(101, "")), None);
        assert_eq!(
            seen.next(&growing(101, " bot")),
            None,
            "it may be about to name itself"
        );
        assert_eq!(
            seen.next(&growing(101, " bot: zwölf")),
            Some((101, 0, "zwölf".into()))
        );
        seen = Seen {
            attempt: 101,
            chars: 5,
        };
        assert_eq!(seen.next(&growing(101, " bot: zwölf")), None);
        assert_eq!(
            seen.next(&growing(101, " bot: zwölf 🦉!")),
            Some((101, 5, " 🦉!".into()))
        );
        assert_eq!(
            seen.next(&growing(102, "el")),
            Some((102, 0, "el".into())),
            "a new attempt begins anew"
        );
    }

    #[test]
    fn drafts_are_no_longer_than_a_message() {
        let seen = Seen {
            attempt: 1,
            chars: MESSAGE_MAX_CHARS - 1,
        };
        assert_eq!(
            seen.next(&growing(1, &"x".repeat(5_000))),
            Some((1, MESSAGE_MAX_CHARS - 1, "x".into()))
        );
        let seen = Seen {
            attempt: 1,
            chars: MESSAGE_MAX_CHARS,
        };
        assert_eq!(seen.next(&growing(1, &"x".repeat(5_000))), None);
    }

    #[test]
    fn later_attempts_have_higher_numbers() {
        let numbers = [(1, 1), (1, 2), (1, 99), (2, 1), (3, 500), (4, 0)]
            .map(|(delivery, call)| attempt_number(delivery, call));
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
