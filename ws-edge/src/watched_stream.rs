//! A client's TCP stream, looked at while it is used: how much came in, and whether what goes out is taken. It stays the
//! same stream when a connection becomes a WebSocket.

use std::{
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{
    admission::AddressShares,
    lingering::{self, Lingering},
};

/// How much came in on a connection so far. For whoever reads from it behind layers that do not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// So many bytes.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The stream.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    bytes_read: BytesRead,
    /// How long the client may take nothing of what it is sent. Who takes a little now and then is slow, not stuck.
    stuck_after: Duration,
    /// While something waits to be taken: when that is too long. Most streams never wait.
    stuck: Option<Pin<Box<Sleep>>>,
    peer: IpAddr,
    /// Of the connections that the client's address may have.
    shares: Option<AddressShares>,
    lingering: Arc<Lingering>,
}

impl WatchedStream {
    pub(crate) fn new(
        stream: TcpStream,
        peer: IpAddr,
        stuck_after: Duration,
        shares: Option<AddressShares>,
        lingering: Arc<Lingering>,
    ) -> WatchedStream {
        WatchedStream {
            stream,
            bytes_read: BytesRead::default(),
            stuck_after,
            stuck: None,
            peer,
            shares,
            lingering,
        }
    }

    /// How much came in, also later on.
    pub(crate) fn bytes_read(&self) -> BytesRead {
        self.bytes_read.clone()
    }

    /// What an attempt to write led to; an error once nothing was taken for too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(sleep(self.stuck_after)));
        ready!(stuck.as_mut().poll(context));
        let words = "the client takes nothing of what it is sent";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        this.bytes_read.0.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if lingering::is_taken(&this.stream) {
            return Pin::new(&mut this.stream).poll_shutdown(context);
        }
        // It is said with the last byte instead, when this is dropped.
        Poll::Ready(Ok(()))
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        if self.stuck.is_some() {
            // What was to be written is not: there is no end that could be orderly.
            lingering::reset(&self.stream);
        } else {
            let shares = self.shares.take();
            self.lingering.close(&self.stream, self.peer, shares);
        }
    }
}
