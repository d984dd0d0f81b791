//! People: an account, a browser's calls, a socket, and what was heard on it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};
use uuid::Uuid;

use crate::PATIENCE;

/// The HTTP client of all people.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // An error means that there is one already, which will do.
        let _there = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("nothing special")
    })
}

/// Somebody with an account, at one edge at a time.
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their session.
    pub token: String,
    /// The room they talk in when none is named.
    pub room: String,
    edge: String,
    socket: Option<Socket>,
}

struct Socket {
    sink: SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>,
    heard: Arc<Heard>,
    reader: JoinHandle<()>,
}

enum Verdict {
    Acked(u64),
    Later(Duration),
    Gone,
}

#[derive(Default)]
struct Heard {
    frames: Mutex<Vec<Value>>,
    closed: Mutex<Option<u16>>,
    news: Notify,
}

impl Person {
    /// Makes an account, at the edge with this base URL.
    pub async fn register(edge: &str, name: &str) -> Person {
        let answer = Person::enter(edge, "register", name, "correct horse").await;
        Person::of(edge, name, &answer)
    }

    /// Logs in on one more device.
    pub async fn log_in(edge: &str, name: &str) -> Person {
        let answer = Person::enter(edge, "login", name, "correct horse").await;
        Person::of(edge, name, &answer)
    }

    async fn enter(edge: &str, call: &str, name: &str, password: &str) -> Value {
        let body = json!({ "username": name, "password": password });
        let answer = http()
            .post(format!("{edge}/api/{call}"))
            .json(&body)
            .send()
            .await
            .expect("the edge answers");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{call} of {name}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    fn of(edge: &str, name: &str, answer: &Value) -> Person {
        let token = answer["token"].as_str().expect("a token").to_owned();
        Person {
            name: name.into(),
            token,
            room: name.into(),
            edge: edge.into(),
            socket: None,
        }
    }

    /// A call of the HTTP interface, with what it answered.
    pub async fn calls(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = http()
            .request(method, format!("{}{path}", self.edge))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the edge answers");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Opens a socket at the edge they are at, and waits to be welcome.
    pub async fn connects(&mut self) {
        self.connects_to("/ws")
            .await
            .expect("the edge takes the socket");
        self.waits_for("welcome", |frame| frame["type"] == "welcome")
            .await;
    }

    /// Opens a socket at a path. What was heard on an earlier one is forgotten.
    ///
    /// # Errors
    /// What the edge said to the upgrade.
    pub async fn connects_to(&mut self, path: &str) -> Result<(), Box<tungstenite::Error>> {
        let url = format!("{}{path}", self.edge.replacen("http", "ws", 1));
        let request = ClientRequestBuilder::new(url.parse().expect("a URL"))
            .with_header("authorization", format!("Bearer {}", self.token));
        let (stream, _) = connect_async(request).await.map_err(Box::new)?;
        let (sink, mut stream) = stream.split();
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        let reader = tokio::spawn(async move {
            let mut code = 1006;
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Text(text) => {
                        let frame = serde_json::from_str(&text).expect("every frame is JSON");
                        listening.frames.lock().expect("not poisoned").push(frame);
                    }
                    Message::Close(frame) => code = frame.map_or(1005, |frame| frame.code.into()),
                    _ => {}
                }
                listening.news.notify_waiters();
            }
            *listening.closed.lock().expect("not poisoned") = Some(code);
            listening.news.notify_waiters();
        });
        self.leaves();
        self.socket = Some(Socket {
            sink,
            heard,
            reader,
        });
        Ok(())
    }

    /// Drops the connection without a word.
    pub fn leaves(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.reader.abort();
        }
    }

    /// Goes to another edge; the next connection is made there.
    pub fn moves_to(&mut self, edge: &str) {
        self.edge = edge.into();
    }

    /// Joins a room, and from now on talks there. Returns the `joined` frame.
    pub async fn joins(&mut self, room: &str, after: Option<u64>) -> Value {
        self.room = room.into();
        let mut frame = json!({ "type": "join", "room": room });
        if let Some(after) = after {
            frame["after"] = after.into();
        }
        let before = self.frames().len();
        self.sends(&frame).await;
        let what = format!("{} has joined {room}", self.name);
        self.waits_for_after(before, &what, |frame| {
            frame["type"] == "joined" && frame["room"] == room
        })
        .await
    }

    /// Says something, and returns the message's id without waiting for anything.
    pub async fn says(&mut self, text: &str) -> Uuid {
        let id = Uuid::now_v7();
        self.says_as(id, text).await;
        id
    }

    /// Says something under an id, perhaps not for the first time.
    pub async fn says_as(&mut self, id: Uuid, text: &str) {
        let frame = json!({ "type": "send", "room": self.room, "id": id, "message": text });
        self.sends(&frame).await;
    }

    /// Says something and waits until it is kept.
    pub async fn says_and_is_acked(&mut self, text: &str) -> (Uuid, u64) {
        let id = self.says(text).await;
        (id, self.is_acked(id).await)
    }

    /// Sends a frame as it is.
    pub async fn sends(&mut self, frame: &Value) {
        self.sends_raw(Message::text(frame.to_string())).await;
    }

    /// Sends anything. A connection that is gone takes it in silence, as a browser does.
    pub async fn sends_raw(&mut self, message: Message) {
        let socket = self.socket.as_mut().expect("connected");
        let _may_be_gone = socket.sink.send(message).await;
    }

    /// Waits for the `ack` of a message.
    pub async fn is_acked(&self, id: Uuid) -> u64 {
        let what = format!("{}'s ack of {id}", self.name);
        let ack = self
            .waits_for(&what, |frame| {
                frame["type"] == "ack" && frame["id"] == id.to_string()
            })
            .await;
        ack["seq"].as_u64().expect("a seq")
    }

    /// Says something as a good client does: under one id until it is acked, over any break, at whichever of these
    /// edges takes it. Returns the id and the place.
    pub async fn says_until_acked(&mut self, text: &str, edges: &[String]) -> (Uuid, u64) {
        let id = Uuid::now_v7();
        let said = timeout(PATIENCE * 2, async {
            for attempt in 0.. {
                if self.socket.is_none() {
                    self.moves_to(&edges[attempt % edges.len()]);
                    if !self.comes_back().await {
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                }
                let heard_before = self.frames().len();
                self.says_as(id, text).await;
                match self.verdict_on(id, heard_before).await {
                    Verdict::Acked(seq) => return seq,
                    Verdict::Later(after) => sleep(after).await,
                    Verdict::Gone => self.leaves(),
                }
            }
            unreachable!("attempts do not end")
        });
        let seq = said
            .await
            .unwrap_or_else(|_| panic!("{} could not say {text:?}", self.name));
        (id, seq)
    }

    /// Connects again and joins the room they talk in. False if the edge is not there, or not yet.
    pub async fn comes_back(&mut self) -> bool {
        let connected = timeout(Duration::from_secs(5), self.connects_to("/ws")).await;
        if !connected.is_ok_and(|connected| connected.is_ok()) {
            return false;
        }
        let frame = json!({ "type": "join", "room": self.room });
        self.sends(&frame).await;
        true
    }

    /// What is said about a message after the first so many frames: an older refusal was of an earlier attempt.
    async fn verdict_on(&self, id: Uuid, mut first: usize) -> Verdict {
        let heard = &self.socket.as_ref().expect("connected").heard;
        let id = Value::String(id.to_string());
        let wait = async {
            loop {
                let news = heard.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                let frames = self.frames();
                for frame in &frames[first..] {
                    match (frame["type"].as_str(), frame["id"] == id) {
                        (Some("ack"), true) => {
                            return Verdict::Acked(frame["seq"].as_u64().expect("a seq"));
                        }
                        (Some("error"), true) => {
                            let after = frame["retry_after_ms"].as_u64().unwrap_or(200);
                            return Verdict::Later(Duration::from_millis(after.min(2_000)));
                        }
                        _ => {}
                    }
                }
                first = frames.len();
                if heard.closed.lock().expect("not poisoned").is_some() {
                    return Verdict::Gone;
                }
                news.await;
            }
        };
        timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or(Verdict::Gone)
    }

    /// Waits for a message by somebody with these words in it.
    pub async fn hears(&self, sender: &str, words: &str) -> Value {
        let what = format!("{} hears {words:?} from {sender}", self.name);
        let said = |frame: &Value| {
            let text = frame["message"].as_str().unwrap_or_default();
            frame["type"] == "message" && frame["sender"] == sender && text.contains(words)
        };
        self.waits_for(&what, said).await
    }

    /// Waits for an error with this code.
    pub async fn is_refused(&self, code: &str) -> Value {
        let what = format!("{} is refused with {code}", self.name);
        self.waits_for(&what, |frame| {
            frame["type"] == "error" && frame["code"] == code
        })
        .await
    }

    /// Waits for the reply to a message: the model's, or the fallback.
    pub async fn gets_reply_to(&self, id: Uuid) -> Value {
        let what = format!("{}'s question {id} is answered", self.name);
        self.waits_for(&what, |frame| {
            frame["type"] == "message" && frame["reply_to"] == id.to_string()
        })
        .await
    }

    /// Waits for a frame, one heard already included.
    pub async fn waits_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.waits_for_after(0, what, is_it).await
    }

    async fn waits_for_after(
        &self,
        first: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let heard = &self.socket.as_ref().expect("connected").heard;
        let wait = async {
            loop {
                let news = heard.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                let found = self
                    .frames()
                    .into_iter()
                    .skip(first)
                    .find(|frame| is_it(frame));
                if let Some(found) = found {
                    return found;
                }
                let closed = *heard.closed.lock().expect("not poisoned");
                assert!(
                    closed.is_none(),
                    "waited in vain: {what}; the socket was closed with {closed:?}"
                );
                news.await;
            }
        };
        let in_time = timeout(PATIENCE, wait).await;
        in_time.unwrap_or_else(|_| {
            panic!(
                "waited in vain: {what}; heard {:#?}",
                last(&self.frames(), 20)
            )
        })
    }

    /// Waits until the server closes the socket, and returns the code: 1006 if it did not say one.
    pub async fn is_closed(&self) -> u16 {
        let heard = &self.socket.as_ref().expect("connected").heard;
        crate::until(
            &format!("{}'s socket is closed", self.name),
            PATIENCE,
            async || *heard.closed.lock().expect("not poisoned"),
        )
        .await
    }

    /// All frames heard on this socket.
    pub fn frames(&self) -> Vec<Value> {
        let heard = &self.socket.as_ref().expect("connected").heard;
        heard.frames.lock().expect("not poisoned").clone()
    }

    /// The messages heard on this socket, in the order in which they came, in the room they talk in.
    pub fn messages(&self) -> Vec<Value> {
        let mut frames = self.frames();
        frames.retain(|frame| frame["type"] == "message" && frame["room"] == self.room);
        frames
    }

    /// The highest place heard of in the room they talk in.
    pub fn last_seq(&self) -> u64 {
        self.messages()
            .last()
            .map_or(0, |message| message["seq"].as_u64().expect("a seq"))
    }

    /// The whole history of the room they talk in, by pages.
    pub async fn history(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/api/rooms/{}/messages?after={after}&limit=200", self.room);
            let what = format!("{} reads the history of {}", self.name, self.room);
            // An engine that has just come back may cost a moment, which the edge says with a 503.
            let body = crate::until(&what, PATIENCE, async || {
                let (status, body) = self.calls(Method::GET, &path, None).await;
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    return None;
                }
                assert_eq!(status, StatusCode::OK, "{body}");
                Some(body)
            })
            .await;
            let page = body["messages"].as_array().expect("messages").clone();
            let Some(newest) = page.last() else { break };
            after = newest["seq"].as_u64().expect("a seq");
            all.extend(page);
        }
        assert_one_order(&all);
        all
    }
}

fn last(frames: &[Value], count: usize) -> &[Value] {
    &frames[frames.len().saturating_sub(count)..]
}

/// Checks that messages are in order, linked by `prev`, each once.
///
/// # Panics
/// If they are not.
pub fn assert_one_order(messages: &[Value]) {
    let mut ids = HashMap::new();
    let mut last: Option<u64> = None;
    for message in messages {
        let (seq, prev) = (
            message["seq"].as_u64().expect("a seq"),
            message["prev"].as_u64().expect("a prev"),
        );
        if let Some(last) = last {
            assert!(last < seq, "out of order: {last} before {message}");
            assert_eq!(prev, last, "a link is missing before {message}");
        }
        assert_eq!(
            ids.insert(message["id"].clone(), seq),
            None,
            "twice: {message}"
        );
        last = Some(seq);
    }
}
