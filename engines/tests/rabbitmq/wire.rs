//! A wire between the queue and the broker that can be cut, and on which the broker's words can be put.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{broadcast, watch},
};

/// The class and the two methods by which a broker tells publishers to wait and to go on.
const CONNECTION: u16 = 10;
const BLOCKED: u16 = 60;
const UNBLOCKED: u16 = 61;

/// A port that takes connections and passes everything on to the broker.
pub(crate) struct Wire {
    pub url: String,
    cuts: watch::Sender<u32>,
    held: watch::Sender<bool>,
    words: broadcast::Sender<Arc<[u8]>>,
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
        let (held, holding) = watch::channel(false);
        let (words, _) = broadcast::channel(16);
        let speaker = words.clone();
        tokio::spawn(async move {
            let mut ended = cut.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    // The wire was dropped.
                    gone = ended.changed() => if gone.is_err() { return } else { continue },
                };
                let Ok((client, _)) = accepted else { continue };
                let (words, mut cut, target) = (speaker.subscribe(), cut.clone(), target.clone());
                let holding = holding.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = pass_on(from_client, to_server, holding) => {}
                        () = pass_on_frames(from_server, to_client, words) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Wire {
            url: parsed.into(),
            cuts,
            held,
            words,
        }
    }

    /// From now on nothing that the client says reaches the broker; or it does again.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Ends all connections. New ones are taken.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
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

    fn say(&self, method: u16, arguments: &[u8]) {
        let size = u32::try_from(arguments.len() + 4).expect("it is short");
        let mut frame = vec![1, 0, 0];
        frame.extend(size.to_be_bytes());
        frame.extend(CONNECTION.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xCE);
        self.words
            .send(frame.into())
            .expect("somebody is connected");
    }
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

/// Passes on what the client says, while it is not held.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut holding: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        if holding.wait_for(|held| !held).await.is_err()
            || to.write_all(&buffer[..size]).await.is_err()
        {
            return;
        }
    }
}

/// Passes on whole frames, and the words between two of them.
async fn pass_on_frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut words: broadcast::Receiver<Arc<[u8]>>,
) {
    let mut buffer = Vec::new();
    loop {
        // Type, channel, size; then as many bytes, and one at the end.
        while let Some(header) = buffer.get(..7) {
            let size = u32::from_be_bytes(header[3..7].try_into().expect("these are four"));
            let whole = 8 + size as usize;
            if buffer.len() < whole {
                break;
            }
            if to.write_all(&buffer[..whole]).await.is_err() {
                return;
            }
            buffer.drain(..whole);
        }
        tokio::select! {
            read = from.read_buf(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            said = words.recv() => if let Ok(said) = said && to.write_all(&said).await.is_err() { return },
        }
    }
}
