//! A WebSocket that is read all the time, as a browser does it: what came is remembered, and looked at later.

use std::time::Duration;

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    ChatSocket, CloseCode, PATIENCE,
    socket::{Connection, heard, next_frame},
};

/// A socket and everything that was heard on it, in the order in which it came. Dropped, it is gone without a word.
#[derive(Debug)]
pub struct Recorder {
    /// Who.
    pub name: String,
    sink: SplitSink<Connection, Message>,
    record: watch::Receiver<Record>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    frames: Vec<Value>,
    closed: Option<CloseCode>,
}

/// Why something was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The socket was closed before.
    #[error("the socket was closed with {0}")]
    Closed(CloseCode),
    /// It took too long.
    #[error("it took too long")]
    Late,
}

impl From<ChatSocket> for Recorder {
    fn from(socket: ChatSocket) -> Recorder {
        let (sink, stream) = socket.connection.split();
        let (writer, record) = watch::channel(Record::default());
        Recorder {
            name: socket.name,
            sink,
            record,
            reader: tokio::spawn(read(stream, writer)),
        }
    }
}

async fn read(mut stream: SplitStream<Connection>, record: watch::Sender<Record>) {
    let code = loop {
        match next_frame(&mut stream).await {
            Ok(frame) => record.send_modify(|record| record.frames.push(frame)),
            Err(code) => break code,
        }
    };
    // The server is answered, and hangs up.
    while let Some(Ok(_)) = stream.next().await {}
    record.send_modify(|record| record.closed = Some(code));
}

impl Recorder {
    /// Sends anything. A connection that is gone takes it in silence, as a browser does.
    pub async fn sends(&mut self, message: impl Into<Message>) {
        drop(self.sink.send(message.into()).await);
    }

    /// How many frames were heard so far.
    pub fn count(&self) -> usize {
        self.record.borrow().frames.len()
    }

    /// The frames that were heard so far and are of this kind, in the order in which they came.
    pub fn frames(&self, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let record = self.record.borrow();
        record
            .frames
            .iter()
            .filter(|frame| is_it(frame))
            .cloned()
            .collect()
    }

    /// The first thing that is found in what was heard, or will be, after the first so many frames.
    ///
    /// # Errors
    /// Why it will not be.
    pub async fn find<T>(
        &self,
        mut after: usize,
        within: Duration,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, Missing> {
        let mut record = self.record.clone();
        let mut found = None;
        let heard = record.wait_for(|record| {
            for frame in record.frames.iter().skip(after) {
                after += 1;
                found = look(frame);
                if found.is_some() {
                    return true;
                }
            }
            record.closed.is_some()
        });
        // The reader says how it ended before it ends.
        let Ok(Ok(heard)) = timeout(within, heard).await else {
            return Err(Missing::Late);
        };
        let code = heard.closed.unwrap_or(1006);
        drop(heard);
        found.ok_or(Missing::Closed(code))
    }

    /// Waits for a frame after the first so many.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn waits_for(
        &self,
        after: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let found = self
            .find(after, PATIENCE, |frame| is_it(frame).then(|| frame.clone()))
            .await;
        found.unwrap_or_else(|why| {
            panic!(
                "waited in vain: {what}: {why}; {}",
                heard(&self.record.borrow().frames)
            )
        })
    }

    /// Waits until the server closes the socket.
    ///
    /// # Panics
    /// If it does not.
    pub async fn is_closed(&self) -> CloseCode {
        let mut record = self.record.clone();
        let closed = timeout(PATIENCE, record.wait_for(|record| record.closed.is_some())).await;
        let Ok(Ok(closed)) = closed else {
            panic!(
                "{}'s socket is not closed; {}",
                self.name,
                heard(&self.record.borrow().frames)
            );
        };
        closed.closed.unwrap_or(1006)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
