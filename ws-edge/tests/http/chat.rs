//! What the stories are told with: edges that share engines, and people who call them.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Parser;
use common::{
    admin::Readiness,
    envelope::Envelope,
    live::Live,
    posting::Poster,
    queue::{Queue, Route},
    store::Store,
    wire::{Kind, Message, NewMessage},
};
use engines::embedded::{EmbeddedLive, EmbeddedQueue, SqliteStore};
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use ws_edge::{Edge, EdgeSettings};

/// Good enough for everybody in these stories.
pub const PASSWORD: &str = "correct horse";

/// Two edges on one set of engines, and what the stories look at behind them.
pub struct Chat {
    pub addresses: Vec<String>,
    pub live: Arc<dyn Live>,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    pub poster: Poster,
    pub stop: CancellationToken,
    /// Each edge's life.
    pub edges: Vec<JoinHandle<std::io::Result<()>>>,
    client: reqwest::Client,
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
    pub async fn start() -> Chat {
        Chat::start_with(&[]).await
    }

    /// Edges with these flags.
    pub async fn start_with(flags: &[&str]) -> Chat {
        // Elsewhere a story may have done it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let (live, queue, store) = engines(folder.path()).await;
        let stop = CancellationToken::new();
        let (mut addresses, mut edges) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let line = ["ws-edge"].iter().chain(flags);
            let settings = CommandLine::parse_from(line).edge;
            let (live, queue, store) = (Arc::clone(&live), Arc::clone(&queue), Arc::clone(&store));
            let edge = Edge::new(live, queue, store, settings, Readiness::default());
            let listener = listener().await;
            addresses.push(listener.local_addr().unwrap().to_string());
            edges.push(tokio::spawn(ws_edge::run(
                edge,
                listener,
                Duration::from_secs(5),
                stop.clone(),
            )));
        }
        Chat {
            addresses,
            poster: Poster::new(Arc::clone(&live), Arc::clone(&queue), Arc::clone(&store)),
            live,
            queue,
            store,
            client: reqwest::Client::new(),
            edges,
            _stop: stop.clone().drop_guard(),
            stop,
            _folder: folder,
        }
    }

    /// Somebody who is not logged in.
    pub fn someone(&self) -> Person<'_> {
        Person {
            chat: self,
            edge: 0,
            name: String::new(),
            headers: HeaderMap::new(),
        }
    }

    /// Somebody who registered just now.
    pub async fn registers(&self, name: &str) -> Person<'_> {
        let answer = self
            .someone()
            .post("/api/register", credentials(name))
            .await;
        answer.is(StatusCode::OK);
        self.with_token(name, answer.body["token"].as_str().unwrap())
    }

    /// The same person on one more device.
    pub async fn logs_in(&self, name: &str) -> Person<'_> {
        let answer = self.someone().post("/api/login", credentials(name)).await;
        answer.is(StatusCode::OK);
        self.with_token(name, answer.body["token"].as_str().unwrap())
    }

    pub fn with_token(&self, name: &str, token: &str) -> Person<'_> {
        let mut person = self
            .someone()
            .with("authorization", &format!("Bearer {token}"));
        person.name = name.to_owned();
        person
    }

    /// A message on its way: shown, in the queue, not in the database.
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
        let batch: Vec<_> = messages
            .iter()
            .map(|message| Envelope::new(message.clone(), None))
            .collect();
        self.store.write(&batch).await.unwrap();
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

async fn engines(folder: &Path) -> (Arc<dyn Live>, Arc<dyn Queue>, Arc<dyn Store>) {
    let queue = EmbeddedQueue::open(folder).await.unwrap();
    let store = SqliteStore::open(folder).await.unwrap();
    (EmbeddedLive::new(), queue, store)
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

pub fn credentials(name: &str) -> Value {
    json!({ "username": name, "password": PASSWORD })
}

/// One caller, at one edge.
#[derive(Clone)]
pub struct Person<'a> {
    chat: &'a Chat,
    edge: usize,
    pub name: String,
    headers: HeaderMap,
}

impl Person<'_> {
    /// The same caller at the other edge.
    pub fn elsewhere(&self) -> Self {
        Person {
            edge: 1,
            ..self.clone()
        }
    }

    /// The same caller with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.insert(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
        with
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn put(&self, path: &str) -> Answer {
        self.call(Method::PUT, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut call = self.chat.client.request(method, self.url(path));
        if let Some(body) = body {
            call = call.json(&body);
        }
        self.answer(call).await
    }

    /// Any bytes under any content type.
    pub async fn post_raw(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let call = self
            .chat
            .client
            .post(self.url(path))
            .header("content-type", kind)
            .body(body);
        self.answer(call).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.chat.addresses[self.edge])
    }

    /// The address of the page as this caller's browser would write it.
    pub fn own_origin(&self) -> String {
        self.url("")
    }

    async fn answer(&self, call: reqwest::RequestBuilder) -> Answer {
        let answer = call.headers(self.headers.clone()).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            body,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub fn is(&self, status: StatusCode) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Whether this is a problem document of this status and code, in words.
    pub fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["code"], code, "{}", self.text);
        for field in ["type", "title", "detail"] {
            let words = self.body[field].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "`{field}` is missing: {}", self.text);
        }
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The token in the cookie that is set; empty if it is cleared.
    pub fn cookie(&self) -> &str {
        let cookie = self
            .header("set-cookie")
            .strip_prefix("session=")
            .expect("a cookie `session`");
        cookie.split(';').next().unwrap_or_default()
    }
}

/// Waits until something is so, at most ten seconds.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("it did not come to be: {what}"));
}
