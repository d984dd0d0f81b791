//! The message that is just arriving on a socket, of which nothing is seen before its end: how long it may take, and how
//! much of it may be held meanwhile. A message may come in any number of fragments, with pings between them; so it is
//! counted what came in on the connection and was not handed on.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::ws::{Message, WebSocket};
use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use super::closing::Closing;
use crate::{
    shares::{Share, Shares},
    watched_stream::BytesRead,
};

/// Messages up to this size, as they are on the line, are read without asking. The largest that is taken is smaller.
const FREE_BYTES: u64 = 64 * 1024;

/// The most messages larger than that, which are read only to be refused, that are held at a time: of one user, and on
/// one edge.
const LARGE_OF_USER: usize = 2;
const LARGE_OF_ALL: usize = 64;

/// What a control frame takes on the line beside its payload. It comes in one piece.
const CONTROL_HEAD_BYTES: u64 = 6;

/// Messages of all sockets that are large and not there yet.
pub(super) struct LargeMessages {
    of_user: Arc<Shares<Arc<str>>>,
    of_all: Arc<Shares<()>>,
}

impl LargeMessages {
    pub(super) fn new() -> LargeMessages {
        LargeMessages {
            of_user: Shares::new(LARGE_OF_USER),
            of_all: Shares::new(LARGE_OF_ALL),
        }
    }

    fn take(&self, user: &Arc<str>) -> Option<LargeMessage> {
        let of_user = self.of_user.take(user)?;
        Some((of_user, self.of_all.take(&())?))
    }
}

type LargeMessage = (Share<Arc<str>>, Share<()>);

/// What one socket is just being sent.
pub(super) struct Arriving {
    bytes_read: BytesRead,
    /// So many of them were handed on, as far as is known.
    handed_on: u64,
    /// From the first byte of a message to its last.
    time: Duration,
    /// While a message is arriving: when that has taken too long. Most come in one piece.
    too_late: Option<Pin<Box<Sleep>>>,
    large: Option<LargeMessage>,
}

impl Arriving {
    /// On a connection that becomes a socket.
    pub(super) fn new(bytes_read: BytesRead, time: Duration) -> Arriving {
        Arriving {
            handed_on: bytes_read.get(),
            bytes_read,
            time,
            too_late: None,
            large: None,
        }
    }

    /// The next message, or why the socket closes since it does not come.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        ws: &mut WebSocket,
        user: &Arc<str>,
        all: &LargeMessages,
    ) -> Poll<Result<Option<Result<Message, axum::Error>>, Closing>> {
        match Pin::new(ws).poll_next(context) {
            Poll::Ready(next) => {
                self.handed_on(&next);
                Poll::Ready(Ok(next))
            }
            Poll::Pending => match self.waits(context, user, all) {
                Some(closing) => Poll::Ready(Err(closing)),
                None => Poll::Pending,
            },
        }
    }

    /// Nothing is read for a while, which is not the client's doing.
    pub(super) fn is_not_read(&mut self) {
        self.too_late = None;
    }

    fn handed_on(&mut self, next: &Option<Result<Message, axum::Error>>) {
        match next {
            // Comes between the fragments of a message, too.
            Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
                let bytes = payload.len() as u64 + CONTROL_HEAD_BYTES;
                self.handed_on = (self.handed_on + bytes).min(self.bytes_read.get());
            }
            // What was read beyond it is of the next one.
            _ => {
                self.handed_on = self.bytes_read.get();
                self.too_late = None;
                self.large = None;
            }
        }
    }

    /// All that came in is looked at, and there is no message yet.
    fn waits(
        &mut self,
        context: &mut Context<'_>,
        user: &Arc<str>,
        all: &LargeMessages,
    ) -> Option<Closing> {
        let bytes = self.bytes_read.get() - self.handed_on;
        if bytes == 0 {
            self.too_late = None;
            return None;
        }
        if bytes > FREE_BYTES && self.large.is_none() {
            self.large = all.take(user);
            if self.large.is_none() {
                return Some(Closing::TooBig);
            }
        }
        let time = self.time;
        let too_late = self.too_late.get_or_insert_with(|| Box::pin(sleep(time)));
        too_late
            .as_mut()
            .poll(context)
            .is_ready()
            .then_some(Closing::TooSlow)
    }
}
