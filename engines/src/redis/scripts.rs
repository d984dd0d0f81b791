//! The scripts that run inside Redis, with the numbers they need written in front of them: what must be one step is
//! one script, and each is called by its digest.

use std::time::Duration;

use common::live::{
    PRESENCE_MAX_USERS, REMEMBERED_IDS_MAX, REMEMBERED_IDS_MIN_AGE, REMEMBERED_IDS_PER_ROOM,
    STREAM_MAX_MESSAGES, STREAM_MESSAGES, STREAM_MIN_AGE,
    turns::{DRAFT_KEPT, FRESH_OF_LEASE, TIMED_MAX},
};
use redis::{Cmd, cmd};

/// A stream and the remembered ids may grow by this many over their limit before they are trimmed: trimming one at a
/// time would cost more than the append itself.
const TRIM_BATCH: usize = 50;

/// One message in so many checks whether there is something to trim.
const TRIM_EVERY: usize = 16;

/// How often in the time after which a silent room is forgotten a room that is not silent begins that time anew.
const EXPIRE_PARTS: u32 = 16;

/// The score of the only id of a room that was erased: larger than every `seq` for some centuries, and the largest whole number
/// up to which a score holds each exactly.
pub(super) const ROOM_GONE: u64 = 1 << 53;

/// How many rooms of a list are looked through for those that no other process has: some milliseconds.
const LOOKED_THROUGH_MAX: usize = 4_000;

pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) find: Script,
    pub(super) erase: Script,
    pub(super) forget: Script,
    pub(super) scrub: Script,
    pub(super) announce: Script,
    pub(super) unsettle: Script,
    pub(super) unsettled: Script,
    pub(super) settled: Script,
    pub(super) request_turn: Script,
    pub(super) release_turn: Script,
    pub(super) draft: Script,
    pub(super) draft_snapshot: Script,
    /// Named as what it does: `try` is a word of the language.
    pub(super) attempt: Script,
}

impl Scripts {
    pub(super) fn new(stream_idle: Duration) -> Scripts {
        let numbers = format!(
            "local STREAM_MESSAGES, STREAM_MAX_MESSAGES, TRIM_BATCH = {STREAM_MESSAGES}, {STREAM_MAX_MESSAGES}, {TRIM_BATCH}\n\
             local TRIM_EVERY, EXPIRE_EVERY_US = {TRIM_EVERY}, {}\n\
             local STREAM_MIN_AGE_US, STREAM_IDLE_MS, DRAFT_KEPT_MS = {}, {}, {}\n\
             local FRESH_OF_LEASE, TIMED_MAX = {FRESH_OF_LEASE}, {TIMED_MAX}\n\
             local REMEMBERED_IDS, PRESENCE_MAX_USERS = {REMEMBERED_IDS_PER_ROOM}, {PRESENCE_MAX_USERS}\n\
             local ROOM_GONE, LOOKED_THROUGH_MAX = {ROOM_GONE}, {LOOKED_THROUGH_MAX}\n\
             local REMEMBERED_IDS_MAX, REMEMBERED_IDS_MIN_AGE_US = {REMEMBERED_IDS_MAX}, {}\n",
            (stream_idle / EXPIRE_PARTS).as_micros().max(1),
            STREAM_MIN_AGE.as_micros(),
            stream_idle.as_millis().max(1),
            DRAFT_KEPT.as_millis(),
            REMEMBERED_IDS_MIN_AGE.as_micros(),
        );
        let script = |parts: &[&str]| Script::new(format!("{numbers}{}", parts.concat()));
        let date = include_str!("scripts/rfc3339.lua");
        Scripts {
            append: script(&[
                date,
                include_str!("scripts/changes.lua"),
                include_str!("scripts/append.lua"),
            ]),
            find: script(&[include_str!("scripts/find.lua")]),
            erase: script(&[include_str!("scripts/erase.lua")]),
            forget: script(&[include_str!("scripts/forget.lua")]),
            scrub: script(&[
                include_str!("scripts/changes.lua"),
                include_str!("scripts/scrub.lua"),
            ]),
            announce: script(&[include_str!("scripts/announce.lua")]),
            unsettle: script(&[include_str!("scripts/unsettle.lua")]),
            unsettled: script(&[include_str!("scripts/unsettled.lua")]),
            settled: script(&[include_str!("scripts/settled.lua")]),
            request_turn: script(&[include_str!("scripts/request_turn.lua")]),
            release_turn: script(&[include_str!("scripts/release_turn.lua")]),
            draft: script(&[include_str!("scripts/draft.lua")]),
            draft_snapshot: script(&[include_str!("scripts/draft_snapshot.lua")]),
            attempt: script(&[include_str!("scripts/try.lua")]),
        }
    }
}

pub(super) struct Script {
    code: String,
    digest: String,
}

impl Script {
    pub(super) fn new(code: String) -> Script {
        let digest = redis::Script::new(&code).get_hash().to_owned();
        Script { code, digest }
    }

    /// A call of the script by its digest.
    pub(super) fn call(&self, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
        let bytes: usize = keys.iter().chain(arguments).map(|text| text.len()).sum();
        let mut call = Cmd::with_capacity(3 + keys.len() + arguments.len(), 64 + bytes);
        call.arg("EVALSHA").arg(&self.digest).arg(keys.len());
        call.arg(keys).arg(arguments);
        call
    }

    /// The same call with the whole script, for a server that does not know it: it was restarted, or its scripts were
    /// flushed. It knows the script from then on.
    pub(super) fn with_code(&self, call: &Cmd) -> Cmd {
        let mut whole = cmd("EVAL");
        whole.arg(&self.code);
        for argument in call.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                whole.arg(bytes);
            }
        }
        whole
    }
}
