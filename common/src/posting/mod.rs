//! The way of a message that the edge and the worker share: its `seq` in the room, then the queue's confirm.

mod outage;
mod places;
mod progress;
mod room_queues;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::progress::all_acked_is_written;
use self::{
    outage::Outage,
    places::{Place, Places},
    progress::Progress,
    room_queues::{PendingPost, QueuedPost, RoomQueues},
};
use crate::{
    envelope::{Again, Envelope, ReplyLog, reply_id},
    live::{AppendRequest, Appended, BotRole, Live, LiveError, fresh_id, turns::Fence},
    queue::{Queue, QueueError, Route},
    retry::{RetryPolicy, retry},
    store::{Room, Store, StoreError},
    traces::{self, Span, SpanKind, TraceContext},
    wire::{Kind, Message, NewMessage, Seq, now_seq},
};

/// The most messages of one process that are appended and wait for the queue's confirm. At 4,000 characters of
/// four bytes each that is below 80 MiB.
pub const POSTS_IN_FLIGHT_MAX: usize = 4_096;

/// How long a message may wait, from when it was read, until it may be appended: as long as a person waits. Whoever sends more
/// than can be kept is refused after that.
pub const PLACE_PATIENCE: Duration = Duration::from_secs(5);

/// How often who waits sees whether the queue still takes anything.
const LOOK_AT_QUEUE_EVERY: Duration = Duration::from_millis(250);

/// How long a sender waits for the confirm of a message that is appended; the process goes on trying after that.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(10);

/// How long a cold room waits for the store to tell its latest `seq` before it goes on without.
const COLD_PATIENCE: Duration = Duration::from_secs(2);

/// When a message that is appended and not confirmed is published again.
const PUBLISH_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(2));

/// When whoever was told `unavailable`, and by nothing that knows better, is to try again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long a repaired message is given to arrive in the database before it is repaired once more.
pub const REPAIR_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// How many are repaired at a time.
const REPAIRS_AT_ONCE: usize = 64;

/// The most repairs of one process within [`REPAIR_AGAIN_AFTER`].
const REPAIRS_REMEMBERED_MAX: usize = 20_000;

/// Posts messages, each exactly once. One for a whole process.
#[derive(Clone)]
pub struct Poster {
    live: Arc<dyn Live>,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    /// Of each partition of the queue: what waits for one does not wait for another.
    places: Arc<[Arc<Places>]>,
    queues: Arc<RoomQueues>,
    under_way: TaskTracker,
    repaired: Arc<Mutex<HashMap<Uuid, (Instant, u64)>>>,
    progress: Arc<Progress>,
    outage: Arc<Outage>,
}

/// A message that has its `seq` and is on disk in every queue of its route, or in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// As everyone sees it; for a message that was sent again, as it was the first time.
    pub message: Message,
    /// Whether it was appended now, and not at an earlier attempt.
    pub first: bool,
}

/// Whom to tell what became of a message. They are told once, whatever happens: if this is dropped first, that the process
/// stops.
pub struct Completion {
    tell: Option<Box<dyn FnOnce(PostResult) + Send>>,
    outage: Option<Arc<Outage>>,
    trace: Option<TraceContext>,
    since: Instant,
}

/// What became of a message: it is on disk in every queue of its route, or the sender's patience is over. With
/// [`PostError::Unavailable`] it may have been shown; then the process goes on trying to have it kept. What stood behind it
/// in the room's queue when it could not be appended is refused as well.
pub type PostResult = Result<Posted, PostError>;

impl Completion {
    /// Calls `tell`, which must not block.
    pub fn new(tell: impl FnOnce(PostResult) + Send + 'static) -> Completion {
        Completion {
            tell: Some(Box::new(tell)),
            outage: None,
            trace: traces::current(),
            since: Instant::now(),
        }
    }

    /// Whoever posts it has waited since then.
    pub fn since(mut self, since: Instant) -> Completion {
        self.since = since;
        self
    }

    /// What becomes of the message belongs to this trace, and not to the one in which it is posted.
    pub fn traced(mut self, trace: Option<TraceContext>) -> Completion {
        self.trace = trace;
        self
    }

    fn complete(mut self, outcome: PostResult) {
        if let Some(tell) = self.tell.take() {
            tell(match &self.outage {
                Some(outage) => outage.told(outcome),
                None => outcome,
            });
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(Err(process_stops()));
        }
    }
}

fn process_stops() -> PostError {
    PostError::Unavailable {
        why: "the process stops".into(),
        retry_after: TRY_AGAIN_AFTER,
    }
}

fn too_much(why: &str) -> PostError {
    PostError::Unavailable {
        why: why.into(),
        retry_after: TRY_AGAIN_AFTER,
    }
}

fn still_cold() -> PostError {
    PostError::Unavailable {
        why: "the live engine has forgotten the room twice in a row".into(),
        retry_after: Duration::from_secs(1),
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
    /// An event, and the message that it would change is deleted. Nothing was shown.
    #[error("the message is deleted")]
    Gone,
    /// A deletion, and many were taken in its room a moment ago. Nothing was shown.
    #[error("so much is being deleted in this room just now; try again after a moment")]
    TooSoon {
        /// When the same may be tried again.
        retry_after: Duration,
    },
    /// A reply, and its writer has lost the right to post it. Nothing was shown.
    #[error("another attempt at this reply has taken over")]
    Fenced,
    /// The room was deleted.
    #[error("there is no such room any more")]
    RoomGone,
}

impl From<LiveError> for PostError {
    fn from(error: LiveError) -> Self {
        PostError::Unavailable {
            why: error.to_string(),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl From<StoreError> for PostError {
    fn from(error: StoreError) -> Self {
        PostError::Unavailable {
            why: error.to_string(),
            retry_after: TRY_AGAIN_AFTER,
        }
    }
}

impl From<QueueError> for PostError {
    fn from(error: QueueError) -> Self {
        (&error).into()
    }
}

impl From<&QueueError> for PostError {
    fn from(error: &QueueError) -> Self {
        let retry_after = match error {
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
        let partitions = queue.partitions().max(1);
        let places = (0..partitions).map(|_| Places::new(POSTS_IN_FLIGHT_MAX / partitions));
        let places = places.collect();
        Poster {
            live,
            queue,
            store,
            places,
            queues: Arc::default(),
            under_way: TaskTracker::new(),
            repaired: Arc::default(),
            progress: Arc::new(Progress::new()),
            outage: Arc::default(),
        }
    }

    /// Appends the message to its room and hands it to the queue. Idempotent on (room, id): called again after any error,
    /// from any process, it comes to the same message with the same `seq`.
    ///
    /// Dropping the future does not take the message back: what is appended goes on to the queue.
    ///
    /// # Errors
    /// [`PostError`]. Nothing is shown that there was no room to keep: an absent queue is refused first, and where many messages
    /// are on their way it is waited for a place among them.
    pub async fn post(&self, new: NewMessage, route: Route, reply: Option<ReplyLog>) -> PostResult {
        let role = role_of(&new, route);
        self.post_as(new, route, reply, role).await
    }

    /// As [`Poster::post`], for a reply that is written under a fence.
    ///
    /// # Errors
    /// As [`Poster::post`], and [`PostError::Fenced`].
    pub async fn post_reply(&self, new: NewMessage, reply: ReplyLog, fence: Fence) -> PostResult {
        self.post_as(new, Route::Persist, Some(reply), BotRole::Reply(fence))
            .await
    }

    /// As [`Poster::post`] of a message that is no reply, but returns when the message stands in its room's queue (for which it
    /// may have waited), while its `seq` and the broker's confirm are still to come; `completion` is told what became of it. Whoever begins one
    /// message after the other has them appended in that order.
    pub async fn begin(&self, new: NewMessage, route: Route, completion: Completion) {
        let role = role_of(&new, route);
        self.begin_as(new, route, None, role, completion).await;
    }

    async fn post_as(
        &self,
        new: NewMessage,
        route: Route,
        reply: Option<ReplyLog>,
        role: BotRole,
    ) -> PostResult {
        let (tell, outcome) = oneshot::channel();
        let completion = Completion::new(|outcome| drop(tell.send(outcome)));
        self.begin_as(new, route, reply, role, completion).await;
        outcome.await.unwrap_or_else(|_| Err(process_stops()))
    }

    async fn begin_as(
        &self,
        message: NewMessage,
        route: Route,
        reply: Option<ReplyLog>,
        role: BotRole,
        mut completion: Completion,
    ) {
        completion.outage = Some(Arc::clone(&self.outage));
        let on_the_way = match self.place(&message, completion.since).await {
            Ok(place) => place,
            Err(error) => return completion.complete(Err(error)),
        };
        let pending = PendingPost {
            route,
            reply,
            place: Span::child("place", completion.trace),
            completion,
            _place_on_the_way: on_the_way,
        };
        if may_be_forgotten(&message) {
            let placement = match self.find_kept(&message).await {
                Ok(None) => None,
                Ok(Some(message)) => Some(Placement::Kept(message)),
                Err(error) => Some(Placement::Refused(error)),
            };
            if let Some(placement) = placement {
                self.under_way
                    .spawn(self.clone().keep_appended(placement, pending));
                return;
            }
        }
        let room = message.room.clone();
        let request = AppendRequest::new(message, role);
        if self.queues.join(&room, QueuedPost { request, pending }) {
            // A task of its own: whoever waits may go, which changes nothing for the message.
            self.under_way.spawn(self.clone().work_off(room));
        }
    }

    /// A place for a message on its way, when there is one. What one sends waits behind what one has sent, and not behind what
    /// others send.
    ///
    /// # Errors
    /// [`PostError::Unavailable`] if the queue takes nothing, at once, also while it is waited for; if it has been waited for
    /// longer than [`PLACE_PATIENCE`].
    async fn place(&self, message: &NewMessage, since: Instant) -> Result<Place, PostError> {
        let partition = self.queue.partition_of(&message.room);
        self.queue.ready_in(partition)?;
        // All replies have one sender.
        let who = match message.kind {
            Kind::Bot | Kind::Fallback => &message.room,
            _ => &message.sender,
        };
        let places = &self.places[partition % self.places.len()];
        let mut waiting = match places.take(who, message.message.len()) {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting,
        };
        let until = since + PLACE_PATIENCE;
        loop {
            let now = Instant::now();
            if now >= until {
                return Err(too_much("more is sent than can be kept"));
            }
            let look = until.min(now + LOOK_AT_QUEUE_EVERY);
            tokio::select! {
                place = waiting.granted() => {
                    return place.ok_or_else(|| too_much("too much waits to be kept"));
                }
                () = sleep_until(look) => self.queue.ready_in(partition)?,
            }
        }
    }

    /// Appends what stands in a room's queue, all that came while the last ones were on their way as one step, until none is left.
    async fn work_off(self, room: String) {
        let _watch = self.queues.watch(&room);
        while let Some((requests, pending)) = self.queues.next(&room) {
            match self.append(&room, requests).await {
                Ok(placements) => {
                    let kept = placements.into_iter().zip(pending);
                    let kept: Vec<_> = kept
                        .map(|(placement, pending)| self.clone().keep_appended(placement, pending))
                        .collect();
                    self.under_way.spawn(join_all(kept));
                }
                Err(error) => {
                    // What stands behind them would overtake them when they are sent again.
                    let behind = self.queues.clear(&room).into_iter().map(|one| one.pending);
                    for PendingPost { completion, .. } in pending.into_iter().chain(behind) {
                        completion.complete(Err(error.clone()));
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
        let asked = async {
            let partition = self.queue.partition_of(&request.room);
            self.queue.ready_in(partition)?;
            let (route, after) = (Route::PersistAndAsk, again.after);
            let payload = Envelope::again(request, again).to_bytes();
            self.queue.publish(route, partition, after, payload).await
        };
        asked
            .await
            .map_err(|error| self.outage.told_why(error.into()))
    }

    /// Hands messages of a room that were shown long ago and are not in the database to `persist` again, and a question to
    /// the bot as well, who knows what it has answered; each not more often than every [`REPAIR_AGAIN_AFTER`] in one round
    /// of comparing, since nothing is gained where it can never be written. Returns how many.
    ///
    /// # Errors
    /// [`PostError::Unavailable`] of one attempt; some may have been handed over.
    pub async fn repair(
        &self,
        room: &str,
        lost: &[&Message],
        round: u64,
    ) -> Result<usize, PostError> {
        let lost = self.may_be_repaired(lost, round);
        if lost.is_empty() {
            return Ok(0);
        }
        let known = self.store.room(room).await?;
        if known.is_none() && self.store.was_deleted(room).await? {
            return Ok(0);
        }
        let programs = self.store.programs().await?;
        let asks = |message: &Message| {
            let by_program = programs.contains(&*message.sender);
            let asks = |room: &Room| room.asks_bot(&message.message, by_program);
            // Of what is deleted there is only its place, and nothing to be asked.
            message.kind == Kind::User && !message.deleted && known.as_ref().is_some_and(asks)
        };
        let partition = self.queue.partition_of(room);
        let (mut repaired, mut failed) = (0, None);
        for some in lost.chunks(REPAIRS_AT_ONCE) {
            let published = join_all(some.iter().map(|message| {
                let route = match asks(message) {
                    true => Route::PersistAndAsk,
                    false => Route::Persist,
                };
                let payload = Envelope::around(&message.frame(), None, None);
                self.queue.publish(route, partition, message.id, payload)
            }));
            let now = Instant::now();
            for (message, published) in some.iter().zip(published.await) {
                match published {
                    Ok(()) => {
                        repaired += 1;
                        self.repaired.lock().insert(message.id, (now, round));
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if failed.is_some() {
                break;
            }
        }
        if repaired > 0 {
            metrics::counter!("chinwag_repaired_messages_total").increment(repaired as u64);
            tracing::warn!(
                room,
                messages = repaired,
                "shown but not in the database: handed to `persist` again"
            );
        }
        failed.map_or(Ok(repaired), |error| Err(error.into()))
    }

    /// Those of these that were not handed over lately.
    fn may_be_repaired<'a>(&self, lost: &[&'a Message], round: u64) -> Vec<&'a Message> {
        let now = Instant::now();
        let mut repaired = self.repaired.lock();
        repaired.retain(|_, (at, _)| now.duration_since(*at) < REPAIR_AGAIN_AFTER);
        let was = |message: &&&Message| {
            repaired
                .get(&message.id)
                .is_some_and(|(_, in_round)| *in_round >= round)
        };
        let room_left = REPAIRS_REMEMBERED_MAX.saturating_sub(repaired.len());
        lost.iter()
            .filter(|message| !was(message))
            .copied()
            .take(room_left)
            .collect()
    }

    /// Returns if the persisters have written all that was published before this time: what is not in the database when it
    /// is looked for afterwards does not wait in `persist`.
    ///
    /// # Errors
    /// [`PostError::Unavailable`] if that is not known, after `patience` at the latest where the engines answer.
    pub async fn all_is_written(
        &self,
        before: Instant,
        patience: Duration,
    ) -> Result<(), PostError> {
        let reached = self
            .progress
            .reached(before, patience, &self.queue, &self.store);
        reached.await
    }

    /// An engine was away a moment ago, and nobody knows what the persisters have in hand.
    pub async fn distrust_progress(&self) {
        self.progress.distrust().await;
    }

    /// Waits until nothing is under way, or the time is up. True if everything was confirmed.
    pub async fn drained(&self, until: Instant) -> bool {
        self.under_way.close();
        let drained = timeout_at(until, self.under_way.wait()).await.is_ok();
        self.under_way.reopen();
        drained
    }

    /// Where the messages are now, in their order.
    async fn append(
        &self,
        room: &str,
        requests: Vec<AppendRequest>,
    ) -> Result<Vec<Placement>, PostError> {
        let appended = self.live.append_all(room, &requests, None).await?;
        if !appended.contains(&Appended::Cold) {
            let placed = requests.into_iter().zip(appended);
            return Ok(placed
                .map(|(request, appended)| Placement::Appended(request, appended))
                .collect());
        }
        let kept = join_all(
            requests
                .iter()
                .map(|request| self.find_kept(&request.message)),
        )
        .await;
        let mut placements = Vec::with_capacity(requests.len());
        let mut unknown = Vec::new();
        for (request, kept) in requests.into_iter().zip(kept) {
            placements.push(match kept {
                Ok(Some(message)) => Some(Placement::Kept(message)),
                Err(error) => Some(Placement::Refused(error)),
                Ok(None) => {
                    unknown.push(request);
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
        let placements = placements.into_iter().map(|placement| {
            let appended = || {
                let (request, appended) = appended.next()?;
                Some(Placement::Appended(request, appended))
            };
            placement.or_else(appended)
        });
        placements.collect::<Option<_>>().ok_or_else(process_stops)
    }

    /// The message as the database has it. A database that is away does not stop the chat: then it counts as not there.
    async fn find_kept(&self, new: &NewMessage) -> Result<Option<Message>, PostError> {
        let until = Instant::now() + COLD_PATIENCE;
        match timeout_at(until, self.store.find(&new.room, new.id)).await {
            Ok(Ok(Some(kept))) if kept.sender != new.sender => Err(PostError::IdTaken),
            Ok(Ok(Some(kept))) => same_event(new, &kept).map(|()| Some(kept)),
            Ok(Ok(None)) => Ok(None),
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
    async fn keep_appended(self, placement: Placement, pending: PendingPost) {
        let PendingPost {
            route,
            reply,
            mut place,
            completion,
            _place_on_the_way,
        } = pending;
        if let Placement::Refused(error) = &placement {
            place.failed(error);
        }
        drop(place);
        match placement {
            Placement::Appended(request, Appended::New(message)) => {
                let frame = message.frame_around(&request.tail);
                self.keep(message, true, route, &frame, reply, completion)
                    .await;
            }
            Placement::Appended(request, Appended::Known(message)) => {
                match same_event(&request.message, &message) {
                    Ok(()) => {
                        // With another attempt's text goes no account of what this one has used: that is not its log.
                        let is_own = request.message.message == message.message;
                        let reply = reply.map(|log| match is_own {
                            true => log,
                            false => ReplyLog::of_another_attempt(log.request, log.user),
                        });
                        self.keep_again(message, route, reply, completion).await;
                    }
                    Err(error) => completion.complete(Err(error)),
                }
            }
            // The stream has dropped it, so it is old: in the database, or still on its way there.
            Placement::Appended(AppendRequest { message: new, .. }, Appended::KnownOnly(seq)) => {
                match self.find_kept(&new).await {
                    Ok(Some(message)) => self.answer_kept(message, route, reply, completion).await,
                    Ok(None) => {
                        self.keep_again(new.at(seq, 0), route, reply, completion)
                            .await;
                    }
                    Err(error) => completion.complete(Err(error)),
                }
            }
            Placement::Appended(_, Appended::Taken) => completion.complete(Err(PostError::IdTaken)),
            Placement::Appended(_, Appended::Gone) => completion.complete(Err(PostError::Gone)),
            Placement::Appended(_, Appended::TooSoon(retry_after)) => {
                completion.complete(Err(PostError::TooSoon { retry_after }));
            }
            Placement::Appended(_, Appended::Fenced) => completion.complete(Err(PostError::Fenced)),
            Placement::Appended(_, Appended::RoomGone) => {
                completion.complete(Err(PostError::RoomGone));
            }
            Placement::Appended(_, Appended::Cold) => completion.complete(Err(still_cold())),
            Placement::Kept(message) => self.answer_kept(message, route, reply, completion).await,
            Placement::Refused(error) => completion.complete(Err(error)),
        }
    }

    /// A message that is in the database has all it needs, but for a question: the bot may never have heard of it, if
    /// whoever showed it died and it was repaired since. It knows what it has answered.
    async fn answer_kept(
        &self,
        message: Message,
        route: Route,
        reply: Option<ReplyLog>,
        completion: Completion,
    ) {
        if route == Route::PersistAndAsk {
            return self.keep_again(message, route, reply, completion).await;
        }
        let first = false;
        completion.complete(Ok(Posted { message, first }));
    }

    /// A message that was appended at an earlier attempt.
    async fn keep_again(
        &self,
        message: Message,
        route: Route,
        reply: Option<ReplyLog>,
        completion: Completion,
    ) {
        let frame = message.frame();
        self.keep(message, false, route, &frame, reply, completion)
            .await;
    }

    /// Hands a message to the queue until that confirms. The sender is told after a while; the trying goes on.
    async fn keep(
        &self,
        message: Message,
        first: bool,
        route: Route,
        frame: &str,
        reply: Option<ReplyLog>,
        completion: Completion,
    ) {
        let mut span = Span::child_as("publish", SpanKind::Producer, completion.trace);
        let payload: Bytes = Envelope::around(frame, reply.as_ref(), span.context());
        drop(reply);
        let id = message.id;
        let impatient = Instant::now() + CONFIRM_PATIENCE;
        let mut completion = Some(completion);
        let partition = self.queue.partition_of(&message.room);
        let publish = || self.queue.publish(route, partition, id, payload.clone());
        let told = |error: &QueueError, _| {
            metrics::counter!("chinwag_publish_retries_total").increment(1);
            let give_up = matches!(error, QueueError::Unroutable(_)) || Instant::now() >= impatient;
            if give_up && let Some(completion) = completion.take() {
                tracing::debug!(%id, room = %message.room, %error, "appended, but not confirmed yet; still publishing");
                completion.complete(Err(error.into()));
            }
        };
        let published = retry(PUBLISH_AGAIN, publish, told).await;
        if let Err(error) = &published {
            span.failed(error);
        }
        drop(span);
        if first && published.is_ok() {
            let since = now_seq().saturating_sub(message.seq);
            metrics::histogram!("chinwag_shown_to_kept_seconds").record(since as f64 / 1e6);
        }
        if let Some(completion) = completion {
            completion.complete(match published {
                Ok(()) => Ok(Posted { message, first }),
                Err(error) => Err((&error).into()),
            });
        }
    }
}

/// Where a message is.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made, and the largest is the usual one"
)]
enum Placement {
    /// In the database already: nothing is left to do.
    Kept(Message),
    /// Nowhere.
    Refused(PostError),
    /// As the live engine says.
    Appended(AppendRequest, Appended),
}

/// What a message that is no reply is to the bot.
fn role_of(new: &NewMessage, route: Route) -> BotRole {
    match route {
        Route::PersistAndAsk => BotRole::Request(reply_id(&new.room, new.id)),
        Route::Persist => BotRole::None,
    }
}

/// Whether the store has to be asked for the message, since its room may have forgotten the id.
fn may_be_forgotten(new: &NewMessage) -> bool {
    (new.kind == Kind::User || new.kind.is_change()) && fresh_id(new.id).is_none()
}

/// An event that is sent again is the same event, and no message, nor an event that changes another.
fn same_event(new: &NewMessage, known: &Message) -> Result<(), PostError> {
    let is_change = new.kind.is_change() || known.kind.is_change();
    if is_change && (new.kind, new.of) != (known.kind, known.of) {
        return Err(PostError::IdTaken);
    }
    Ok(())
}
