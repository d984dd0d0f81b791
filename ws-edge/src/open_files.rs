//! How many sockets the system lets this process have: each is an open file, and the usual limit is for programs that
//! have a handful.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside the sockets: connections to engines, calls under way, the process's own.
const OTHER_FILES: u64 = 1_000;

/// How many files this process may have open.
pub(crate) fn open_files_allowed() -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    allowed.map_or(usize::MAX, |allowed| {
        usize::try_from(allowed).unwrap_or(usize::MAX)
    })
}

/// Raises this process's limit of open files as far as it is allowed to, and says so in the log where `sockets_max`
/// sockets would not fit under it.
pub fn raise_open_files(sockets_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = u64::try_from(sockets_max)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the hard limit of open files is too low for SOCKETS_MAX sockets; see docs/running.md#what-the-services-say-at-their-start"
        );
    }
}
