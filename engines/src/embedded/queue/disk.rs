//! How much room the disk under the data folder has. A disk that is full stops more than the queue: so what is new is
//! refused while there is still room for what was taken, for the database, its log and whoever else writes there.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long a look at the disk counts: at the fastest pace of a disk, what is written meanwhile is a few per cent of
/// what is kept free.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A disk of which something is to stay free.
pub(super) struct Disk {
    folder: PathBuf,
    keep_free_bytes: u64,
    last: Mutex<Look>,
}

/// What was seen.
struct Look {
    at: Instant,
    short: Option<String>,
}

impl Disk {
    /// The disk that holds this folder. With `keep_free_bytes` 0 it is never short.
    pub(super) fn of(folder: PathBuf, keep_free_bytes: u64) -> Disk {
        let disk = Disk {
            folder,
            keep_free_bytes,
            last: Mutex::new(Look {
                at: Instant::now(),
                short: None,
            }),
        };
        disk.last.lock().short = disk.look(None);
        disk
    }

    /// Why nothing new is to be taken, if so.
    pub(super) fn short(&self) -> Option<String> {
        let mut last = self.last.lock();
        if last.at.elapsed() >= LOOK_EVERY {
            last.short = self.look(last.short.take());
            last.at = Instant::now();
        }
        last.short.clone()
    }

    /// Says in the log what has changed since the look before. A disk that cannot be asked is not taken for full:
    /// writing to it tells.
    fn look(&self, before: Option<String>) -> Option<String> {
        let free = rustix::fs::statvfs(&self.folder).ok()?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if free >= self.keep_free_bytes {
            if before.is_some() {
                tracing::info!("the disk has room again: what people send is taken");
            }
            return None;
        }
        let (folder, free, keep) = (
            self.folder.display(),
            free / 1_000_000,
            self.keep_free_bytes / 1_000_000,
        );
        let why = format!(
            "the disk of {folder} has {free} MB left, and {keep} are to stay free (DISK_FREE_MIN_MB)"
        );
        if before.is_none() {
            tracing::error!(%why, "the disk runs short: what people send is refused until there is room");
        }
        Some(why)
    }
}
