//! One connection that is always there: a task of our own opens it, watches over it, and opens a new one when it is
//! lost, for ever, on any host of `AMQP_URL`. The client library's own recovery is not used: see
//! `docs/decisions/our-own-amqp-supervisor.md`.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{retry::RetryPolicy, supervise};
use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    Channel, Connection, ConnectionProperties, Event, ExchangeKind,
    options::ExchangeDeclareOptions,
    tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig},
    types::FieldTable,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    addresses::Address,
    hosts::{Connected, Host, Hosts},
    limits::{BrokerError, STEP_LIMIT, in_time},
    reading::{ReadingChannel, ReadingChannels},
    topology,
};

/// Between two rounds over all hosts.
const RECONNECT: RetryPolicy = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(5));

/// How often the library is asked whether it still thinks that it is connected.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// How often the broker is asked whether it is alive, and how long it may take to say so: one that stands still is
/// noticed within 6 s, before a cluster has chosen other leaders for the queues that it led.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const ALIVE_LIMIT: Duration = Duration::from_secs(4);

/// How long one host is waited for at a reconnect before the next one is tried as well. Not when a process starts: that
/// takes longer, nobody waits for it, and its connections are to lead to different hosts.
const HEAD_START: Duration = Duration::from_secs(2);

/// How long what is missing is missing before it is declared again. The consumers of a deleted queue are told so some
/// 30 ms later; were it there again by then, RabbitMQ 3.10 would attach them to the new queue and withhold its first
/// messages from them.
const REDECLARE_AFTER: Duration = Duration::from_secs(2);

/// What the connection is for. A connection that publishes too fast is held back by the broker as a whole, so that
/// what is consumed needs another one to be acked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publishing,
    Consuming,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Publishing => "publishing",
            Role::Consuming => "consuming",
        }
    }
}

/// A connection, from its opening until it is lost.
pub(super) struct Session {
    /// What is declared when something is missing.
    partitions: usize,
    /// Never the same twice in a process.
    pub(super) epoch: u64,
    connection: Connection,
    connected: Connected,
    close_on_drop: CloseOnDrop,
    lost: CancellationToken,
    why_lost: OnceLock<String>,
    redeclare: Notify,
    reading: ReadingChannels,
}

/// The connection's socket, to end it whatever the library waits for: a peer that stands still answers no farewell,
/// and the library's thread would wait for one for ever.
#[derive(Default)]
struct SocketHandle {
    socket: OnceLock<TcpStream>,
    is_cut: AtomicBool,
}

impl SocketHandle {
    /// The library has a socket now. Nobody may want it any more.
    fn attach(&self, socket: TcpStream) {
        // There is one socket for each handle.
        let _ = self.socket.set(socket);
        if self.is_cut.load(Ordering::SeqCst) {
            self.cut();
        }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.get() {
            // An error says that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Whoever drops it ends the connection.
struct CloseOnDrop(Arc<SocketHandle>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl Session {
    async fn open(
        role: Role,
        host: Arc<Host>,
        partitions: usize,
        epoch: u64,
        is_first: bool,
    ) -> Result<Session, BrokerError> {
        let handle = Arc::new(SocketHandle::default());
        // From here on, whatever ends this function early ends the connection.
        let close_on_drop = CloseOnDrop(handle.clone());
        let connection = in_time(Session::connect(role, &host.address, handle)).await?;
        if is_first {
            topology::declare_at_start(&connection, partitions).await?;
        } else {
            topology::declare_if_lost(&connection, partitions).await?;
        }
        Ok(Session {
            partitions,
            epoch,
            connection,
            connected: Connected::new(host, role),
            close_on_drop,
            lost: CancellationToken::new(),
            why_lost: OnceLock::new(),
            redeclare: Notify::new(),
            reading: ReadingChannels::default(),
        })
    }

    async fn connect(
        role: Role,
        address: &Address,
        handle: Arc<SocketHandle>,
    ) -> lapin::Result<Connection> {
        let name = format!("chinwag {}, process {}", role.as_str(), std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let is_encrypted = address.is_encrypted();
        let runtime = lapin::runtime::default_runtime()?;
        let connecting = Connection::connector(
            address.uri.clone(),
            runtime,
            async move |uri: AMQPUri, runtime| {
                // First without TLS, so that the socket can be had.
                let plain = AMQPUri {
                    scheme: AMQPScheme::AMQP,
                    ..uri.clone()
                };
                // On the library's own thread, which would otherwise wait as long as the system does: two minutes.
                let connected = timeout(STEP_LIMIT, async {
                    let stream = plain.connect_async(&runtime).await?;
                    if let AsyncTcpStream::Plain(socket) = &stream {
                        let socket = socket.get_ref().as_fd().try_clone_to_owned()?;
                        handle.attach(TcpStream::from(socket));
                    }
                    if is_encrypted {
                        return stream
                            .into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref())
                            .await;
                    }
                    Ok(stream)
                });
                let connected = connected
                    .await
                    .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                connected.map_err(lapin::Error::from)
            },
            properties,
        );
        connecting.await
    }

    fn host(&self) -> &str {
        &self.connected.host.address.host
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        in_time(self.connection.create_channel()).await
    }

    /// Whether the broker has asked publishers to wait: memory or disk run out.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// A new channel on which the broker is to hand out messages.
    pub(super) async fn reading_channel(&self) -> Result<ReadingChannel, BrokerError> {
        Ok(self.reading.enter(self.channel().await?))
    }

    /// Asks for what has an effect even if the answer comes late: a consumer that takes messages, a message that is
    /// out of its queue, or the end of either. If nobody is there any more to take the answer, be it that time is up or
    /// that whoever asked was dropped, the connection ends, and with it whatever has come of the question.
    pub(super) async fn ask<T>(
        &self,
        what: &'static str,
        question: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        let mut asked = Asked {
            session: self,
            what,
            is_over: false,
        };
        let answer = tokio::select! {
            () = self.lost() => Err(BrokerError::Away("the connection is lost".to_owned())),
            answer = timeout(STEP_LIMIT, question) => match answer {
                Ok(answer) => answer.map_err(BrokerError::from),
                Err(_) => return Err(BrokerError::no_answer()),
            },
        };
        asked.is_over = true;
        answer
    }

    /// Gives the connection up: a new one is opened. Nothing that was asked on this one has an effect any more.
    pub(super) fn give_up(&self, why: impl Into<String>) {
        // The first one to give it up knows best.
        let _ = self.why_lost.set(why.into());
        self.lost.cancel();
        self.close_on_drop.0.cut();
    }

    /// Whether it was given up.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Until it is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Asks for everything to be declared again: something of it seems to be missing.
    pub(super) fn redeclare_later(&self) {
        self.redeclare.notify_one();
    }

    /// Declares everything again.
    pub(super) async fn redeclare(&self) -> Result<(), BrokerError> {
        topology::declare(&self.connection, self.partitions).await
    }

    /// Returns why it is lost.
    async fn watch_over(&self) -> String {
        let mut events = Box::pin(self.connection.events_listener());
        let mut status = interval(STATUS_EVERY);
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut redeclare_at = None;
        loop {
            tokio::select! {
                () = self.lost() => return self.why_lost.get().cloned().unwrap_or_default(),
                event = events.next() => match event {
                    Some(Event::Error(error)) if !self.connection.status().connected() => return error.to_string(),
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(host = self.host(), reason, "RabbitMQ takes no more messages");
                    }
                    Some(Event::ConnectionUnblocked) => tracing::info!(host = self.host(), "RabbitMQ takes messages again"),
                    Some(_) => {}
                    None => return "the client ended".to_owned(),
                },
                () = self.redeclare.notified() => {
                    redeclare_at.get_or_insert_with(|| Instant::now() + REDECLARE_AFTER);
                }
                () = sleep_until(redeclare_at.unwrap_or_else(Instant::now)), if redeclare_at.is_some() => {
                    redeclare_at = None;
                    if let Err(error) = self.redeclare().await {
                        tracing::error!(host = self.host(), %error, "what is missing on RabbitMQ cannot be declared");
                    }
                }
                _ = status.tick() => {
                    if !self.connection.status().connected() {
                        return "it was closed".to_owned();
                    }
                    if self.reading.any_is_abandoned() {
                        return self.unread("the broker counts a channel for it that nobody here reads");
                    }
                }
                // A blocked connection is not read by the broker: it would not answer.
                _ = alive.tick() => if !self.is_blocked() && let Err(why) = self.check_alive().await {
                    return why;
                },
            }
        }
    }

    /// Says loudly that messages may lie with nobody, and returns why.
    pub(super) fn unread(&self, why: &str) -> String {
        metrics::counter!("chinwag_queue_unread_total").increment(1);
        tracing::error!(
            host = self.host(),
            why,
            "messages may lie with nobody: RabbitMQ is connected to anew"
        );
        why.to_owned()
    }

    /// Asks for something that the broker knows without asking any queue.
    async fn check_alive(&self) -> Result<(), String> {
        let asked = async {
            let channel = self.connection.create_channel().await?;
            let options = ExchangeDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let kind = ExchangeKind::Direct;
            channel
                .exchange_declare("amq.direct".into(), kind, options, FieldTable::default())
                .await
        };
        match timeout(ALIVE_LIMIT, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) if self.is_blocked() => Ok(()),
            Err(_) => {
                self.connected.host.is_silent();
                Err(format!("no sign of life for {} s", ALIVE_LIMIT.as_secs()))
            }
        }
    }

    /// A farewell, in time. All that was sent before has been taken by the broker when this returns.
    async fn close(&self) {
        // A broker that does not answer is left without one.
        let _ = timeout(STEP_LIMIT, self.connection.close(200, "bye".into())).await;
    }
}

/// A question on its way. Dropped before it is over, it ends the connection.
struct Asked<'a> {
    session: &'a Session,
    what: &'static str,
    is_over: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let why = format!("{} was asked for and not answered", self.what);
            self.session.give_up(why);
        }
    }
}

/// The connection as it is now: a session, or why there is none.
pub(super) type State = Result<Arc<Session>, BrokerError>;

/// The first session among several, of which there is at least one, or why there is none.
pub(super) fn first_of(states: impl Iterator<Item = State>) -> State {
    let first = states.reduce(|first, other| if first.is_ok() { first } else { other });
    first.expect("there is at least one")
}

/// A connection that is always there, or soon again.
#[derive(Clone)]
pub(super) struct ManagedConnection {
    state: watch::Receiver<State>,
}

impl ManagedConnection {
    /// Connects, and starts the task that keeps it so until `stop`. The connection is then closed well, and `closed` is
    /// cancelled.
    ///
    /// # Errors
    /// If no host takes the first connection.
    pub(super) async fn open(
        role: Role,
        (hosts, partitions): (Hosts, usize),
        epochs: Arc<AtomicU64>,
        stop: CancellationToken,
        closed: CancellationToken,
    ) -> Result<ManagedConnection, BrokerError> {
        let first = Arc::new(connect_to_any(role, (&hosts, partitions), &epochs, true).await?);
        let (sender, state) = watch::channel(Ok(first.clone()));
        let supervisor = Supervisor {
            role,
            hosts,
            partitions,
            epochs,
            state: sender,
            stop,
        };
        supervise::spawn_part("RabbitMQ connection", async move {
            supervisor.run(first).await;
            closed.cancel();
        });
        Ok(ManagedConnection { state })
    }

    /// As it is now.
    pub(super) fn now(&self) -> State {
        self.state.borrow().clone()
    }

    /// The session; waits for one. `None` once the connection is closed for good.
    pub(super) async fn session(&mut self) -> Option<Arc<Session>> {
        // One that was given up a moment ago is none.
        let is_there = |state: &State| state.as_ref().is_ok_and(|session| !session.is_lost());
        let state = self.state.wait_for(is_there).await.ok()?;
        state.as_ref().ok().cloned()
    }
}

struct Supervisor {
    role: Role,
    hosts: Hosts,
    partitions: usize,
    epochs: Arc<AtomicU64>,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self, first: Arc<Session>) {
        let mut session = first;
        loop {
            let Some(why) = self.stop.run_until_cancelled(session.watch_over()).await else {
                self.set_state(Err(BrokerError::Away("it is closed".to_owned())));
                session.close().await;
                session.give_up("it is closed");
                return;
            };
            tracing::warn!(
                host = session.host(),
                role = self.role.as_str(),
                why,
                "the connection to RabbitMQ is lost"
            );
            let lost = format!("the connection to {} is lost: {why}", session.host());
            self.set_state(Err(BrokerError::Away(lost)));
            // Others may hold it for a moment still.
            session.give_up(why);
            drop(session);
            let Some(next) = self.stop.run_until_cancelled(self.reconnect()).await else {
                self.set_state(Err(BrokerError::Away("it is closed".to_owned())));
                return;
            };
            session = Arc::new(next);
            metrics::counter!("chinwag_queue_reconnects_total", "role" => self.role.as_str())
                .increment(1);
            tracing::info!(
                host = session.host(),
                role = self.role.as_str(),
                "connected to RabbitMQ again"
            );
            self.set_state(Ok(session.clone()));
        }
    }

    fn set_state(&self, state: State) {
        drop(self.state.send_replace(state));
    }

    async fn reconnect(&self) -> Session {
        let mut back_off = RECONNECT.back_off();
        let mut reported = None;
        loop {
            // Before the first attempt too: not all processes at once.
            back_off.wait().await;
            match connect_to_any(
                self.role,
                (&self.hosts, self.partitions),
                &self.epochs,
                false,
            )
            .await
            {
                Ok(session) => return session,
                Err(error) if reported.as_ref() != Some(&error) => {
                    let role = self.role.as_str();
                    if error.is_mended_by_waiting() {
                        tracing::debug!(role, %error, "RabbitMQ is not back yet");
                    } else {
                        tracing::error!(role, %error, "RabbitMQ is back, but not as it should be");
                    }
                    reported = Some(error);
                }
                Err(_) => {}
            }
        }
    }
}

/// Tries every host once, one after the other, and does not wait for one to give up before it tries the next. If any
/// of them refuses, waiting does not mend it.
async fn connect_to_any(
    role: Role,
    (hosts, partitions): (&Hosts, usize),
    epochs: &AtomicU64,
    is_first: bool,
) -> Result<Session, BrokerError> {
    let (mut reasons, mut any_refuses) = (Vec::new(), false);
    let mut attempts = FuturesUnordered::new();
    let mut others = hosts.in_order(role).into_iter();
    let head_start = if is_first { STEP_LIMIT } else { HEAD_START };
    loop {
        if let Some(host) = others.next() {
            let epoch = epochs.fetch_add(1, Ordering::Relaxed);
            attempts.push(async move {
                let mut opening = pin!(Session::open(
                    role,
                    host.clone(),
                    partitions,
                    epoch,
                    is_first
                ));
                let opened = match timeout(head_start, &mut opening).await {
                    Ok(opened) => opened,
                    Err(_) => {
                        host.is_silent();
                        opening.await
                    }
                };
                match &opened {
                    Ok(_) => host.answers(),
                    Err(_) => host.is_silent(),
                }
                (host, opened)
            });
        }
        let ended = if others.len() > 0 {
            timeout(head_start, attempts.next()).await
        } else {
            Ok(attempts.next().await)
        };
        match ended {
            Ok(Some((_, Ok(session)))) => return Ok(session),
            Ok(Some((host, Err(error)))) => {
                any_refuses |= !error.is_mended_by_waiting();
                reasons.push(format!("{}: {error}", host.address.host));
            }
            // The next one is tried as well.
            Err(_) => {}
            // That was the last one.
            Ok(None) => break,
        }
    }
    let reasons = reasons.join("; ");
    Err(if any_refuses {
        BrokerError::Refused(reasons)
    } else {
        BrokerError::Away(reasons)
    })
}
