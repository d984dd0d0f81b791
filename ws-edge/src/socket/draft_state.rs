//! The reply that is being written in a room, as far as this edge has heard of it: whoever comes in the middle is given
//! it from here, however many come at once, and what an attempt says that was overtaken goes to nobody.
//!
//! No I/O and no clock here. What has a hole, or was missed, is read from the live engine by whoever owns the feed.

use std::sync::OnceLock;

use axum::extract::ws::Utf8Bytes;
use common::{
    live::turns::{DRAFT_KEPT, DraftSnapshot},
    wire::{Kind, Message, ServerFrame},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::ring::DELETED;

/// The most pieces that wait while what comes before them is read: ten seconds of them. Beyond it they are dropped, and
/// the hole is seen with the next one.
const WAITING_MAX: usize = 250;

/// A piece of a reply, as it was shown.
pub(super) struct Piece {
    draft: DraftSnapshot,
    offset: usize,
    frame: Utf8Bytes,
}

/// What to do with a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Show it.
    Show(Utf8Bytes),
    /// Nothing: it is known, or overtaken, or has to wait.
    Nothing,
    /// Something before it is missing: read it. The piece waits.
    Hole,
}

/// The reply that is being written in a room.
pub(super) enum DraftState {
    /// It has to be read. What is shown meanwhile waits, and what is finished meanwhile is remembered, and the questions
    /// whose answers were interrupted meanwhile; none for whichever it was.
    Unknown {
        waiting: Vec<Piece>,
        finished: Vec<Uuid>,
        interrupted: Vec<Option<Uuid>>,
    },
    /// This is all of it.
    Known(Option<CurrentDraft>),
}

pub(super) struct CurrentDraft {
    room: String,
    draft: DraftSnapshot,
    chars: usize,
    at: Instant,
    /// Made for the first who asks, and then for all until it grows.
    frame: OnceLock<Utf8Bytes>,
}

impl Piece {
    /// Reads a signal's frame; none if it is something else.
    pub(super) fn read(frame: &Utf8Bytes) -> Option<Piece> {
        if !frame.starts_with(r#"{"type":"draft""#) {
            return None;
        }
        match serde_json::from_str(frame) {
            Ok(ServerFrame::Draft {
                id,
                reply_to,
                attempt,
                offset,
                text,
                waiting: None,
                ..
            }) => Some(Piece {
                draft: DraftSnapshot {
                    reply: id,
                    reply_to,
                    attempt,
                    text,
                },
                offset,
                frame: frame.clone(),
            }),
            _ => None,
        }
    }
}

impl DraftState {
    /// It has to be read.
    pub(super) fn unknown() -> DraftState {
        DraftState::Unknown {
            waiting: Vec::new(),
            finished: Vec::new(),
            interrupted: Vec::new(),
        }
    }

    /// A piece was shown.
    pub(super) fn hear(&mut self, room: &str, piece: Piece, now: Instant) -> Next {
        match self {
            DraftState::Unknown { waiting, .. } => {
                if waiting.len() >= WAITING_MAX {
                    waiting.clear();
                }
                waiting.push(piece);
                Next::Nothing
            }
            DraftState::Known(known) => match fits(known.as_ref(), &piece) {
                Fits::Known => Next::Nothing,
                Fits::Not => {
                    *self = DraftState::Unknown {
                        waiting: vec![piece],
                        finished: Vec::new(),
                        interrupted: Vec::new(),
                    };
                    Next::Hole
                }
                Fits::GoesOn => {
                    let frame = piece.frame.clone();
                    *known = Some(grown(known.take(), room, piece, now));
                    Next::Show(frame)
                }
            },
        }
    }

    /// What was read. Returns what everyone in the room is to be shown, some of whom may have had a hole.
    pub(super) fn read(
        &mut self,
        room: &str,
        read: Option<DraftSnapshot>,
        now: Instant,
    ) -> Option<Utf8Bytes> {
        let DraftState::Unknown {
            waiting,
            finished,
            interrupted,
        } = self
        else {
            return None;
        };
        let waiting = std::mem::take(waiting).into_iter();
        // If it goes on, the next piece shows a hole, and it is read again.
        let is_interrupted = |draft: &DraftSnapshot| {
            let questions = interrupted.iter();
            questions
                .flatten()
                .any(|question| *question == draft.reply_to)
                || interrupted.contains(&None)
        };
        let read = read.filter(|draft| !is_interrupted(draft));
        let mut known = read.map(|draft| CurrentDraft::new(room, draft, now));
        known.take_if(|current| finished.contains(&current.draft.reply));
        for piece in waiting.filter(|piece| !finished.contains(&piece.draft.reply)) {
            // One that does not fit is older than what was read.
            if let Fits::GoesOn = fits(known.as_ref(), &piece) {
                known = Some(grown(known, room, piece, now));
            }
        }
        *self = DraftState::Known(known);
        self.current(now)
    }

    /// A message is in the room: the end of its drafts, if it is a reply. An event may be the end of them as well: who
    /// writes a reply begins anew when its question is edited, or anything is deleted that they may have been told.
    pub(super) fn message(&mut self, frame: &str) {
        if frame.starts_with(DELETED) || frame.starts_with(r#"{"type":"edited""#) {
            return self.change(frame);
        }
        match self {
            DraftState::Known(Some(current)) => {
                let id = format!(r#""id":"{}""#, current.draft.reply);
                if frame.contains(&id) {
                    *self = DraftState::Known(None);
                }
            }
            DraftState::Known(None) => {}
            DraftState::Unknown { finished, .. } => {
                if let Ok(message) = Message::from_frame(frame.as_bytes())
                    && message.kind != Kind::User
                {
                    finished.push(message.id);
                }
            }
        }
    }

    fn change(&mut self, frame: &str) {
        let is_deletion = frame.starts_with(DELETED);
        let of = match Message::from_frame(frame.as_bytes()) {
            Ok(event) => event.of,
            Err(_) => return,
        };
        let ends = |draft: &DraftSnapshot| is_deletion || of == Some(draft.reply_to);
        match self {
            DraftState::Known(known) => drop(known.take_if(|current| ends(&current.draft))),
            DraftState::Unknown {
                waiting,
                interrupted,
                ..
            } => {
                waiting.retain(|piece| !ends(&piece.draft));
                interrupted.push(of.filter(|_| !is_deletion));
            }
        }
    }

    /// All of it in one frame, for one who has none of it.
    pub(super) fn current(&self, now: Instant) -> Option<Utf8Bytes> {
        match self {
            DraftState::Known(Some(current)) if now.duration_since(current.at) < DRAFT_KEPT => {
                Some(current.frame())
            }
            _ => None,
        }
    }
}

impl CurrentDraft {
    fn new(room: &str, draft: DraftSnapshot, now: Instant) -> CurrentDraft {
        CurrentDraft {
            room: room.to_owned(),
            chars: draft.text.chars().count(),
            draft,
            at: now,
            frame: OnceLock::new(),
        }
    }

    fn frame(&self) -> Utf8Bytes {
        let make = || {
            let DraftSnapshot {
                reply,
                reply_to,
                attempt,
                text,
            } = self.draft.clone();
            let frame = ServerFrame::Draft {
                room: self.room.clone(),
                id: reply,
                reply_to,
                attempt,
                offset: 0,
                thinking: text.is_empty(),
                text,
                waiting: None,
            };
            Utf8Bytes::from(frame.frame())
        };
        self.frame.get_or_init(make).clone()
    }
}

enum Fits {
    GoesOn,
    Known,
    Not,
}

fn fits(known: Option<&CurrentDraft>, piece: &Piece) -> Fits {
    let same = known.filter(|known| known.draft.reply == piece.draft.reply);
    match same {
        Some(known) if piece.draft.attempt < known.draft.attempt => Fits::Known,
        Some(known) if piece.draft.attempt == known.draft.attempt => {
            let end = piece.offset + piece.draft.text.chars().count();
            if end <= known.chars {
                Fits::Known
            } else if piece.offset <= known.chars {
                Fits::GoesOn
            } else {
                Fits::Not
            }
        }
        _ if piece.offset == 0 => Fits::GoesOn,
        _ => Fits::Not,
    }
}

fn grown(known: Option<CurrentDraft>, room: &str, piece: Piece, now: Instant) -> CurrentDraft {
    match known {
        Some(mut known)
            if known.draft.reply == piece.draft.reply
                && known.draft.attempt == piece.draft.attempt =>
        {
            let text = &mut known.draft.text;
            if let Some((at, _)) = text.char_indices().nth(piece.offset) {
                text.truncate(at);
            }
            text.push_str(&piece.draft.text);
            known.chars = piece.offset + piece.draft.text.chars().count();
            known.at = now;
            known.frame = OnceLock::new();
            known
        }
        _ => CurrentDraft::new(room, piece.draft, now),
    }
}

#[cfg(test)]
mod tests {
    use common::wire::NewMessage;

    use super::*;

    const REPLY: Uuid = Uuid::from_u128(1);

    fn frame(reply: Uuid, attempt: u32, offset: usize, text: &str) -> Utf8Bytes {
        let frame = ServerFrame::Draft {
            room: "lobby".into(),
            id: reply,
            reply_to: Uuid::from_u128(9),
            attempt,
            offset,
            text: text.into(),
            thinking: text.is_empty(),
            waiting: None,
        };
        frame.frame().into()
    }

    fn hear(growing: &mut DraftState, attempt: u32, offset: usize, text: &str) -> Next {
        let piece = Piece::read(&frame(REPLY, attempt, offset, text)).unwrap();
        growing.hear("lobby", piece, Instant::now())
    }

    fn current(attempt: u32, text: &str) -> Option<DraftSnapshot> {
        Some(DraftSnapshot {
            reply: REPLY,
            reply_to: Uuid::from_u128(9),
            attempt,
            text: text.into(),
        })
    }

    fn read(growing: &mut DraftState, read: Option<DraftSnapshot>) -> Option<Utf8Bytes> {
        growing.read("lobby", read, Instant::now())
    }

    fn known() -> DraftState {
        DraftState::Known(None)
    }

    fn finished() -> String {
        let new = NewMessage {
            room: "lobby".into(),
            id: REPLY,
            sender: "bot".into(),
            kind: Kind::Bot,
            message: "Done.".into(),
            reply_to: Some(Uuid::from_u128(9)),
            of: None,
            grounding: Default::default(),
        };
        new.at(5, 4).frame()
    }

    #[test]
    fn what_grows_is_kept_whole_and_goes_with_its_message() {
        let mut growing = known();
        let wanted = frame(REPLY, 101, 0, "Zwölf");
        assert_eq!(
            hear(&mut growing, 101, 0, "Zwölf"),
            Next::Show(wanted.clone())
        );
        assert_eq!(growing.current(Instant::now()), Some(wanted));
        assert!(matches!(hear(&mut growing, 101, 5, " 🦉"), Next::Show(_)));
        assert!(matches!(hear(&mut growing, 101, 6, "🦉!"), Next::Show(_)));
        let all = frame(REPLY, 101, 0, "Zwölf 🦉!");
        assert_eq!(growing.current(Instant::now()), Some(all));
        growing.message(&finished().replace(&REPLY.to_string(), "another"));
        assert!(growing.current(Instant::now()).is_some());
        growing.message(&finished());
        assert_eq!(growing.current(Instant::now()), None);
    }

    #[test]
    fn a_higher_attempt_begins_anew_and_a_lower_one_goes_to_nobody() {
        let mut growing = known();
        hear(&mut growing, 101, 0, "Old");
        assert!(matches!(hear(&mut growing, 201, 0, "New"), Next::Show(_)));
        assert_eq!(hear(&mut growing, 101, 3, " text"), Next::Nothing);
        assert_eq!(hear(&mut growing, 201, 0, "Ne"), Next::Nothing);
        let new = frame(REPLY, 201, 0, "New");
        assert_eq!(growing.current(Instant::now()), Some(new));
    }

    #[test]
    fn a_hole_is_read_and_what_came_meanwhile_follows() {
        let mut growing = known();
        assert_eq!(hear(&mut growing, 101, 4, "e"), Next::Hole);
        assert_eq!(growing.current(Instant::now()), None);
        assert_eq!(hear(&mut growing, 101, 5, "fg"), Next::Nothing);
        assert_eq!(hear(&mut growing, 101, 7, "h"), Next::Nothing);
        let all = frame(REPLY, 101, 0, "abcdefgh");
        assert_eq!(read(&mut growing, current(101, "abcdefg")), Some(all));
        assert!(matches!(hear(&mut growing, 101, 8, "i"), Next::Show(_)));
    }

    #[test]
    fn what_was_finished_while_it_was_read_does_not_come_back() {
        let mut growing = DraftState::unknown();
        assert_eq!(hear(&mut growing, 101, 0, "ab"), Next::Nothing);
        growing.message(&finished());
        assert_eq!(read(&mut growing, current(101, "abc")), None);
        let mut growing = DraftState::unknown();
        assert_eq!(hear(&mut growing, 101, 2, "c"), Next::Nothing);
        assert_eq!(
            read(&mut growing, None),
            None,
            "it is older than what was read"
        );
    }

    fn event(kind: Kind, of: u128) -> String {
        let new = NewMessage {
            room: "lobby".into(),
            id: Uuid::from_u128(2),
            sender: "ada".into(),
            kind,
            message: String::new(),
            reply_to: None,
            of: Some(Uuid::from_u128(of)),
            grounding: Default::default(),
        };
        new.at(6, 5).frame()
    }

    #[test]
    fn an_edit_of_the_question_and_any_deletion_are_the_end_of_a_draft() {
        for (kind, of, ends) in [
            (Kind::Edited, 9, true),
            (Kind::Edited, 8, false),
            (Kind::Deleted, 9, true),
            (Kind::Deleted, 8, true),
        ] {
            let mut growing = known();
            hear(&mut growing, 101, 0, "ab");
            growing.message(&event(kind, of));
            assert_eq!(growing.current(Instant::now()).is_none(), ends);
            assert!(matches!(hear(&mut growing, 201, 0, "cd"), Next::Show(_)));

            // Also while it is read: what was read may be from before.
            let mut growing = DraftState::unknown();
            assert_eq!(hear(&mut growing, 101, 0, "ab"), Next::Nothing);
            growing.message(&event(kind, of));
            let shown = read(&mut growing, current(101, "ab"));
            assert_eq!(shown.is_none(), ends, "{kind:?} {of}");
        }
    }

    #[test]
    fn other_signals_are_none_of_its_business() {
        let typing = r#"{"type":"typing","room":"lobby","user":"ada"}"#;
        assert!(Piece::read(&typing.into()).is_none());
    }
}
