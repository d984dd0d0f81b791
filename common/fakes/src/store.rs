//! The store seam.

use std::{collections::HashSet, sync::Arc};

use common::{
    envelope::Envelope,
    store::{
        Accounts, Invited, ListedRoom, LogIn, LookedUp, Membership, Messages, Room, RoomChanges,
        RoomLimits, Rooms, Session, Store, StoreError, WriteError, Written,
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
    }
    Accounts {
        async fn create_user(name: &str, password_hash: &str) -> Result<(), StoreError>;
        async fn password_hash(name: &str) -> Result<Option<String>, StoreError>;
        async fn begin_session(session: &Session, token_hash: &[u8; 32], log_in: LogIn) -> Result<Vec<Uuid>, StoreError>;
        async fn knows_device(user: &str, device_hash: &[u8; 32], since_ms: u64) -> Result<bool, StoreError>;
        async fn session(token_hash: &[u8; 32], now_ms: u64) -> Result<Option<Session>, StoreError>;
        async fn sessions(user: &str, now_ms: u64) -> Result<Vec<Session>, StoreError>;
        async fn end_session(user: &str, session: Uuid) -> Result<bool, StoreError>;
        async fn live_sessions(sessions: &[Uuid], now_ms: u64) -> Result<HashSet<Uuid>, StoreError>;
        async fn touch_sessions(sessions: &[Uuid], now_ms: u64, expires_at_ms: u64, longest_ms: Option<u64>) -> Result<(), StoreError>;
        async fn sweep_sessions(now_ms: u64) -> Result<u64, StoreError>;
    }
    Rooms {
        async fn create_room_within(room: &Room, limits: RoomLimits) -> Result<(), StoreError>;
        async fn room(name: &str) -> Result<Option<Room>, StoreError>;
        async fn room_seen_by(name: &str, user: &str) -> Result<Option<Room>, StoreError>;
        async fn note_looks(after: &str) -> Result<Option<String>, StoreError>;
        async fn rooms_listed(user: &str, after: Option<&str>, limit: usize) -> Result<Vec<ListedRoom>, StoreError>;
        async fn change_room(name: &str, changes: &RoomChanges) -> Result<Option<Room>, StoreError>;
        async fn add_member(room: &str, user: &str) -> Result<bool, StoreError>;
        async fn invite(room: &str, user: &str, by: &str) -> Result<Invited, StoreError>;
        async fn take_invitation(room: &str, user: &str) -> Result<bool, StoreError>;
        async fn invited(room: &str) -> Result<Vec<String>, StoreError>;
        async fn membership(room: &str, user: &str) -> Result<Option<Membership>, StoreError>;
        async fn remove_member(room: &str, user: &str) -> Result<bool, StoreError>;
        async fn members(room: &str) -> Result<Vec<String>, StoreError>;
    }
    Messages {
        async fn write(batch: &[Envelope]) -> Result<Written, WriteError>;
        async fn after(room: &str, after: Seq, limit: usize) -> Result<Vec<Message>, StoreError>;
        async fn before(room: &str, before: Seq, limit: usize) -> Result<Vec<Message>, StoreError>;
        async fn latest(room: &str) -> Result<Seq, StoreError>;
        async fn find(room: &str, id: Uuid) -> Result<Option<Message>, StoreError>;
        async fn look_up(room: &str, ids: &[Uuid]) -> Result<LookedUp, StoreError>;
    }
}
