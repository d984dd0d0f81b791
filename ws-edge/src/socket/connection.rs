//! What one socket may do and what it is told: a state machine without I/O. Frames, answers and the time go in, and
//! out comes what to send and what to do; whoever owns the socket does it (`socket.rs`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::wire::{
    BadFrame, ClientFrame, ErrorCode, MESSAGE_MAX_CHARS, PROTOCOL, Seq, ServerFrame,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    closing::Closing,
    rates::{Abuse, Bucket},
};

/// The most rooms one socket may be in.
pub(super) const ROOMS_PER_SOCKET: usize = 1_000;

/// The most messages of one socket that wait for their ack.
pub(super) const POSTS_IN_FLIGHT_MAX: usize = 1_024;

/// The most bytes of text in them.
pub(super) const POSTS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most other things one socket has asked for and not been answered yet: `stop`, `typing`.
const TASKS_MAX: usize = 32;

/// One `typing` per room within this time is passed on; the others are dropped without a word.
const TYPING_EVERY: Duration = Duration::from_secs(2);

/// What one more message may take of them.
const POST_BYTES_MAX: usize = 4 * MESSAGE_MAX_CHARS;

/// When a sender whose messages pile up may try again.
const RETRY_WHEN_FULL: Duration = Duration::from_millis(500);

/// What is set about a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// Between two `ping` frames.
    pub(super) ping_every: Duration,
    /// Frames a second, in the long run.
    pub(super) frames_per_second: u32,
    /// Frames at once.
    pub(super) frames_burst: u32,
}

/// What happens to a connection.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary,
    /// A ping or pong of the WebSocket protocol itself.
    Control,
    /// The time of [`Connection::deadline`] has come.
    Tick,
    /// A room was joined.
    Joined { sub: u32, seq: Seq, complete: bool },
    /// A room was not joined, or must be left.
    Lost { sub: u32, refusal: Refusal },
    /// More was missed in a room than is sent.
    MissedTooMuch { sub: u32, seq: Seq },
    /// A message is kept, or not.
    Posted {
        id: Uuid,
        bytes: usize,
        outcome: Result<Seq, Refusal>,
    },
    /// A task is done, or not.
    TaskDone {
        id: Option<Uuid>,
        outcome: Result<Done, Refusal>,
    },
}

/// How a task is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// What it led to is seen by itself.
    Quietly,
    /// With an ack.
    Acked { id: Uuid, seq: Seq },
}

/// Why something was not done, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send it.
    Frame(ServerFrame),
    /// Subscribe; answered by [`Input::Joined`] or [`Input::Lost`] with the same `sub`.
    Join {
        sub: u32,
        room: Arc<str>,
        after: Option<Seq>,
    },
    /// Unsubscribe, or stop subscribing.
    Leave { sub: u32 },
    /// Post, after those posted to the same room before; answered by [`Input::Posted`].
    Post {
        room: Arc<str>,
        id: Option<Uuid>,
        message: String,
        reply_to: Option<Uuid>,
    },
    /// Give a message another text, or delete it, after what was posted to the same room before; answered by
    /// [`Input::Posted`].
    Change {
        room: Arc<str>,
        /// The event's.
        id: Uuid,
        of: Uuid,
        /// None deletes it.
        text: Option<String>,
    },
    /// Show that the user types; answered by [`Input::TaskDone`].
    Typing { room: String },
    /// Note how far the user has read; answered by [`Input::TaskDone`].
    Read { room: String, seq: Seq },
    /// Stop a reply; answered by [`Input::TaskDone`].
    Stop { room: String, reply: Uuid },
    /// Have a reply's request answered again; answered by [`Input::TaskDone`].
    Again { room: String, reply: Uuid },
    /// Send what is waiting, then close. Nothing comes after it.
    Close(Closing),
}

/// One client's side of a socket.
pub(super) struct Connection {
    limits: ConnectionLimits,
    /// The room that the socket's address named.
    default_room: Option<Arc<str>>,
    /// The rooms that it is in. Most sockets are in one: there is nothing that would have to be looked up.
    subs: Vec<Sub>,
    next_sub: u32,
    posts: usize,
    post_bytes: usize,
    tasks: usize,
    typed: HashMap<String, Instant>,
    frames: Bucket,
    abuse: Abuse,
    next_ping: Instant,
    /// When the first `ping` was sent that nothing came after.
    unanswered_since: Option<Instant>,
    closed: bool,
}

struct Sub {
    sub: u32,
    room: Arc<str>,
    is_joined: bool,
}

impl Connection {
    /// A new one, and what it begins with.
    pub(super) fn open(
        user: &str,
        default_room: Option<(Arc<str>, Option<Seq>)>,
        limits: ConnectionLimits,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Connection {
        let mut connection = Connection {
            limits,
            default_room: default_room.as_ref().map(|(room, _)| Arc::clone(room)),
            subs: Vec::new(),
            next_sub: 0,
            posts: 0,
            post_bytes: 0,
            tasks: 0,
            typed: HashMap::new(),
            frames: Bucket::new(limits.frames_per_second, limits.frames_burst, now),
            abuse: Abuse::new(now),
            next_ping: now + limits.ping_every,
            unanswered_since: None,
            closed: false,
        };
        let ping_ms = u64::try_from(limits.ping_every.as_millis()).unwrap_or(u64::MAX);
        out.push(Output::Frame(ServerFrame::Welcome {
            user: user.to_owned(),
            protocol: PROTOCOL,
            ping_ms,
        }));
        if let Some((room, after)) = default_room {
            connection.join(room, after, out);
        }
        connection
    }

    /// When [`Input::Tick`] is due.
    pub(super) fn deadline(&self) -> Instant {
        let given_up = self
            .unanswered_since
            .map(|since| since + 2 * self.limits.ping_every);
        given_up.map_or(self.next_ping, |given_up| given_up.min(self.next_ping))
    }

    /// Messages that wait for their ack.
    pub(super) fn posts_in_flight(&self) -> usize {
        self.posts
    }

    /// Whether as much of it waits for its ack as may: then nothing more is read until some of that is answered. `free` is how
    /// many bytes all sockets may have beside those that wait by now; nobody has more of it than is left to others.
    pub(super) fn is_full(&self, free: usize) -> bool {
        self.posts >= POSTS_IN_FLIGHT_MAX
            || self.post_bytes + POST_BYTES_MAX > POSTS_BYTES_MAX
            || self.post_bytes > free
    }

    /// What the client says is not read just now, and so neither whether it answers.
    pub(super) fn is_not_read(&mut self) {
        self.unanswered_since = None;
    }

    /// Whether this subscription still stands.
    pub(super) fn is_current(&self, sub: u32) -> bool {
        self.subs.iter().any(|known| known.sub == sub)
    }

    /// One step.
    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        match input {
            Input::Text(text) => {
                if self.hear(now, out) {
                    self.text(now, text, out);
                }
            }
            Input::Binary => {
                if self.hear(now, out) {
                    self.bad(
                        now,
                        ErrorCode::BadRequest,
                        "frames are text, not binary".into(),
                        None,
                        out,
                    );
                }
            }
            Input::Control => {
                self.hear(now, out);
            }
            Input::Tick => self.tick(now, out),
            Input::Joined { sub, seq, complete } => self.joined(sub, seq, complete, out),
            Input::MissedTooMuch { sub, seq } => self.joined(sub, seq, false, out),
            Input::Lost { sub, refusal } => self.lost(now, sub, refusal, out),
            Input::Posted { id, bytes, outcome } => {
                self.posts = self.posts.saturating_sub(1);
                self.post_bytes = self.post_bytes.saturating_sub(bytes);
                match outcome {
                    Ok(seq) => out.push(Output::Frame(ServerFrame::Ack { id, seq })),
                    Err(refusal) => self.refuse(now, refusal, Some(id), out),
                }
            }
            Input::TaskDone { id, outcome } => {
                self.tasks = self.tasks.saturating_sub(1);
                match outcome {
                    Ok(Done::Quietly) => {}
                    Ok(Done::Acked { id, seq }) => {
                        out.push(Output::Frame(ServerFrame::Ack { id, seq }));
                    }
                    Err(refusal) => self.refuse(now, refusal, id, out),
                }
            }
        }
    }

    /// Notes a sign of life. False if it is one too many.
    fn hear(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        self.unanswered_since = None;
        match self.frames.take(now) {
            Ok(()) => true,
            Err(wait) => {
                let refusal = limited("too many frames", wait);
                self.refuse(now, refusal, None, out);
                false
            }
        }
    }

    fn text(&mut self, now: Instant, text: &str, out: &mut Vec<Output>) {
        match ClientFrame::read(text) {
            Err(BadFrame { code, message, id }) => self.bad(now, code, message, id, out),
            Ok(ClientFrame::Pong) => {}
            Ok(ClientFrame::Join { room, after }) => {
                let room: Arc<str> = room.into();
                if self.sub_of(&room).is_none() && self.subs.len() >= ROOMS_PER_SOCKET {
                    let why =
                        format!("a socket may be in {ROOMS_PER_SOCKET} rooms; leave one first");
                    self.bad(now, ErrorCode::BadRequest, why, None, out);
                } else {
                    self.join(room, after, out);
                }
            }
            Ok(ClientFrame::Leave { room }) => {
                if let Some(sub) = self.sub_of(&room) {
                    self.drop_sub(sub);
                    out.push(Output::Leave { sub });
                }
            }
            Ok(ClientFrame::Typing { room }) => self.typing(now, room, out),
            Ok(ClientFrame::Read { room, seq }) => {
                if self.tasks >= TASKS_MAX {
                    let refusal = limited("too many calls are under way", RETRY_WHEN_FULL);
                    self.refuse(now, refusal, None, out);
                } else {
                    self.tasks += 1;
                    out.push(Output::Read { room, seq });
                }
            }
            Ok(ClientFrame::Stop { room, id }) => {
                self.task(now, id, Output::Stop { room, reply: id }, out);
            }
            Ok(ClientFrame::Again { room, id }) => {
                self.task(now, id, Output::Again { room, reply: id }, out);
            }
            Ok(ClientFrame::Edit {
                room,
                id,
                of,
                message,
            }) => self.change(now, room, id, of, Some(message), out),
            Ok(ClientFrame::Delete { room, id, of }) => self.change(now, room, id, of, None, out),
            Ok(ClientFrame::Send {
                message,
                room,
                id,
                reply_to,
            }) => {
                let room = room.map(Arc::from).or_else(|| self.default_room.clone());
                match room {
                    None => {
                        let why = "`room` is missing: this socket's address names none";
                        self.bad(now, ErrorCode::BadRequest, why.into(), id, out);
                    }
                    Some(room) => self.post(now, room, id, message, reply_to, out),
                }
            }
        }
    }

    /// Joining a room again is a new join in the place of the old one.
    fn join(&mut self, room: Arc<str>, after: Option<Seq>, out: &mut Vec<Output>) {
        if let Some(sub) = self.sub_of(&room) {
            self.drop_sub(sub);
            out.push(Output::Leave { sub });
        }
        self.next_sub = self.next_sub.wrapping_add(1);
        let sub = self.next_sub;
        if self.subs.is_empty() {
            self.subs.reserve_exact(1);
        }
        self.subs.push(Sub {
            sub,
            room: Arc::clone(&room),
            is_joined: false,
        });
        out.push(Output::Join { sub, room, after });
    }

    fn sub_of(&self, room: &str) -> Option<u32> {
        let known = self.subs.iter().find(|known| *known.room == *room);
        known.map(|known| known.sub)
    }

    fn drop_sub(&mut self, sub: u32) -> Option<Sub> {
        let index = self.subs.iter().position(|known| known.sub == sub)?;
        Some(self.subs.swap_remove(index))
    }

    fn joined(&mut self, sub: u32, seq: Seq, complete: bool, out: &mut Vec<Output>) {
        if let Some(known) = self.subs.iter_mut().find(|known| known.sub == sub) {
            known.is_joined = true;
            let room = known.room.to_string();
            out.push(Output::Frame(ServerFrame::Joined {
                room,
                seq,
                complete,
            }));
        }
    }

    fn lost(&mut self, now: Instant, sub: u32, refusal: Refusal, out: &mut Vec<Output>) {
        let Some(dropped) = self.drop_sub(sub) else {
            return;
        };
        if dropped.is_joined {
            out.push(Output::Leave { sub });
        }
        let message = format!("room {:?}: {}", &*dropped.room, refusal.message);
        let is_fault = !dropped.is_joined && refusal.code == ErrorCode::NotFound;
        if is_fault {
            // Not the room's doing: somebody guesses names.
            self.bad(now, refusal.code, message, None, out);
        } else {
            self.error(Refusal { message, ..refusal }, None, out);
        }
    }

    /// Something to do for the client that may fail.
    fn task(&mut self, now: Instant, id: Uuid, task: Output, out: &mut Vec<Output>) {
        if self.tasks >= TASKS_MAX {
            let refusal = limited("too many calls are under way", RETRY_WHEN_FULL);
            self.refuse(now, refusal, Some(id), out);
        } else {
            self.tasks += 1;
            out.push(task);
        }
    }

    fn typing(&mut self, now: Instant, room: String, out: &mut Vec<Output>) {
        self.typed
            .retain(|_, at| now.duration_since(*at) < TYPING_EVERY);
        let is_full = self.typed.len() >= TASKS_MAX || self.tasks >= TASKS_MAX;
        if is_full || self.typed.contains_key(&room) {
            return;
        }
        self.typed.insert(room.clone(), now);
        self.tasks += 1;
        out.push(Output::Typing { room });
    }

    fn post(
        &mut self,
        now: Instant,
        room: Arc<str>,
        id: Option<Uuid>,
        message: String,
        reply_to: Option<Uuid>,
        out: &mut Vec<Output>,
    ) {
        if self.begins_post(now, message.len(), id, out) {
            out.push(Output::Post {
                room,
                id,
                message,
                reply_to,
            });
        }
    }

    fn change(
        &mut self,
        now: Instant,
        room: String,
        id: Uuid,
        of: Uuid,
        text: Option<String>,
        out: &mut Vec<Output>,
    ) {
        let bytes = text.as_ref().map_or(0, String::len);
        if self.begins_post(now, bytes, Some(id), out) {
            let room = Arc::from(room);
            out.push(Output::Change { room, id, of, text });
        }
    }

    /// Whether something may be posted; otherwise its sender is told.
    fn begins_post(
        &mut self,
        now: Instant,
        bytes: usize,
        id: Option<Uuid>,
        out: &mut Vec<Output>,
    ) -> bool {
        let fits = self.posts < POSTS_IN_FLIGHT_MAX && self.post_bytes + bytes <= POSTS_BYTES_MAX;
        if fits {
            self.posts += 1;
            self.post_bytes += bytes;
        } else {
            let refusal = limited(
                "too many messages of this socket wait for their ack",
                RETRY_WHEN_FULL,
            );
            self.refuse(now, refusal, id, out);
        }
        fits
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let given_up = self
            .unanswered_since
            .map(|since| since + 2 * self.limits.ping_every);
        if given_up.is_some_and(|given_up| now >= given_up) {
            self.close(Closing::NoHeartbeat, out);
        } else if now >= self.next_ping {
            self.unanswered_since.get_or_insert(now);
            self.next_ping = now + self.limits.ping_every;
            out.push(Output::Frame(ServerFrame::Ping));
        }
    }

    /// The client's own fault; too many of them close the socket.
    fn bad(
        &mut self,
        now: Instant,
        code: ErrorCode,
        message: String,
        id: Option<Uuid>,
        out: &mut Vec<Output>,
    ) {
        self.error(
            Refusal {
                code,
                message,
                retry_after: None,
            },
            id,
            out,
        );
        if self.abuse.bad(now) {
            self.close(Closing::Abuse, out);
        }
    }

    /// An answer that is no. Being told to slow down and not doing so is abuse as well, later.
    fn refuse(&mut self, now: Instant, refusal: Refusal, id: Option<Uuid>, out: &mut Vec<Output>) {
        let code = refusal.code;
        self.error(refusal, id, out);
        let is_abuse = match code {
            ErrorCode::RateLimited => self.abuse.limited(now),
            ErrorCode::NotFound => self.abuse.bad(now),
            _ => false,
        };
        if is_abuse {
            self.close(Closing::Abuse, out);
        }
    }

    fn error(&mut self, refusal: Refusal, id: Option<Uuid>, out: &mut Vec<Output>) {
        let Refusal {
            code,
            message,
            retry_after,
        } = refusal;
        let retry_after_ms =
            retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1));
        out.push(Output::Frame(ServerFrame::Error {
            code,
            message,
            id,
            retry_after_ms,
        }));
    }

    fn close(&mut self, closing: Closing, out: &mut Vec<Output>) {
        self.closed = true;
        out.push(Output::Close(closing));
    }
}

fn limited(what: &str, retry_after: Duration) -> Refusal {
    Refusal {
        code: ErrorCode::RateLimited,
        message: what.to_owned(),
        retry_after: Some(retry_after),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
