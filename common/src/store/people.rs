//! Who may come in and who keeps order: invitations to the server, passwords, administrators, and the log of what they did.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use super::{
    StoreError,
    usage::{UsageAsked, UsageSum},
};

/// Who made an invitation that no account made: the operator, at the command line.
pub const OPERATOR: &str = "";
/// Who made the invitation that a server without accounts makes by itself. It is worth something until there is an
/// administrator.
pub const THE_SERVER: &str = ":";

/// The most invitations to the server of one account that may still be used.
pub const INVITES_STANDING_MAX: u32 = 50;
/// The same of an administrator.
pub const INVITES_STANDING_MAX_OF_ADMINISTRATORS: u32 = 1_000;
/// The most invitations to the server of one account within an hour, those that were withdrawn since among them.
pub const INVITES_PER_HOUR: u32 = 100;
/// The same of an administrator.
pub const INVITES_PER_HOUR_OF_ADMINISTRATORS: u32 = 1_000;
/// The most people who may come by one invitation.
pub const INVITE_USES_MAX: u32 = 1_000;
/// The most lines of a list that is not read in pages.
pub const LISTED_MAX: usize = 2_000;

/// What an account is beyond its name and password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// They administer the server.
    pub admin: bool,
    /// Nobody gets in as them, and no session or token of theirs holds. So it is too with one that is deleted.
    pub disabled: bool,
    /// They are gone for good; the name stays theirs, so that nobody else is taken for them.
    pub deleted: bool,
    /// It is a program, and no person: the bot does not answer it, unless a room says so.
    pub program: bool,
}

/// Who does something to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor<'a> {
    /// Whoever may use the database, at the command line.
    Operator,
    /// An account. Whether it may is looked up together with the deed: rights that were lost a moment ago are worth nothing.
    Account(&'a str),
}

impl<'a> Actor<'a> {
    /// As the log has it.
    pub fn name(self) -> &'a str {
        match self {
            Actor::Operator => OPERATOR,
            Actor::Account(name) => name,
        }
    }
}

/// What of an account is to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandingChanges {
    /// Whether they administer.
    pub admin: Option<bool>,
    /// Whether nobody gets in as them.
    pub disabled: Option<bool>,
    /// Whether they are a program.
    pub program: Option<bool>,
}

/// An invitation to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Names it, for listing and withdrawing; not the token.
    pub id: Uuid,
    /// Who made it: an account, [`OPERATOR`] or [`THE_SERVER`].
    pub made_by: String,
    /// Whoever takes it is an administrator.
    pub admin: bool,
    /// The room whose member one becomes.
    pub room: Option<String>,
    /// How many may take it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// In milliseconds since the Unix epoch, as all times here.
    pub made_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
}

/// An account in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAccount {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at_ms: u64,
    /// What it is.
    pub standing: Standing,
    /// Its sessions, those that have expired lately among them.
    pub sessions: u64,
    /// When one of those was last noted as used.
    pub last_seen_at_ms: Option<u64>,
    /// The rooms it owns, its own not counted.
    pub rooms: u64,
}

/// A room in an administrator's list: what it is, and nothing of what is said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRoom {
    /// Its name.
    pub name: String,
    /// Who may change it.
    pub owner: String,
    /// Whether only its owner and members see it.
    pub private: bool,
    /// When it was made.
    pub created_at_ms: u64,
    /// Its members beside the owner.
    pub members: u64,
    /// The highest `seq` in it; 0 if it has no message.
    pub latest: u64,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Higher than those of the lines before it.
    pub id: u64,
    /// When it was done.
    pub at_ms: u64,
    /// Who did it: an account, or [`OPERATOR`].
    pub actor: String,
    /// What was done, as one word.
    pub deed: String,
    /// To which account or room.
    pub subject: String,
    /// The rest, in words.
    pub detail: String,
}

/// Somebody who left and whose messages are to go with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Who.
    pub user: String,
    /// The room up to which they are gone, in the order of names.
    pub after_room: String,
}

/// Accounts as those see them who keep the door.
#[async_trait]
pub trait People: Send + Sync + 'static {
    /// What an account is just now; none if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn standing(&self, user: &str) -> Result<Option<Standing>, StoreError>;

    /// The names of all accounts that are programs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn programs(&self) -> Result<HashSet<String>, StoreError>;

    /// Whether anybody ever had an account here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn has_accounts(&self) -> Result<bool, StoreError>;

    /// Accounts of which something changed after `since_ms` that others may remember otherwise: what they are, or which of
    /// their sessions hold; and when.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn standings_changed(&self, since_ms: u64) -> Result<Vec<(String, u64)>, StoreError>;

    /// Keeps an invitation.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if its maker may not: to be an administrator is given by administrators alone, a room by its
    /// owner, a public one also by administrators. [`StoreError::Full`] beyond [`INVITES_STANDING_MAX`].
    async fn make_invite(&self, invite: &Invite, token_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// Invitations that are neither withdrawn nor expired by `now_ms`, the newest first: of one maker, or all.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn invites(&self, by: Option<&str>, now_ms: u64) -> Result<Vec<Invite>, StoreError>;

    /// Withdraws an invitation: one's own, or as an administrator anybody's. False if there is no such one that stands.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn withdraw_invite(&self, actor: Actor<'_>, id: Uuid) -> Result<bool, StoreError>;

    /// Whether somebody could come by this invitation just now, as [`People::create_invited_user`] has it.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] with what is wrong with the invitation.
    async fn check_invite(
        &self,
        token_hash: &[u8; 32],
        by_keepers_alone: bool,
    ) -> Result<(), StoreError>;

    /// Makes a user as [`Accounts::create_user`](super::Accounts::create_user) does, by an invitation, which is used once
    /// more then: of two who come with its last use, one gets in. With `by_keepers_alone` it must have been made by somebody
    /// who administers the server now. If it names a room that its maker may still give, they are a member of it; that room
    /// is told.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] with what is wrong with the invitation; [`StoreError::Taken`].
    async fn create_invited_user(
        &self,
        name: &str,
        password_hash: &str,
        token_hash: &[u8; 32],
        by_keepers_alone: bool,
    ) -> Result<Option<String>, StoreError>;

    /// Sets a new password where the one that is kept is still `kept`. Ends the user's sessions but this one, which are told,
    /// links to set another password, and forgets their devices but this one. None if another password is kept by now.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the account is disabled.
    async fn change_password(
        &self,
        user: &str,
        kept: &str,
        new: &str,
        session: Uuid,
        device_hash: Option<[u8; 32]>,
    ) -> Result<Option<Vec<Uuid>>, StoreError>;

    /// Ends a user's sessions but this one, which are told, and forgets their devices but this one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn end_other_sessions(
        &self,
        user: &str,
        session: Uuid,
        device_hash: Option<[u8; 32]>,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Keeps a link to set a new password, in the place of earlier ones. False if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the actor does not administer.
    async fn make_reset(
        &self,
        actor: Actor<'_>,
        user: &str,
        token_hash: &[u8; 32],
        expires_at_ms: u64,
    ) -> Result<bool, StoreError>;

    /// Whose password such a link sets.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if it is unknown, was used or has expired, or if the account is disabled.
    async fn reset_of(&self, token_hash: &[u8; 32]) -> Result<String, StoreError>;

    /// Sets the new password by the link, once. Ends all sessions and tokens of the user, which are told, and forgets
    /// their devices and the identities that lead to them: nothing but the password leads into the account then.
    ///
    /// # Errors
    /// As [`People::reset_of`].
    async fn use_reset(
        &self,
        token_hash: &[u8; 32],
        password_hash: &str,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Changes what an account is. Returns that, and the sessions that ended with it; none if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] if the actor does not administer, if nobody would any more, or if the account is deleted.
    async fn change_standing(
        &self,
        actor: Actor<'_>,
        user: &str,
        changes: StandingChanges,
    ) -> Result<Option<(Standing, Vec<Uuid>)>, StoreError>;

    /// Deletes an account, one's own or as an administrator anybody's: its password, sessions, devices, links, invitations
    /// and memberships. The name stays taken, and rooms keep their owner's name until somebody else is made their owner.
    /// Returns the sessions that ended with it; none if there is no such account. With `with_messages` what they wrote is to
    /// go too. Where the password was asked for, `kept` is what was kept of it.
    ///
    /// # Errors
    /// As [`People::change_standing`]; [`StoreError::Forbidden`] also if something other than `kept` is kept by now.
    async fn delete_account(
        &self,
        actor: Actor<'_>,
        user: &str,
        kept: Option<&str>,
        with_messages: bool,
    ) -> Result<Option<Vec<Uuid>>, StoreError>;

    /// The names of deleted accounts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn deleted_accounts(&self) -> Result<Vec<String>, StoreError>;

    /// Somebody who left before `left_before_ms`, whose messages are to go and with whom no process says at `now_ms` that it
    /// goes on. The caller does, until `until_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn claim_departure(
        &self,
        now_ms: u64,
        until_ms: u64,
        left_before_ms: u64,
    ) -> Result<Option<Departure>, StoreError>;

    /// Notes up to which room somebody's messages are gone, and until when the caller goes on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn departure_reached(
        &self,
        user: &str,
        after_room: &str,
        until_ms: u64,
    ) -> Result<(), StoreError>;

    /// Nothing is left of what somebody wrote.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn departure_done(&self, user: &str) -> Result<(), StoreError>;

    /// The names of all rooms that come after a name, in order.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn room_names(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Accounts by name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn accounts_listed(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ListedAccount>, StoreError>;

    /// Rooms by name, those not among them that belong to an account's name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn rooms_kept(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeptRoom>, StoreError>;

    /// Sums over the log of replies. Reads every row of its days: for administrators.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn usage_sums(&self, asked: &UsageAsked) -> Result<Vec<UsageSum>, StoreError>;

    /// Lines of the log, the newest first, those before an id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreError>;

    /// Deletes invitations, links and [spent log-ins](super::Identities::spend_sign_on) that ended before `before_ms`, and lines of the log from before `audit_before_ms`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn sweep_door(&self, before_ms: u64, audit_before_ms: u64) -> Result<(), StoreError>;
}
