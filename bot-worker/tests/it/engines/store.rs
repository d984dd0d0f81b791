//! The store in memory.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use common::{
    envelope::Envelope,
    store::{
        Accounts, BotPolicy, Messages, Room, RoomChanges, Rooms, Session, Store, StoreError,
        WriteError, Written,
    },
    wire::{Message, Seq},
};
use uuid::Uuid;

use super::locked;

/// The store: rooms and messages only.
#[derive(Default)]
pub struct FakeStore {
    pub rooms: Mutex<Vec<Room>>,
    pub messages: Mutex<Vec<Message>>,
    pub away: AtomicBool,
}

impl FakeStore {
    pub fn add_room(&self, name: &str, persona: &str) {
        let room = Room {
            name: name.into(),
            private: false,
            bot: BotPolicy::Always,
            persona: persona.into(),
            owner: "ada".into(),
        };
        locked(&self.rooms).push(room);
    }

    fn here(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            Err(not_here())
        } else {
            Ok(())
        }
    }

    fn of(&self, room: &str) -> Vec<Message> {
        locked(&self.messages)
            .iter()
            .filter(|message| message.room == room)
            .cloned()
            .collect()
    }
}

fn not_here<E: From<StoreError>>() -> E {
    StoreError::Unavailable("away".into()).into()
}

#[async_trait]
impl Store for FakeStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.here()
    }
}

#[async_trait]
impl Messages for FakeStore {
    async fn write(&self, _: &[Envelope]) -> Result<Written, WriteError> {
        Err(WriteError::Unavailable("the worker writes nothing".into()))
    }

    async fn after(
        &self,
        room: &str,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.here()?;
        Ok(self
            .of(room)
            .into_iter()
            .filter(|message| message.seq > after)
            .take(limit)
            .collect())
    }

    async fn before(
        &self,
        room: &str,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        self.here()?;
        let mut all = self.of(room);
        all.retain(|message| message.seq < before);
        all.drain(..all.len().saturating_sub(limit));
        Ok(all)
    }

    async fn latest(&self, room: &str) -> Result<Seq, StoreError> {
        self.here()?;
        Ok(self.of(room).last().map_or(0, |message| message.seq))
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, StoreError> {
        self.here()?;
        Ok(self.of(room).into_iter().find(|message| message.id == id))
    }

    async fn existing(&self, room: &str, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        self.here()?;
        Ok(self
            .of(room)
            .into_iter()
            .map(|message| message.id)
            .filter(|id| ids.contains(id))
            .collect())
    }
}

#[async_trait]
impl Rooms for FakeStore {
    async fn create_room(&self, _: &Room) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn room(&self, name: &str) -> Result<Option<Room>, StoreError> {
        self.here()?;
        Ok(locked(&self.rooms)
            .iter()
            .find(|room| room.name == name)
            .cloned())
    }

    async fn room_seen_by(&self, _: &str, _: &str) -> Result<Option<Room>, StoreError> {
        Err(not_here())
    }

    async fn rooms_seen_by(&self, _: &str) -> Result<Vec<Room>, StoreError> {
        Err(not_here())
    }

    async fn change_room(&self, _: &str, _: &RoomChanges) -> Result<Option<Room>, StoreError> {
        Err(not_here())
    }

    async fn add_member(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn remove_member(&self, _: &str, _: &str) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn members(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Err(not_here())
    }
}

#[async_trait]
impl Accounts for FakeStore {
    async fn create_user(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn password_hash(&self, _: &str) -> Result<Option<String>, StoreError> {
        Err(not_here())
    }

    async fn create_session(&self, _: &Session, _: &[u8; 32]) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn session(&self, _: &[u8; 32], _: u64) -> Result<Option<Session>, StoreError> {
        Err(not_here())
    }

    async fn sessions(&self, _: &str, _: u64) -> Result<Vec<Session>, StoreError> {
        Err(not_here())
    }

    async fn end_session(&self, _: &str, _: Uuid) -> Result<bool, StoreError> {
        Err(not_here())
    }

    async fn live_sessions(&self, _: &[Uuid], _: u64) -> Result<HashSet<Uuid>, StoreError> {
        Err(not_here())
    }

    async fn touch_sessions(&self, _: &[Uuid], _: u64, _: u64) -> Result<(), StoreError> {
        Err(not_here())
    }

    async fn sweep_sessions(&self, _: u64) -> Result<u64, StoreError> {
        Err(not_here())
    }
}
