//! Somebody who listens on a line.

use std::sync::Arc;

use common::{
    live::{Control, Live, LiveEvent, Subscriber},
    wire::Message,
};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

/// How long a story waits for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Ears {
    pub subscriber: Arc<dyn Subscriber>,
    pub events: mpsc::Receiver<LiveEvent>,
}

impl Ears {
    /// On Redis a line says with a gap that it hears controls by now: that has been heard when this returns.
    pub async fn open<T: Live + ?Sized>(live: &T, capacity: usize, rooms: &[&str]) -> Ears {
        let (subscriber, events) = live.subscriber(capacity);
        for room in rooms {
            subscriber.subscribe(room).await.expect("subscribed");
        }
        Ears { subscriber, events }
    }

    /// The next event but for gaps of controls.
    pub async fn next(&mut self) -> LiveEvent {
        loop {
            match timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(LiveEvent::ControlGap { .. })) => {}
                Ok(Some(event)) => return event,
                Ok(None) => panic!("the line was closed"),
                Err(_) => panic!("nothing was heard for {PATIENCE:?}"),
            }
        }
    }

    /// The next event, which must be a message.
    pub async fn message(&mut self) -> Message {
        match self.next().await {
            LiveEvent::Message {
                room,
                seq,
                prev,
                frame,
            } => {
                let message = Message::from_frame(&frame).expect("a readable frame");
                assert_eq!(
                    (&*message.room, message.seq, message.prev),
                    (&*room, seq, prev)
                );
                assert_eq!(message.frame().as_bytes(), frame);
                message
            }
            other => panic!("not a message: {other:?}"),
        }
    }

    /// The next event, which must be a signal; its frame.
    pub async fn signal(&mut self) -> String {
        match self.next().await {
            LiveEvent::Signal { frame, .. } => String::from_utf8(frame.into()).expect("text"),
            other => panic!("not a signal: {other:?}"),
        }
    }

    /// Waits for the gap of a room, whatever comes before it. Returns whether another server is behind it by now.
    pub async fn gap(&mut self, room: &str) -> bool {
        loop {
            if let LiveEvent::Gap {
                room: told,
                is_another,
            } = self.next().await
                && &*told == room
            {
                return is_another;
            }
        }
    }

    /// Waits for a control, whatever comes before it.
    pub async fn control(&mut self, within: Duration) -> Option<Control> {
        timeout(within, async {
            loop {
                if let Some(LiveEvent::Control(control)) = self.events.recv().await {
                    return control;
                }
            }
        })
        .await
        .ok()
    }

    /// Waits for a message with this text, whatever comes before it.
    pub async fn hears(&mut self, text: &str) {
        loop {
            if let LiveEvent::Message { frame, .. } = self.next().await
                && Message::from_frame(&frame)
                    .expect("a readable frame")
                    .message
                    == text
            {
                return;
            }
        }
    }

    /// Whatever is waiting to be read at this moment.
    pub fn waiting(&mut self) -> Vec<LiveEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}
