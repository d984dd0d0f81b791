//! One task owns one socket: it reads frames, does what the state machine says, and writes what is there, as much as
//! there is with one system call. It never waits for anything but its client; what takes time is done beside it and
//! comes back through the inbox.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use common::{
    store::Session,
    traces::{Span, SpanKind, TraceContext},
    wire::{ErrorCode, Seq, ServerFrame},
};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error as WsError, error::ProtocolError};
use uuid::Uuid;

use super::{
    Sockets,
    arriving::{Arriving, LargeMessages},
    closing::Closing,
    connection::{Connection, Done, Input, Output},
    inbox::Note,
    invitations::ByUser,
    meters::Meters,
    outgoing::{Outgoing, SocketTask},
    registry::Registered,
    replay::{self, Replay, Replays},
    room::Room,
    send_queue::{QueuedSend, Said, SendQueues},
    tasks,
};
use crate::admission::CallOrigin;

/// What a socket reads into at once: a few messages. Small, since most sockets are silent most of the time and there are
/// many, and since all of it is cleared whenever it is looked whether there is something to read.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// The largest message, in one frame or in fragments, that is read at all: what is a little too large gets a `too_large` and the socket stays open;
/// what is larger than this closes it.
const READ_MAX_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// Below this nothing is written before it is flushed: more than any batch, so that each is one system call.
const WRITE_BUFFER_BYTES: usize = 128 * 1024;

/// The most bytes that wait in the write buffer: a batch, and one frame that is larger than a batch.
const WRITE_BUFFER_MAX_BYTES: usize = 512 * 1024;

/// The most frames read before what they led to is written.
const READ_AT_ONCE: usize = 64;

/// How long a client may take to say goodbye.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Sets a socket's buffers and limits.
pub(super) fn configure(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
        .max_message_size(READ_MAX_BYTES)
        .max_frame_size(READ_MAX_BYTES)
}

/// One socket.
pub(super) struct Socket {
    sockets: Arc<Sockets>,
    user: Arc<str>,
    session: Arc<Session>,
    registered: Registered,
    /// Where it comes from, and what is held of its address's share.
    origin: CallOrigin,
    /// The trace that whoever connected gave: what they send belongs to it.
    caller: Option<TraceContext>,
    _by_user: ByUser,
    ws: WebSocket,
    arriving: Arriving,
    /// Nothing more can be read.
    is_deaf: bool,
    connection: Connection,
    /// What is read of what it missed.
    replays: Replays,
    /// Joins under way.
    joining: Vec<Joining>,
    outgoing: Outgoing,
    queues: SendQueues,
    closing: Option<Closing>,
    is_draining: bool,
    alarm: Pin<Box<Sleep>>,
    dirty: Vec<u32>,
}

/// A join under way.
struct Joining {
    sub: u32,
    room: Arc<str>,
    /// What was posted into the room meanwhile. It waits, or its `seq` could be before the one from which on the socket
    /// hears what is said, and its sender would never hear it.
    held: Vec<QueuedSend>,
    _task: SocketTask,
}

impl Socket {
    /// A socket that was just let in.
    pub(super) fn open(
        sockets: Arc<Sockets>,
        session: Arc<Session>,
        registered: Registered,
        origin: CallOrigin,
        arriving: Arriving,
        ws: WebSocket,
        room: Option<(Arc<str>, Option<Seq>)>,
    ) -> Box<Socket> {
        let now = Instant::now();
        let limits = sockets.limits;
        let mut outputs = Vec::new();
        let connection = Connection::open(&session.user, room, limits, now, &mut outputs);
        sockets.meters.sockets.increment(1.0);
        let user: Arc<str> = Arc::from(&*session.user);
        let queues = SendQueues::new(session.is_token);
        let replays = Replays::new(Arc::clone(&user), origin.address);
        let mut socket = Box::new(Socket {
            _by_user: sockets.by_user.enter(&user, &registered.inbox),
            user,
            session,
            registered,
            origin,
            caller: None,
            ws,
            arriving,
            is_deaf: false,
            alarm: Box::pin(sleep_until(connection.deadline())),
            connection,
            replays,
            joining: Vec::new(),
            outgoing: Outgoing::default(),
            queues,
            closing: None,
            is_draining: false,
            dirty: Vec::new(),
            sockets,
        });
        socket.act(outputs);
        socket
    }

    /// What is sent on it belongs to this trace.
    pub(super) fn traced(mut self: Box<Self>, caller: Option<TraceContext>) -> Box<Socket> {
        self.caller = caller;
        self
    }

    /// Serves it until it closes.
    pub(super) async fn run(mut self: Box<Self>) {
        let closing = self.serve().await;
        Meters::closed(closing);
        // Out of the rooms first: nobody is to wake a socket that is going.
        self.joining.clear();
        self.outgoing.leave_all();
        // Whether the client hears of it or not, the socket is closed.
        drop(Box::pin(timeout(CLOSE_TIME, self.say_goodbye(closing))).await);
    }

    async fn serve(&mut self) -> Closing {
        loop {
            if let Some(closing) = self.take_inbox() {
                return closing;
            }
            let batch = self.next_batch();
            let is_drained = self.is_draining && self.connection.posts_in_flight() == 0;
            if !batch.is_empty() {
                if let Err(closing) = self.write(batch).await {
                    return closing;
                }
                // A room that never falls silent must not keep the client from going: another edge has what is left.
                if is_drained {
                    return self.closing.unwrap_or(Closing::Draining);
                }
                // Nor from being heard.
                if self.closing.is_none()
                    && let Err(closing) = self.read_what_is_there(READ_AT_ONCE)
                {
                    return closing;
                }
                continue;
            }
            if let Some(closing) = self.closing {
                return closing;
            }
            if is_drained {
                return Closing::Draining;
            }
            // Whoever sends more than is kept waits where they send, until some of it is answered.
            let is_read = !self.is_draining && !self.is_full();
            if !is_read {
                self.arriving.is_not_read();
            }
            tokio::select! {
                frame = next_frame(&mut self.ws, &mut self.arriving, &self.user, &self.sockets.large_messages), if is_read => {
                    let heard = self.hear(frame).and_then(|()| self.read_what_is_there(READ_AT_ONCE - 1));
                    if let Err(closing) = heard {
                        return closing;
                    }
                }
                () = self.registered.inbox.woken() => {}
                () = self.alarm.as_mut() => {}
            }
        }
    }

    /// Whether nothing more is read, since so much waits for its ack.
    fn is_full(&self) -> bool {
        self.connection.is_full(self.sockets.unanswered.free())
    }

    /// Reads without waiting.
    fn read_what_is_there(&mut self, frames: usize) -> Result<(), Closing> {
        for _ in 0..frames {
            if self.is_draining || self.closing.is_some() || self.is_full() {
                break;
            }
            let large = &self.sockets.large_messages;
            let next = next_frame(&mut self.ws, &mut self.arriving, &self.user, large);
            let Some(frame) = next.now_or_never() else {
                break;
            };
            self.hear(frame)?;
        }
        Ok(())
    }

    fn hear(
        &mut self,
        frame: Result<Option<Result<Message, axum::Error>>, Closing>,
    ) -> Result<(), Closing> {
        let frame = frame.inspect_err(|closing| {
            self.is_deaf = true;
            self.send_last_words(*closing);
        })?;
        match frame {
            Some(Ok(Message::Text(text))) => self.step(Input::Text(&text)),
            Some(Ok(Message::Binary(_))) => self.step(Input::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.step(Input::Control),
            Some(Ok(Message::Close(_))) | None => {
                self.is_deaf = true;
                return Err(Closing::Gone);
            }
            Some(Err(error)) => {
                self.is_deaf = true;
                return Err(self.unreadable(error));
            }
        }
        Ok(())
    }

    /// Why a message is not waited for.
    fn send_last_words(&mut self, closing: Closing) {
        let (code, message) = match closing {
            Closing::TooSlow => (
                ErrorCode::BadRequest,
                format!(
                    "a message must be there within {:?}",
                    self.sockets.stuck_after
                ),
            ),
            _ => (
                ErrorCode::TooLarge,
                "too many messages that are too large are arriving at this moment".to_owned(),
            ),
        };
        self.send(ServerFrame::Error {
            code,
            message,
            id: None,
            retry_after_ms: None,
        });
    }

    fn unreadable(&mut self, error: axum::Error) -> Closing {
        let error = error.into_inner().downcast::<WsError>();
        match error.map(|error| *error) {
            Ok(WsError::Capacity(_)) => {
                let message = format!("a frame of more than {READ_MAX_BYTES} bytes is not read");
                let code = ErrorCode::TooLarge;
                self.send(ServerFrame::Error {
                    code,
                    message,
                    id: None,
                    retry_after_ms: None,
                });
                Closing::TooBig
            }
            Ok(WsError::Utf8(_)) => Closing::NotUtf8,
            Ok(WsError::Protocol(error)) => {
                tracing::debug!(%error, user = %self.user, "a client does not keep to the protocol");
                match error {
                    ProtocolError::ResetWithoutClosingHandshake => Closing::Gone,
                    _ => Closing::Protocol,
                }
            }
            _ => Closing::Gone,
        }
    }

    /// One step of the state machine, and what it leads to.
    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.connection.handle(Instant::now(), input, &mut outputs);
        self.act(outputs);
    }

    /// Does what the state machine said.
    fn act(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Frame(frame) => self.send(frame),
                Output::Join { sub, room, after } => self.join(sub, room, after),
                Output::Leave { sub } => {
                    self.outgoing.leave(sub);
                    self.end_joining(sub);
                }
                Output::Post {
                    room,
                    id,
                    message,
                    reply_to,
                } => {
                    let id = id.unwrap_or_else(Uuid::now_v7);
                    self.post(&room, id, Said::Message { message, reply_to });
                }
                Output::Change { room, id, of, text } => {
                    self.post(&room, id, Said::Change { of, text });
                }
                Output::Typing { room } if self.types_too_often() => {
                    drop(room);
                    let outcome = Ok(Done::Quietly);
                    self.step(Input::TaskDone { id: None, outcome });
                }
                Output::Typing { room } => {
                    let task = tasks::typing(
                        Arc::clone(&self.sockets),
                        Arc::clone(&self.user),
                        room,
                        Arc::clone(&self.registered.inbox),
                    );
                    self.sockets.hub.spawn(task);
                }
                Output::Read { room, seq } => {
                    let task = tasks::read(
                        Arc::clone(&self.sockets),
                        Arc::clone(&self.user),
                        room,
                        seq,
                        Arc::clone(&self.registered.inbox),
                    );
                    self.sockets.hub.spawn(task);
                }
                Output::Stop { room, reply } => {
                    if self.says_too_much(reply) {
                        continue;
                    }
                    let task = tasks::stop(
                        Arc::clone(&self.sockets),
                        Arc::clone(&self.user),
                        room,
                        reply,
                        Arc::clone(&self.registered.inbox),
                    );
                    self.sockets.hub.spawn(task);
                }
                Output::Again { room, reply } => self.again(room, reply),
                Output::Close(closing) => self.closing = Some(closing),
            }
        }
        let deadline = self.connection.deadline();
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
    }

    fn join(&mut self, sub: u32, room: Arc<str>, after: Option<Seq>) {
        let task = tasks::join(
            Arc::clone(&self.sockets),
            Arc::clone(&self.user),
            self.replays.clone(),
            sub,
            Arc::clone(&room),
            after,
            Arc::clone(&self.registered.inbox),
        );
        let joining = Joining {
            sub,
            room,
            held: Vec::new(),
            _task: SocketTask(self.sockets.hub.spawn(task)),
        };
        self.joining.push(joining);
    }

    /// The join is done, refused or given up; what waited for it goes on its way.
    fn end_joining(&mut self, sub: u32) {
        let Some(index) = self.joining.iter().position(|join| join.sub == sub) else {
            return;
        };
        let Joining { room, held, .. } = self.joining.swap_remove(index);
        if self.joining.is_empty() {
            self.joining = Vec::new();
        }
        for job in held {
            self.send_on_its_way(&room, job);
        }
    }

    fn post(&mut self, room: &Arc<str>, id: Uuid, said: Said) {
        let bytes = said.bytes();
        let limits = &self.sockets.services.limits;
        let checked = match &said {
            Said::Change { text: None, .. } => limits.check_user_deletion(&self.user),
            _ => limits.check_user_message(&self.user),
        };
        if let Err(wait) = checked {
            let refusal = tasks::too_many_messages(wait);
            self.step(Input::Posted {
                id,
                bytes,
                outcome: Err(refusal),
            });
            return;
        }
        let allowances = &self.sockets.services.allowances;
        if let Err(wait) = allowances.take_bytes(&self.user, bytes) {
            self.step(Input::Posted {
                id,
                bytes,
                outcome: Err(tasks::too_many_bytes(wait)),
            });
            return;
        }
        let name = match &said {
            Said::Message { .. } => "send",
            Said::Change { text: Some(_), .. } => "edit",
            Said::Change { text: None, .. } => "delete",
        };
        let mut span = Span::root(name, SpanKind::Server, self.caller);
        if span.context().is_some() {
            span.set("chinwag.room", room.to_string());
            span.set("messaging.message.id", id.to_string());
        }
        let job = QueuedSend {
            id,
            said,
            span,
            since: Instant::now(),
            unanswered: self.sockets.unanswered.hold(bytes),
        };
        self.send_on_its_way(room, job);
    }

    fn send_on_its_way(&mut self, room: &Arc<str>, job: QueuedSend) {
        if let Some(joining) = self.joining.iter_mut().find(|join| join.room == *room) {
            joining.held.push(job);
            return;
        }
        self.queues
            .post(&self.sockets, &self.user, &self.registered.inbox, room, job);
    }

    fn types_too_often(&self) -> bool {
        let limits = &self.sockets.services.limits;
        limits.check_typing(&self.user).is_err()
    }

    /// Whether a call about a reply, which weighs as much as a message, is one too many; then it is answered.
    fn says_too_much(&mut self, reply: Uuid) -> bool {
        let limits = &self.sockets.services.limits;
        let Err(wait) = limits.check_user_message(&self.user) else {
            return false;
        };
        self.step(Input::TaskDone {
            id: Some(reply),
            outcome: Err(tasks::too_many_messages(wait)),
        });
        true
    }

    fn again(&mut self, room: String, reply: Uuid) {
        if self.says_too_much(reply) {
            return;
        }
        let task = tasks::again(
            Arc::clone(&self.sockets),
            Arc::clone(&self.user),
            room,
            reply,
            Arc::clone(&self.registered.inbox),
        );
        // Not tied to the socket: as with a message, what was accepted is done.
        self.sockets.hub.tasks.spawn(task);
    }

    fn send(&mut self, frame: ServerFrame) {
        if let ServerFrame::Error { code, .. } = &frame {
            Meters::error(*code);
        }
        self.outgoing.push(frame.frame().into());
    }

    /// Takes what others have put into the inbox, and looks at the clock.
    fn take_inbox(&mut self) -> Option<Closing> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let (notes, closing) = self.registered.inbox.take(&mut dirty);
        match closing {
            Some(Closing::Draining) => self.is_draining = true,
            Some(closing) => return Some(closing),
            None => {}
        }
        for sub in dirty.drain(..) {
            self.outgoing.make_ready(sub);
        }
        self.dirty = dirty;
        for note in notes {
            self.note(note);
        }
        if Instant::now() >= self.connection.deadline() {
            if self.is_full() {
                self.connection.is_not_read();
            }
            let services = &self.sockets.services;
            services.sessions.note_use(&self.session);
            let address = self.origin.address;
            services.admission.is_in_use(&self.user, address);
            self.step(Input::Tick);
        }
        None
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Joined {
                sub,
                membership,
                replay,
                slot,
            } => {
                if !self.connection.is_current(sub) {
                    self.end_joining(sub);
                    return;
                }
                let Replay {
                    latest,
                    complete,
                    backlog,
                    cursor,
                } = replay;
                self.step(Input::Joined {
                    sub,
                    seq: latest,
                    complete,
                });
                membership.want_greeting();
                self.sockets.hub.want_announced(membership.room());
                self.outgoing.sit(sub, membership, backlog, slot, cursor);
                self.end_joining(sub);
            }
            Note::Lost { sub, refusal } => {
                self.step(Input::Lost { sub, refusal });
                self.end_joining(sub);
            }
            Note::CaughtUp { sub, replay, slot } => {
                if !self.outgoing.is_in(sub) {
                    return;
                }
                let (complete, seq) = (replay.complete, replay.latest);
                self.outgoing.caught_up(sub, replay, slot);
                if !complete {
                    self.step(Input::MissedTooMuch { sub, seq });
                }
            }
            Note::Posted {
                queue,
                id,
                bytes,
                outcome,
            } => {
                self.queues.answered(queue);
                if outcome.is_err() {
                    let allowances = &self.sockets.services.allowances;
                    allowances.give_back_bytes(&self.user, bytes);
                }
                self.step(Input::Posted { id, bytes, outcome });
            }
            Note::TaskDone { id, outcome } => self.step(Input::TaskDone { id, outcome }),
            Note::Told(frame) => self.send(frame),
            Note::Frame { sub, frame } => {
                if self.outgoing.is_in(sub) {
                    self.outgoing.push(frame);
                }
            }
        }
    }

    fn next_batch(&mut self) -> Vec<Utf8Bytes> {
        let (sockets, inbox) = (&self.sockets, &self.registered.inbox);
        let replays = &self.replays;
        let catch_up = |sub: u32, room: &Arc<Room>, after: Seq| {
            sockets.meters.catch_ups.increment(1);
            let catch_up = tasks::catch_up(
                Arc::clone(sockets),
                replays.clone(),
                Arc::clone(room),
                sub,
                after,
                Arc::clone(inbox),
            );
            SocketTask(sockets.hub.spawn(catch_up))
        };
        let start_over = |sub: u32, room: &Arc<Room>| {
            let replay = replay::live_only(room, false);
            inbox.put(Note::CaughtUp {
                sub,
                replay,
                slot: None,
            });
        };
        self.outgoing.next_batch(catch_up, start_over)
    }

    /// Writes a batch with one system call, or as many as the kernel's buffer makes of it.
    async fn write(&mut self, batch: Vec<Utf8Bytes>) -> Result<(), Closing> {
        let meters = &self.sockets.meters;
        meters
            .frames_per_write
            .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        meters.deliveries.increment(batch.len() as u64);
        meters
            .delivered_bytes
            .increment(batch.iter().map(|frame| frame.len() as u64).sum());
        let inbox = &self.registered.inbox;
        let time = self.sockets.stuck_after;
        let mut writing = pin!(timeout(time, write_all(&mut self.ws, batch)));
        loop {
            tokio::select! {
                biased;
                written = &mut writing => {
                    return match written {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(_)) => Err(Closing::Gone),
                        Err(_) => Err(Closing::Stuck),
                    };
                }
                () = inbox.woken() => {
                    if inbox.closing() == Some(Closing::SessionGone) {
                        // What was begun has to leave before a close frame can.
                        let left = timeout(CLOSE_TIME, writing).await.is_ok();
                        return Err(if left { Closing::SessionGone } else { Closing::Stuck });
                    }
                }
            }
        }
    }

    async fn say_goodbye(&mut self, closing: Closing) {
        if closing == Closing::Gone {
            // The answer to the client's own close is in the buffer.
            drop(self.ws.flush().await);
            return;
        }
        let Some(code) = closing.code() else { return };
        let last_words = match closing {
            Closing::TooBig | Closing::TooSlow | Closing::Abuse | Closing::Draining => {
                self.outgoing.take_own()
            }
            _ => Vec::new(),
        };
        let reason = Utf8Bytes::from_static(closing.reason());
        let close = Message::Close(Some(CloseFrame { code, reason }));
        if write_all(&mut self.ws, last_words).await.is_err() || self.ws.send(close).await.is_err()
        {
            return;
        }
        if self.is_deaf {
            // What still comes in cannot be read; going now would take the last words back (the kernel answers unread
            // bytes with a reset). The caller's time limit ends it.
            sleep(CLOSE_TIME).await;
        }
        while let Some(Ok(_)) = self.ws.next().await {}
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sockets.meters.sockets.decrement(1.0);
    }
}

async fn next_frame(
    ws: &mut WebSocket,
    arriving: &mut Arriving,
    user: &Arc<str>,
    large: &LargeMessages,
) -> Result<Option<Result<Message, axum::Error>>, Closing> {
    poll_fn(|context| arriving.poll(context, ws, user, large)).await
}

async fn write_all(ws: &mut WebSocket, batch: Vec<Utf8Bytes>) -> Result<(), axum::Error> {
    for frame in batch {
        ws.feed(Message::Text(frame)).await?;
    }
    ws.flush().await
}
