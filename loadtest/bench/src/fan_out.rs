//! Rooms full of sockets, in a closed loop: a sender sends its next message when one of those in flight is acked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::client::{Socket, masked};

/// Who is in which room, and who of them talks how much.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Rooms.
    pub rooms: usize,
    /// Sockets in each.
    pub sockets: usize,
    /// Of these, senders.
    pub senders: usize,
    /// Messages of one sender that wait for their ack.
    pub in_flight: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Talking,
    Silent,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    deliveries: AtomicU64,
    acks: AtomicU64,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Messages that came to anyone, a second.
    pub deliveries: f64,
    /// Acks a second.
    pub acks: f64,
    /// The time that was measured, in seconds.
    pub seconds: f64,
}

/// Measures for this long, after a warm-up. `at_edges` is called when that time begins and when it ends.
///
/// # Panics
/// If a message did not come to everyone.
pub(crate) async fn run(
    address: SocketAddr,
    sessions: &[String],
    rooms: &[String],
    shape: Shape,
    text: &str,
    time: Duration,
    mut at_edges: impl FnMut(),
) -> Outcome {
    let counters = Arc::new(Counters::default());
    let (phase, phases) = watch::channel(Phase::Before);
    let frame: Arc<[u8]> = masked(text).into();
    let mut readers = JoinSet::new();
    for (number, room) in rooms.iter().take(shape.rooms).enumerate() {
        for seat in 0..shape.sockets {
            let token = &sessions[(number * shape.sockets + seat) % sessions.len()];
            let socket = Socket::connect(address, token, &format!("/ws/chat/{room}")).await;
            let mut socket = socket.expect("the socket is let in");
            socket.wait_for("joined").await.expect("the room is open");
            let in_flight = if seat < shape.senders {
                shape.in_flight
            } else {
                0
            };
            let counters = Arc::clone(&counters);
            readers.spawn(read(
                socket,
                Arc::clone(&frame),
                in_flight,
                phases.clone(),
                counters,
            ));
        }
    }
    phase.send_replace(Phase::Talking);
    sleep(Duration::from_secs(1)).await;
    let count = || {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        (load(&counters.deliveries), load(&counters.acks))
    };
    at_edges();
    let (began, (deliveries, acks)) = (Instant::now(), count());
    sleep(time).await;
    at_edges();
    let (seconds, after) = (began.elapsed().as_secs_f64(), count());
    phase.send_replace(Phase::Silent);
    let is_settled = || {
        let [sent, acks, deliveries] = [&counters.sent, &counters.acks, &counters.deliveries]
            .map(|counter| counter.load(Ordering::SeqCst));
        assert!(
            deliveries <= sent * shape.sockets as u64,
            "somebody saw a message twice"
        );
        acks == sent && deliveries == sent * shape.sockets as u64
    };
    let until = Instant::now() + Duration::from_secs(30);
    while !is_settled() {
        assert!(
            Instant::now() < until,
            "not everyone saw every message: {:?}",
            count()
        );
        sleep(Duration::from_millis(20)).await;
    }
    Outcome {
        deliveries: (after.0 - deliveries) / seconds,
        acks: (after.1 - acks) / seconds,
        seconds,
    }
}

async fn read(
    mut socket: Socket,
    frame: Arc<[u8]>,
    in_flight: usize,
    mut phases: watch::Receiver<Phase>,
    counters: Arc<Counters>,
) {
    if in_flight > 0 {
        let talking = phases.wait_for(|phase| *phase != Phase::Before).await;
        drop(talking.expect("the run goes on"));
        counters.sent.fetch_add(in_flight as u64, Ordering::SeqCst);
        socket
            .write(&frame.repeat(in_flight))
            .await
            .expect("the socket is open");
    }
    loop {
        let (mut deliveries, mut acks) = (0, 0);
        let read = socket.read(|text| {
            // `{"type":"message"` and `{"type":"ack"`
            match text.get(9) {
                Some(b'm') => deliveries += 1,
                Some(b'a') => acks += 1,
                Some(b'e') => panic!("refused: {}", String::from_utf8_lossy(text)),
                _ => {}
            }
        });
        if read.await.is_err() {
            return;
        }
        let goes_on = acks > 0 && *phases.borrow() == Phase::Talking;
        if goes_on {
            counters.sent.fetch_add(acks, Ordering::SeqCst);
        }
        counters.deliveries.fetch_add(deliveries, Ordering::SeqCst);
        counters.acks.fetch_add(acks, Ordering::SeqCst);
        if goes_on {
            let frames = frame.repeat(usize::try_from(acks).expect("small"));
            if socket.write(&frames).await.is_err() {
                return;
            }
        }
    }
}
