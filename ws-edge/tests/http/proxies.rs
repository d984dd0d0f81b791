//! What is said in the log about proxies that are not set up.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;

use crate::chat::Chat;

/// What is logged by this thread. The edges of a story with one thread are on it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begins() -> (Log, DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
        (log, guard)
    }

    /// The lines with this in them.
    fn lines(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_proxy_that_was_not_told_of_is_told_loudly_and_once() {
    let (log, _guard) = Log::begins();
    let chat = Chat::start().await;
    chat.someone().get("/api/me").await;
    assert!(log.lines("CLIENT_ADDRESS_HEADER").is_empty());
    for _ in 0..10 {
        let ada = chat.someone().with("x-forwarded-for", "192.0.2.1");
        ada.get("/api/me").await;
    }
    let lines = log.lines("CLIENT_ADDRESS_HEADER is not set");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains("x-forwarded-for"));
}

#[tokio::test]
async fn a_proxy_that_does_not_write_the_header_is_told_of_too() {
    let (log, _guard) = Log::begins();
    let chat = Chat::start_with(&["--client-address-header=x-real-ip"]).await;
    let ada = chat.someone().with("x-forwarded-for", "192.0.2.1");
    for _ in 0..10 {
        ada.get("/api/me").await;
    }
    assert_eq!(log.lines("a call came without it").len(), 1);
    assert!(log.lines("is not set").is_empty());
}
