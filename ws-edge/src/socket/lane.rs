//! The way of one socket's messages into one room: one after the other into the room's line, so that a person's lines
//! never swap, and nobody waits for a place or a confirm to say the next thing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use common::{
    live::LiveError,
    posting::{Completion, PostError},
    queue::Route,
    wire::{ErrorCode, Kind, NewMessage, Seq},
};
use futures_util::FutureExt;
use uuid::Uuid;

use super::{
    Sockets,
    connection::Refusal,
    inbox::{Inbox, Note},
};
use crate::access::AccessError;

/// When a sender may try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A message on its way.
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) message: String,
    pub(super) reply_to: Option<Uuid>,
}

/// The lanes of one socket, by room; each is there while something is on it or waits for its ack.
#[derive(Default)]
pub(super) struct Lanes {
    by_room: HashMap<Arc<str>, (u32, usize)>,
    lanes: HashMap<u32, (Arc<str>, Arc<Lane>)>,
    next: u32,
}

/// One lane.
#[derive(Default)]
struct Lane(Mutex<LaneState>);

#[derive(Default)]
struct LaneState {
    jobs: VecDeque<Job>,
    is_busy: bool,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl Lanes {
    /// Sends a message on its way; the answer comes into the inbox.
    pub(super) fn post(
        &mut self,
        sockets: &Arc<Sockets>,
        user: &Arc<str>,
        inbox: &Arc<Inbox>,
        room: &Arc<str>,
        job: Job,
    ) {
        let key = match self.by_room.get_mut(room) {
            Some((key, under_way)) => {
                *under_way += 1;
                *key
            }
            None => {
                self.next = self.next.wrapping_add(1);
                self.by_room.insert(Arc::clone(room), (self.next, 1));
                self.lanes
                    .insert(self.next, (Arc::clone(room), Arc::default()));
                self.next
            }
        };
        let (_, lane) = &self.lanes[&key];
        let mut state = lane.state();
        if state.is_busy {
            state.jobs.push_back(job);
            return;
        }
        state.is_busy = true;
        drop(state);
        let way = Way {
            sockets: Arc::clone(sockets),
            user: Arc::clone(user),
            room: Arc::clone(room),
            end: End {
                key,
                lane: Arc::clone(lane),
                inbox: Arc::clone(inbox),
            },
        };
        let mut going = Box::pin(way.go(job));
        // Mostly there is nothing to wait for. Otherwise it goes on beside the socket, and not tied to it: what was accepted
        // is posted, also if its sender goes.
        if going.as_mut().now_or_never().is_none() {
            sockets.hub.tasks.spawn(going);
        }
    }

    /// A message was answered.
    pub(super) fn answered(&mut self, key: u32) {
        let Some((room, _)) = self.lanes.get(&key) else {
            return;
        };
        if let Some((_, under_way)) = self.by_room.get_mut(room) {
            *under_way -= 1;
            if *under_way == 0 {
                self.by_room.remove(room);
                self.lanes.remove(&key);
            }
        }
    }
}

/// What goes along a lane.
struct Way {
    sockets: Arc<Sockets>,
    user: Arc<str>,
    room: Arc<str>,
    end: End,
}

/// Where answers go.
#[derive(Clone)]
struct End {
    key: u32,
    lane: Arc<Lane>,
    inbox: Arc<Inbox>,
}

type Outcome = Result<Seq, Refusal>;

impl Way {
    /// Puts a message into the room's line, and what comes behind it meanwhile.
    async fn go(self, mut job: Job) {
        loop {
            self.begin(job).await;
            let mut state = self.end.lane.state();
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

    async fn begin(&self, job: Job) {
        let Job {
            id,
            message,
            reply_to,
        } = job;
        let bytes = message.len();
        let room = match self
            .sockets
            .services
            .access
            .room(&self.user, &self.room)
            .await
        {
            Ok(room) => room,
            Err(error) => return self.end.answer(id, bytes, Err(error.into())),
        };
        let route = if room.bot.asks(&message) {
            Route::PersistAndAsk
        } else {
            Route::Persist
        };
        let new = NewMessage {
            room: self.room.to_string(),
            id,
            sender: self.user.to_string(),
            kind: Kind::User,
            message,
            reply_to,
        };
        let end = self.end.clone();
        let answer = Completion::new(move |outcome| {
            let outcome = outcome.map(|posted| posted.message.seq);
            end.answer(id, bytes, outcome.map_err(Refusal::from));
        });
        self.sockets.services.poster.begin(new, route, answer).await;
    }
}

impl End {
    fn answer(&self, id: Uuid, bytes: usize, outcome: Outcome) {
        let refusal = outcome.as_ref().err().cloned();
        self.put(id, bytes, outcome);
        if let Some(refusal) = refusal
            && refusal.code == ErrorCode::Unavailable
        {
            // What was sent behind it would overtake it when it is sent again.
            let rest = std::mem::take(&mut self.lane.state().jobs);
            for job in rest {
                self.put(job.id, job.message.len(), Err(refusal.clone()));
            }
        }
    }

    fn put(&self, id: Uuid, bytes: usize, outcome: Outcome) {
        self.inbox.put(Note::Posted {
            lane: self.key,
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
            PostError::Unavailable { why, retry_after } => {
                tracing::warn!(%why, "a message is not kept yet");
                unavailable("not kept yet; send it again with the same id", retry_after)
            }
            // Only replies are fenced, and nobody sends one over a socket.
            error @ (PostError::IdTaken | PostError::Fenced) => Refusal {
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
