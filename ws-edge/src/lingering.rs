//! Connections that are closed, and whose last bytes are not taken yet. The kernel would keep them, a hundred KiB each, for
//! whoever asks, closes and never reads, and nobody would count them. So a connection goes on counting as one of its
//! address until its client has taken them; there are so many of one site, and each has so long.

use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::{set_socket_linger, set_socket_send_buffer_size},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use crate::{
    admission::AddressShares,
    network::{Site, site},
    shares::Shares,
};

/// The most of them that one site has, and all; others are reset.
const OF_ONE_SITE: usize = 100;
const OF_ALL: usize = 1_000;

/// How often it is looked whether one's bytes are taken: soon at first, since most are at once.
const LOOK_FIRST_AFTER: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All of them on one edge.
pub(crate) struct Lingering {
    of_sites: Arc<Shares<Site>>,
    of_all: Arc<Shares<()>>,
    /// How long a client may take for its last bytes.
    time: Duration,
}

impl Lingering {
    pub(crate) fn new(time: Duration) -> Arc<Lingering> {
        Arc::new(Lingering {
            of_sites: Shares::new(OF_ONE_SITE),
            of_all: Shares::new(OF_ALL),
            time,
        })
    }

    /// The connection is about to be dropped, with everything written; `shares` are kept for as long as the kernel has
    /// some of it. It must not be shut down for writing before: then nobody can tell.
    pub(crate) fn close(&self, stream: impl AsFd, peer: IpAddr, shares: Option<AddressShares>) {
        if is_taken(&stream) {
            return;
        }
        let place = self.of_sites.take(&site(peer)).zip(self.of_all.take(&()));
        let kept = stream.as_fd().try_clone_to_owned();
        let (Some(place), Ok(kept), Ok(runtime)) = (place, kept, Handle::try_current()) else {
            return reset(stream);
        };
        let ends_at = Instant::now() + self.time;
        // Over in this time, whatever its client does; nothing depends on how.
        runtime.spawn(async move {
            linger(kept, ends_at).await;
            drop((place, shares));
        });
    }
}

/// Holds the connection open until its bytes are taken. Its client hears of the end then: from the kernel, when this
/// lets go of it.
async fn linger(stream: OwnedFd, ends_at: Instant) {
    let mut pause = LOOK_FIRST_AFTER;
    while !is_taken(&stream) {
        let now = Instant::now();
        if now >= ends_at {
            return reset(&stream);
        }
        sleep(pause.min(ends_at - now)).await;
        pause = (2 * pause).min(LOOK_EVERY);
    }
}

/// Whether the kernel keeps nothing worth speaking of for a connection to which nothing will be written any more. It does
/// not say how much it keeps without `unsafe`; but it says whether there is room for more, so its buffer is made as small
/// as it can be: there is room if less than three KiB are left.
pub(crate) fn is_taken(stream: impl AsFd) -> bool {
    // What fails here is no connection any more.
    if set_socket_send_buffer_size(&stream, 1).is_err() {
        return true;
    }
    let mut looked_at = [PollFd::new(&stream, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut looked_at, Some(&now)) != Ok(0)
}

/// Has the kernel throw away what it keeps when the connection is dropped, and its client told that this is no end.
pub(crate) fn reset(stream: impl AsFd) {
    if let Err(error) = set_socket_linger(stream, Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection cannot be reset");
    }
}
