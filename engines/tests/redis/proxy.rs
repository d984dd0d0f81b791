//! A wire between a process and Redis that can be cut where neither end sees it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What is in whatever is published: on a node, and on a Sentinel.
const UNHEARD: [&[u8]; 3] = [b"smessage", b"+switch-master", b"+promoted-slave"];

pub(crate) struct Proxy {
    pub address: SocketAddr,
    /// Connections with a number up to this are black holes.
    swallowed: Arc<AtomicU64>,
    /// Connections with a number up to this lose what was published, and nothing else.
    deaf: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    /// A proxy to the server at `host:port`.
    pub(crate) async fn to(server: &str) -> Proxy {
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let [swallowed, deaf, accepted] = [(); 3].map(|()| Arc::<AtomicU64>::default());
        let proxy = Proxy {
            address,
            swallowed: Arc::clone(&swallowed),
            deaf: Arc::clone(&deaf),
            accepted: Arc::clone(&accepted),
        };
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let server = TcpStream::connect(&server).await.unwrap();
                let ((up, down), (in_, out)) = (client.into_split(), server.into_split());
                let (lost, unheard) = (Arc::clone(&swallowed), Arc::clone(&deaf));
                let is_lost = move |_: &[u8]| number <= lost.load(Ordering::SeqCst);
                let is_unheard = move |bytes: &[u8]| {
                    number <= unheard.load(Ordering::SeqCst)
                        && UNHEARD
                            .iter()
                            .any(|word| bytes.windows(word.len()).any(|at| at == *word))
                };
                tokio::spawn(pass(up, out, is_lost.clone()));
                tokio::spawn(pass(in_, down, move |bytes| {
                    is_lost(bytes) || is_unheard(bytes)
                }));
            }
        });
        proxy
    }

    /// How many connections there were so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on nothing passes on the connections that are there; they stay open. New ones are well.
    pub(crate) fn swallow(&self) {
        let there = self.accepted.load(Ordering::SeqCst);
        self.swallowed.store(there, Ordering::SeqCst);
    }

    /// From now on nothing that is published comes out of the connections that are there; all else is well with them.
    pub(crate) fn deafen(&self) {
        let there = self.accepted.load(Ordering::SeqCst);
        self.deaf.store(there, Ordering::SeqCst);
    }
}

/// Below the ports that the kernel gives to clients: one that comes back again and again could get this very port.
async fn listen() -> TcpListener {
    for port in 16_000..20_000 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
    panic!("no free port");
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_lost: impl Fn(&[u8]) -> bool + Send,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        if !is_lost(bytes) && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
