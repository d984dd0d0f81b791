//! A WebSocket that is read by whoever waits for the next frame: somebody who does not wait does not read either.

use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, handshake::client::Request},
};

use crate::{Client, HttpAnswer, PATIENCE, http};

/// The code with which a socket was closed: 1005 if it was closed without one, 1006 if it was cut off without a word,
/// 1003, which no server of ours says, if something came that is no JSON.
pub type CloseCode = u16;

/// A connection of tungstenite's.
pub(crate) type Connection = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a socket was not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The server said why.
    #[error("{} {}", .0.status, .0.text)]
    With(HttpAnswer),
    /// There is no server, or none that speaks WebSocket.
    #[error(transparent)]
    Unreachable(Box<tungstenite::Error>),
}

impl From<tungstenite::Error> for Refused {
    fn from(error: tungstenite::Error) -> Refused {
        let tungstenite::Error::Http(answer) = error else {
            return Refused::Unreachable(Box::new(error));
        };
        let (head, body) = answer.into_parts();
        Refused::With(HttpAnswer::new(
            head.status,
            head.headers,
            &body.unwrap_or_default(),
        ))
    }
}

impl Client {
    /// Opens a socket, as whom and with the headers with which this client calls.
    ///
    /// # Errors
    /// It is not let in.
    pub async fn opens(&self, path: &str) -> Result<ChatSocket, Refused> {
        let (connection, _) = connect_async(self.upgrade(path)).await?;
        Ok(self.on(connection))
    }

    /// The same over a connection that is there already.
    ///
    /// # Errors
    /// It is not let in.
    pub async fn opens_over(&self, stream: TcpStream, path: &str) -> Result<ChatSocket, Refused> {
        let (connection, _) =
            client_async(self.upgrade(path), MaybeTlsStream::Plain(stream)).await?;
        Ok(self.on(connection))
    }

    /// Opens a socket and is welcome.
    ///
    /// # Panics
    /// If it is not let in.
    pub async fn connects(&self, path: &str) -> ChatSocket {
        let opened = self.opens(path).await;
        let mut socket = opened.unwrap_or_else(|why| panic!("{} is not let in: {why}", self.name));
        socket.hears("welcome").await;
        socket
    }

    /// What is answered to whom no socket is opened.
    ///
    /// # Panics
    /// If one is.
    pub async fn is_kept_out(&self, path: &str) -> HttpAnswer {
        match self.opens(path).await {
            Err(Refused::With(answer)) => answer,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn upgrade(&self, path: &str) -> Request {
        // Makes sure of a TLS provider.
        http();
        let url = format!("{}{path}", self.server.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a URL");
        request.headers_mut().extend(self.headers.clone());
        request
    }

    fn on(&self, connection: Connection) -> ChatSocket {
        ChatSocket {
            name: self.name.clone(),
            connection,
        }
    }
}

/// Somebody on a socket.
#[derive(Debug)]
pub struct ChatSocket {
    /// Who.
    pub name: String,
    /// What is below it, for what no good client does.
    pub connection: Connection,
}

impl ChatSocket {
    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, frame: &Value) -> tungstenite::Result<()> {
        self.connection.send(Message::text(frame.to_string())).await
    }

    /// The next frame. What is waited for in vain is not lost when the waiting is given up.
    ///
    /// # Errors
    /// The code with which it was closed instead.
    pub async fn receive(&mut self) -> Result<Value, CloseCode> {
        let next = next_frame(&mut self.connection).await;
        if next.is_err() {
            // The server may wait for the answer to its goodbye.
            drop(self.connection.flush().await);
        }
        next
    }

    /// Sends a frame.
    pub async fn sends(&mut self, frame: Value) {
        self.sends_raw(Message::text(frame.to_string())).await;
    }

    /// Sends what need not be a frame.
    pub async fn sends_raw(&mut self, message: impl Into<Message>) {
        let sent = self.connection.send(message.into()).await;
        sent.unwrap_or_else(|error| panic!("{} cannot send: {error}", self.name));
    }

    /// Posts into the room of the socket's address.
    pub async fn says(&mut self, text: &str) {
        self.sends(json!({ "message": text })).await;
    }

    /// Joins a room, perhaps after a place, and returns `joined`.
    pub async fn joins(&mut self, room: &str, after: Option<u64>) -> Value {
        self.sends(json!({"type": "join", "room": room, "after": after}))
            .await;
        self.hears("joined").await
    }

    /// The next frame, whatever it is; none once the socket is closed.
    pub async fn next(&mut self) -> Option<Value> {
        self.receive_in_time().await.ok()
    }

    /// The next frame of a type; others are passed over.
    pub async fn hears(&mut self, kind: &str) -> Value {
        self.hears_one_of(&[kind]).await
    }

    /// The next frame of one of these types; others are passed over.
    pub async fn hears_one_of(&mut self, kinds: &[&str]) -> Value {
        let mut others = Vec::new();
        let waiting = async {
            loop {
                match self.receive().await {
                    Ok(frame) if kinds.iter().any(|kind| frame["type"] == *kind) => {
                        return Ok(frame);
                    }
                    Ok(frame) => others.push(frame),
                    Err(code) => return Err(code),
                }
            }
        };
        let why = match timeout(PATIENCE, waiting).await {
            Ok(Ok(frame)) => return frame,
            Ok(Err(code)) => format!("the socket was closed with {code}"),
            Err(_) => format!("not within {PATIENCE:?}"),
        };
        panic!(
            "{} waits for {kinds:?} in vain: {why}; {}",
            self.name,
            heard(&others)
        );
    }

    /// The next error's code.
    pub async fn is_refused(&mut self) -> String {
        self.hears("error").await["code"]
            .as_str()
            .expect("a code")
            .to_owned()
    }

    /// The texts of the next messages.
    pub async fn hears_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let message = self.hears("message").await;
            texts.push(message["message"].as_str().expect("a text").to_owned());
        }
        texts
    }

    /// The code with which the socket closes.
    pub async fn is_closed(&mut self) -> CloseCode {
        loop {
            if let Err(code) = self.receive_in_time().await {
                return code;
            }
        }
    }

    async fn receive_in_time(&mut self) -> Result<Value, CloseCode> {
        let next = timeout(PATIENCE, self.receive()).await;
        next.unwrap_or_else(|_| panic!("{} hears nothing", self.name))
    }
}

/// The next frame, passing over what is below frames.
pub(crate) async fn next_frame(
    connection: &mut (impl Stream<Item = tungstenite::Result<Message>> + Unpin),
) -> Result<Value, CloseCode> {
    loop {
        match connection.next().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).map_err(|_| 1003),
            Some(Ok(Message::Close(close))) => {
                return Err(close.map_or(1005, |close| close.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

/// The last of what was heard, for whoever waited in vain.
pub(crate) fn heard(frames: &[Value]) -> String {
    const SHOWN: usize = 20;
    let last = &frames[frames.len().saturating_sub(SHOWN)..];
    format!("heard {} frames, the last of them: {last:#?}", frames.len())
}
