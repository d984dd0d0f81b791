//! What one process is subscribed to, and what has to be sent to which node to make it so. Knows no connection and no
//! clock: nodes' connections report what happened, and it says what to do.
//!
//! A channel has a state that is wanted and one that the server has confirmed. Wherever the two differ, the channel
//! waits in the queue of the node that serves it, and the connection to that node takes batches from there, one at a
//! time. A new subscription, a connection that broke, and a slot that moved are all the same: channels in a queue.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::{Notify, oneshot};

use super::deployment::{Address, ServerMemory, SlotTable};
use crate::outlet::{Outlet, Topic};

/// A channel's name as the server knows it.
pub(super) type Channel = Arc<[u8]>;

/// Which of a subscription's connections; none is used twice.
pub(super) type ConnectionNumber = u64;

/// What is said to the server about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Subscribe,
    Unsubscribe,
}

/// Whether a topic is subscribed yet.
#[derive(Debug)]
pub(super) enum Wanted {
    /// It was before.
    Already,
    /// It will be when this completes; it fails if somebody unsubscribes first.
    Soon(oneshot::Receiver<()>),
}

pub(super) struct Topics {
    outlet: Arc<Outlet>,
    entries: HashMap<Channel, Entry>,
    queues: HashMap<Address, NodeQueue>,
    slots: SlotTable,
}

struct Entry {
    topic: Topic,
    slot: u16,
    /// Who serves it, as far as is known.
    node: Option<Address>,
    wanted: bool,
    /// It was confirmed since it is wanted: from then on it is kept subscribed over any break, and gaps are sent.
    kept: bool,
    /// The connection that the server has confirmed it on.
    on: Option<ConnectionNumber>,
    /// Whose memory it was confirmed on last.
    memory: Option<ServerMemory>,
    /// In a batch that was sent and is not answered yet.
    in_flight: bool,
    /// In the queue of its node.
    queued: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.wanted == self.on.is_some()
    }

    fn is_over(&self) -> bool {
        !self.wanted && self.on.is_none() && !self.in_flight
    }
}

#[derive(Default)]
struct NodeQueue {
    connection: Option<ConnectionNumber>,
    /// Whose memory it is that answers on the connection.
    memory: ServerMemory,
    waiting: VecDeque<Channel>,
    filled: Arc<Notify>,
}

impl Topics {
    pub(super) fn new(outlet: Arc<Outlet>) -> Topics {
        Topics {
            outlet,
            entries: HashMap::new(),
            queues: HashMap::new(),
            slots: SlotTable::default(),
        }
    }

    /// The channel is to be subscribed from the start. What is missed until then is sent as a gap.
    pub(super) fn keep(&mut self, channel: &Channel, topic: Topic, slot: u16) {
        drop(self.want(channel, topic, slot));
        if let Some(entry) = self.entries.get_mut(channel) {
            entry.kept = true;
            self.outlet.cut_off(&entry.topic);
        }
    }

    /// The channel is to be subscribed.
    pub(super) fn want(&mut self, channel: &Channel, topic: Topic, slot: u16) -> Wanted {
        let node = self.slots.owner(slot);
        let entry = self
            .entries
            .entry(Arc::clone(channel))
            .or_insert_with(|| Entry {
                topic,
                slot,
                node: node.cloned(),
                wanted: false,
                kept: false,
                on: None,
                memory: None,
                in_flight: false,
                queued: false,
                waiting: Vec::new(),
            });
        entry.wanted = true;
        if entry.kept || (entry.on.is_some() && !entry.in_flight) {
            entry.kept = true;
            return Wanted::Already;
        }
        let (tell, soon) = oneshot::channel();
        entry.waiting.push(tell);
        enqueue(&mut self.queues, channel, entry);
        Wanted::Soon(soon)
    }

    /// Somebody no longer waits for [`Wanted::Soon`]. If nobody else does and it was never confirmed, it is not wanted.
    pub(super) fn give_up(&mut self, channel: &Channel) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.waiting.retain(|waiting| !waiting.is_closed());
        if !entry.kept && entry.waiting.is_empty() {
            self.unwant(channel);
        }
    }

    /// The channel is to be unsubscribed.
    pub(super) fn unwant(&mut self, channel: &Channel) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.wanted = false;
        entry.kept = false;
        entry.waiting.clear();
        self.outlet.forget(&entry.topic);
        if entry.is_over() {
            self.entries.remove(channel);
        } else {
            enqueue(&mut self.queues, channel, entry);
        }
    }

    /// Takes note of who serves what from now on, and returns the nodes.
    pub(super) fn remap(&mut self, slots: &SlotTable) -> Vec<Address> {
        self.slots = slots.clone();
        let nodes = slots.nodes();
        self.queues.retain(|node, _| nodes.contains(node));
        for node in &nodes {
            self.queues.entry(node.clone()).or_default();
        }
        for (channel, entry) in &mut self.entries {
            let owner = slots.owner(entry.slot);
            if entry.node.as_ref() == owner {
                continue;
            }
            entry.node = owner.cloned();
            cut_off(&self.outlet, entry);
            enqueue(&mut self.queues, channel, entry);
        }
        self.entries.retain(|_, entry| !entry.is_over());
        nodes
    }

    /// Completes when there may be something in a node's queue; `None` if it has none any more.
    pub(super) fn filled(&self, node: &Address) -> Option<Arc<Notify>> {
        self.queues.get(node).map(|queue| Arc::clone(&queue.filled))
    }

    /// There is a new connection to a node: everything that it serves is to be subscribed on it.
    pub(super) fn connected(
        &mut self,
        node: &Address,
        connection: ConnectionNumber,
        memory: ServerMemory,
    ) {
        let Some(queue) = self.queues.get_mut(node) else {
            return;
        };
        queue.connection = Some(connection);
        queue.memory = memory;
        queue.waiting.clear();
        self.start_over(node);
    }

    /// The connection to a node is gone.
    pub(super) fn lost(&mut self, node: &Address, connection: ConnectionNumber) {
        let Some(queue) = self.queues.get_mut(node) else {
            return;
        };
        if queue.connection == Some(connection) {
            queue.connection = None;
            queue.waiting.clear();
            self.start_over(node);
        }
    }

    fn start_over(&mut self, node: &Address) {
        for (channel, entry) in &mut self.entries {
            if entry.node.as_ref() == Some(node) {
                cut_off(&self.outlet, entry);
                enqueue(&mut self.queues, channel, entry);
            }
        }
        self.entries.retain(|_, entry| !entry.is_over());
    }

    /// What is to be said to a node next, at most `max` channels. [`Topics::answered`] ends the batch.
    pub(super) fn take_batch(&mut self, node: &Address, max: usize) -> Vec<(Channel, Change)> {
        let mut batch = Vec::new();
        let Some(queue) = self.queues.get_mut(node) else {
            return batch;
        };
        while batch.len() < max
            && let Some(channel) = queue.waiting.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&channel) else {
                continue;
            };
            // What was left behind when the channel's slot moved away, or away and back.
            if entry.node.as_ref() != Some(node) || !entry.queued {
                continue;
            }
            entry.queued = false;
            if entry.is_settled() {
                if entry.is_over() {
                    self.entries.remove(&channel);
                }
                continue;
            }
            entry.in_flight = true;
            let change = if entry.wanted {
                Change::Subscribe
            } else {
                Change::Unsubscribe
            };
            batch.push((channel, change));
        }
        batch
    }

    /// A batch was answered, by confirmations (which [`Topics::confirmed`] and [`Topics::ended`] were told of) or by
    /// refusals; what is not as it is wanted goes back into the queue.
    pub(super) fn answered(&mut self, node: &Address, batch: &[(Channel, Change)]) {
        for (channel, _) in batch {
            let Some(entry) = self.entries.get_mut(channel) else {
                continue;
            };
            if entry.node.as_ref() != Some(node) {
                continue;
            }
            entry.in_flight = false;
            if entry.is_over() {
                self.entries.remove(channel);
            } else {
                enqueue(&mut self.queues, channel, entry);
            }
        }
    }

    /// The server says that the channel is subscribed.
    pub(super) fn confirmed(&mut self, channel: &[u8], connection: ConnectionNumber) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        let Some(queue) = current(&self.queues, entry, connection) else {
            return;
        };
        entry.on = Some(connection);
        let memory = queue.memory.clone();
        let before = entry.memory.replace(memory);
        let is_another = before.is_some_and(|before| before != queue.memory);
        for waiting in entry.waiting.drain(..) {
            entry.kept |= waiting.send(()).is_ok();
        }
        if entry.kept {
            self.outlet.restore(&entry.topic, is_another);
        } else {
            // Everybody who wanted it has given up meanwhile, and was told that it is not subscribed.
            entry.wanted = false;
        }
    }

    /// The server says that the channel is no longer subscribed. False if nobody had asked for that: its slot has
    /// moved, and this answer to no question has put the connection's answers out of step.
    pub(super) fn ended(&mut self, channel: &[u8], connection: ConnectionNumber) -> bool {
        let Some(entry) = self.entries.get_mut(channel) else {
            return true;
        };
        if current(&self.queues, entry, connection).is_none() {
            return true;
        }
        entry.on = None;
        entry.in_flight
    }

    /// The topic of what came on a channel, if somebody wants it and it came on the right connection.
    pub(super) fn topic(&self, channel: &[u8], connection: ConnectionNumber) -> Option<&Topic> {
        let entry = self.entries.get(channel)?;
        (entry.wanted && entry.on == Some(connection)).then_some(&entry.topic)
    }
}

/// The queue of the node that serves a channel, if that node is heard over this connection now.
fn current<'a>(
    queues: &'a HashMap<Address, NodeQueue>,
    entry: &Entry,
    connection: ConnectionNumber,
) -> Option<&'a NodeQueue> {
    let queue = entry.node.as_ref().and_then(|node| queues.get(node));
    queue.filter(|queue| queue.connection == Some(connection))
}

fn cut_off(outlet: &Outlet, entry: &mut Entry) {
    entry.on = None;
    entry.in_flight = false;
    entry.queued = false;
    if entry.wanted && entry.kept {
        outlet.cut_off(&entry.topic);
    }
}

fn enqueue(queues: &mut HashMap<Address, NodeQueue>, channel: &Channel, entry: &mut Entry) {
    if entry.queued || entry.in_flight || entry.is_settled() {
        return;
    }
    let Some(queue) = entry.node.as_ref().and_then(|node| queues.get_mut(node)) else {
        return;
    };
    // Without a connection nothing can be said; the next one starts with everything that is wanted.
    if queue.connection.is_none() {
        return;
    }
    entry.queued = true;
    queue.waiting.push_back(Arc::clone(channel));
    queue.filled.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u16 = 7;

    fn topics() -> (Topics, Address) {
        let (outlet, _) = Outlet::open(8);
        let mut topics = Topics::new(outlet);
        let node = topics
            .remap(&SlotTable::all(Address::new("a", 1)))
            .remove(0);
        topics.connected(&node, 1, ServerMemory::default());
        (topics, node)
    }

    fn lobby() -> (Channel, Topic) {
        (b"{lobby}".as_slice().into(), Topic::Room("lobby".into()))
    }

    #[tokio::test]
    async fn a_room_is_subscribed_when_the_server_says_so_and_not_before() {
        let (mut topics, node) = topics();
        let (channel, topic) = lobby();
        let Wanted::Soon(mut soon) = topics.want(&channel, topic.clone(), SLOT) else {
            panic!("too soon");
        };
        let batch = topics.take_batch(&node, 9);
        assert_eq!(batch, [(channel.clone(), Change::Subscribe)]);
        assert!(soon.try_recv().is_err());
        topics.confirmed(&channel, 1);
        assert_eq!(topics.topic(&channel, 1), Some(&topic));
        assert_eq!(topics.topic(&channel, 0), None, "another connection");
        topics.answered(&node, &batch);
        assert!(soon.await.is_ok());
        assert!(matches!(
            topics.want(&channel, topic, SLOT),
            Wanted::Already
        ));
        assert!(topics.take_batch(&node, 9).is_empty());
    }

    #[tokio::test]
    async fn a_confirmation_that_nobody_waits_for_any_more_is_undone() {
        let (mut topics, node) = topics();
        let (channel, topic) = lobby();
        let soon = topics.want(&channel, topic, SLOT);
        let batch = topics.take_batch(&node, 9);
        drop(soon);
        topics.confirmed(&channel, 1);
        topics.answered(&node, &batch);
        topics.give_up(&channel);
        let batch = topics.take_batch(&node, 9);
        assert_eq!(batch, [(channel.clone(), Change::Unsubscribe)]);
        assert!(topics.ended(&channel, 1), "it was asked for");
        topics.answered(&node, &batch);
        assert!(topics.entries.is_empty());
    }

    #[tokio::test]
    async fn who_changes_their_mind_in_the_middle_gets_what_they_wanted_last() {
        let (mut topics, node) = topics();
        let (channel, topic) = lobby();
        drop(topics.want(&channel, topic.clone(), SLOT));
        let batch = topics.take_batch(&node, 9);
        topics.unwant(&channel);
        let Wanted::Soon(soon) = topics.want(&channel, topic.clone(), SLOT) else {
            panic!("too soon");
        };
        topics.confirmed(&channel, 1);
        topics.answered(&node, &batch);
        assert!(soon.await.is_ok());

        topics.unwant(&channel);
        let batch = topics.take_batch(&node, 9);
        assert_eq!(batch, [(channel.clone(), Change::Unsubscribe)]);
        let Wanted::Soon(_soon) = topics.want(&channel, topic, SLOT) else {
            panic!("its end is under way");
        };
        assert!(topics.ended(&channel, 1));
        topics.answered(&node, &batch);
        let batch = topics.take_batch(&node, 9);
        assert_eq!(batch, [(channel, Change::Subscribe)]);
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_noticed() {
        let (mut topics, node) = topics();
        let (channel, topic) = lobby();
        let _soon = topics.want(&channel, topic, SLOT);
        let batch = topics.take_batch(&node, 9);
        topics.confirmed(&channel, 1);
        topics.answered(&node, &batch);
        assert!(!topics.ended(&channel, 1));
    }

    #[tokio::test]
    async fn a_new_connection_and_a_moved_slot_begin_anew_once_each() {
        let (mut topics, node) = topics();
        let (channel, topic) = lobby();
        let _soon = topics.want(&channel, topic, SLOT);
        let batch = topics.take_batch(&node, 9);
        topics.confirmed(&channel, 1);
        topics.answered(&node, &batch);
        topics.lost(&node, 1);
        assert!(
            topics.take_batch(&node, 9).is_empty(),
            "nobody to say it to"
        );
        topics.connected(&node, 2, ServerMemory::default());
        assert_eq!(topics.take_batch(&node, 9), batch);
        topics.confirmed(&channel, 2);
        topics.answered(&node, &batch);

        // Away and back again, before anything was said.
        for (host, port) in [("b", 2), ("a", 1)] {
            let node = topics
                .remap(&SlotTable::all(Address::new(host, port)))
                .remove(0);
            topics.connected(&node, 3, ServerMemory::default());
        }
        assert_eq!(topics.take_batch(&node, 9), batch);
        assert!(topics.take_batch(&node, 9).is_empty());
    }
}
