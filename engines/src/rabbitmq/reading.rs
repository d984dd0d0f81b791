//! Channels on which the broker hands out messages, and the book that is kept of them.
//!
//! What the broker has handed out on a channel it counts as ours, and gives it to nobody else until the channel ends,
//! whether somebody here reads it or not. A consumer that nobody reads is a hole in which messages disappear for as
//! long as the process lives. A client cannot ask the broker over AMQP which consumers it counts for whom: a passive
//! declare tells only how many a queue has of everybody. But nothing of it can be there without a channel, and whether
//! that is open the broker's own `close-ok` says. So each one is in the book until it has ended there, and one that
//! nobody holds any more is noticed, however it came about.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
    time::Instant,
};

use lapin::{Channel, ChannelStatus};
use parking_lot::Mutex;

use super::limits::STEP_LIMIT;

/// A channel that is in the book. Whoever drops it without ending it has it noticed.
pub(super) struct ReadingChannel {
    channel: Channel,
    _held: Arc<()>,
}

impl Deref for ReadingChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

/// The channels of one connection on which something may be handed out.
#[derive(Default)]
pub(super) struct ReadingChannels(Mutex<Vec<Entry>>);

struct Entry {
    status: ChannelStatus,
    held: Weak<()>,
    /// When it was first seen that nobody holds it.
    left_at: Option<Instant>,
}

impl Entry {
    /// As far as the broker has said.
    fn has_ended(&self) -> bool {
        !(self.status.connected() || self.status.closing())
    }
}

impl ReadingChannels {
    /// Enters a channel that is open.
    pub(super) fn enter(&self, channel: Channel) -> ReadingChannel {
        let held = Arc::new(());
        self.0.lock().push(Entry {
            status: channel.status().clone(),
            held: Arc::downgrade(&held),
            left_at: None,
        });
        ReadingChannel {
            channel,
            _held: held,
        }
    }

    /// Whether the broker counts a channel that nobody has held for so long that it should have ended.
    pub(super) fn any_is_abandoned(&self) -> bool {
        let now = Instant::now();
        let mut entries = self.0.lock();
        entries.retain(|entry| !entry.has_ended());
        entries.iter_mut().any(|entry| {
            if entry.held.strong_count() > 0 {
                return false;
            }
            let left_at = *entry.left_at.get_or_insert(now);
            now.duration_since(left_at) >= STEP_LIMIT
        })
    }
}
