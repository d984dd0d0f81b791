//! The store seam.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use common::{
    envelope::Envelope,
    quota::budgets::PastSpending,
    store::{
        Accounts, Actor, AuditLine, ByInvite, DeletedMessage, Departure, Identities, Identity,
        Invite, Invited, KeptRoom, LinkedIdentity, ListedAccount, ListedRoom, LogIn, LookedUp,
        Membership, Messages, OldRooms, People, ProgramToken, ReadMark, ReadMarks, Removals,
        Retention, Room, RoomChanges, RoomKeeper, RoomLimits, RoomRetention, Rooms, SentAt,
        SentPage, Session, SpendingLine, Spendings, Standing, StandingChanges, Store, StoreError,
        Tokens, WaysIn, WriteError, Written,
        usage::{UsageAsked, UsageSum},
    },
    wire::{Message, Seq},
};
use uuid::Uuid;

use crate::{Faults, passes_on};

/// A store behind a network.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    /// What befalls its calls.
    pub faults: Faults,
}

impl FaultyStore {
    /// This engine, behind a network in which all is well.
    pub fn over(inner: Arc<dyn Store>) -> Arc<FaultyStore> {
        let faults = Faults::of(CALLS);
        Arc::new(FaultyStore { inner, faults })
    }
}

passes_on! { FaultyStore, beside [],
    Store {
        async fn ping() -> Result<(), StoreError>;
        async fn server() -> Result<Arc<str>, StoreError>;
        async fn takes_rows(bytes: usize) -> Result<(), StoreError>;
        async fn clear_remains() -> Result<(), StoreError>;
    }
    Accounts {
        async fn create_user(name: &str, password_hash: &str) -> Result<(), StoreError>;
        async fn password_hash(name: &str) -> Result<Option<String>, StoreError>;
        async fn begin_session(session: &Session, token_hash: &[u8; 32], log_in: LogIn<'_>) -> Result<Vec<Uuid>, StoreError>;
        async fn knows_device(user: Option<&str>, device_hash: &[u8; 32], since_ms: u64) -> Result<bool, StoreError>;
        async fn session(token_hash: &[u8; 32], now_ms: u64) -> Result<Option<Session>, StoreError>;
        async fn sessions(user: &str, now_ms: u64) -> Result<Vec<Session>, StoreError>;
        async fn end_session(user: &str, session: Uuid) -> Result<bool, StoreError>;
        async fn live_sessions(sessions: &[Uuid], now_ms: u64) -> Result<HashSet<Uuid>, StoreError>;
        async fn touch_sessions(sessions: &[Uuid], now_ms: u64, expires_at_ms: u64, longest_ms: Option<u64>) -> Result<(), StoreError>;
        async fn sweep_sessions(now_ms: u64) -> Result<u64, StoreError>;
    }
    Identities {
        async fn user_of_identity(identity: Identity<'_>) -> Result<Option<String>, StoreError>;
        async fn create_identified_user(name: &str, identity: Identity<'_>, invite: Option<ByInvite<'_>>) -> Result<Option<String>, StoreError>;
        async fn link_identity(user: &str, identity: Identity<'_>, session: Uuid) -> Result<(), StoreError>;
        async fn identities(user: &str) -> Result<Vec<LinkedIdentity>, StoreError>;
        async fn unlink_identity(user: &str, id: Uuid, passwords_count: bool) -> Result<bool, StoreError>;
        async fn ways_in(user: &str) -> Result<Option<WaysIn>, StoreError>;
        async fn take_identity(actor: Actor<'_>, user: &str, id: Uuid) -> Result<Option<WaysIn>, StoreError>;
        async fn spend_sign_on(attempt_hash: &[u8; 32], expires_at_ms: u64) -> Result<bool, StoreError>;
    }
    People {
        async fn standing(user: &str) -> Result<Option<Standing>, StoreError>;
        async fn programs() -> Result<HashSet<String>, StoreError>;
        async fn has_accounts() -> Result<bool, StoreError>;
        async fn standings_changed(since_ms: u64) -> Result<Vec<(String, u64)>, StoreError>;
        async fn make_invite(invite: &Invite, token_hash: &[u8; 32]) -> Result<(), StoreError>;
        async fn invites(by: Option<&str>, now_ms: u64) -> Result<Vec<Invite>, StoreError>;
        async fn withdraw_invite(actor: Actor<'_>, id: Uuid) -> Result<bool, StoreError>;
        async fn check_invite(token_hash: &[u8; 32], by_keepers_alone: bool) -> Result<(), StoreError>;
        async fn create_invited_user(name: &str, password_hash: &str, token_hash: &[u8; 32], by_keepers_alone: bool) -> Result<Option<String>, StoreError>;
        async fn change_password(user: &str, kept: &str, new: &str, session: Uuid, device_hash: Option<[u8; 32]>) -> Result<Option<Vec<Uuid>>, StoreError>;
        async fn end_other_sessions(user: &str, session: Uuid, device_hash: Option<[u8; 32]>) -> Result<Vec<Uuid>, StoreError>;
        async fn make_reset(actor: Actor<'_>, user: &str, token_hash: &[u8; 32], expires_at_ms: u64) -> Result<bool, StoreError>;
        async fn reset_of(token_hash: &[u8; 32]) -> Result<String, StoreError>;
        async fn use_reset(token_hash: &[u8; 32], password_hash: &str) -> Result<Vec<Uuid>, StoreError>;
        async fn change_standing(actor: Actor<'_>, user: &str, changes: StandingChanges) -> Result<Option<(Standing, Vec<Uuid>)>, StoreError>;
        async fn delete_account(actor: Actor<'_>, user: &str, kept: Option<&str>, with_messages: bool) -> Result<Option<Vec<Uuid>>, StoreError>;
        async fn deleted_accounts() -> Result<Vec<String>, StoreError>;
        async fn claim_departure(now_ms: u64, until_ms: u64, left_before_ms: u64) -> Result<Option<Departure>, StoreError>;
        async fn departure_reached(user: &str, after_room: &str, until_ms: u64) -> Result<(), StoreError>;
        async fn departure_done(user: &str) -> Result<(), StoreError>;
        async fn room_names(after: &str, limit: usize) -> Result<Vec<String>, StoreError>;
        async fn accounts_listed(after: Option<&str>, limit: usize) -> Result<Vec<ListedAccount>, StoreError>;
        async fn rooms_kept(after: Option<&str>, limit: usize) -> Result<Vec<KeptRoom>, StoreError>;
        async fn usage_sums(asked: &UsageAsked) -> Result<Vec<UsageSum>, StoreError>;
        async fn audit(before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreError>;
        async fn sweep_door(before_ms: u64, audit_before_ms: u64) -> Result<(), StoreError>;
    }
    Rooms {
        async fn create_room_within(room: &Room, limits: RoomLimits) -> Result<(), StoreError>;
        async fn room(name: &str) -> Result<Option<Room>, StoreError>;
        async fn room_seen_by(name: &str, user: &str) -> Result<Option<Room>, StoreError>;
        async fn note_looks(after: &str) -> Result<Option<String>, StoreError>;
        async fn rooms_listed(user: &str, after: Option<&str>, limit: usize) -> Result<Vec<ListedRoom>, StoreError>;
        async fn change_room(name: &str, changes: &RoomChanges, by: RoomKeeper<'_>) -> Result<Option<Room>, StoreError>;
        async fn delete_room(name: &str, by: RoomKeeper<'_>) -> Result<bool, StoreError>;
        async fn ban(room: &str, user: &str, by: &str) -> Result<bool, StoreError>;
        async fn lift_ban(room: &str, user: &str, by: &str) -> Result<bool, StoreError>;
        async fn bans(room: &str) -> Result<Vec<String>, StoreError>;
        async fn add_member(room: &str, user: &str) -> Result<bool, StoreError>;
        async fn invite(room: &str, user: &str, by: &str) -> Result<Invited, StoreError>;
        async fn take_invitation(room: &str, user: &str) -> Result<bool, StoreError>;
        async fn invited(room: &str) -> Result<Vec<String>, StoreError>;
        async fn membership(room: &str, user: &str) -> Result<Option<Membership>, StoreError>;
        async fn remove_member(room: &str, user: &str, by: &str) -> Result<bool, StoreError>;
        async fn members(room: &str) -> Result<Vec<String>, StoreError>;
    }
    Messages {
        async fn write(batch: &[Envelope]) -> Result<Written, WriteError>;
        async fn after(room: &str, after: Seq, limit: usize) -> Result<Vec<Message>, StoreError>;
        async fn before(room: &str, before: Seq, limit: usize) -> Result<Vec<Message>, StoreError>;
        async fn latest(room: &str) -> Result<Seq, StoreError>;
        async fn find(room: &str, id: Uuid) -> Result<Option<Message>, StoreError>;
        async fn deleted(messages: &[(String, Uuid)]) -> Result<HashSet<(String, Uuid)>, StoreError>;
        async fn deleted_since(since: Seq, limit: usize) -> Result<Vec<DeletedMessage>, StoreError>;
        async fn deletions() -> Result<(u64, u64), StoreError>;
        async fn by_sender(sender: &str, after: &SentAt, limit: usize) -> Result<SentPage, StoreError>;
        async fn look_up(room: &str, ids: &[Uuid]) -> Result<LookedUp, StoreError>;
    }
    ReadMarks {
        async fn mark_read(marks: &[ReadMark]) -> Result<(), StoreError>;
        async fn read_up_to(user: &str, room: &str) -> Result<Seq, StoreError>;
    }
    Spendings {
        async fn note_spending(line: &SpendingLine) -> Result<(), StoreError>;
        async fn drop_spendings(calls: &[Uuid]) -> Result<(), StoreError>;
        async fn spent_by_log(at: Seq) -> Result<Vec<PastSpending>, StoreError>;
    }
    Tokens {
        async fn create_token(token: &ProgramToken, token_hash: &[u8; 32], session: Uuid) -> Result<(), StoreError>;
        async fn token(token_hash: &[u8; 32], now_ms: u64) -> Result<Option<ProgramToken>, StoreError>;
        async fn tokens(user: &str, now_ms: u64) -> Result<Vec<ProgramToken>, StoreError>;
        async fn revoke_token(user: &str, token: Uuid) -> Result<bool, StoreError>;
        async fn live_tokens(ids: &[Uuid], now_ms: u64) -> Result<HashSet<Uuid>, StoreError>;
        async fn touch_tokens(ids: &[Uuid], now_ms: u64) -> Result<(), StoreError>;
    }
    Removals {
        async fn deleted_among(rooms: &[&str]) -> Result<HashSet<String>, StoreError>;
        async fn deletions_due(now_ms: u64, limit: usize) -> Result<Vec<String>, StoreError>;
        async fn erase_deleted(room: &str, limit: usize) -> Result<u64, StoreError>;
    }
    Retention {
        async fn retention_of(rooms: &[&str]) -> Result<HashMap<String, RoomRetention>, StoreError>;
        async fn take_old_rooms(now: Seq, server_days: Option<NonZeroU32>, limit: usize) -> Result<OldRooms, StoreError>;
        async fn clock() -> Result<Seq, StoreError>;
        async fn remove_old(room: &str, now: Seq, server_days: Option<NonZeroU32>, limit: usize) -> Result<u64, StoreError>;
        async fn streams_to_trim(limit: usize) -> Result<Vec<(String, Seq)>, StoreError>;
        async fn stream_is_trimmed(room: &str, until: Seq) -> Result<(), StoreError>;
        async fn sweep_reply_log(before_day: &str, limit: usize) -> Result<u64, StoreError>;
    }
}
