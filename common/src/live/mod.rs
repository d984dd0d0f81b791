//! The live seam: what happens in a room now. It gives every message its `seq`, shows it to every edge, and keeps the
//! room's recent past for those who were away for a moment.
//!
//! Two sides in the crate `engines`: Redis, shared by any number of processes, and one inside a single process. Both pass
//! the suite in `common/suites/src/live/`.

pub mod turns;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::turns::{Fence, TURN_LEASE, Turns};
use crate::{
    causes::WithCauses,
    readiness::Health,
    retry::{Retry, Retryable},
    store::{ReadMark, Thinking},
    wire::{Kind, Message, NewMessage, Seq, made_at, now_seq},
};

/// The most names in one `presence` frame, and the most that one process announces for a room.
pub const PRESENCE_MAX_USERS: usize = 200;

/// How long a process's announcement of who is in a room holds without being repeated.
pub const PRESENCE_TTL: Duration = Duration::from_secs(30);

/// A room's stream is trimmed to about this many messages, but for those younger than [`STREAM_MIN_AGE`].
pub const STREAM_MESSAGES: usize = 1_000;

/// What is younger than this stays in a room's stream, up to [`STREAM_MAX_MESSAGES`]: a message that its process
/// showed and never handed to the queue must still be there when it is missed.
pub const STREAM_MIN_AGE: Duration = Duration::from_secs(120);

/// The most messages in a room's stream, whatever their age.
pub const STREAM_MAX_MESSAGES: usize = 10_000;

/// How many ids of a room are remembered at least, to know a message that is sent again.
pub const REMEMBERED_IDS_PER_ROOM: usize = 10_000;

/// So long they are remembered, up to [`REMEMBERED_IDS_MAX`]: longer than an id is [fresh](ID_FRESH).
pub const REMEMBERED_IDS_MIN_AGE: Duration = Duration::from_secs(75);

/// The most ids of a room that are remembered, whatever their age.
pub const REMEMBERED_IDS_MAX: usize = 100_000;

/// An id that says of itself that it was made within so long of now, before or after, can be looked for among those that
/// are remembered. Any other may have been used long ago, and is looked for in the store.
pub const ID_FRESH: Duration = Duration::from_secs(60);

/// How long a process has an unsettled room to look at: longer than it is between two of its looks. What it alone would have
/// found when it dies counts as lost by then, and not before (`timeline::REPAIR_AFTER`): nothing is found later.
pub const LOOK_LEASE: Duration = Duration::from_secs(30);

/// The order of a room, exactly once per id; showing it, at most once per subscriber, with every gap told.
#[async_trait]
pub trait Live: Turns {
    /// Gives a message its `seq`, appends it to the room's stream and shows it to every subscriber, as one atomic
    /// step; a message whose id the room knows is left as it is. Idempotent on (room, id).
    ///
    /// With `floor` unset, a room that nothing is known of here (its stream expired, or the engine came back empty), or
    /// nothing from before the message [was made](AppendRequest::made), is not touched: the answer is
    /// [`Appended::Cold`]. The caller then looks the room up in the store and calls
    /// again with `floor` set to the highest `seq` found there (0 if none), which becomes the `prev` of the message.
    ///
    /// An event that [changes](Kind::is_change) a message goes the same way, and does more in the same step. An edit ends
    /// the answer that is being written to the message, so that nobody can post one who has read the old text: its fence
    /// is void and its draft gone, and whoever asks for the turn next has it. A deletion takes the text of the message
    /// and of all its edits out of the stream, where what is left of them keeps their places, and ends every answer that is
    /// being written in the room: it may have been told the text. What is deleted changes no more: [`Appended::Gone`].
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time. The message may have been appended all the same.
    async fn append(
        &self,
        message: &NewMessage,
        floor: Option<Seq>,
    ) -> Result<Appended, LiveError> {
        self.append_as(message, floor, BotRole::None).await
    }

    /// As [`Live::append`], and in the same step what follows from it for the bot's turn queue in the room.
    ///
    /// # Errors
    /// As [`Live::append`].
    async fn append_as(
        &self,
        message: &NewMessage,
        floor: Option<Seq>,
        part: BotRole,
    ) -> Result<Appended, LiveError> {
        let request = AppendRequest::new(message.clone(), part);
        let answers = self.append_all(&message.room, &[request], floor).await?;
        Ok(answers.into_iter().next().unwrap_or(Appended::Cold))
    }

    /// As [`Live::append_as`] for each of some messages of one room, in their order, and all of them as one step. There
    /// is one answer for each; if one is [`Appended::Cold`], all are, and nothing was done.
    ///
    /// # Errors
    /// As [`Live::append`]: all of them may have been appended, or none.
    async fn append_all(
        &self,
        room: &str,
        requests: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError>;

    /// The room's stream after a `seq`, oldest first.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError>;

    /// The message with this id, if the room's stream still has it: as it was posted, or without its text if it is deleted.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError>;

    /// What has become of some messages as far as the room's stream knows: of each that was deleted that it was, of each
    /// other that was edited its newest text. The messages themselves need not be in the stream any more; the store knows
    /// what is not told here.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn changes(&self, room: &str, ids: &[Uuid]) -> Result<Vec<Change>, LiveError>;

    /// Shows a signal to whoever is subscribed to its topic at this moment. At most once, never kept.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn signal(&self, signal: &Signal) -> Result<(), LiveError>;

    /// Says who is in a room on this process (`process` is a name of its own, unique among all that run), in the place
    /// of what it said before; an empty list withdraws it. Holds for [`PRESENCE_TTL`]. When it changes who is there
    /// in all, a `presence` frame is shown to the room. Returns who is there in all, sorted, at most
    /// [`PRESENCE_MAX_USERS`].
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn announce(
        &self,
        process: &str,
        room: &str,
        users: &[String],
    ) -> Result<Vec<String>, LiveError>;

    /// Rooms that had messages lately and have not been [`Live::settled`] since: where a process may have died
    /// between showing a message and handing it to the queue. Each comes with a version to settle it by.
    ///
    /// `server` names what they are going to be compared with ([`Store::server`](crate::store::Store::server)). Where that
    /// is another than the last one that was named, by whichever process, a new round of comparing begins: what was settled
    /// before it is unsettled again, for as long as there may be a stream of it. Where many processes share the engine, that
    /// is at most half of a list, so that nothing else has to wait for it.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn unsettled(&self, limit: usize, server: &str) -> Result<Vec<Unsettled>, LiveError>;

    /// As [`Live::unsettled`], for a process that looks at the rooms for all: it is given only those that no other process has,
    /// has them for [`LOOK_LEASE`], and keeps those that it asks for again by then, as it does with each call. Whoever
    /// dies, or says that a look has failed, leaves the room to the others.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn take_unsettled(
        &self,
        limit: usize,
        server: &str,
        looker: &Looker,
    ) -> Result<Vec<Unsettled>, LiveError>;

    /// Everything in the room's stream was seen in the store, and no message came since `unsettled` was read: it need
    /// not be looked at again until one does. Does nothing if one came meanwhile, or may have, or if another round of
    /// comparing has begun. The stream must have been read after `unsettled` was.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn settled(&self, room: &Unsettled) -> Result<(), LiveError>;

    /// Has the next [`Live::unsettled`] begin a new round, whichever server it names: an operator knows that rows are
    /// missing.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn compare_anew(&self) -> Result<(), LiveError>;

    /// Forgets all of a room that was deleted: its stream, its ids, its turns and drafts and who is there. From then on, for
    /// as long as a silent room is remembered, nothing is appended to it ([`Appended::RoomGone`]) and nobody gets a turn in it.
    /// Idempotent.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn erase(&self, room: &str) -> Result<(), LiveError>;

    /// Forgets what a room's stream has up to a place: it is gone by age. Nothing of its texts is left in the engine; the order
    /// goes on behind the room's latest place, whatever is forgotten. Idempotent.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn forget_until(&self, room: &str, until: Seq) -> Result<(), LiveError>;

    /// Takes the text out of the room's stream, and ends what is being written, of messages that the store has as deleted, each
    /// with the place of its deletion, as if that were appended now, but for its place: a server may have been lost that alone
    /// had it. Returns of how many that was not known here. Idempotent.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer in time.
    async fn scrub(&self, room: &str, deleted: &[(Uuid, Seq)]) -> Result<usize, LiveError>;

    /// Opens this process's one subscription to what is shown. Events come until the receiver is dropped, which closes it.
    /// The control topic is subscribed from the start; a [`LiveEvent::ControlGap`] says when, if that takes a moment.
    /// The channel is bounded: what comes while it is full is dropped, and told as one [`LiveEvent::Gap`] for each room
    /// as soon as there is room again. Must be called on a Tokio runtime.
    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>);

    /// Whether the engine takes what it is given, within its time limit: all of it, or only a part of its nodes.
    ///
    /// # Errors
    /// [`LiveError`] if nothing of it does.
    async fn ping(&self) -> Result<Health, LiveError>;
}

/// The rooms of one process's subscription.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// Subscribes to a room. When it returns, whatever is appended from now on will be shown, or told as a gap.
    /// Idempotent. It stays subscribed over any break of the connection until [`Subscriber::unsubscribe`].
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not confirm in time; the room is then not subscribed.
    async fn subscribe(&self, room: &str) -> Result<(), LiveError>;

    /// Ends a subscription, now or as soon as the engine can be reached. Idempotent.
    async fn unsubscribe(&self, room: &str);
}

/// What a message is to the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BotRole {
    /// Nothing.
    None,
    /// A request, whose reply will have this id: it enters the room's turn queue.
    Request(Uuid),
    /// A reply: refused without the fence, and the end of the turn and of its drafts.
    Reply(Fence),
}

/// A message that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The message.
    pub message: NewMessage,
    /// What it is to the bot.
    pub part: BotRole,
    /// The end of its frame: encoded once, for everyone who sees it and for the queue.
    pub tail: String,
    /// When a person's message or event got its id, if that is fresh: it may have been used since then, so whoever does not
    /// remember as far back does not know that it was not.
    pub made: Option<Seq>,
}

impl AppendRequest {
    /// Encodes the message.
    pub fn new(message: NewMessage, part: BotRole) -> AppendRequest {
        let tail = message.frame_tail();
        let is_a_persons = message.kind == Kind::User || message.kind.is_change();
        let made = is_a_persons.then(|| fresh_id(message.id)).flatten();
        AppendRequest {
            message,
            part,
            tail,
            made,
        }
    }
}

/// When an id was made, if it says so and that is [`ID_FRESH`].
pub fn fresh_id(id: Uuid) -> Option<Seq> {
    made_at(id).filter(|made| u128::from(now_seq().abs_diff(*made)) <= ID_FRESH.as_micros())
}

/// What has become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which message.
    pub of: Uuid,
    /// The place of the event.
    pub seq: Seq,
    /// Its text from then on; none if it is deleted.
    pub text: Option<String>,
}

impl Change {
    /// Brings a message to the state that it has by this. Idempotent, and whatever comes first: of two edits the later one
    /// counts, and a deletion before all.
    pub fn apply(&self, message: &mut Message) {
        match &self.text {
            None => message.erase(),
            Some(text) if !message.deleted && message.edited.is_none_or(|at| at < self.seq) => {
                message.message.clone_from(text);
                message.edited = Some(self.seq);
            }
            Some(_) => {}
        }
    }
}

/// What [`Live::append`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The message was appended now.
    New(Message),
    /// The room knew the id. This is the stream's copy, whose text may differ from what was to be appended.
    Known(Message),
    /// The room knows the id, but its stream has dropped the message meanwhile.
    KnownOnly(Seq),
    /// Another sender has used this id in this room.
    Taken,
    /// An event that would change a message which is deleted; nothing was done.
    Gone,
    /// A deletion, and so much is being deleted in the room that it would take the engine from others; nothing was done. It
    /// is taken after this time.
    TooSoon(Duration),
    /// Nothing is known of the room, or nothing from so far back; nothing was done.
    Cold,
    /// A reply, and whoever wrote it has lost the right to post it; nothing was done.
    Fenced,
    /// The room was [erased](Live::erase); nothing was done.
    RoomGone,
}

/// A piece of a room's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// In order.
    pub messages: Vec<Message>,
    /// Whether nothing is missing between `after` and the first of `messages` (or, if there are none, up to now): the
    /// first one's `prev` is `after` (or `after` is the latest). If false, the store may know more. A `seq` that the
    /// stream has never had gives false too: it may be one that the engine has lost, and others with it.
    pub reaches_back: bool,
    /// The latest `seq` in the room as far as the stream knows; 0 if it knows nothing.
    pub latest: Seq,
}

/// A room whose latest messages nobody has yet seen in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The room.
    pub room: String,
    /// Changes when a message comes that was not there when this was read. 0 if messages may still come without
    /// changing it, because it is too young (see [`LiveTimings::settle_after`]): the room cannot be settled by it yet.
    pub version: Seq,
    /// The round of comparing, which grows from one to the next: what was seen in the store in an earlier one may not be
    /// there any more.
    pub round: u64,
}

/// A process that looks at unsettled rooms for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looker {
    /// Its name, unique among all that run.
    pub process: String,
    /// Rooms that it was given and could not look at: it is not given them this time.
    pub failed: Vec<String>,
}

impl Tail {
    /// What was found after a `seq`, and whether it links up with that.
    pub fn new(after: Seq, messages: Vec<Message>, latest: Seq) -> Tail {
        let before = messages.first().map_or(latest, |first| first.prev);
        let known = messages.last().map_or(latest, |last| last.seq.max(latest));
        Tail {
            reaches_back: known > 0 && before == after,
            latest: known,
            messages,
        }
    }
}

/// Times that the promises above depend on. The default is what they say; tests of them have less patience.
#[derive(Clone, Copy, Debug)]
pub struct LiveTimings {
    /// How long an announcement of presence holds.
    pub presence_ttl: Duration,
    /// On the side that is shared: an append that the engine sees later than this after its process marked the room as
    /// unsettled is told to mark it again first.
    pub mark_holds: Duration,
    /// On the side that is shared: a room can be settled only by a mark that was older than this when it was read.
    /// Longer than `mark_holds` by more than the clocks of the engine's nodes may differ.
    pub settle_after: Duration,
    /// How long a turn holds without being renewed.
    pub turn_lease: Duration,
    /// On the side that is shared: how long a process has an unsettled room to look at.
    pub look_lease: Duration,
}

impl Default for LiveTimings {
    fn default() -> Self {
        LiveTimings {
            presence_ttl: PRESENCE_TTL,
            mark_holds: Duration::from_secs(10),
            settle_after: Duration::from_secs(30),
            turn_lease: TURN_LEASE,
            look_lease: LOOK_LEASE,
        }
    }
}

/// What is shown and never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A finished frame (`typing`, `draft`) for everyone in a room.
    Room {
        /// The room.
        room: String,
        /// The frame, forwarded as it is.
        frame: Bytes,
    },
    /// For every process.
    Control(Control),
}

/// What every process is told at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum Control {
    /// A session ended: its sockets close.
    SessionRevoked {
        /// The session's id.
        session: Uuid,
    },
    /// A room's settings or members changed: what is remembered of it is read anew, and who may no longer see it leaves.
    RoomChanged {
        /// The room.
        room: String,
    },
    /// Somebody is invited to a room: their sockets are told.
    Invited {
        /// Who.
        user: String,
        /// The room.
        room: String,
        /// By whom.
        by: String,
    },
    /// People have read rooms up to some place: their other sockets are told.
    Read {
        /// Who, where and how far.
        places: Vec<ReadElsewhere>,
    },
    /// Somebody wants a reply stopped.
    StopReply {
        /// The room.
        room: String,
        /// The reply's id.
        reply: Uuid,
        /// Who; empty if an edge of the version before says so.
        #[serde(default)]
        by: String,
    },
    /// What the bot has for rooms to choose from. Every worker says it every few seconds: who begins to listen in between has
    /// it soon.
    BotOffers(BotOffer),
}

/// What the bot has for rooms to choose from, as its workers are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotOffer {
    /// The models, the server's own choice first.
    pub models: Vec<OfferedModel>,
    /// How much they think where a room has not chosen.
    pub thinking: Thinking,
    /// Whether rooms may have it look things up.
    pub search: bool,
}

/// A model that rooms may choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedModel {
    /// The name that its API knows, which is what a room chooses it by.
    pub id: String,
    /// A name for people.
    pub name: String,
}

/// Somebody has read a room up to some place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadElsewhere {
    /// Who, where and how far.
    pub mark: ReadMark,
    /// The socket that said so, which is not told.
    pub socket: u64,
}

/// What comes out of a process's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveEvent {
    /// A message was appended to a room that is subscribed.
    Message {
        /// The room.
        room: Arc<str>,
        /// Its `seq`.
        seq: Seq,
        /// The `seq` before it.
        prev: Seq,
        /// The finished frame (`message`, `edited`, `deleted`), forwarded as it is.
        frame: Bytes,
    },
    /// A signal to a room that is subscribed.
    Signal {
        /// The room.
        room: Arc<str>,
        /// The frame, forwarded as it is.
        frame: Bytes,
    },
    /// A signal to every process.
    Control(Control),
    /// Messages and signals may have been missed in this room; it is subscribed again by now.
    Gap {
        /// The room.
        room: Arc<str>,
        /// Whether another server, or the same with another memory, is behind it now: it was replaced or restarted. Its
        /// stream may lack what was shown, acked and stored before, and have what nobody here was shown.
        is_another: bool,
    },
    /// Controls may have been missed: whatever they would have said must be looked up.
    ControlGap {
        /// As in [`LiveEvent::Gap`].
        is_another: bool,
    },
}

/// The engine did not answer, or not in time. Try again after a moment.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", WithCauses(&**source))]
pub struct LiveError {
    /// What was tried.
    pub what: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Retryable for LiveError {
    fn retry(&self) -> Retry {
        Retry::Again
    }
}
