//! What the stories are told with: edges on engines that can be cut off, and people on their sockets.

use std::{
    ops::Deref,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use chat_client::{ChatSocket, Client};
use common::{
    live::{Live, Signal},
    store::{Accounts, BotPolicy, Room, Rooms, Session},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use seam_fakes::{Faults, FaultyLive, FaultyQueue, FaultyStore};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::edges::Edges;

/// Edges on one set of engines.
pub(crate) struct Chat {
    pub edges: Edges,
    pub live: Arc<FaultyLive>,
    pub queue_faults: Faults,
    pub store: Arc<FaultyStore>,
}

impl Deref for Chat {
    type Target = Edges;

    fn deref(&self) -> &Edges {
        &self.edges
    }
}

impl Chat {
    /// Two edges.
    pub(crate) async fn start() -> Chat {
        Chat::start_with(&[]).await
    }

    /// Two edges with these flags, and a public room `lobby` in which the bot is silent.
    pub(crate) async fn start_with(flags: &[&str]) -> Chat {
        let folder = tempfile::tempdir().unwrap();
        let live = FaultyLive::over(EmbeddedLive::new());
        let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
        let queue = FaultyQueue::over(EmbeddedQueue::open(folder.path(), 0).await.unwrap());
        let queue_faults = queue.faults.clone();
        let edges = Edges::start_on(folder, (live.clone(), queue, store.clone()), flags).await;
        let chat = Chat {
            edges,
            live,
            queue_faults,
            store,
        };
        chat.store.create_user("owner", "no hash").await.unwrap();
        chat.opens("lobby", false).await;
        chat
    }

    /// A room of `owner`'s.
    pub(crate) async fn opens(&self, name: &str, private: bool) {
        let room = Room {
            name: name.into(),
            private,
            bot: BotPolicy::Off,
            owner: "owner".into(),
            ..Room::default()
        };
        self.store.create_room(&room).await.unwrap();
    }

    /// Somebody who is logged in, at the first edge, and their session. Made in the store: hashing passwords is not
    /// the story.
    pub(crate) async fn logs_in(&self, name: &str) -> (Client, Uuid) {
        if self.store.password_hash(name).await.unwrap().is_none() {
            // None at all would be an account without a password.
            self.store.create_user(name, "no hash").await.unwrap();
        }
        let token = Uuid::new_v4().to_string();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(since_epoch.as_millis()).unwrap();
        let session = Session {
            id: Uuid::new_v4(),
            user: name.into(),
            device: "a story".into(),
            created_at_ms: now,
            last_seen_at_ms: now,
            expires_at_ms: now + 3_600_000,
            is_token: false,
        };
        let hash = Sha256::digest(token.as_bytes()).into();
        self.store.create_session(&session, &hash).await.unwrap();
        (self.someone().with_token(name, &token), session.id)
    }

    /// Somebody new on a socket at the first edge, past `welcome`.
    pub(crate) async fn connects(&self, name: &str, path: &str) -> ChatSocket {
        self.logs_in(name).await.0.connects(path).await
    }

    /// Somebody in the lobby, past `joined`.
    pub(crate) async fn in_lobby(&self, name: &str) -> ChatSocket {
        let mut person = self.connects(name, "/ws/chat/lobby").await;
        person.hears("joined").await;
        person
    }

    /// Everyone is told.
    pub(crate) async fn signals(&self, signal: Signal) {
        self.live.signal(&signal).await.unwrap();
    }
}

/// The socket still works: what is said on it is acked.
pub(crate) async fn is_still_there(person: &mut ChatSocket) {
    let id = Uuid::now_v7();
    let frame = json!({"message": "still here", "room": "lobby", "id": id});
    person.sends(frame).await;
    while person.hears("ack").await["id"] != json!(id) {}
}
