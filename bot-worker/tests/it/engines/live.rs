//! The live engine in memory.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{
    live::{
        AppendRequest, Appended, BotRole, Control, Live, LiveError, LiveEvent, Signal, Subscriber,
        Tail, Unsettled,
        turns::{
            Draft, DraftOutcome, DraftSnapshot, TURN_LEASE, TurnMode, TurnRequest, TurnStatus,
            Turns,
        },
    },
    wire::{Message, Seq, now_seq},
};
use engines::embedded::turns::TurnQueue;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use uuid::Uuid;

use super::locked;

/// The live engine.
#[derive(Default)]
pub struct FakeLive {
    pub rooms: Mutex<HashMap<String, Vec<Message>>>,
    pub signals: Mutex<Vec<Signal>>,
    pub away: AtomicBool,
    lines: Mutex<HashMap<String, TurnQueue>>,
    signal_takes: Mutex<Duration>,
    listeners: Mutex<Vec<mpsc::Sender<LiveEvent>>>,
    changed: Notify,
}

impl FakeLive {
    fn here(&self) -> Result<(), LiveError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(LiveError {
                what: "a call",
                source: "away".into(),
            });
        }
        Ok(())
    }

    pub fn messages(&self, room: &str) -> Vec<Message> {
        locked(&self.rooms).get(room).cloned().unwrap_or_default()
    }

    pub fn signals_take(&self, time: Duration) {
        *locked(&self.signal_takes) = time;
    }

    pub async fn control(&self, control: Control) {
        let listeners = locked(&self.listeners).clone();
        for listener in listeners {
            listener
                .send(LiveEvent::Control(control.clone()))
                .await
                .unwrap();
        }
    }

    /// Waits until something here is as wanted.
    pub async fn until<T>(&self, what: &str, wanted: impl Fn(&FakeLive) -> Option<T>) -> T {
        let seen = async {
            loop {
                let changed = self.changed.notified();
                if let Some(seen) = wanted(self) {
                    return seen;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), seen).await {
            Ok(seen) => seen,
            Err(_) => panic!("never: {what}; rooms {:?}", locked(&self.rooms)),
        }
    }

    pub async fn reply_to(&self, room: &str, request: Uuid) -> Message {
        self.until("a reply", |live| {
            live.messages(room)
                .into_iter()
                .find(|message| message.reply_to == Some(request))
        })
        .await
    }
}

impl FakeLive {
    fn append_one(&self, room: &str, offer: &AppendRequest, floor: Option<Seq>) -> Appended {
        let AppendRequest {
            message: new, part, ..
        } = offer;
        let mut rooms = locked(&self.rooms);
        if !rooms.contains_key(room) && floor.is_none() {
            return Appended::Cold;
        }
        let stream = rooms.entry(room.to_owned()).or_default();
        if let Some(known) = stream.iter().find(|message| message.id == new.id) {
            return Appended::Known(known.clone());
        }
        let mut lines = locked(&self.lines);
        let line = lines.entry(room.to_owned()).or_default();
        if let BotRole::Reply(fence) = *part {
            if !line.admits(new.id, fence) {
                return Appended::Fenced;
            }
            line.posted(new.id);
        }
        drop(lines);
        let prev = stream
            .last()
            .map_or(floor.unwrap_or(0), |message| message.seq);
        let message = new.clone().at(now_seq().max(prev + 1), prev);
        stream.push(message.clone());
        drop(rooms);
        self.changed.notify_waiters();
        Appended::New(message)
    }
}

#[async_trait]
impl Live for FakeLive {
    async fn append_all(
        &self,
        room: &str,
        offers: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        self.here()?;
        Ok(offers
            .iter()
            .map(|offer| self.append_one(room, offer, floor))
            .collect())
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        self.here()?;
        let all = self.messages(room);
        let latest = all.last().map_or(0, |message| message.seq);
        let messages = all
            .into_iter()
            .filter(|message| message.seq > after)
            .take(limit)
            .collect();
        Ok(Tail {
            messages,
            reaches_back: true,
            latest,
        })
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        self.here()?;
        Ok(self
            .messages(room)
            .into_iter()
            .find(|message| message.id == id))
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        self.here()?;
        let takes = *locked(&self.signal_takes);
        tokio::time::sleep(takes).await;
        locked(&self.signals).push(signal.clone());
        self.changed.notify_waiters();
        Ok(())
    }

    async fn announce(&self, _: &str, _: &str, users: &[String]) -> Result<Vec<String>, LiveError> {
        Ok(users.to_vec())
    }

    async fn unsettled(&self, _: usize) -> Result<Vec<Unsettled>, LiveError> {
        Ok(Vec::new())
    }

    async fn settled(&self, _: &Unsettled) -> Result<(), LiveError> {
        Ok(())
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        let (sender, receiver) = mpsc::channel(capacity);
        locked(&self.listeners).push(sender);
        (Arc::new(NoRooms), receiver)
    }

    async fn ping(&self) -> Result<(), LiveError> {
        self.here()
    }
}

#[async_trait]
impl Turns for FakeLive {
    async fn request_turn(
        &self,
        place: &TurnRequest,
        wish: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError> {
        self.here()?;
        if self.find(&place.room, place.reply).await?.is_some() {
            return Ok(TurnStatus::Answered);
        }
        let mut lines = locked(&self.lines);
        let line = lines.entry(place.room.clone()).or_default();
        Ok(line.request_turn(place, wish, TURN_LEASE, keep, Instant::now()))
    }

    async fn release_turn(&self, place: &TurnRequest, for_good: bool) -> Result<(), LiveError> {
        self.here()?;
        let mut lines = locked(&self.lines);
        lines
            .entry(place.room.clone())
            .or_default()
            .release_turn(place, for_good);
        Ok(())
    }

    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError> {
        self.here()?;
        let takes = *locked(&self.signal_takes);
        tokio::time::sleep(takes).await;
        let drafted = locked(&self.lines)
            .entry(draft.room.clone())
            .or_default()
            .draft(draft, Instant::now());
        if drafted == DraftOutcome::Shown {
            locked(&self.signals).push(Signal::Room {
                room: draft.room.clone(),
                frame: draft.frame().into(),
            });
            self.changed.notify_waiters();
        }
        Ok(drafted)
    }

    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError> {
        self.here()?;
        let mut lines = locked(&self.lines);
        Ok(lines
            .get_mut(room)
            .and_then(|line| line.draft_snapshot(Instant::now())))
    }
}

struct NoRooms;

#[async_trait]
impl Subscriber for NoRooms {
    async fn subscribe(&self, _: &str) -> Result<(), LiveError> {
        Ok(())
    }

    async fn unsubscribe(&self, _: &str) {}
}
