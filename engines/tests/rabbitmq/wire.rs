//! A wire between the queue and the broker that can be cut, on which answers can be held or changed, and on which
//! words can be put in either one's mouth.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{broadcast, watch},
};

/// A method by its class and its number there.
type Method = (u16, u16);

/// By which a broker tells publishers to wait and to go on.
const BLOCKED: Method = (10, 60);
const UNBLOCKED: Method = (10, 61);
const DECLARE_OK: Method = (50, 11);
const CONSUME: Method = (60, 20);
pub(crate) const CONSUME_OK: Method = (60, 21);
pub(crate) const CANCEL_OK: Method = (60, 31);
pub(crate) const GET: Method = (60, 70);
pub(crate) const CONFIRM: Method = (60, 80);

/// A port that takes connections and passes everything on to the broker.
pub(crate) struct Wire {
    pub url: String,
    cuts: watch::Sender<u32>,
    client_held: watch::Sender<bool>,
    questions: watch::Sender<Option<Method>>,
    answers: watch::Sender<Answers>,
    to_client: broadcast::Sender<Arc<[u8]>>,
    to_broker: broadcast::Sender<Arc<str>>,
}

/// What becomes of the broker's answers.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// The next of these, and whatever follows on its channel, waits.
    held: Option<Method>,
    /// The next of these does not come at all.
    lost: Option<Method>,
    /// A queue that is declared has neither messages nor consumers, whatever the broker says.
    empty_queues: bool,
}

impl Wire {
    /// To the broker of this URL.
    pub(crate) async fn to(url: &str) -> Wire {
        let mut parsed = url::Url::parse(url).expect("the engines' URLs are URLs");
        let target = format!(
            "127.0.0.1:{}",
            parsed.port().expect("the engines' URLs have ports")
        );
        let listener = listen().await;
        let port = listener.local_addr().expect("it listens").port();
        parsed
            .set_port(Some(port))
            .expect("it is a URL with a host");
        let (cuts, cut) = watch::channel(0);
        let (client_held, holding) = watch::channel(false);
        let questions = watch::Sender::new(None);
        let answers = watch::Sender::new(Answers::default());
        let (to_client, _) = broadcast::channel(16);
        let (to_broker, _) = broadcast::channel(16);
        let wire = Wire {
            url: parsed.into(),
            cuts,
            client_held,
            questions: questions.clone(),
            answers: answers.clone(),
            to_client: to_client.clone(),
            to_broker: to_broker.clone(),
        };
        tokio::spawn(async move {
            let mut ended = cut.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    // The wire was dropped.
                    gone = ended.changed() => if gone.is_err() { return } else { continue },
                };
                let Ok((client, _)) = accepted else { continue };
                let (to_client, to_broker) = (to_client.subscribe(), to_broker.subscribe());
                let (mut cut, target) = (cut.clone(), target.clone());
                let (holding, questions, answers) =
                    (holding.clone(), questions.clone(), answers.clone());
                let consuming = AtomicU16::new(0);
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_client, client) = client.into_split();
                    let (from_server, server) = server.into_split();
                    tokio::select! {
                        () = pass_questions(from_client, server, (holding, questions), (to_broker, &consuming)) => {}
                        () = pass_answers(from_server, client, (answers, &consuming), to_client) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        wire
    }

    /// From now on nothing that the client says reaches the broker; or it does again.
    pub(crate) fn hold(&self, held: bool) {
        self.client_held.send_replace(held);
    }

    /// Ends all connections. New ones are taken.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// The client's next question of this kind is the last thing that the broker hears on its channel.
    pub(crate) fn mute_after(&self, method: Method) {
        self.questions.send_replace(Some(method));
    }

    /// The broker's next answer of this kind waits, and with it whatever follows on its channel.
    pub(crate) fn hold_next(&self, method: Method) {
        self.answers
            .send_modify(|answers| answers.held = Some(method));
    }

    /// The broker's next answer of this kind gets lost, alone.
    pub(crate) fn lose_next(&self, method: Method) {
        self.answers
            .send_modify(|answers| answers.lost = Some(method));
    }

    /// Until an answer is held.
    pub(crate) async fn held_one(&self) {
        let mut answers = self.answers.subscribe();
        let taken = answers.wait_for(|answers| answers.held.is_none()).await;
        taken.expect("the wire is there");
    }

    /// Until an answer is lost.
    pub(crate) async fn lost_one(&self) {
        let mut answers = self.answers.subscribe();
        let taken = answers.wait_for(|answers| answers.lost.is_none()).await;
        taken.expect("the wire is there");
    }

    /// Lets go on what is held.
    pub(crate) fn release(&self) {
        self.to_client.send(Arc::from([])).ok();
    }

    /// From now on whoever asks for a queue is told that it has no messages and no consumers.
    pub(crate) fn say_queues_are_empty(&self) {
        self.answers
            .send_modify(|answers| answers.empty_queues = true);
    }

    /// What a broker says that runs out of memory or disk.
    pub(crate) fn say_blocked(&self) {
        let reason = b"low on memory";
        let mut rest = vec![u8::try_from(reason.len()).expect("it is short")];
        rest.extend(reason);
        self.say(BLOCKED, &rest);
    }

    /// What it says when that is over.
    pub(crate) fn say_unblocked(&self) {
        self.say(UNBLOCKED, &[]);
    }

    /// Asks the broker for one more consumer on the channel that consumes, of a kind that is not answered.
    pub(crate) fn consume_unseen(&self, queue: &str) {
        self.to_broker
            .send(queue.into())
            .expect("somebody is connected");
    }

    fn say(&self, method: Method, arguments: &[u8]) {
        let said = self.to_client.send(frame(0, method, arguments));
        said.expect("somebody is connected");
    }
}

fn frame(channel: u16, (class, method): Method, arguments: &[u8]) -> Arc<[u8]> {
    let size = u32::try_from(arguments.len() + 4).expect("it is short");
    let mut frame = vec![1];
    frame.extend(channel.to_be_bytes());
    frame.extend(size.to_be_bytes());
    frame.extend(class.to_be_bytes());
    frame.extend(method.to_be_bytes());
    frame.extend(arguments);
    frame.push(0xCE);
    frame.into()
}

/// Below the ports that the system gives to outgoing connections: a client that connects to a closed one of those again
/// and again can meet itself.
async fn listen() -> TcpListener {
    loop {
        let port = 20_000 + rand::random_range(0..10_000_u16);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
}

/// Takes the first whole frame out of what was read: type, channel, size; then as many bytes, and one at the end. The
/// client's greeting has the form of none, and is as long as the shortest.
fn take_frame(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let header = buffer.get(..8)?;
    let size = if header.starts_with(b"AMQP") {
        0
    } else {
        u32::from_be_bytes(header[3..7].try_into().expect("these are four")) as usize
    };
    let whole = 8 + size;
    (buffer.len() >= whole).then(|| buffer.drain(..whole).collect())
}

fn channel(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[1], frame[2]])
}

fn method(frame: &[u8]) -> Option<Method> {
    let number = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    (frame[0] == 1).then_some((number(7)?, number(9)?))
}

/// Passes on whole frames that the client says, while it is not held, and asks for more consumers between two of them.
async fn pass_questions(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (mut holding, questions): (watch::Receiver<bool>, watch::Sender<Option<Method>>),
    (mut unseen, consuming): (broadcast::Receiver<Arc<str>>, &AtomicU16),
) {
    let mut buffer = Vec::new();
    let mut mute_channels = HashSet::new();
    loop {
        while let Some(frame) = take_frame(&mut buffer) {
            if mute_channels.contains(&channel(&frame)) {
                continue;
            }
            let is_last = questions.send_if_modified(|last| {
                let is_it = last.is_some() && *last == method(&frame);
                if is_it {
                    *last = None;
                }
                is_it
            });
            if is_last {
                mute_channels.insert(channel(&frame));
            }
            if holding.wait_for(|held| !held).await.is_err() || to.write_all(&frame).await.is_err()
            {
                return;
            }
        }
        tokio::select! {
            read = from.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            queue = unseen.recv() => {
                let channel = consuming.load(Ordering::SeqCst);
                if let Ok(queue) = queue
                    && channel > 0
                    && to.write_all(&consume(channel, &queue)).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Asks for a consumer and for no answer.
fn consume(channel: u16, queue: &str) -> Arc<[u8]> {
    let mut arguments = vec![0, 0];
    for text in [queue, "unseen"] {
        arguments.push(u8::try_from(text.len()).expect("it is short"));
        arguments.extend(text.as_bytes());
    }
    let no_answer = 0b1000;
    arguments.extend([no_answer, 0, 0, 0, 0]);
    frame(channel, CONSUME, &arguments)
}

/// The same with what the broker says. A word without letters lets go on what is held.
async fn pass_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (answers, consuming): (watch::Sender<Answers>, &AtomicU16),
    mut words: broadcast::Receiver<Arc<[u8]>>,
) {
    let mut buffer = Vec::new();
    let mut held_channels = HashSet::new();
    let mut held = Vec::new();
    loop {
        while let Some(mut frame) = take_frame(&mut buffer) {
            let method = method(&frame);
            let is_next = answers.send_if_modified(|answers| {
                let is_it = answers.held.is_some() && answers.held == method;
                if is_it {
                    answers.held = None;
                }
                is_it
            });
            if is_next {
                held_channels.insert(channel(&frame));
            }
            let is_lost = answers.send_if_modified(|answers| {
                let is_it = answers.lost.is_some() && answers.lost == method;
                if is_it {
                    answers.lost = None;
                }
                is_it
            });
            if is_lost {
                continue;
            }
            if method == Some(CONSUME_OK) {
                consuming.store(channel(&frame), Ordering::SeqCst);
            }
            if method == Some(DECLARE_OK) && answers.borrow().empty_queues {
                let counts = frame.len() - 9..frame.len() - 1;
                frame[counts].fill(0);
            }
            if held_channels.contains(&channel(&frame)) {
                held.extend(frame);
            } else if to.write_all(&frame).await.is_err() {
                return;
            }
        }
        tokio::select! {
            read = from.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            said = words.recv() => if let Ok(said) = said {
                if said.is_empty() {
                    held_channels.clear();
                    held = if to.write_all(&held).await.is_ok() { Vec::new() } else { return };
                } else if to.write_all(&said).await.is_err() {
                    return;
                }
            },
        }
    }
}
