//! The store seam: what must last. Accounts and sessions, rooms and who may see them, and every message.
//!
//! Two sides in the crate `engines`: MySQL, shared by any number of processes, and SQLite, a file in the data folder.
//! Both pass the suite in `common/suites/src/store/`.

pub mod archive;
mod deleted_accounts;
mod identities;
mod people;
mod read_marks;
mod removals;
mod retention;
mod spendings;
mod tokens;
pub mod usage;

use std::{collections::HashSet, num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use identities::{ByInvite, IDENTITIES_PER_USER, Identities, Identity, LinkedIdentity, WaysIn};
pub use people::{
    Actor, AuditLine, Departure, INVITE_USES_MAX, INVITES_PER_HOUR,
    INVITES_PER_HOUR_OF_ADMINISTRATORS, INVITES_STANDING_MAX,
    INVITES_STANDING_MAX_OF_ADMINISTRATORS, Invite, KeptRoom, LISTED_MAX, ListedAccount, OPERATOR,
    People, Standing, StandingChanges, THE_SERVER,
};

use crate::{
    envelope::Envelope,
    retry::{Retry, Retryable},
    wire::{Message, Seq},
};

pub use self::{
    deleted_accounts::{DELETED_USER, DeletedAccounts},
    read_marks::{ReadMark, ReadMarks, UNREAD_MAX},
    removals::Removals,
    retention::{
        NEVER_GONE_WITHIN, OldRooms, RETENTION_DAYS_MAX, Retention, RoomRetention, may_be_gone,
    },
    spendings::{SpendingLine, Spendings},
    tokens::{ProgramToken, TOKEN_NAME_MAX_CHARS, TOKENS_PER_USER, Tokens},
};

/// All that lasts.
#[async_trait]
pub trait Store:
    Accounts
    + Identities
    + People
    + Rooms
    + Messages
    + ReadMarks
    + Removals
    + Retention
    + Spendings
    + Tokens
{
    /// Whether the engine answers within its time limit, has the schema that this program was built with, and can be
    /// written to.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not, with what is wrong.
    async fn ping(&self) -> Result<(), StoreError>;

    /// A name of the server that answers just now. Where it is another one than before, rows that were there may be
    /// missing: a replica was promoted that lagged behind.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn server(&self) -> Result<Arc<str>, StoreError>;

    /// Whether a row of about so many bytes can be added just now: one of nobody's is, and taken away again. Tells a row that
    /// the engine refuses from an engine that refuses rows.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not, with what is wrong.
    async fn takes_rows(&self, bytes: usize) -> Result<(), StoreError>;

    /// Clears what the engine's files still hold of what was deleted, as far as that is in this process's hand: a server's files
    /// are its own. Costs nothing if nothing was deleted since.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn clear_remains(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Users and their sessions.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Makes a user and their own room (private, theirs, `bot: always`), both or neither.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if a user or room has this name, or one that looks the same
    /// ([`crate::names::skeleton`]). After [`StoreError::Unavailable`] the user may have been made all the same.
    async fn create_user(&self, name: &str, password_hash: &str) -> Result<(), StoreError>;

    /// The hash of a user's password; none if there is no such user, or not any more, or they have none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn password_hash(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Keeps a session, and nothing else.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn create_session(
        &self,
        session: &Session,
        token_hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        self.begin_session(session, token_hash, LogIn::default())
            .await
            .map(drop)
    }

    /// Keeps a session, and what goes along with a log-in, all or nothing. Where the user has more sessions then than they
    /// may, those end that were unused for longest; these are told. Of the devices that are known, the
    /// [`DEVICES_PER_USER`] that were used last are kept.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the account is disabled, or has another password by now, or the identity leads elsewhere.
    async fn begin_session(
        &self,
        session: &Session,
        token_hash: &[u8; 32],
        log_in: LogIn<'_>,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Whether this user, or anybody, has logged in on this device, last after `since_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn knows_device(
        &self,
        user: Option<&str>,
        device_hash: &[u8; 32],
        since_ms: u64,
    ) -> Result<bool, StoreError>;

    /// The session of this token, unless it has expired by `now_ms`, or its account is disabled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn session(
        &self,
        token_hash: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<Session>, StoreError>;

    /// A user's sessions that have not expired by `now_ms`, the latest used first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn sessions(&self, user: &str, now_ms: u64) -> Result<Vec<Session>, StoreError>;

    /// Ends one of a user's sessions. False if there was none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn end_session(&self, user: &str, session: Uuid) -> Result<bool, StoreError>;

    /// Which of these sessions still hold at `now_ms`: not those of accounts that are disabled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn live_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
    ) -> Result<HashSet<Uuid>, StoreError>;

    /// Notes that sessions were used at `now_ms`, and puts off their expiry to `expires_at_ms`, but not beyond
    /// `longest_ms` after they began.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn touch_sessions(
        &self,
        sessions: &[Uuid],
        now_ms: u64,
        expires_at_ms: u64,
        longest_ms: Option<u64>,
    ) -> Result<(), StoreError>;

    /// Deletes what has expired by `now_ms`, at most a few thousand at a time. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn sweep_sessions(&self, now_ms: u64) -> Result<u64, StoreError>;
}

/// The most devices of one user that are known: more than anybody has, and few enough to be found at once.
pub const DEVICES_PER_USER: u32 = 20;

/// What goes along with a log-in.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogIn<'a> {
    /// What was kept of the password that was looked at, if one was: it has to be kept still.
    pub password_hash: Option<&'a str>,
    /// What is kept of the [`Identity`] that was shown, if one was: it has to lead to this user still.
    pub identity_hash: Option<[u8; 32]>,
    /// What is kept of the device's random value, if it is to be known from now on.
    pub device_hash: Option<[u8; 32]>,
    /// The most sessions the user may have, this one included; none is any number.
    pub sessions_max: Option<NonZeroU32>,
}

/// One log-in on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Names it, for listing and revoking; not the token.
    pub id: Uuid,
    /// Whose it is.
    pub user: String,
    /// What the device says it is (its `User-Agent`), cut to 200 characters.
    pub device: String,
    /// In milliseconds since the Unix epoch, as all times here.
    pub created_at_ms: u64,
    /// When it was last noted as used.
    pub last_seen_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
    /// It is no log-in but a [token](ProgramToken), which may do less.
    #[serde(default)]
    pub is_token: bool,
}

/// Rooms and who may see them.
#[async_trait]
pub trait Rooms: Send + Sync + 'static {
    /// Makes a room, however many its owner has.
    ///
    /// # Errors
    /// As [`Rooms::create_room_within`].
    async fn create_room(&self, room: &Room) -> Result<(), StoreError> {
        self.create_room_within(room, RoomLimits::default()).await
    }

    /// Makes a room, if its owner has not as many as one may: also if many are asked for at once, by whichever processes.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if a user or room has this very name, or a room had it that was deleted, or a user one that
    /// looks the same (`room-1` and `room-l` may both exist: nobody is taken for a room); [`StoreError::Full`] and
    /// [`StoreError::TooOften`] by the limits.
    async fn create_room_within(&self, room: &Room, limits: RoomLimits) -> Result<(), StoreError>;

    /// A room, whoever asks; none if there is no such room.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn room(&self, name: &str) -> Result<Option<Room>, StoreError>;

    /// A room if `user` may see it: it is public and they are not banned, it is theirs, or they are a member.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn room_seen_by(&self, name: &str, user: &str) -> Result<Option<Room>, StoreError>;

    /// Notes what rooms look like that were made by a program of a version that did not, so that no user's name may look like
    /// theirs: a thousand rooms after this name. Returns the last of them; none if there are no more. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn note_looks(&self, after: &str) -> Result<Option<String>, StoreError>;

    /// The rooms a user may see, at most `limit` of them: their own and those they are a member of by name, then those
    /// they are invited to, then the public ones. `after` is the last room of the page before. (If the user's part in that
    /// room has changed since, the page may begin a little too early or too late.)
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn rooms_listed(
        &self,
        user: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ListedRoom>, StoreError>;

    /// Changes a room, and leaves what is not to be changed as it is, also where somebody else changes that at the same
    /// moment. Returns the room as it is then; none if there is no such room. Where it is [handed over](HandOver) as well,
    /// all of it is done or nothing.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if it is not `by`'s; of handing it over also if it is not that owner's, [`StoreError::Full`]
    /// if the new one owns as many rooms as one may, and [`StoreError::NotFound`] if they cannot take it.
    async fn change_room(
        &self,
        name: &str,
        changes: &RoomChanges,
        by: RoomKeeper<'_>,
    ) -> Result<Option<Room>, StoreError>;

    /// Deletes a room with its members, invitations and bans; what was said in it is taken away by [`Removals`] then. Its
    /// name is nobody's from now on. Its owner may, and an administrator, whose deed is written into the audit log. False if
    /// there is no such room.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if it is not `by`'s, or somebody's own room.
    async fn delete_room(&self, name: &str, by: RoomKeeper<'_>) -> Result<bool, StoreError>;

    /// Has a user not see a room any more, and not be invited to it, until the ban is lifted; ends their membership.
    /// Idempotent. False if there is no such user, or no such room.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the room is theirs, or not `by`'s; [`StoreError::Full`] beyond [`BANS_PER_ROOM`].
    async fn ban(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError>;

    /// Lifts a ban. Idempotent. False if there was none.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the room is not `by`'s.
    async fn lift_ban(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError>;

    /// Who is banned from a room, by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn bans(&self, room: &str) -> Result<Vec<String>, StoreError>;

    /// Lets a user see a private room, without asking them. Idempotent. False if there is no such user.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Full`] beyond [`MEMBERS_PER_ROOM`]; [`StoreError::Forbidden`] if they are
    /// banned.
    async fn add_member(&self, room: &str, user: &str) -> Result<bool, StoreError>;

    /// Lets a user see a room, as one who is invited to it by its owner and has not said yet what they think of it. Leaves a
    /// membership that is there as it is.
    ///
    /// # Errors
    /// [`StoreError::Full`] beyond [`MEMBERS_PER_ROOM`] and the limits of [invitations](INVITATIONS_OPEN_MAX);
    /// [`StoreError::TooOften`] beyond those that pass; [`StoreError::Forbidden`] if they are banned, or the room is
    /// not `by`'s.
    async fn invite(&self, room: &str, user: &str, by: &str) -> Result<Invited, StoreError>;

    /// Takes an invitation that stands. False if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn take_invitation(&self, room: &str, user: &str) -> Result<bool, StoreError>;

    /// Who is invited to a room and has not taken it yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn invited(&self, room: &str) -> Result<Vec<String>, StoreError>;

    /// What a user is to a room beside its owner; none if nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn membership(&self, room: &str, user: &str) -> Result<Option<Membership>, StoreError>;

    /// Ends a membership, and an invitation with it: one's own, or as the owner anybody's. Idempotent. False if they were none.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if it is somebody else's and the room is not `by`'s.
    async fn remove_member(&self, room: &str, user: &str, by: &str) -> Result<bool, StoreError>;

    /// The members of a room beside its owner, by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn members(&self, room: &str) -> Result<Vec<String>, StoreError>;
}

/// The most members of one room.
pub const MEMBERS_PER_ROOM: usize = 10_000;
/// The most people who are banned from one room: they are read with it.
pub const BANS_PER_ROOM: usize = 10_000;
/// The most invitations that stand open for one person, by everybody: a list that can be looked through.
pub const INVITATIONS_OPEN_MAX: u32 = 200;
/// The most of them by one owner: nobody's list is one stranger's.
pub const INVITATIONS_OPEN_BY_ONE: u32 = 5;
/// And by all owners together whose accounts are younger than [`ACCOUNT_NEW_FOR`]: a crowd of accounts that somebody has just
/// made fills half of a list, and the other half is for those who have been here for a while.
pub const INVITATIONS_OPEN_BY_NEW: u32 = INVITATIONS_OPEN_MAX / 2;
/// How long an account is new.
pub const ACCOUNT_NEW_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often within [`INVITATIONS_ENDED_KNOWN`] one person may decline an owner, or the owner withdraw, before they are not
/// invited by that owner again for as long. Once is a mistake, three times is an answer.
pub const INVITATIONS_ENDED_MAX: u32 = 3;
/// How long it is known that an invitation was declined or withdrawn.
pub const INVITATIONS_ENDED_KNOWN: Duration = Duration::from_secs(24 * 60 * 60);
/// The most invitations of one owner within an hour that were not taken: what is welcome does not count.
pub const INVITATIONS_PER_HOUR: u32 = 500;
/// The hour in which rooms and invitations are counted.
pub const COUNTED_WITHIN: Duration = Duration::from_secs(60 * 60);
/// The most characters of a persona.
pub const PERSONA_MAX_CHARS: usize = 2_000;
/// The most characters of a room's title: a line of a list.
pub const TITLE_MAX_CHARS: usize = 100;
/// And of its topic.
pub const TOPIC_MAX_CHARS: usize = 500;

/// How many rooms one user may own, their own not counted; none is as many as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomLimits {
    /// In all.
    pub owned: Option<NonZeroU32>,
    /// Made within an hour, those that were deleted since with them.
    pub per_hour: Option<NonZeroU32>,
}

/// What became of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invited {
    /// It stands from now on.
    Now,
    /// They see the room already: they are its owner, a member, or invited.
    Already,
    /// There is no such user, or no such room.
    Nobody,
}

/// What somebody is to a room that is not theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Who invited them, as long as they have not taken it.
    pub invited_by: Option<String>,
}

/// A room in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedRoom {
    /// Its name.
    pub name: String,
    /// What it is called where it is shown; empty for its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Whether only its owner and members see it.
    pub private: bool,
    /// When the bot answers.
    pub bot: BotPolicy,
    /// Who may change it.
    pub owner: String,
    /// The highest `seq` in it; 0 if it has no message.
    pub latest: Seq,
    /// How far the user that asked has read it; 0 if they never have.
    pub read: Seq,
    /// How many messages of others are behind that in the database, up to [`UNREAD_MAX`]; 0 in a public room that they have
    /// neither read nor are a member of.
    pub unread: u32,
    /// Who invited the user that asked, as long as they have not taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
}

/// A room. What is not set about it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Whether only its owner and members see it.
    pub private: bool,
    /// When the bot answers.
    pub bot: BotPolicy,
    /// Who the bot is to be here; empty for itself.
    pub persona: String,
    /// Who may change it.
    pub owner: String,
    /// What it is called where it is shown; empty for its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// How many days it keeps what is said in it, if that is set for it; the server's setting holds where it is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<NonZeroU32>,
    /// What it has chosen of the bot.
    #[serde(flatten)]
    pub choices: BotChoices,
    /// Whether the bot answers [programs](Standing::program) here as it does people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bot_answers_programs: bool,
}

impl Room {
    /// Whether a message asks the bot, of a program or of a person.
    pub fn asks_bot(&self, message: &str, by_program: bool) -> bool {
        (self.bot_answers_programs || !by_program) && self.bot.asks(message)
    }
}

/// What a room has chosen of the bot; of what it has not, it has what the server has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BotChoices {
    /// Its model, by the name that the model's API knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much it thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// Whether it looks things up, where the server lets it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub search: bool,
}

/// How much a model is to think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// Not at all, or as little as it can.
    Off,
    /// A little.
    #[default]
    Low,
    /// As much as most models do by themselves.
    Medium,
    /// As much as it can, however long that takes.
    High,
}

impl Thinking {
    /// All of them, the least first.
    pub const ALL: [Thinking; 4] = [
        Thinking::Off,
        Thinking::Low,
        Thinking::Medium,
        Thinking::High,
    ];

    /// The word in the settings, in the database and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Thinking::Off => "off",
            Thinking::Low => "low",
            Thinking::Medium => "medium",
            Thinking::High => "high",
        }
    }

    /// The one that [`Thinking::as_str`] wrote.
    pub fn from_word(word: &str) -> Option<Thinking> {
        Thinking::ALL
            .into_iter()
            .find(|thinking| thinking.as_str() == word)
    }
}

/// The most bytes of a model's name.
pub const MODEL_NAME_MAX_BYTES: usize = 100;

/// What of a room's [choices](BotChoices) is to be changed; a none within takes a choice back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceChanges {
    /// Its model.
    pub model: Option<Option<String>>,
    /// How much it thinks.
    pub thinking: Option<Option<Thinking>>,
    /// Whether it looks things up.
    pub search: Option<bool>,
}

impl ChoiceChanges {
    /// Lays the changes over what was chosen before.
    pub fn over(&self, before: BotChoices) -> BotChoices {
        BotChoices {
            model: self.model.clone().unwrap_or(before.model),
            thinking: self.thinking.unwrap_or(before.thinking),
            search: self.search.unwrap_or(before.search),
        }
    }
}

/// What of a room is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomChanges {
    /// Whether only its owner and members see it.
    pub private: Option<bool>,
    /// When the bot answers.
    pub bot: Option<BotPolicy>,
    /// Who the bot is to be here; empty for itself.
    pub persona: Option<String>,
    /// What it is called where it is shown; empty for its name.
    pub title: Option<String>,
    /// What it is about.
    pub topic: Option<String>,
    /// How many days it keeps what is said in it; none of its own if `Some(None)`.
    pub retention_days: Option<Option<NonZeroU32>>,
    /// What of its choices of the bot.
    pub choices: ChoiceChanges,
    /// Whether the bot answers programs.
    pub bot_answers_programs: Option<bool>,
    /// Whose it is to be.
    pub hand_over: Option<HandOver>,
}

/// A room that gets another owner: a member who has said yes to being one; from an administrator anybody whose account is
/// not disabled. The old one stays as a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Whose it has to be still.
    pub from: String,
    /// Whose it is to be.
    pub to: String,
    /// How many rooms they may own then.
    pub owned_max: Option<NonZeroU32>,
}

/// Who disposes of a room. Whether they may is looked up together with the deed, under the lock of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomKeeper<'a> {
    /// Its owner, and only as long as they are.
    Owner(&'a str),
    /// Whoever administers the server, and only as long as they do.
    Administrator(&'a str),
    /// Whoever may use the database, at the command line.
    Operator,
}

impl<'a> RoomKeeper<'a> {
    /// Who did it, as the audit log has it; owners do what they like with what is theirs.
    pub fn in_the_log(self) -> Option<&'a str> {
        match self {
            RoomKeeper::Owner(_) => None,
            RoomKeeper::Administrator(name) => Some(name),
            RoomKeeper::Operator => Some(OPERATOR),
        }
    }
}

/// When the bot answers a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BotPolicy {
    /// Every message of a person.
    Always,
    /// Messages with `@bot` in them.
    #[default]
    Mention,
    /// None.
    Off,
}

impl BotPolicy {
    /// The word in the database and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            BotPolicy::Always => "always",
            BotPolicy::Mention => "mention",
            BotPolicy::Off => "off",
        }
    }

    /// The policy that [`BotPolicy::as_str`] wrote.
    pub fn from_word(word: &str) -> Option<BotPolicy> {
        [BotPolicy::Always, BotPolicy::Mention, BotPolicy::Off]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }

    /// Whether a message of a person asks the bot. `@bot` counts anywhere in it, as a word of its own, in any case.
    pub fn asks(self, message: &str) -> bool {
        match self {
            BotPolicy::Always => true,
            BotPolicy::Mention => mentions_bot(message),
            BotPolicy::Off => false,
        }
    }
}

fn mentions_bot(message: &str) -> bool {
    // Letters of other scripts than Latin do not go on with a name: in many of them no blank is set before or after it.
    let is_latin = |c: char| matches!(c, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
    let is_name = |c: char| matches!(c, '_' | '-') || (is_latin(c) && c.is_alphanumeric());
    let lower = message.to_lowercase();
    lower.match_indices("@bot").any(|(at, mention)| {
        let before = lower[..at].chars().next_back();
        let after = lower[at + mention.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// Every message, by its `seq`.
#[async_trait]
pub trait Messages: Send + Sync + 'static {
    /// Writes messages (with how a reply came about, where an envelope says it) in one commit and few statements.
    /// Idempotent on (room, id) and on (room, seq): one that is there already is left as it is. Sorted by key inside,
    /// and tried again on deadlock and lock-wait, so that any number of writers may run.
    ///
    /// Events are written like messages, and change theirs whichever comes first and however often: the newest edit by its
    /// place wins, and a deletion over everything. What is deleted loses its text, its edits do too, and none of them gets one
    /// again, whatever is written later.
    ///
    /// # Errors
    /// [`WriteError::Rejected`]: nothing was written. [`WriteError::Unavailable`]: nothing or, where the answer to the
    /// commit was lost, all of it.
    async fn write(&self, batch: &[Envelope]) -> Result<Written, WriteError>;

    /// A room's messages, in their newest state, and the events among them, after a `seq`, ascending, at most `limit`, with
    /// `prev` filled in from the database.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn after(&self, room: &str, after: Seq, limit: usize)
    -> Result<Vec<Message>, StoreError>;

    /// A room's last messages before a `seq` (`Seq::MAX` for the very last), in their newest state and without the events
    /// among them, ascending, at most `limit`; `prev` is the place of the message before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError>;

    /// The highest `seq` in a room, of a message or an event; 0 if it has none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn latest(&self, room: &str) -> Result<Seq, StoreError>;

    /// The message with this id in this room, in its newest state, or the event, with `prev` 0.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, StoreError>;

    /// Which of these messages, by room and id, are deleted, whether they were ever written or not.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deleted(
        &self,
        messages: &[(String, Uuid)],
    ) -> Result<HashSet<(String, Uuid)>, StoreError>;

    /// Messages that were deleted, by the place of their deletion, from a place on and that one included: at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deleted_since(
        &self,
        since: Seq,
        limit: usize,
    ) -> Result<Vec<DeletedMessage>, StoreError>;

    /// How many messages are deleted, and how many rooms are, or have lost something by age: other numbers say that others are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deletions(&self) -> Result<(u64, u64), StoreError>;

    /// Messages of one sender that are not deleted, in their newest state, with `prev` 0: a page of at most `limit`, from behind a
    /// place on, by room and place. For what is done seldom and in the background: there is no index by sender, which every
    /// message would pay for, so all messages are looked through once, a bounded piece for each page. A page may be empty and
    /// not the last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn by_sender(
        &self,
        sender: &str,
        after: &SentAt,
        limit: usize,
    ) -> Result<SentPage, StoreError>;

    /// Which of these ids the room has, and which server says so.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn look_up(&self, room: &str, ids: &[Uuid]) -> Result<LookedUp, StoreError>;

    /// Which of these ids the room has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn existing(&self, room: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        Ok(self.look_up(room, ids).await?.existing)
    }
}

/// A message that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedMessage {
    /// The room.
    pub room: String,
    /// Which message of it.
    pub id: Uuid,
    /// The place of its deletion.
    pub deleted: Seq,
}

/// A place among all messages, ordered by room. The default is before all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentAt {
    /// The room.
    pub room: String,
    /// The place in it.
    pub seq: Seq,
}

/// What one sender has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPage {
    /// By room and place.
    pub messages: Vec<Message>,
    /// Where the next page begins; none if this was the last.
    pub next: Option<SentAt>,
}

/// What is in the database of what was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// These are.
    pub existing: HashSet<Uuid>,
    /// The server that answered, as [`Store::server`] names it.
    pub server: Arc<str>,
}

/// Rooms that nobody can have, since no name begins like this: their rows are Chinwag's own notes to itself. Each process
/// may append to this a name of its own.
pub const NOTES_ROOM: &str = ":";

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that are new. With another writer at the same rows, both may count them.
    pub new: usize,
    /// Positions in the batch of messages whose (room, seq) another id already has, or whose id has another sender or
    /// text, or changes another message. They are not stored; that is not to be passed over in silence. (The same message under
    /// another seq is no such thing: it is stored. Nor is one whose text was taken away.)
    pub conflicts: Vec<usize>,
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The engine is away or too busy: the same batch will do later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The engine refused the batch, or hung up on it, for a reason that is not known here: it may be a row's fault or the
    /// engine's. Where [`Store::takes_rows`] says that rows are taken, and it happens again and again, it is a row's.
    #[error("the store refused it: {0}")]
    Unexplained(String),
    /// At least one row can never be written. Split the batch to find it.
    #[error("a row cannot be written: {0}")]
    Rejected(String),
}

impl Retryable for WriteError {
    fn retry(&self) -> Retry {
        match self {
            WriteError::Unavailable(_) | WriteError::Unexplained(_) => Retry::Again,
            WriteError::Rejected(_) => Retry::Never,
        }
    }
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine is away or too busy. Try again after a moment.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The name is taken, or looks like one that is.
    #[error("this name is taken, or looks like one that is")]
    Taken,
    /// It is not allowed as things are. Why, in words for people.
    #[error("{0}")]
    Forbidden(String),
    /// A limit is reached that does not pass by itself. Which one, in words for people.
    #[error("{0}")]
    Full(String),
    /// A limit is reached that passes.
    #[error("{limit}")]
    TooOften {
        /// Which one, in words for people.
        limit: String,
        /// When it has passed.
        again_in: Duration,
    },
    /// What it is about is not there, or not any more. What, in words for people.
    #[error("{0}")]
    NotFound(String),
}

impl Retryable for StoreError {
    fn retry(&self) -> Retry {
        match self {
            StoreError::Unavailable(_) => Retry::Again,
            StoreError::Taken
            | StoreError::Full(_)
            | StoreError::TooOften { .. }
            | StoreError::Forbidden(_)
            | StoreError::NotFound(_) => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BotPolicy::{Always, Mention, Off};

    #[test]
    fn the_bot_is_asked_by_its_name_as_a_word_of_its_own() {
        for message in ["@bot hi", "hi @Bot!", "(@bot)", "what now, @bot?", "@bot"] {
            assert!(Mention.asks(message), "{message:?}");
        }
        for message in [
            "bot hi", "@bottle", "ada@bot", "@bot-2", "@bot_", "hi", "é@bot", "@botế",
        ] {
            assert!(!Mention.asks(message), "{message:?}");
        }
        assert!(Always.asks("hi") && !Off.asks("@bot"));
    }

    #[test]
    fn no_blank_is_needed_beside_its_name_where_a_script_sets_none() {
        for message in [
            "ねえ@bot教えて",
            "请@bot回答",
            "@bot에게",
            "ช่วย@botหน่อย",
            "ל@bot",
            "و@bot،",
            "कृपया@bot।",
        ] {
            assert!(Mention.asks(message), "{message:?}");
        }
    }
}
