//! The way of one socket's messages into one room: one after the other into the room's queue, so that what a person says
//! never swaps, and nobody waits for a `seq` or a confirm to say the next thing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    live::LiveError,
    posting::{Completion, PostError},
    queue::Route,
    traces::Span,
    wire::{ErrorCode, Kind, NewMessage, Seq},
};
use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    Sockets, changing,
    connection::Refusal,
    inbox::{Inbox, Note},
};
use crate::access::AccessError;

/// When a sender may try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A message, or an event that changes one, on its way.
pub(super) struct QueuedSend {
    pub(super) id: Uuid,
    pub(super) said: Said,
    /// From when it was read to its answer, if it is traced.
    pub(super) span: Span,
    /// When it was read.
    pub(super) since: Instant,
    /// Until it is answered.
    pub(super) unanswered: Unanswered,
}

/// The most bytes of text, of all sockets of an edge, that were read and are not answered: 128 MiB.
const UNANSWERED_BYTES_MAX: usize = 128 << 20;

/// How many they are.
#[derive(Default)]
pub(super) struct UnansweredBytes(AtomicUsize);

impl UnansweredBytes {
    /// How many more there may be.
    pub(super) fn free(&self) -> usize {
        UNANSWERED_BYTES_MAX.saturating_sub(self.0.load(Ordering::Relaxed))
    }

    /// These are of them until the answer is dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Unanswered {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Unanswered {
            all: Arc::clone(self),
            bytes,
        }
    }
}

/// A message's part of them.
pub(super) struct Unanswered {
    all: Arc<UnansweredBytes>,
    bytes: usize,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a person sends.
pub(super) enum Said {
    Message {
        message: String,
        reply_to: Option<Uuid>,
    },
    /// Another text for a message; without one its deletion.
    Change { of: Uuid, text: Option<String> },
}

impl Said {
    /// How much text it has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Said::Message { message, .. } => message.len(),
            Said::Change { text, .. } => text.as_ref().map_or(0, String::len),
        }
    }
}

/// The queues of one socket, by room; each is there while something is in it or waits for its ack.
#[derive(Default)]
pub(super) struct SendQueues {
    by_room: HashMap<Arc<str>, (u32, usize)>,
    queues: HashMap<u32, (Arc<str>, Arc<SendQueue>)>,
    next: u32,
    /// Whether it is a program that sends: it may do nothing for which its user would have to be an administrator.
    by_program: bool,
}

/// One queue.
#[derive(Default)]
struct SendQueue(Mutex<SendQueueState>);

#[derive(Default)]
struct SendQueueState {
    jobs: VecDeque<QueuedSend>,
    is_busy: bool,
    /// Messages that were begun and have no answer yet: what is to change one of them is looked at when it has.
    unanswered: Vec<Uuid>,
    waiting: Option<WaitingChange>,
}

/// A change whose message has no answer yet. Nothing overtakes it: it is what the queue is busy with.
struct WaitingChange {
    of: Uuid,
    /// Nothing, or why the message in front of it has to be sent again, and so has this.
    go_on: oneshot::Sender<Result<(), Refusal>>,
}

impl SendQueue {
    fn state(&self) -> MutexGuard<'_, SendQueueState> {
        self.0.lock()
    }

    /// Returns when the message was answered that is to be changed, if it went this way a moment ago: until then nobody
    /// can tell whose it is.
    ///
    /// # Errors
    /// Why a message in front of it has to be sent again; what was sent behind that would overtake it.
    async fn answer_to(&self, of: Uuid) -> Result<(), Refusal> {
        let going_on = {
            let mut state = self.state();
            if !state.unanswered.contains(&of) {
                return Ok(());
            }
            let (go_on, going_on) = oneshot::channel();
            state.waiting = Some(WaitingChange { of, go_on });
            going_on
        };
        going_on.await.unwrap_or(Ok(()))
    }

    /// A message has its answer. If it has to be sent again, returns what stands behind it.
    fn answered(&self, id: Uuid, has_to_come_again: Option<&Refusal>) -> VecDeque<QueuedSend> {
        let mut state = self.state();
        state.unanswered.retain(|unanswered| *unanswered != id);
        let is_due = |waiting: &mut WaitingChange| waiting.of == id || has_to_come_again.is_some();
        if let Some(WaitingChange { go_on, .. }) = state.waiting.take_if(is_due) {
            // Whoever waits there does so as long as the process lives.
            drop(go_on.send(has_to_come_again.map_or(Ok(()), |refusal| Err(refusal.clone()))));
        }
        match has_to_come_again {
            Some(_) => std::mem::take(&mut state.jobs),
            None => VecDeque::new(),
        }
    }
}

impl SendQueues {
    pub(super) fn new(by_program: bool) -> SendQueues {
        SendQueues {
            by_program,
            ..SendQueues::default()
        }
    }

    /// Sends a message on its way; the answer comes into the inbox.
    pub(super) fn post(
        &mut self,
        sockets: &Arc<Sockets>,
        user: &Arc<str>,
        inbox: &Arc<Inbox>,
        room: &Arc<str>,
        job: QueuedSend,
    ) {
        let key = match self.by_room.get_mut(room) {
            Some((key, under_way)) => {
                *under_way += 1;
                *key
            }
            None => {
                self.next = self.next.wrapping_add(1);
                self.by_room.insert(Arc::clone(room), (self.next, 1));
                self.queues
                    .insert(self.next, (Arc::clone(room), Arc::default()));
                self.next
            }
        };
        let (_, queue) = &self.queues[&key];
        let mut state = queue.state();
        if state.is_busy {
            state.jobs.push_back(job);
            return;
        }
        state.is_busy = true;
        drop(state);
        let sending = Sending {
            sockets: Arc::clone(sockets),
            user: Arc::clone(user),
            room: Arc::clone(room),
            by_program: self.by_program,
            report_to: ReportTo {
                key,
                queue: Arc::clone(queue),
                inbox: Arc::clone(inbox),
            },
        };
        let mut going = Box::pin(sending.run(job));
        // Mostly there is nothing to wait for. Otherwise it goes on beside the socket, and not tied to it: what was accepted
        // is posted, also if its sender goes.
        if going.as_mut().now_or_never().is_none() {
            sockets.hub.tasks.spawn(going);
        }
    }

    /// A message was answered.
    pub(super) fn answered(&mut self, key: u32) {
        let Some((room, _)) = self.queues.get(&key) else {
            return;
        };
        if let Some((_, under_way)) = self.by_room.get_mut(room) {
            *under_way -= 1;
            if *under_way == 0 {
                self.by_room.remove(room);
                self.queues.remove(&key);
            }
        }
    }
}

/// What works a queue off.
struct Sending {
    sockets: Arc<Sockets>,
    user: Arc<str>,
    room: Arc<str>,
    by_program: bool,
    report_to: ReportTo,
}

/// Where answers go.
#[derive(Clone)]
struct ReportTo {
    key: u32,
    queue: Arc<SendQueue>,
    inbox: Arc<Inbox>,
}

type SendResult = Result<Seq, Refusal>;

impl Sending {
    /// Puts a message into the room's queue, and what comes behind it meanwhile.
    async fn run(self, mut job: QueuedSend) {
        loop {
            self.begin(job).await;
            let mut state = self.report_to.queue.state();
            match state.jobs.pop_front() {
                Some(next) => job = next,
                // Under the lock, so that what comes later does not wait here.
                None => {
                    state.is_busy = false;
                    return;
                }
            }
        }
    }

    async fn begin(&self, job: QueuedSend) {
        let QueuedSend {
            id,
            said,
            mut span,
            since,
            unanswered,
        } = job;
        let bytes = said.bytes();
        match &said {
            Said::Message { .. } => self.report_to.queue.state().unanswered.push(id),
            Said::Change { of, .. } => {
                if let Err(refusal) = self.report_to.queue.answer_to(*of).await {
                    return self.report_to.answer(id, bytes, Err(refusal));
                }
            }
        }
        let (new, route) = match self.prepare(id, said).await {
            Ok(prepared) => prepared,
            Err(refusal) => {
                span.failed(refusal.code.as_str());
                return self.report_to.answer(id, bytes, Err(refusal));
            }
        };
        let report_to = self.report_to.clone();
        let trace = span.context();
        let completion = Completion::new(move |outcome| {
            let outcome = outcome.map(|posted| posted.message.seq);
            if let Err(error) = &outcome {
                span.failed(error);
            }
            drop((span, unanswered));
            report_to.answer(id, bytes, outcome.map_err(Refusal::from));
        });
        let completion = completion.traced(trace).since(since);
        self.sockets
            .services
            .poster
            .begin(new, route, completion)
            .await;
    }

    /// What is to be posted, and which way, if they may.
    async fn prepare(&self, id: Uuid, said: Said) -> Result<(NewMessage, Route), Refusal> {
        let services = &self.sockets.services;
        let room = services.access.room(&self.user, &self.room).await?;
        let mut new = NewMessage {
            room: self.room.to_string(),
            id,
            sender: self.user.to_string(),
            kind: Kind::User,
            message: String::new(),
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
        };
        let mut route = Route::Persist;
        match said {
            Said::Message { message, reply_to } => {
                let by_program = services.programs.has(&self.user).await;
                if room.asks_bot(&message, by_program) {
                    route = Route::PersistAndAsk;
                }
                (new.message, new.reply_to) = (message, reply_to);
            }
            Said::Change { of, text } => {
                new.of = Some(of);
                new.kind = match text {
                    Some(_) => Kind::Edited,
                    None => Kind::Deleted,
                };
                new.message = text.unwrap_or_default();
                changing::check(services, &room, &new, of, self.by_program).await?;
            }
        }
        Ok((new, route))
    }
}

impl ReportTo {
    fn answer(&self, id: Uuid, bytes: usize, outcome: SendResult) {
        let refusal = outcome.as_ref().err().cloned();
        let again = refusal.filter(|refusal| refusal.code == ErrorCode::Unavailable);
        self.put(id, bytes, outcome);
        // What was sent behind it would overtake it when it is sent again.
        let rest = self.queue.answered(id, again.as_ref());
        if let Some(refusal) = again {
            for job in rest {
                self.put(job.id, job.said.bytes(), Err(refusal.clone()));
            }
        }
    }

    fn put(&self, id: Uuid, bytes: usize, outcome: SendResult) {
        self.inbox.put(Note::Posted {
            queue: self.key,
            id,
            bytes,
            outcome,
        });
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Refusal {
        match error {
            AccessError::NotFound => Refusal {
                code: ErrorCode::NotFound,
                message: "there is no such room, or you may not see it".into(),
                retry_after: None,
            },
            AccessError::Unavailable => {
                unavailable("the database does not answer just now", RETRY_AFTER)
            }
        }
    }
}

impl From<PostError> for Refusal {
    fn from(error: PostError) -> Refusal {
        match error {
            PostError::Unavailable { retry_after, .. } => {
                unavailable("not kept yet; send it again with the same id", retry_after)
            }
            error @ PostError::TooSoon { retry_after } => Refusal {
                code: ErrorCode::RateLimited,
                message: error.to_string(),
                retry_after: Some(retry_after),
            },
            PostError::RoomGone => AccessError::NotFound.into(),
            // Only replies are fenced, and nobody sends one over a socket.
            error @ (PostError::IdTaken | PostError::Gone | PostError::Fenced) => Refusal {
                code: ErrorCode::BadRequest,
                message: error.to_string(),
                retry_after: None,
            },
        }
    }
}

impl From<LiveError> for Refusal {
    fn from(error: LiveError) -> Refusal {
        tracing::warn!(%error, "a signal was not shown");
        unavailable("it was not passed on; try again", RETRY_AFTER)
    }
}

/// Something behind is away.
pub(super) fn unavailable(message: &str, retry_after: Duration) -> Refusal {
    Refusal {
        code: ErrorCode::Unavailable,
        message: message.to_owned(),
        retry_after: Some(retry_after),
    }
}
