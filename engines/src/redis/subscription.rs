//! One process's subscription on all nodes: keeps a connection to each, subscribes there what [`Topics`] says, hands on
//! what comes, and makes sure that something would come.
//!
//! A subscription can die without a sign: the connection is cut where neither end sees it, or the server forgot what it
//! had confirmed. So each connection is also subscribed to a channel of its own, its canary, and publishes there once a
//! second, by the way that messages take. A connection on which that does not come is built anew, and all its rooms are
//! sent a gap.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    live::{Control, LiveError, LiveEvent, Subscriber},
    supervise,
};
use parking_lot::{Mutex, MutexGuard};
use redis::{Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    client::RedisClient,
    deployment::Address,
    keys::{Keys, slot},
    node_connection::{GOOD, RECONNECT},
    request::Request,
    topics::{Change, Channel, ConnectionNumber, Topics, Wanted},
};
use crate::outlet::{Outlet, Topic};

/// How long a subscription may take to be confirmed.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);

/// How many channels are subscribed in one round trip.
const BATCH_CHANNELS_MAX: usize = 500;

/// How long a batch may take to be answered.
const BATCH_LIMIT: Duration = Duration::from_secs(3);

/// After a refusal, before the rest of the node's queue is tried.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How often a connection is tried, and how long the sign of life may take.
const CANARY_EVERY: Duration = Duration::from_secs(1);
const CANARY_LIMIT: Duration = Duration::from_secs(2);

/// The first bytes of a payload say what it is.
pub(super) const MESSAGE: u8 = b'm';
pub(super) const SIGNAL: u8 = b'e';

/// A subscription, as its process holds it.
pub(super) struct Subscription {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<RedisClient>,
    keys: Arc<Keys>,
    outlet: Arc<Outlet>,
    topics: Mutex<Topics>,
    /// Tells this subscription's canaries from those of other processes.
    name: String,
    connections: AtomicU64,
}

impl Subscription {
    /// Opens a subscription whose events wait in a channel of this capacity.
    pub(super) fn open(
        client: Arc<RedisClient>,
        keys: Arc<Keys>,
        capacity: usize,
    ) -> (Subscription, mpsc::Receiver<LiveEvent>) {
        let (outlet, events) = Outlet::open(capacity);
        let mut topics = Topics::new(Arc::clone(&outlet));
        let control = keys.control();
        topics.keep(
            &control.as_bytes().into(),
            Topic::Control,
            slot(control.as_bytes()),
        );
        let shared = Arc::new(Shared {
            client,
            keys,
            outlet,
            topics: Mutex::new(topics),
            name: Uuid::new_v4().simple().to_string(),
            connections: AtomicU64::new(0),
        });
        supervise::spawn_part("Redis subscriptions", keep_connections(Arc::clone(&shared)));
        (Subscription { shared }, events)
    }
}

#[async_trait]
impl Subscriber for Subscription {
    async fn subscribe(&self, room: &str) -> Result<(), LiveError> {
        let failed = |why: &'static str| LiveError {
            what: "subscribing to a room",
            source: why.into(),
        };
        if self.shared.outlet.is_closed() {
            return Err(failed("the subscription is closed"));
        }
        let name = self.shared.keys.channel(room);
        let channel: Channel = name.as_bytes().into();
        let topic = Topic::Room(room.into());
        let wanted = self
            .shared
            .topics()
            .want(&channel, topic, slot(name.as_bytes()));
        let Wanted::Soon(confirmed) = wanted else {
            return Ok(());
        };
        // Also when the caller goes away while waiting.
        let given_up = GiveUp {
            shared: &self.shared,
            channel: &channel,
        };
        match timeout(SUBSCRIBE_LIMIT, confirmed).await {
            Ok(Ok(())) => {
                drop(given_up);
                Ok(())
            }
            Ok(Err(_)) => Err(failed("unsubscribed meanwhile")),
            Err(_) => Err(failed("not confirmed in time")),
        }
    }

    async fn unsubscribe(&self, room: &str) {
        let channel: Channel = self.shared.keys.channel(room).as_bytes().into();
        self.shared.topics().unwant(&channel);
    }
}

/// Takes back a request to subscribe that nobody waits for any more; does nothing to one that was confirmed.
struct GiveUp<'a> {
    shared: &'a Shared,
    channel: &'a Channel,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.shared.topics().give_up(self.channel);
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock()
    }

    /// What a connection pushes. Called by the connection's own task: must not block.
    fn take(&self, pushed: PushInfo, from: &Pushes) {
        let mut data = pushed.data.into_iter();
        let Some(Value::BulkString(channel)) = data.next() else {
            if pushed.kind == PushKind::Disconnection {
                from.broken.notify_one();
            }
            return;
        };
        match pushed.kind {
            PushKind::SMessage => {
                let Some(Value::BulkString(payload)) = data.next() else {
                    return;
                };
                if channel == from.canary.as_bytes() {
                    let beat = std::str::from_utf8(&payload)
                        .ok()
                        .and_then(|n| n.parse().ok());
                    if let Some(beat) = beat {
                        from.heard.send_replace(beat);
                    }
                    return;
                }
                // The lock is held until the event is handed over: a connection that is replaced at this moment must
                // not put an old event behind the gap that is sent for it.
                let topics = self.topics();
                let Some(topic) = topics.topic(&channel, from.connection) else {
                    return;
                };
                match read(topic, payload) {
                    Some(event) => self.outlet.offer(topic, event),
                    None => tracing::warn!(?topic, "something unreadable on the live channel"),
                }
            }
            PushKind::SSubscribe => self.topics().confirmed(&channel, from.connection),
            PushKind::SUnsubscribe => {
                let expected = channel != from.canary.as_bytes()
                    && self.topics().ended(&channel, from.connection);
                if !expected {
                    self.client.refresh_topology();
                    from.broken.notify_one();
                }
            }
            _ => {}
        }
    }
}

/// Where the pushes of one connection go.
struct Pushes {
    connection: ConnectionNumber,
    canary: String,
    /// The canary's last number that was heard.
    heard: watch::Sender<u64>,
    broken: Notify,
}

/// Reads `m<seq> <prev> <frame>`, `e<frame>`, or a control.
fn read(topic: &Topic, payload: Vec<u8>) -> Option<LiveEvent> {
    let Topic::Room(room) = topic else {
        let control: Control = serde_json::from_slice(&payload).ok()?;
        return Some(LiveEvent::Control(control));
    };
    let room = Arc::clone(room);
    let payload = Bytes::from(payload);
    match *payload.first()? {
        MESSAGE => {
            let (seq, rest) = number(&payload[1..])?;
            let (prev, frame) = number(rest)?;
            Some(LiveEvent::Message {
                room,
                seq,
                prev,
                frame: payload.slice_ref(frame),
            })
        }
        SIGNAL => Some(LiveEvent::Signal {
            room,
            frame: payload.slice(1..),
        }),
        _ => None,
    }
}

/// A number that a space ends, and what comes after that.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|&byte| byte == b' ')?;
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end + 1..]))
}

/// Keeps one connection to each node, as the nodes come and go, until nobody receives any more.
async fn keep_connections(shared: Arc<Shared>) {
    let mut nodes = shared.client.nodes();
    let mut kept: HashMap<Address, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let slots = nodes.borrow_and_update().slots.clone();
        let serving = shared.topics().remap(&slots);
        kept.retain(|node, _| serving.contains(node));
        for node in serving {
            kept.entry(node.clone()).or_insert_with(|| {
                let keeping = keep_connection(Arc::clone(&shared), node);
                AbortOnDropHandle::new(supervise::spawn_part("Redis subscriber", keeping))
            });
        }
        tokio::select! {
            changed = nodes.changed() => if changed.is_err() { return },
            () = shared.outlet.closed() => return,
        }
    }
}

/// Keeps a connection to a node and everything subscribed on it.
async fn keep_connection(shared: Arc<Shared>, node: Address) {
    let mut back_off = RECONNECT.back_off();
    loop {
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let since = Instant::now();
        let why = serve_connection(&shared, &node, connection).await;
        shared.topics().lost(&node, connection);
        tracing::warn!(%node, why, "lost the subscription on Redis");
        shared.client.refresh_topology();
        if since.elapsed() >= GOOD {
            back_off.reset();
        }
        back_off.wait().await;
    }
}

/// Serves a connection until it is of no use any more; returns why.
async fn serve_connection(
    shared: &Arc<Shared>,
    node: &Address,
    connection: ConnectionNumber,
) -> String {
    let Some(canary) = pick_canary(shared, node, connection) else {
        return "it serves no slots".into();
    };
    let pushes = Arc::new(Pushes {
        connection,
        canary,
        heard: watch::Sender::new(0),
        broken: Notify::new(),
    });
    let taking = {
        let (shared, pushes) = (Arc::clone(shared), Arc::clone(&pushes));
        move |pushed: PushInfo| -> Result<(), std::convert::Infallible> {
            shared.take(pushed, &pushes);
            Ok(())
        }
    };
    let connected = shared
        .client
        .deployment()
        .connect_subscriber(node, taking)
        .await;
    let (subscriber, memory) = match connected {
        Ok(connected) => connected,
        Err(error) => return error.to_string(),
    };
    let filled = {
        let mut topics = shared.topics();
        topics.connected(node, connection, memory);
        topics.filled(node)
    };
    let Some(filled) = filled else {
        return "it serves no slots".into();
    };
    tokio::select! {
        () = pushes.broken.notified() => "it broke".into(),
        why = send_changes(shared, node, &filled, subscriber.clone()) => why,
        why = check_canary(shared, &pushes, subscriber.clone()) => why.into(),
    }
}

/// A channel that the node serves; in a Cluster of n nodes every n-th does.
fn pick_canary(shared: &Shared, node: &Address, connection: ConnectionNumber) -> Option<String> {
    let slots = shared.client.nodes().borrow().slots.clone();
    let name = format!("{}-{connection}", shared.name);
    (0..usize::from(super::keys::SLOTS))
        .map(|attempt| shared.keys.canary(&name, attempt))
        .find(|channel| slots.owner(slot(channel.as_bytes())) == Some(node))
}

/// Sends the node whatever comes into its queue. One channel a command: a Cluster refuses several of different slots.
async fn send_changes(
    shared: &Shared,
    node: &Address,
    filled: &Notify,
    mut subscriber: MultiplexedConnection,
) -> String {
    loop {
        let batch = shared.topics().take_batch(node, BATCH_CHANNELS_MAX);
        if batch.is_empty() {
            filled.notified().await;
            continue;
        }
        let mut commands = Pipeline::new();
        for (channel, change) in &batch {
            let name = match change {
                Change::Subscribe => "SSUBSCRIBE",
                Change::Unsubscribe => "SUNSUBSCRIBE",
            };
            commands.cmd(name).arg(&channel[..]);
        }
        let answers = subscriber.send_packed_commands(&commands, 0, batch.len());
        let answers = match timeout(BATCH_LIMIT, answers).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "a subscription was not answered in time".into(),
        };
        let mut refused = None;
        for ((channel, _), answer) in batch.iter().zip(answers) {
            match answer {
                Value::ServerError(error) => refused = Some(error),
                Value::Push { data, .. } if is_about(&data, channel) => {}
                _ => return "its answers are out of step".into(),
            }
        }
        if let Some(refusal) = refused {
            tracing::warn!(%node, error = %refusal, "a subscription was refused");
            shared.client.refresh_topology();
            sleep(REFUSED_PAUSE).await;
        }
        shared.topics().answered(node, &batch);
    }
}

fn is_about(data: &[Value], channel: &[u8]) -> bool {
    matches!(data.first(), Some(Value::BulkString(name)) if name == channel)
}

/// Returns when nothing published comes over the connection any more.
async fn check_canary(
    shared: &Shared,
    pushes: &Pushes,
    mut subscriber: MultiplexedConnection,
) -> &'static str {
    let slot = slot(pushes.canary.as_bytes());
    let mut subscribe = cmd("SSUBSCRIBE");
    subscribe.arg(&pushes.canary);
    match timeout(BATCH_LIMIT, subscriber.send_packed_command(&subscribe)).await {
        Ok(Ok(Value::Push { data, .. })) if is_about(&data, pushes.canary.as_bytes()) => {}
        Ok(_) => return "its canary was refused",
        Err(_) => return "its canary was not answered in time",
    }
    let mut heard = pushes.heard.subscribe();
    for beat in 1u64.. {
        sleep(CANARY_EVERY.mul_f64(rand::random_range(0.9..1.1))).await;
        match timeout(CANARY_LIMIT, subscriber.send_packed_command(&cmd("PING"))).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return "it broke",
            Err(_) => return "it does not answer",
        }
        let mut publish = cmd("SPUBLISH");
        publish.arg(&pushes.canary).arg(beat);
        // Where commands fail, silence proves nothing.
        if shared
            .client
            .run(slot, Request::at_most_once(publish))
            .await
            .is_ok()
            && timeout(CANARY_LIMIT, heard.wait_for(|last| *last >= beat))
                .await
                .is_err()
        {
            return "it is deaf";
        }
    }
    "it has run out of numbers"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lobby() -> Topic {
        Topic::Room("lobby".into())
    }

    #[test]
    fn a_payload_is_a_message_or_a_signal_and_the_frame_is_not_touched() {
        let read_message = read(&lobby(), b"m17 12 {\"a\": 1}".to_vec());
        assert_eq!(
            read_message,
            Some(LiveEvent::Message {
                room: "lobby".into(),
                seq: 17,
                prev: 12,
                frame: Bytes::from_static(b"{\"a\": 1}"),
            })
        );
        let read_signal = read(&lobby(), b"e{}".to_vec());
        assert_eq!(
            read_signal,
            Some(LiveEvent::Signal {
                room: "lobby".into(),
                frame: Bytes::from_static(b"{}"),
            })
        );
    }

    #[test]
    fn what_is_unreadable_is_nothing() {
        for bad in ["", "m", "m17", "m17 ", "m17 x {}", "m-1 2 {}", "x{}"] {
            assert_eq!(read(&lobby(), bad.into()), None, "{bad:?}");
        }
        assert_eq!(read(&Topic::Control, b"{}".to_vec()), None);
    }
}
