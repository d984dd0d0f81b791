//! The way of a message that the edge and the worker share: its place in the room, then the queue's confirm.

mod lines;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;
use uuid::{Uuid, Version};

use self::lines::{Lines, Rest, Waiting};
use crate::{
    envelope::{Again, Envelope, ReplyLog, reply_id},
    live::{Appended, Live, LiveError, Offer, Part, turns::Fence},
    queue::{Queue, QueueError, Route},
    store::Store,
    wire::{Message, NewMessage, Seq, now_seq},
};

/// The most messages of one process that have their place and wait for the queue's confirm. At 4,000 characters of
/// four bytes each that is below 80 MiB.
pub const POSTS_IN_FLIGHT_MAX: usize = 4_096;

/// How long a sender waits for the confirm of a message that has its place; the process goes on trying after that.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(10);

/// How long a cold room waits for the store to tell its latest place before it goes on without.
const COLD_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts at the queue: the first and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// How long a repaired message is given to arrive in the database before it is repaired once more.
pub const REPAIR_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The most repairs of one process within [`REPAIR_AGAIN_AFTER`].
const REPAIRS_REMEMBERED_MAX: usize = 20_000;

/// A UUIDv7 older than this may be a message that was sent long ago and is sent again: the store is asked first,
/// because the room may have forgotten the id.
const OLD_ID: Duration = Duration::from_secs(60);

/// Posts messages, each exactly once. One for a whole process.
#[derive(Clone)]
pub struct Poster {
    live: Arc<dyn Live>,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    slots: Arc<Semaphore>,
    lines: Arc<Lines>,
    under_way: TaskTracker,
    repaired: Arc<Mutex<HashMap<Uuid, Instant>>>,
}

/// A message that has its place and is on disk in every queue of its route, or in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// As everyone sees it; for a message that was sent again, as it was the first time.
    pub message: Message,
    /// Whether it took its place now, and not at an earlier attempt.
    pub first: bool,
}

/// A message that stands in its room's line, or has its place and waits for the queue's confirm.
#[derive(Debug)]
pub struct Posting {
    outcome: oneshot::Receiver<Result<Posted, PostError>>,
}

impl Posting {
    /// Waits until the message is on disk in every queue of its route, or the sender's patience is over.
    ///
    /// # Errors
    /// [`PostError`]. With [`PostError::Unavailable`] it may have been shown; then the process goes on trying to have it
    /// kept. What stood behind it in the room's line when it did not get its place is refused as well.
    pub async fn confirmed(self) -> Result<Posted, PostError> {
        self.outcome.await.unwrap_or_else(|_| Err(process_stops()))
    }
}

fn process_stops() -> PostError {
    PostError::Unavailable {
        why: "the process stops".into(),
        retry_after: RETRY_LONGEST,
    }
}

/// Why a message was not posted, as far as its sender may know.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PostError {
    /// Send the same id again after a while. It may have been shown already.
    #[error("not kept yet: {why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// When another attempt makes sense.
        retry_after: Duration,
    },
    /// Another sender has used this id in this room.
    #[error("this id is another message's")]
    IdTaken,
    /// A reply, and its writer has lost the right to post it. Nothing was shown.
    #[error("another attempt at this reply has taken over")]
    Fenced,
}

impl From<LiveError> for PostError {
    fn from(error: LiveError) -> Self {
        PostError::Unavailable {
            why: error.to_string(),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl From<QueueError> for PostError {
    fn from(error: QueueError) -> Self {
        let retry_after = match &error {
            QueueError::Unavailable { retry_after, .. } => *retry_after,
            QueueError::Unroutable(_) => Duration::from_secs(5),
        };
        PostError::Unavailable {
            why: error.to_string(),
            retry_after,
        }
    }
}

impl Poster {
    /// One for this process.
    pub fn new(live: Arc<dyn Live>, queue: Arc<dyn Queue>, store: Arc<dyn Store>) -> Poster {
        let slots = Arc::new(Semaphore::new(POSTS_IN_FLIGHT_MAX));
        Poster {
            live,
            queue,
            store,
            slots,
            lines: Arc::default(),
            under_way: TaskTracker::new(),
            repaired: Arc::default(),
        }
    }

    /// Gives the message its place and hands it to the queue. Idempotent on (room, id): called again after any error,
    /// from any process, it comes to the same message in the same place.
    ///
    /// Dropping the future does not take the message back: what has its place goes on to the queue.
    ///
    /// # Errors
    /// [`PostError`]. Nothing is shown that there was no room to keep: a full or absent queue is refused first.
    pub async fn post(
        &self,
        new: NewMessage,
        route: Route,
        reply: Option<ReplyLog>,
    ) -> Result<Posted, PostError> {
        self.begin(new, route, reply).await?.confirmed().await
    }

    /// As [`Poster::post`], for a reply that is written under a fence.
    ///
    /// # Errors
    /// As [`Poster::post`], and [`PostError::Fenced`].
    pub async fn post_reply(
        &self,
        new: NewMessage,
        reply: ReplyLog,
        fence: Fence,
    ) -> Result<Posted, PostError> {
        self.begin_as(new, Route::Persist, Some(reply), Part::Answers(fence))
            .await?
            .confirmed()
            .await
    }

    /// The first half of [`Poster::post`]: puts the message into its room's line, and returns while its place and the
    /// queue's confirm are still to come. Whoever begins one message after the other gets their places in that order.
    ///
    /// # Errors
    /// As [`Poster::post`]: the message has no place.
    pub async fn begin(
        &self,
        new: NewMessage,
        route: Route,
        reply: Option<ReplyLog>,
    ) -> Result<Posting, PostError> {
        let part = match route {
            Route::PersistAndAsk => Part::Asks(reply_id(&new.room, new.id)),
            _ => Part::Talk,
        };
        self.begin_as(new, route, reply, part).await
    }

    async fn begin_as(
        &self,
        message: NewMessage,
        route: Route,
        reply: Option<ReplyLog>,
        part: Part,
    ) -> Result<Posting, PostError> {
        self.queue.ready()?;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let why = format!("{POSTS_IN_FLIGHT_MAX} messages wait for their confirm");
            return Err(PostError::Unavailable {
                why,
                retry_after: Duration::from_secs(1),
            });
        };
        let (done, outcome) = oneshot::channel();
        if may_be_forgotten(&message)
            && let Some(message) = self.find_kept(&message).await?
        {
            answer_kept(done, message);
            return Ok(Posting { outcome });
        }
        let room = message.room.clone();
        let waiting = Waiting {
            offer: Offer { message, part },
            rest: Rest {
                route,
                reply,
                done,
                _slot: slot,
            },
        };
        if self.lines.join(&room, waiting) {
            // A task of its own: whoever waits may go, which changes nothing for the message.
            self.under_way.spawn(self.clone().work_off(room));
        }
        Ok(Posting { outcome })
    }

    /// Brings those who stand in a room's line to their places, all who came while the last ones were on their way as
    /// one step, until none is left.
    async fn work_off(self, room: String) {
        let _watch = self.lines.watch(&room);
        while let Some((offers, rests)) = self.lines.next(&room) {
            match self.place(&room, offers).await {
                Ok(places) => {
                    let kept = places.into_iter().zip(rests);
                    let kept: Vec<_> = kept
                        .map(|(place, rest)| self.clone().keep_placed(place, rest))
                        .collect();
                    self.under_way.spawn(join_all(kept));
                }
                Err(error) => {
                    // What stands behind them would overtake them when they are sent again.
                    let behind = self.lines.clear(&room).into_iter().map(|one| one.rest);
                    for Rest { done, .. } in rests.into_iter().chain(behind) {
                        drop(done.send(Err(error.clone())));
                    }
                }
            }
        }
    }

    /// Puts a request that has been answered to the bot once more. One attempt; whoever asks again after an error gets
    /// one more reply all the same.
    ///
    /// # Errors
    /// [`PostError::Unavailable`]: it may be in the queue or not.
    pub async fn ask_again(&self, request: Message, again: Again) -> Result<(), PostError> {
        self.queue.ready()?;
        let payload = Envelope::again(request, again).to_bytes();
        Ok(self
            .queue
            .publish(Route::PersistAndAsk, again.after, payload)
            .await?)
    }

    /// Hands a message that was shown long ago and is not in the database to `persist` again; not more often than
    /// every [`REPAIR_AGAIN_AFTER`], since it may be missing only because the persisters are behind. True if it did.
    ///
    /// # Errors
    /// [`QueueError`] of one attempt.
    pub async fn repair(&self, message: &Message) -> Result<bool, QueueError> {
        if !self.may_repair(message.id) {
            return Ok(false);
        }
        let payload = Envelope::new(message.clone(), None).to_bytes();
        let published = self
            .queue
            .publish(Route::Persist, message.id, payload)
            .await;
        if published.is_err() {
            self.repaired
                .lock()
                .expect("nothing panics while holding it")
                .remove(&message.id);
        }
        published.map(|()| true)
    }

    fn may_repair(&self, id: Uuid) -> bool {
        let now = Instant::now();
        let mut repaired = self
            .repaired
            .lock()
            .expect("nothing panics while holding it");
        repaired.retain(|_, at| now.duration_since(*at) < REPAIR_AGAIN_AFTER);
        if repaired.len() >= REPAIRS_REMEMBERED_MAX {
            return false;
        }
        match repaired.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }

    /// Waits until nothing is under way, or the time is up. True if everything was confirmed.
    pub async fn drained(&self, until: Instant) -> bool {
        self.under_way.close();
        let drained = timeout_at(until, self.under_way.wait()).await.is_ok();
        self.under_way.reopen();
        drained
    }

    /// Where the messages are now, in their order.
    async fn place(&self, room: &str, offers: Vec<Offer>) -> Result<Vec<Place>, PostError> {
        let appended = self.live.append_all(room, &offers, None).await?;
        if !appended.contains(&Appended::Cold) {
            let placed = offers.into_iter().zip(appended);
            return Ok(placed
                .map(|(offer, appended)| Place::Appended(offer.message, appended))
                .collect());
        }
        let kept = join_all(offers.iter().map(|offer| self.find_kept(&offer.message))).await;
        let mut places = Vec::with_capacity(offers.len());
        let mut unknown = Vec::new();
        for (offer, kept) in offers.into_iter().zip(kept) {
            places.push(match kept {
                Ok(Some(message)) => Some(Place::Kept(message)),
                Err(error) => Some(Place::Refused(error)),
                Ok(None) => {
                    unknown.push(offer);
                    None
                }
            });
        }
        let appended = if unknown.is_empty() {
            Vec::new()
        } else {
            let floor = Some(self.latest_kept(room).await);
            self.live.append_all(room, &unknown, floor).await?
        };
        let mut appended = unknown.into_iter().zip(appended);
        let places = places.into_iter().map(|place| {
            let appended = || {
                let (offer, appended) = appended.next()?;
                Some(Place::Appended(offer.message, appended))
            };
            place.or_else(appended)
        });
        places.collect::<Option<_>>().ok_or_else(process_stops)
    }

    /// The message as the database has it. A database that is away does not stop the chat: then it counts as not there.
    async fn find_kept(&self, new: &NewMessage) -> Result<Option<Message>, PostError> {
        let until = Instant::now() + COLD_PATIENCE;
        match timeout_at(until, self.store.find(&new.room, new.id)).await {
            Ok(Ok(Some(kept))) if kept.sender != new.sender => Err(PostError::IdTaken),
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    async fn latest_kept(&self, room: &str) -> Seq {
        let until = Instant::now() + COLD_PATIENCE;
        timeout_at(until, self.store.latest(room))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or(0)
    }

    /// The rest of a message's way.
    async fn keep_placed(self, place: Place, rest: Rest) {
        let Rest {
            route,
            reply,
            done,
            _slot,
        } = rest;
        let (message, first) = match place {
            Place::Appended(_, Appended::New(message)) => (message, true),
            Place::Appended(_, Appended::Known(message)) => (message, false),
            // The stream has dropped it, so it is old: in the database, or still on its way there.
            Place::Appended(new, Appended::KnownOnly(seq)) => match self.find_kept(&new).await {
                Ok(Some(message)) => return answer_kept(done, message),
                Ok(None) => (new.at(seq, 0), false),
                Err(error) => return drop(done.send(Err(error))),
            },
            Place::Appended(_, Appended::Taken) => return drop(done.send(Err(PostError::IdTaken))),
            Place::Appended(_, Appended::Fenced) => return drop(done.send(Err(PostError::Fenced))),
            Place::Appended(_, Appended::Cold) => return drop(done.send(Err(process_stops()))),
            Place::Kept(message) => return answer_kept(done, message),
            Place::Refused(error) => return drop(done.send(Err(error))),
        };
        self.keep(message, first, route, reply, done).await;
    }

    /// Hands a message to the queue until that confirms. The sender is told after a while; the trying goes on.
    async fn keep(
        &self,
        message: Message,
        first: bool,
        route: Route,
        reply: Option<ReplyLog>,
        done: oneshot::Sender<Result<Posted, PostError>>,
    ) {
        let id = message.id;
        let envelope = Envelope::new(message, reply);
        let payload: Bytes = envelope.to_bytes();
        let message = envelope.message;
        let impatient = Instant::now() + CONFIRM_PATIENCE;
        let mut done = Some(done);
        let mut pause = RETRY_FIRST;
        loop {
            match self.queue.publish(route, id, payload.clone()).await {
                Ok(()) => {
                    if let Some(done) = done.take() {
                        // A sender that has gone meanwhile needs no answer.
                        drop(done.send(Ok(Posted { message, first })));
                    }
                    return;
                }
                Err(error) => {
                    metrics::counter!("chinwag_publish_retries_total").increment(1);
                    let give_up =
                        matches!(error, QueueError::Unroutable(_)) || Instant::now() >= impatient;
                    if give_up && let Some(done) = done.take() {
                        tracing::warn!(%id, room = %message.room, %error, "shown, but not confirmed yet; still trying");
                        drop(done.send(Err(error.into())));
                    }
                }
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        }
    }
}

/// Where a message is.
enum Place {
    /// In the database already: nothing is left to do.
    Kept(Message),
    /// Nowhere.
    Refused(PostError),
    /// As the live engine says.
    Appended(NewMessage, Appended),
}

fn answer_kept(done: oneshot::Sender<Result<Posted, PostError>>, message: Message) {
    let first = false;
    drop(done.send(Ok(Posted { message, first })));
}

fn may_be_forgotten(new: &NewMessage) -> bool {
    if new.id.get_version() != Some(Version::SortRand) {
        return false;
    }
    let Some(timestamp) = new.id.get_timestamp() else {
        return false;
    };
    let (seconds, _) = timestamp.to_unix();
    let now_seconds = now_seq() / 1_000_000;
    now_seconds.saturating_sub(seconds) > OLD_ID.as_secs()
}
