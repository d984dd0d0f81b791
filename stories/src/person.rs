//! People: an account, a browser's calls, a socket on which everything is heard, and the words for it.

use std::{ops::Deref, time::Duration};

use chat_client::{Client, Missing, PATIENCE, Recorder, Refused, assert_one_order};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// How long a good client waits for the word on a message before it comes back by another connection.
const VERDICT_LIMIT: Duration = Duration::from_secs(20);

/// Somebody with an account, at one edge at a time.
pub struct Person {
    /// Who calls, and where.
    pub client: Client,
    /// The room they talk in when none is named.
    pub room: String,
    recorder: Option<Recorder>,
}

impl Deref for Person {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

enum Verdict {
    Acked(u64),
    Later(Duration),
}

impl From<Client> for Person {
    fn from(client: Client) -> Person {
        Person {
            room: client.name.clone(),
            client,
            recorder: None,
        }
    }
}

impl Person {
    /// Makes an account, at the edge with this base URL.
    pub async fn register(edge: &str, name: &str) -> Person {
        Client::register(edge, name).await.into()
    }

    /// Logs in on one more device.
    pub async fn log_in(edge: &str, name: &str) -> Person {
        Client::log_in(edge, name).await.into()
    }

    /// Opens a socket at the edge they are at, and waits to be welcome.
    pub async fn connects(&mut self) {
        let opened = self.connects_to("/ws").await;
        opened.expect("the edge takes the socket");
        let is_welcome = |frame: &Value| frame["type"] == "welcome";
        self.waits_for("welcome", is_welcome).await;
    }

    /// Opens a socket at a path. What was heard on an earlier one is forgotten.
    ///
    /// # Errors
    /// What the edge said to the upgrade.
    pub async fn connects_to(&mut self, path: &str) -> Result<(), Refused> {
        let socket = self.client.opens(path).await?;
        self.recorder = Some(socket.into());
        Ok(())
    }

    /// Drops the connection without a word.
    pub fn leaves(&mut self) {
        self.recorder = None;
    }

    /// Goes to another edge; the next connection is made there.
    pub fn moves_to(&mut self, edge: &str) {
        self.client = self.client.at(edge);
    }

    fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().expect("connected")
    }

    /// Joins a room, and from now on talks there. Returns the `joined` frame.
    pub async fn joins(&mut self, room: &str, after: Option<u64>) -> Value {
        self.room = room.into();
        let mut frame = json!({ "type": "join", "room": room });
        if let Some(after) = after {
            frame["after"] = after.into();
        }
        let before = self.recorder().count();
        self.sends(&frame).await;
        let what = format!("{} has joined {room}", self.name);
        let is_it = |frame: &Value| frame["type"] == "joined" && frame["room"] == room;
        self.recorder().waits_for(before, &what, is_it).await
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
        let recorder = self.recorder.as_mut().expect("connected");
        recorder.sends(message).await;
    }

    /// Waits for the `ack` of a message.
    pub async fn is_acked(&self, id: Uuid) -> u64 {
        let what = format!("{}'s ack of {id}", self.name);
        let id = id.to_string();
        let is_it = |frame: &Value| frame["type"] == "ack" && frame["id"] == id;
        let ack = self.waits_for(&what, is_it).await;
        ack["seq"].as_u64().expect("a seq")
    }

    /// Says something as a good client does: under one id until it is acked, over any break, at whichever of these
    /// edges takes it. Returns the id and the place.
    pub async fn says_until_acked(&mut self, text: &str, edges: &[String]) -> (Uuid, u64) {
        let id = Uuid::now_v7();
        let frame = json!({ "type": "send", "room": self.room, "id": id, "message": text });
        (id, self.sends_until_acked(id, &frame, edges).await)
    }

    /// The same with an edit of a message, or without a text its deletion.
    pub async fn changes_until_acked(
        &mut self,
        of: Uuid,
        text: Option<&str>,
        edges: &[String],
    ) -> u64 {
        let id = Uuid::now_v7();
        let frame = self.change(id, of, text);
        self.sends_until_acked(id, &frame, edges).await
    }

    /// The frame that edits a message in the room they talk in, or deletes it.
    pub fn change(&self, id: Uuid, of: Uuid, text: Option<&str>) -> Value {
        let mut frame = json!({ "type": "delete", "room": self.room, "id": id, "of": of });
        if let Some(text) = text {
            frame["type"] = "edit".into();
            frame["message"] = text.into();
        }
        frame
    }

    async fn sends_until_acked(&mut self, id: Uuid, frame: &Value, edges: &[String]) -> u64 {
        let said = timeout(PATIENCE * 2, async {
            for attempt in 0.. {
                if self.recorder.is_none() {
                    self.moves_to(&edges[attempt % edges.len()]);
                    if !self.comes_back().await {
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                }
                let heard_before = self.recorder().count();
                self.sends(frame).await;
                match self.verdict_on(id, heard_before).await {
                    Ok(Verdict::Acked(seq)) => return seq,
                    Ok(Verdict::Later(after)) => sleep(after).await,
                    Err(_) => self.leaves(),
                }
            }
            unreachable!("attempts do not end")
        });
        said.await
            .unwrap_or_else(|_| panic!("{} could not send {frame}", self.name))
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
    async fn verdict_on(&self, id: Uuid, heard_before: usize) -> Result<Verdict, Missing> {
        let id = id.to_string();
        let verdict = |frame: &Value| match frame["type"].as_str() {
            _ if frame["id"] != id => None,
            Some("ack") => Some(Verdict::Acked(frame["seq"].as_u64().expect("a seq"))),
            Some("error") => {
                let after = frame["retry_after_ms"].as_u64().unwrap_or(200);
                Some(Verdict::Later(Duration::from_millis(after.min(2_000))))
            }
            _ => None,
        };
        let recorder = self.recorder();
        recorder.find(heard_before, VERDICT_LIMIT, verdict).await
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
        let is_it = |frame: &Value| frame["type"] == "error" && frame["code"] == code;
        self.waits_for(&what, is_it).await
    }

    /// Waits for the reply to a message: the model's, or the fallback.
    pub async fn gets_reply_to(&self, id: Uuid) -> Value {
        let what = format!("{}'s question {id} is answered", self.name);
        let id = id.to_string();
        let is_it = |frame: &Value| frame["type"] == "message" && frame["reply_to"] == id;
        self.waits_for(&what, is_it).await
    }

    /// Waits for a frame, one heard already included.
    pub async fn waits_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.recorder().waits_for(0, what, is_it).await
    }

    /// Waits until the server closes the socket, and returns the code: 1006 if it did not say one.
    pub async fn is_closed(&self) -> u16 {
        self.recorder().is_closed().await
    }

    /// All frames heard on this socket.
    pub fn frames(&self) -> Vec<Value> {
        self.recorder().frames(|_| true)
    }

    /// The messages heard on this socket, in the order in which they came, in the room they talk in.
    pub fn messages(&self) -> Vec<Value> {
        let is_it = |frame: &Value| frame["type"] == "message" && frame["room"] == self.room;
        self.recorder().frames(is_it)
    }

    /// The highest place heard of in the room they talk in.
    pub fn last_seq(&self) -> u64 {
        let messages = self.messages();
        messages
            .last()
            .map_or(0, |last| last["seq"].as_u64().expect("a seq"))
    }

    /// The whole history of the room they talk in, by pages. An engine that has just come back may cost a moment, which
    /// the edge says with a 503.
    pub async fn history(&self) -> Vec<Value> {
        let is_away = |status| status == Some(StatusCode::SERVICE_UNAVAILABLE);
        let read = self.client.history(&self.room, PATIENCE, is_away).await;
        let all = read.unwrap_or_else(|why| panic!("{} reads the history: {why}", self.name));
        assert_one_order(&all);
        all
    }
}
