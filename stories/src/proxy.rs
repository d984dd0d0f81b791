//! A wire between a service and an engine that can be held in the middle of a word, or cut.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the engine.
    ToEngine,
    /// From the engine to the service.
    ToService,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Pass,
    /// Bytes wait, connections stay.
    Hold,
    /// Every connection is closed; what waits is lost.
    Cut,
}

/// Stands between a service and one engine.
pub struct Proxy {
    address: SocketAddr,
    engine: watch::Sender<String>,
    flows: Arc<[watch::Sender<Flow>; 2]>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of `host:port`.
    pub async fn to(engine: &str) -> Proxy {
        let listener = TcpListener::bind(crate::process::free_address())
            .await
            .expect("it was free a moment ago");
        let address = listener.local_addr().expect("it is bound");
        let flows = Arc::new([
            watch::Sender::new(Flow::Pass),
            watch::Sender::new(Flow::Pass),
        ]);
        let engine = watch::Sender::new(engine.to_owned());
        let mut leads_to = engine.subscribe();
        let shared = Arc::clone(&flows);
        let acceptor = tokio::spawn(async move {
            loop {
                let Ok((service, _)) = listener.accept().await else {
                    return;
                };
                if *shared[0].borrow() == Flow::Cut {
                    continue;
                }
                let engine = leads_to.borrow_and_update().clone();
                let Ok(engine) = TcpStream::connect(engine).await else {
                    continue;
                };
                let _sent_at_once = (service.set_nodelay(true), engine.set_nodelay(true));
                let (from_service, to_service) = service.into_split();
                let (from_engine, to_engine) = engine.into_split();
                let flows = [shared[0].subscribe(), shared[1].subscribe()];
                let [to_the_engine, to_the_service] = flows.map(|flow| (flow, leads_to.clone()));
                tokio::spawn(carry(from_service, to_engine, to_the_engine));
                tokio::spawn(carry(from_engine, to_service, to_the_service));
            }
        });
        Proxy {
            address,
            engine,
            flows,
            acceptor,
        }
    }

    /// A URL that led to the engine, leading here instead.
    pub fn instead_of(&self, url: &str) -> String {
        let (start, rest) = url.split_once("://").expect("a URL");
        let (host, path) = rest
            .split_once('/')
            .map_or((rest, ""), |(host, path)| (host, path));
        let user = host
            .rsplit_once('@')
            .map_or(String::new(), |(user, _)| format!("{user}@"));
        format!("{start}://{user}{}/{path}", self.address)
    }

    /// The `host:port` of a URL.
    pub fn host_of(url: &str) -> &str {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or(rest);
        host.rsplit_once('@').map_or(host, |(_, host)| host)
    }

    /// From now on bytes wait that go this way.
    pub fn hold(&self, direction: Direction) {
        self.set(direction, Flow::Hold);
    }

    /// Closes every connection, loses what waits, and takes no new ones.
    pub fn cut(&self) {
        self.set(Direction::ToEngine, Flow::Cut);
        self.set(Direction::ToService, Flow::Cut);
    }

    /// Closes every connection, and leads to another engine from now on.
    pub fn leads_to(&self, engine: &str) {
        self.engine.send_replace(engine.to_owned());
    }

    /// Lets everything through again.
    pub fn pass(&self) {
        self.set(Direction::ToEngine, Flow::Pass);
        self.set(Direction::ToService, Flow::Pass);
    }

    fn set(&self, direction: Direction, flow: Flow) {
        self.flows[direction as usize].send_replace(flow);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (mut flow, mut leads_to): (watch::Receiver<Flow>, watch::Receiver<String>),
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            },
            _ = flow.wait_for(|flow| *flow == Flow::Cut) => break,
            // To another engine, or the proxy is gone.
            _ = leads_to.changed() => break,
        };
        // A proxy that is gone counts as cut.
        let open = flow
            .wait_for(|flow| *flow != Flow::Hold)
            .await
            .is_ok_and(|flow| *flow == Flow::Pass);
        if !open || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // Dropping both halves of this direction ends the other one too: its peer is closed.
    let _ends = to.shutdown().await;
}
