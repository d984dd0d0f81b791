//! Edges in this process on one set of embedded engines: the one place in which the stories about HTTP and those about
//! sockets start an edge.

use std::{io, sync::Arc, time::Duration};

use chat_client::{Client, PATIENCE};
use clap::Parser;
use common::{
    admin::Readiness,
    envelope::Envelope,
    live::Live,
    posting::Poster,
    queue::{Queue, Route},
    store::Store,
    wire::{Kind, Message, NewMessage},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use ws_edge::{Edge, EdgeSettings};

/// How long an edge may take to drain.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Two edges, and what the stories look at behind them.
pub(crate) struct Edges {
    /// Where each of them is.
    pub urls: Vec<String>,
    pub live: Arc<dyn Live>,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    pub poster: Poster,
    pub stop: CancellationToken,
    /// Each edge's life.
    pub running: Vec<JoinHandle<io::Result<()>>>,
    // Dropped in this order: the edges first, the folder last.
    _stop: DropGuard,
    _folder: TempDir,
}

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    edge: EdgeSettings,
}

impl Edges {
    /// Two edges with these flags, on these engines, whose files are in the folder.
    pub(crate) async fn start_on(
        folder: TempDir,
        (live, queue, store): (Arc<dyn Live>, Arc<dyn Queue>, Arc<dyn Store>),
        flags: &[&str],
    ) -> Edges {
        // As its `main` does: how many connections there may be follows from it.
        ws_edge::raise_open_files(0);
        let stop = CancellationToken::new();
        let mut edges = Edges {
            urls: Vec::new(),
            poster: Poster::new(Arc::clone(&live), Arc::clone(&queue), Arc::clone(&store)),
            live,
            queue,
            store,
            running: Vec::new(),
            _stop: stop.clone().drop_guard(),
            stop,
            _folder: folder,
        };
        for _ in 0..2 {
            let (edge, listener) = edges.new_edge(flags).await;
            let running = ws_edge::run(edge, listener, DRAIN_TIME, edges.stop.clone());
            edges.running.push(tokio::spawn(running));
        }
        edges
    }

    /// One more edge, which is still to be run, and where it will listen: the last of the addresses.
    pub(crate) async fn new_edge(&mut self, flags: &[&str]) -> (Edge, TcpListener) {
        let settings = CommandLine::parse_from(["ws-edge"].iter().chain(flags)).edge;
        let edge = Edge::new(
            Arc::clone(&self.live),
            Arc::clone(&self.queue),
            Arc::clone(&self.store),
            settings,
            Readiness::default(),
        );
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        self.urls.push(format!("http://{address}"));
        (edge, listener)
    }

    /// Somebody who is not logged in, at the first edge.
    pub(crate) fn someone(&self) -> Client {
        Client::new(&self.urls[0])
    }

    /// A message that comes from elsewhere: shown, in the queue, not in the database.
    pub(crate) async fn says(&self, room: &str, sender: &str, text: &str) -> Message {
        let new = new_message(room, sender, text);
        let posted = self.poster.post(new, Route::Persist, None).await;
        posted.unwrap().message
    }

    /// What a persister does.
    pub(crate) async fn persists(&self, messages: &[Message]) {
        for some in messages.chunks(200) {
            let envelope = |message: &Message| Envelope::new(message.clone(), None);
            let batch: Vec<_> = some.iter().map(envelope).collect();
            self.store.write(&batch).await.unwrap();
        }
    }
}

/// A message that is nowhere yet.
pub(crate) fn new_message(room: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        room: room.to_owned(),
        id: Uuid::now_v7(),
        sender: sender.to_owned(),
        kind: Kind::User,
        message: text.to_owned(),
        reply_to: None,
        of: None,
        stopped_by: None,
        grounding: Default::default(),
    }
}

/// Below the ports that the system hands out for outgoing connections.
async fn listener() -> TcpListener {
    loop {
        let port = rand::random_range(12_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async || is_so().await.then_some(());
    chat_client::until(what, PATIENCE, look).await;
}
