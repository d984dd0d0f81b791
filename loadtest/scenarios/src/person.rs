//! Somebody with an account and one socket, which a task of its own keeps: it connects, joins, reads, writes everything
//! that happens into the ledger, and comes back by itself whenever the connection is gone, with the last place it knows
//! and with what was not acked yet.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chat_client::{ChatSocket, Client};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::ledger::{Changed, Ledger, Reader, Said, Seq, State};

/// How long a server may take to let a socket in and into its room.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Why somebody did not come in.
const LOST: &str = "the connection was lost";

/// Between two attempts to come back: at least and at most, so that not all come at once.
const PAUSE: std::ops::Range<f64> = 0.1..1.0;

/// Something that was measured: a row of the report.
pub struct Measured {
    /// The row.
    pub row: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// What a person is told to do.
enum Order {
    Say {
        id: Uuid,
        frame: Value,
    },
    /// Drop the connection without a word, and come back after a while.
    Vanish(Duration),
}

/// What was measured and not reported yet.
type Measurements = Arc<Mutex<Vec<Measured>>>;

/// Somebody in a room.
#[derive(Clone)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their room.
    pub room: String,
    ledger: Arc<Ledger>,
    orders: mpsc::UnboundedSender<Order>,
    measured: Measurements,
    is_in: Arc<AtomicBool>,
}

impl Person {
    /// Comes into a room; the rest of the run is spent there.
    pub fn enter(ledger: &Arc<Ledger>, client: Client, room: String) -> Person {
        let (orders, to_do) = mpsc::unbounded_channel();
        let measured = Measurements::default();
        let is_in = Arc::new(AtomicBool::new(false));
        let name = client.name.clone();
        let keeper = Keeper {
            ledger: Arc::clone(ledger),
            client,
            room: room.clone(),
            reader: None,
            unacked: BTreeMap::new(),
            to_do,
            measured: Arc::clone(&measured),
            is_in: Arc::clone(&is_in),
            since: Instant::now(),
        };
        // Not tied to goose's user: what is owed is still to come when the run is over.
        tokio::spawn(keeper.run());
        Person {
            name,
            room,
            ledger: Arc::clone(ledger),
            orders,
            measured,
            is_in,
        }
    }

    /// Says something.
    pub fn says(&self, text: &str, asks: bool) -> Uuid {
        let id = Uuid::now_v7();
        let said = Said {
            at: Instant::now(),
            asks,
            acked: None,
        };
        self.ledger.open().said.insert(id, said);
        let frame =
            json!({ "type": "send", "room": self.room, "id": id.to_string(), "message": text });
        self.order(Order::Say { id, frame });
        id
    }

    /// Gives a message another text, or without one deletes it.
    pub fn changes(&self, of: Uuid, text: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        let changed = Changed {
            room: self.room.clone(),
            of,
            text: text.map(str::to_owned),
            at: Instant::now(),
            acked: None,
        };
        self.ledger.open().changed.insert(id, changed);
        let mut frame = json!({ "type": "delete", "room": self.room, "id": id.to_string(), "of": of.to_string() });
        if let Some(text) = text {
            frame["type"] = "edit".into();
            frame["message"] = text.into();
        }
        self.order(Order::Say { id, frame });
        id
    }

    /// Loses the connection.
    pub fn vanishes(&self, away: Duration) {
        self.order(Order::Vanish(away));
    }

    fn order(&self, order: Order) {
        // The keeper ends with the process only.
        drop(self.orders.send(order));
    }

    /// Waits until they are in their room; false if that takes too long.
    pub async fn is_in(&self, limit: Duration) -> bool {
        self.sees(limit, || self.is_in.load(Ordering::Relaxed))
            .await
    }

    /// What was measured since this was asked last.
    pub fn measured(&self) -> Vec<Measured> {
        std::mem::take(
            &mut *self
                .measured
                .lock()
                .expect("nothing panics while holding it"),
        )
    }

    /// Waits until a message, an edit or a deletion is acked; false if that takes too long.
    pub async fn is_acked(&self, id: Uuid, limit: Duration) -> bool {
        self.sees(limit, || {
            let ledger = self.ledger.open();
            let said = ledger.said.get(&id).and_then(|said| said.acked);
            let changed = ledger.changed.get(&id).and_then(|change| change.acked);
            said.or(changed).is_some()
        })
        .await
    }

    /// Waits until a request is answered; false if that takes too long.
    pub async fn is_answered(&self, id: Uuid, limit: Duration) -> bool {
        self.sees(limit, || self.ledger.open().answered.contains(&id))
            .await
    }

    async fn sees(&self, limit: Duration, is_so: impl Fn() -> bool) -> bool {
        let until = Instant::now() + limit;
        while !is_so() {
            if Instant::now() > until {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

/// Keeps a person's socket.
struct Keeper {
    ledger: Arc<Ledger>,
    client: Client,
    room: String,
    /// Their place among the ledger's readers, once they were in.
    reader: Option<usize>,
    /// What was said and not acked, in the order in which it was said.
    unacked: BTreeMap<Uuid, Value>,
    to_do: mpsc::UnboundedReceiver<Order>,
    measured: Measurements,
    is_in: Arc<AtomicBool>,
    /// Since when this socket is open. What was sent before that is measured apart.
    since: Instant,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            let row = if self.reader.is_none() {
                "connect and join"
            } else {
                "resume"
            };
            let away = match timeout(CONNECT_LIMIT, self.enter()).await {
                Ok(Ok(socket)) => {
                    self.measure(row, began, None);
                    self.since = Instant::now();
                    self.is_in.store(true, Ordering::Relaxed);
                    let away = self.stay(socket).await;
                    self.is_in.store(false, Ordering::Relaxed);
                    self.ledger.open().resumed += 1;
                    away
                }
                Ok(Err(error)) => {
                    self.measure(row, began, Some(error));
                    None
                }
                Err(_) => {
                    self.measure(row, began, Some("it took too long".into()));
                    None
                }
            };
            let pause = || Duration::from_secs_f64(rand::rng().random_range(PAUSE));
            sleep(away.unwrap_or_else(pause)).await;
        }
    }

    fn measure(&self, row: &'static str, since: Instant, error: Option<String>) {
        let measured = Measured {
            row,
            took: since.elapsed(),
            error,
        };
        self.measured
            .lock()
            .expect("nothing panics while holding it")
            .push(measured);
    }

    /// Connects and joins, and sends once more what was not acked.
    async fn enter(&mut self) -> Result<ChatSocket, String> {
        let opened = self.client.opens("/ws").await;
        let mut socket = opened.map_err(|error| error.to_string())?;
        let mut join = json!({ "type": "join", "room": self.room });
        if let Some(reader) = self.reader {
            join["after"] = self.ledger.open().readers[reader].last().into();
        }
        socket.send(&join).await.map_err(|_| LOST)?;
        loop {
            let frame = socket.receive().await.map_err(|_| LOST)?;
            match frame["type"].as_str() {
                Some("joined") => {
                    self.joined(&frame);
                    break;
                }
                Some("error") => return Err(frame["message"].to_string()),
                _ => {}
            }
        }
        for frame in self.unacked.values() {
            socket.send(frame).await.map_err(|_| LOST)?;
        }
        Ok(socket)
    }

    fn joined(&mut self, frame: &Value) {
        let seq = frame["seq"].as_u64().unwrap_or(0);
        let mut ledger = self.ledger.open();
        let Some(reader) = self.reader else {
            self.reader = Some(ledger.readers.len());
            ledger.readers.push(Reader {
                user: self.client.name.clone(),
                room: self.room.clone(),
                from: seq,
                ..Reader::default()
            });
            return;
        };
        if frame["complete"] == false {
            let reader = &mut ledger.readers[reader];
            let last = reader.last();
            reader.told_to_load.push((last, seq));
        }
    }

    /// Reads and writes until the connection is gone. Returns how long to stay away, if that was said.
    async fn stay(&mut self, mut socket: ChatSocket) -> Option<Duration> {
        let mut again: VecDeque<(Instant, Uuid)> = VecDeque::new();
        // The user may be done with talking, and is still owed what is to come.
        let mut talks = true;
        loop {
            let wake = again
                .front()
                .map(|(at, _)| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                order = self.to_do.recv(), if talks => match order {
                    Some(Order::Say { id, frame }) => {
                        let sent = socket.send(&frame).await;
                        self.unacked.insert(id, frame);
                        sent.ok()?;
                    }
                    Some(Order::Vanish(away)) => return Some(away),
                    None => talks = false,
                },
                frame = socket.receive() => {
                    let refused = self.hear(&mut socket, &frame.ok()?).await?;
                    again.extend(refused);
                }
                () = sleep(wake.unwrap_or_default()), if wake.is_some() => {
                    let due = again.pop_front().and_then(|(_, id)| self.unacked.get(&id));
                    if let Some(frame) = due {
                        socket.send(frame).await.ok()?;
                    }
                }
            }
        }
    }

    /// Does what a frame asks for. Some if a message was refused and may be sent again.
    async fn hear(
        &mut self,
        socket: &mut ChatSocket,
        frame: &Value,
    ) -> Option<Option<(Instant, Uuid)>> {
        let id = |field: &str| {
            frame[field]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok())
        };
        match frame["type"].as_str() {
            Some("ping") => {
                socket.send(&json!({ "type": "pong" })).await.ok()?;
            }
            Some("ack") => {
                let id = id("id")?;
                let mut ledger = self.ledger.open();
                let seq = frame["seq"].as_u64();
                let at = if let Some(said) = ledger.said.get_mut(&id) {
                    said.acked = seq;
                    Some(said.at)
                } else if let Some(changed) = ledger.changed.get_mut(&id) {
                    changed.acked = seq;
                    Some(changed.at)
                } else {
                    None
                };
                drop(ledger);
                if let Some(at) = at {
                    self.unacked.remove(&id);
                    let row = if at < self.since {
                        "ack after resume"
                    } else {
                        "ack"
                    };
                    self.measure(row, at, None);
                }
            }
            Some("message") => self.message(frame),
            Some("edited" | "deleted") => self.event(frame),
            Some("draft") if frame["offset"] == 0 => {
                let mut ledger = self.ledger.open();
                // Everyone in the room sees it; it counts once.
                let first = id("reply_to").filter(|request| ledger.drafted.insert(*request));
                let at = first
                    .and_then(|request| ledger.said.get(&request))
                    .map(|said| said.at);
                drop(ledger);
                if let Some(at) = at {
                    self.measure("first draft", at, None);
                }
            }
            Some("error") => {
                let code = frame["code"].as_str().unwrap_or("error").to_owned();
                let after =
                    Duration::from_millis(frame["retry_after_ms"].as_u64().unwrap_or(1_000));
                let refused = id("id").filter(|id| self.unacked.contains_key(id));
                self.measure("refused", Instant::now(), Some(code));
                return Some(refused.map(|id| (Instant::now() + after, id)));
            }
            _ => {}
        }
        Some(None)
    }

    fn event(&mut self, frame: &Value) {
        let uuid = |field: &str| {
            frame[field]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok())
        };
        let (Some(reader), Some(seq)) = (self.reader, frame["seq"].as_u64()) else {
            return;
        };
        let (Some(id), Some(of)) = (uuid("id"), uuid("of")) else {
            return;
        };
        let mut ledger = self.ledger.open();
        ledger.deliveries += 1;
        let reader = &mut ledger.readers[reader];
        reader.last_event = reader.last_event.max(seq);
        // An edit without a text is one of a message that was deleted since, which is told as well.
        if let Some(state) = state_of(frame, seq) {
            reader.is_told(of, state);
        }
        let sent = ledger.changed.get(&id).map(|changed| changed.at);
        drop(ledger);
        if let Some(at) = sent {
            self.delivered(at);
        }
    }

    fn delivered(&self, at: Instant) {
        let row = if at < self.since {
            "delivery after resume"
        } else {
            "delivery"
        };
        self.measure(row, at, None);
    }

    fn message(&mut self, frame: &Value) {
        let uuid = |field: &str| {
            frame[field]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok())
        };
        let (Some(reader), Some(seq)) = (self.reader, frame["seq"].as_u64()) else {
            return;
        };
        let mut ledger = self.ledger.open();
        ledger.deliveries += 1;
        let reader = &mut ledger.readers[reader];
        reader.saw.push(seq);
        let state = frame["edited"]
            .as_u64()
            .and_then(|edited| state_of(frame, edited));
        let deleted = (frame["deleted"] == true).then_some(State { seq: 0, text: None });
        if let (Some(id), Some(state)) = (uuid("id"), deleted.or(state)) {
            reader.is_told(id, state);
        }
        let sent = uuid("id")
            .and_then(|id| ledger.said.get(&id))
            .map(|said| said.at);
        let answered = match uuid("reply_to") {
            Some(request) if frame["kind"] != "user" => {
                let asked = ledger.said.get(&request).map(|said| said.at);
                // Everyone in the room hears it; it counts once.
                asked.filter(|_| ledger.answered.insert(request))
            }
            _ => None,
        };
        drop(ledger);
        if let Some(at) = sent {
            self.delivered(at);
        }
        if let Some(at) = answered {
            self.measure("bot reply", at, None);
        }
    }
}

/// What a frame says that a message has become; none if that is said by another frame.
fn state_of(frame: &Value, seq: Seq) -> Option<State> {
    let text = frame["message"].as_str().unwrap_or_default();
    match (frame["type"] == "deleted", text) {
        (true, _) => Some(State { seq, text: None }),
        (false, "") => None,
        (false, text) => Some(State {
            seq,
            text: Some(text.to_owned()),
        }),
    }
}
