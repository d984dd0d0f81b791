//! What the stories are told with: edges that share engines, and people on their sockets.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use common::{
    admin::Readiness,
    envelope::Envelope,
    live::{Live, Signal},
    posting::Poster,
    queue::{Queue, Route},
    store::{Accounts, BotPolicy, Messages, Room, Rooms, Session, Store},
    wire::{Kind, Message, NewMessage, Seq},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use futures_util::{SinkExt, StreamExt};
use seam_fakes::{FaultyLive, FaultyStore};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use ws_edge::{Edge, EdgeSettings};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long an edge may take to drain.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Edges on one set of engines.
pub struct Chat {
    pub addresses: Vec<String>,
    pub live: Arc<FaultyLive>,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<FaultyStore>,
    pub poster: Poster,
    pub stop: CancellationToken,
    pub edges: Vec<JoinHandle<std::io::Result<()>>>,
    // Dropped in this order: the edges first, the folder last.
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    edge: EdgeSettings,
}

impl Chat {
    /// Two edges.
    pub async fn start() -> Chat {
        Chat::start_with(&[]).await
    }

    /// Two edges with these flags, and a public room `lobby` in which the bot is silent.
    pub async fn start_with(flags: &[&str]) -> Chat {
        let folder = tempfile::tempdir().unwrap();
        let live = FaultyLive::over(EmbeddedLive::new());
        let queue: Arc<dyn Queue> = EmbeddedQueue::open(folder.path()).await.unwrap();
        let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
        let stop = CancellationToken::new();
        let (dyn_live, dyn_store): (Arc<dyn Live>, Arc<dyn Store>) =
            (Arc::clone(&live) as _, Arc::clone(&store) as _);
        let mut chat = Chat {
            addresses: Vec::new(),
            poster: Poster::new(dyn_live, Arc::clone(&queue), dyn_store),
            live,
            queue,
            store,
            edges: Vec::new(),
            _stop: stop.clone().drop_guard(),
            stop,
            _folder: folder,
        };
        for _ in 0..2 {
            let (edge, listener) = chat.new_edge(flags).await;
            let running = ws_edge::run(edge, listener, DRAIN_TIME, chat.stop.clone());
            chat.edges.push(tokio::spawn(running));
        }
        chat.store.create_user("owner", "").await.unwrap();
        chat.opens("lobby", false).await;
        chat
    }

    /// One more edge, which is still to be run, and where it will listen: the last of the addresses.
    pub async fn new_edge(&mut self, flags: &[&str]) -> (Edge, TcpListener) {
        let settings = CommandLine::parse_from(["ws-edge"].iter().chain(flags)).edge;
        let edge = Edge::new(
            Arc::clone(&self.live) as _,
            Arc::clone(&self.queue),
            Arc::clone(&self.store) as _,
            settings,
            Readiness::default(),
        );
        let listener = listener().await;
        self.addresses
            .push(listener.local_addr().unwrap().to_string());
        (edge, listener)
    }

    /// A room of `owner`'s.
    pub async fn opens(&self, name: &str, private: bool) {
        let room = Room {
            name: name.into(),
            private,
            bot: BotPolicy::Off,
            persona: String::new(),
            owner: "owner".into(),
        };
        self.store.create_room(&room).await.unwrap();
    }

    /// The token of somebody who is logged in, and their session. Made in the store: hashing passwords is not the story.
    pub async fn logs_in(&self, name: &str) -> (String, Uuid) {
        if self.store.password_hash(name).await.unwrap().is_none() {
            self.store.create_user(name, "").await.unwrap();
        }
        let token = Uuid::new_v4().to_string();
        let now = u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap();
        let session = Session {
            id: Uuid::new_v4(),
            user: name.into(),
            device: "a story".into(),
            created_at_ms: now,
            last_seen_at_ms: now,
            expires_at_ms: now + 3_600_000,
        };
        self.store
            .create_session(&session, &Sha256::digest(token.as_bytes()).into())
            .await
            .unwrap();
        (token, session.id)
    }

    /// Somebody new on a socket at the first edge, past `welcome`.
    pub async fn connects(&self, name: &str, path: &str) -> Person {
        let (token, _) = self.logs_in(name).await;
        self.comes_with(&token, name, 0, path).await
    }

    /// Somebody on a socket at any edge, past `welcome`.
    pub async fn comes_with(&self, token: &str, name: &str, edge: usize, path: &str) -> Person {
        let socket = self
            .knocks(Some(token), edge, path, &[])
            .await
            .expect("let in");
        let mut person = Person {
            name: name.into(),
            socket,
        };
        person.hears("welcome").await;
        person
    }

    /// Somebody in the lobby, past `joined`.
    pub async fn in_lobby(&self, name: &str) -> Person {
        let mut person = self.connects(name, "/ws/chat/lobby").await;
        person.hears("joined").await;
        person
    }

    /// Tries to open a socket.
    pub async fn knocks(
        &self,
        token: Option<&str>,
        edge: usize,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, tungstenite::Error> {
        let mut call = format!("ws://{}{path}", self.addresses[edge])
            .into_client_request()
            .unwrap();
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            call.headers_mut().insert("authorization", value);
        }
        for (name, value) in headers {
            call.headers_mut()
                .insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Ok(connect_async(call).await?.0)
    }

    /// The status and the code with which a socket is refused.
    pub async fn refuses(
        &self,
        token: Option<&str>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> (u16, String) {
        match self.knocks(token, 0, path, headers).await {
            Err(tungstenite::Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let problem: Value = serde_json::from_slice(body).expect("a problem document");
                (
                    answer.status().as_u16(),
                    problem["code"].as_str().unwrap_or_default().to_owned(),
                )
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// A message that comes from elsewhere, confirmed.
    pub async fn says(&self, room: &str, sender: &str, text: &str) -> Message {
        let new = new_message(room, sender, text);
        self.poster
            .post(new, Route::Persist, None)
            .await
            .unwrap()
            .message
    }

    /// What a persister does.
    pub async fn persists(&self, messages: &[Message]) {
        for some in messages.chunks(200) {
            let batch: Vec<_> = some
                .iter()
                .map(|message| Envelope::new(message.clone(), None))
                .collect();
            self.store.write(&batch).await.unwrap();
        }
    }

    /// Everyone is told.
    pub async fn signals(&self, signal: Signal) {
        self.live.signal(&signal).await.unwrap();
    }
}

/// A message that is nowhere yet.
pub fn new_message(room: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        room: room.to_owned(),
        id: Uuid::now_v7(),
        sender: sender.to_owned(),
        kind: Kind::User,
        message: text.to_owned(),
        reply_to: None,
    }
}

/// Below the ports that the system hands out for outgoing connections.
async fn listener() -> TcpListener {
    loop {
        let port = rand::random_range(12_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
}

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Somebody on a socket.
pub struct Person {
    pub name: String,
    pub socket: Socket,
}

impl Person {
    /// Sends a frame.
    pub async fn sends(&mut self, frame: Value) {
        self.sends_text(&frame.to_string()).await;
    }

    /// Sends what need not be a frame.
    pub async fn sends_text(&mut self, text: &str) {
        self.socket
            .send(tungstenite::Message::text(text))
            .await
            .unwrap();
    }

    /// Posts into the room of the socket's address.
    pub async fn says(&mut self, text: &str) {
        self.sends(json!({ "message": text })).await;
    }

    /// Joins a room and returns `joined`.
    pub async fn joins(&mut self, room: &str, after: Option<Seq>) -> Value {
        self.sends(json!({"type": "join", "room": room, "after": after}))
            .await;
        self.hears("joined").await
    }

    /// The next frame, whatever it is; none once the socket is closed. Answers `ping`.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("{} hears nothing", self.name)) {
                Some(Ok(tungstenite::Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame of a type; others are passed over.
    pub async fn hears(&mut self, kind: &str) -> Value {
        self.hears_one_of(&[kind]).await
    }

    /// The next frame of one of these types; others are passed over.
    pub async fn hears_one_of(&mut self, kinds: &[&str]) -> Value {
        loop {
            match self.next().await {
                Some(frame) if kinds.iter().any(|kind| frame["type"] == *kind) => return frame,
                Some(_) => {}
                None => panic!("{} was cut off while waiting for {kinds:?}", self.name),
            }
        }
    }

    /// The next error's code.
    pub async fn is_refused(&mut self) -> String {
        self.hears("error").await["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The texts of the next messages.
    pub async fn hears_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(
                self.hears("message").await["message"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        texts
    }

    /// The code with which the socket closes.
    pub async fn is_closed(&mut self) -> u16 {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("{} is not closed", self.name)) {
                Some(Ok(tungstenite::Message::Close(close))) => {
                    return close.map_or(1005, |close| close.code.into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{} was cut off: {error}", self.name),
                None => panic!("{} was cut off", self.name),
            }
        }
    }

    /// The socket still works: what it says is heard in the lobby.
    pub async fn is_still_there(&mut self) {
        let id = Uuid::now_v7();
        self.sends(json!({"message": "still here", "room": "lobby", "id": id}))
            .await;
        while self.hears("ack").await["id"] != json!(id) {}
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Each once, and in order.
pub fn assert_line(frames: &[Value]) {
    let seqs: Vec<u64> = frames
        .iter()
        .map(|frame| frame["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "out of order: {seqs:?}");
    let ids: HashSet<&str> = frames
        .iter()
        .map(|frame| frame["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), frames.len(), "something came twice");
}
