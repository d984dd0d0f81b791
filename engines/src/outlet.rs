//! The end of a process's subscription, the same for both sides: a bounded channel of events that is never waited for.
//! What does not fit is dropped, and sent once per topic, as a gap, when there is room again; so a slow reader costs a
//! bounded amount of memory and never learns of less than it missed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use common::{live::LiveEvent, supervise};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};

/// What events are about, and what can be missed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    Control,
    Room(Arc<str>),
}

impl Topic {
    fn gap(self, is_another: bool) -> LiveEvent {
        match self {
            Topic::Room(room) => LiveEvent::Gap { room, is_another },
            Topic::Control => LiveEvent::ControlGap { is_another },
        }
    }
}

pub(crate) struct Outlet {
    events: mpsc::Sender<LiveEvent>,
    missed: Mutex<Missed>,
    due: Notify,
}

#[derive(Default)]
struct Missed {
    /// Topics whose gap is not sent yet, and whether another server's memory is behind them by now. What comes for them is
    /// dropped: whoever gets the gap reads what was said until then anyway.
    topics: HashMap<Topic, bool>,
    /// Those of them whose gap can be sent: they are subscribed.
    due: BTreeSet<Topic>,
}

impl Outlet {
    /// An outlet for a subscription, the receiver of its events, and the task that sends its gaps, which is started here
    /// and ends with the receiver.
    pub(crate) fn open(capacity: usize) -> (Arc<Outlet>, mpsc::Receiver<LiveEvent>) {
        let (events, receiver) = mpsc::channel(capacity.max(1));
        let outlet = Arc::new(Outlet {
            events,
            missed: Mutex::default(),
            due: Notify::new(),
        });
        supervise::spawn_part("live outlet", Arc::clone(&outlet).send_gaps());
        (outlet, receiver)
    }

    /// Hands an event over, or notes that its topic missed one.
    pub(crate) fn offer(&self, topic: &Topic, event: LiveEvent) {
        let mut missed = self.missed();
        if !missed.topics.is_empty() && missed.topics.contains_key(topic) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            metrics::counter!("chinwag_live_gaps_total", "cause" => "slow reader").increment(1);
            missed.topics.entry(topic.clone()).or_default();
            missed.due.insert(topic.clone());
            self.due.notify_one();
        }
    }

    /// The topic is cut off: what it misses is sent after [`Outlet::restore`].
    pub(crate) fn cut_off(&self, topic: &Topic) {
        let mut missed = self.missed();
        missed.topics.entry(topic.clone()).or_default();
        missed.due.remove(topic);
    }

    /// The topic is subscribed: if it was cut off before, its gap is sent now. `is_another` if that is no longer on the
    /// server whose memory was behind it before.
    pub(crate) fn restore(&self, topic: &Topic, is_another: bool) {
        let mut missed = self.missed();
        let Some(was_another) = missed.topics.get_mut(topic) else {
            return;
        };
        *was_another |= is_another;
        if missed.due.insert(topic.clone()) {
            metrics::counter!("chinwag_live_gaps_total", "cause" => "connection").increment(1);
            self.due.notify_one();
        }
    }

    /// Nobody is subscribed to the topic any more.
    pub(crate) fn forget(&self, topic: &Topic) {
        let mut missed = self.missed();
        missed.topics.remove(topic);
        missed.due.remove(topic);
    }

    /// Completes when the receiver was dropped.
    pub(crate) async fn closed(&self) {
        self.events.closed().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    async fn send_gaps(self: Arc<Self>) {
        loop {
            if self.missed().due.is_empty() {
                tokio::select! {
                    () = self.due.notified() => continue,
                    () = self.events.closed() => return,
                }
            }
            let Ok(permit) = self.events.reserve().await else {
                return;
            };
            let mut missed = self.missed();
            if let Some(topic) = missed.due.pop_first() {
                let is_another = missed.topics.remove(&topic).unwrap_or_default();
                // While the lock is held, so that nothing of this topic comes before its gap.
                permit.send(topic.gap(is_another));
            }
        }
    }

    fn missed(&self) -> MutexGuard<'_, Missed> {
        self.missed.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;

    fn room(name: &str) -> Topic {
        Topic::Room(name.into())
    }

    fn event(name: &str, text: &'static str) -> LiveEvent {
        LiveEvent::Signal {
            room: name.into(),
            frame: Bytes::from_static(text.as_bytes()),
        }
    }

    fn gap(name: &str) -> LiveEvent {
        LiveEvent::Gap {
            room: name.into(),
            is_another: false,
        }
    }

    async fn next(events: &mut mpsc::Receiver<LiveEvent>) -> LiveEvent {
        let next = timeout(Duration::from_secs(5), events.recv()).await;
        next.expect("in time").expect("open")
    }

    #[tokio::test]
    async fn what_does_not_fit_is_sent_once_and_then_it_goes_on() {
        let (outlet, mut events) = Outlet::open(2);
        for text in ["1", "2", "3", "4"] {
            outlet.offer(&room("ada"), event("ada", text));
        }
        assert_eq!(next(&mut events).await, event("ada", "1"));
        assert_eq!(next(&mut events).await, event("ada", "2"));
        assert_eq!(next(&mut events).await, gap("ada"));
        outlet.offer(&room("ada"), event("ada", "5"));
        assert_eq!(next(&mut events).await, event("ada", "5"));
    }

    #[tokio::test]
    async fn a_gap_waits_until_the_topic_is_back() {
        let (outlet, mut events) = Outlet::open(2);
        outlet.cut_off(&room("ada"));
        outlet.offer(&room("ada"), event("ada", "dropped"));
        outlet.offer(&room("bob"), event("bob", "1"));
        assert_eq!(next(&mut events).await, event("bob", "1"));
        outlet.restore(&room("bob"), false);
        outlet.restore(&room("ada"), false);
        assert_eq!(next(&mut events).await, gap("ada"));
    }

    #[tokio::test]
    async fn a_gap_says_so_if_another_server_was_behind_it_at_any_time() {
        let (outlet, mut events) = Outlet::open(1);
        outlet.offer(&room("bob"), event("bob", "in the way"));
        for is_another in [true, false] {
            outlet.cut_off(&room("ada"));
            outlet.restore(&room("ada"), is_another);
        }
        assert_eq!(next(&mut events).await, event("bob", "in the way"));
        let told = LiveEvent::Gap {
            room: "ada".into(),
            is_another: true,
        };
        assert_eq!(next(&mut events).await, told);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_not_sent() {
        let (outlet, mut events) = Outlet::open(2);
        outlet.cut_off(&room("ada"));
        outlet.forget(&room("ada"));
        outlet.restore(&room("ada"), false);
        outlet.offer(&room("bob"), event("bob", "1"));
        assert_eq!(next(&mut events).await, event("bob", "1"));
    }
}
