//! Appending: messages to a room's stream, and before that the room itself to the list of unsettled rooms.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{
    envelope::reply_id,
    live::{AppendRequest, Appended, BotRole, LiveError, LiveTimings},
    wire::{Kind, Message, NewMessage, Seq},
};
use parking_lot::{Mutex, MutexGuard};
use redis::{Value, from_redis_value};
use tokio::time::Instant;

use super::{
    request::COMMAND_LIMIT,
    scripts::Scripts,
    server::{RedisServer, failed, micros},
};

/// A process puts a room on the list of unsettled rooms again when the version it knows is older than this.
const UNSETTLE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The most rooms whose versions one process remembers; it writes to the list more often when there are more.
const VERSIONS_REMEMBERED_MAX: usize = 20_000;

/// That this process has put a room on the list of unsettled rooms.
#[derive(Clone, Copy)]
struct KnownVersion {
    since: Instant,
    /// [`RedisClient::losses`](super::client::RedisClient::losses) at that time: the list may be gone with its
    /// server's memory.
    losses: u64,
    /// The room's version on the list: the server's time of it, in µs.
    version: Seq,
}

const WHAT: &str = "appending messages";

/// Appending, with what this process knows of it.
pub(super) struct Appends {
    server: RedisServer,
    scripts: Arc<Scripts>,
    timings: LiveTimings,
    /// The versions that this process has written, by room.
    versions: Mutex<HashMap<String, KnownVersion>>,
}

impl Appends {
    pub(super) fn new(server: RedisServer, scripts: Arc<Scripts>, timings: LiveTimings) -> Appends {
        Appends {
            server,
            scripts,
            timings,
            versions: Mutex::default(),
        }
    }

    /// As [`Live::append_all`](common::live::Live::append_all).
    pub(super) async fn append(
        &self,
        room: &str,
        requests: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        let mut keys = vec![self.server.keys.stream(room), self.server.keys.ids(room)];
        let any =
            |wanted: fn(&BotRole) -> bool| requests.iter().any(|request| wanted(&request.part));
        let any_change = requests
            .iter()
            .any(|request| request.message.kind.is_change());
        let any_reply = any_change || any(|role| matches!(role, BotRole::Reply(_)));
        if any_reply || any(|role| matches!(role, BotRole::Request(_))) {
            keys.push(self.server.keys.turn_queue(room));
        }
        if any_reply {
            keys.extend([self.server.keys.turn(room), self.server.keys.draft(room)]);
        }
        if any_change {
            keys.push(self.server.keys.changes(room));
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let channel = self.server.keys.channel(room);
        let text = |seq: Option<Seq>| seq.map_or_else(String::new, |seq| seq.to_string());
        let made = text(requests.iter().filter_map(|request| request.made).min());
        let floor = text(floor);
        let roles: Vec<Vec<u8>> = requests
            .iter()
            .map(|request| role_word(request.part, &request.message))
            .collect();
        let mut again = false;
        // One limit around all of it; the server is told as well.
        let until = Instant::now() + COMMAND_LIMIT;
        loop {
            let losses = self.server.client.losses();
            let holds_until = self.unsettle(room, again, until).await?.to_string();
            let (second, date) = present();
            let mut arguments = Vec::with_capacity(7 + 4 * requests.len());
            let first = [room, &channel, &floor, &holds_until, &second, &date, &made];
            arguments.extend(first.map(str::as_bytes));
            for (request, role) in requests.iter().zip(&roles) {
                let AppendRequest { message, tail, .. } = request;
                arguments.extend([
                    message.id.as_bytes(),
                    message.sender.as_bytes(),
                    tail.as_bytes(),
                    role,
                ]);
            }
            let answer: Value = self
                .server
                .call_within(left(until), WHAT, &self.scripts.append, &keys, &arguments)
                .await?;
            let texts: Vec<Vec<u8>> = match answer {
                Value::BulkString(word) => match word.as_slice() {
                    b"cold" => return Ok(vec![Appended::Cold; requests.len()]),
                    b"gone" => return Ok(vec![Appended::RoomGone; requests.len()]),
                    b"unsettle again" if !again => {
                        again = true;
                        continue;
                    }
                    _ => return Err(failed(WHAT, "a word that the script does not say")),
                },
                texts => from_redis_value(texts).map_err(|error| failed(WHAT, error))?,
            };
            if texts.len() != requests.len() {
                return Err(failed(WHAT, "not one answer for each message"));
            }
            let appended = texts
                .iter()
                .zip(requests)
                .map(|(text, request)| appended(text, &request.message))
                .collect::<Result<Vec<_>, _>>()?;
            let is_new = |answer: &Appended| matches!(answer, Appended::New(_));
            if self.server.client.losses() != losses && appended.iter().any(is_new) {
                // The list may have been lost in between. If the room cannot be put on it again now, the next message
                // or the queue's confirm have to do.
                drop(
                    self.unsettle(room, true, Instant::now() + COMMAND_LIMIT)
                        .await,
                );
            }
            return Ok(appended);
        }
    }

    /// Makes sure that the room is on the list of unsettled rooms, and returns until when (the server's µs) what is appended
    /// counts: until that ends, or until nobody waits for the append any more. A server that freezes does what it was asked
    /// when it thaws, perhaps long after another took its place, and what it appends then has a place in no order.
    ///
    /// The order is what counts: the list is written before the message, so a process that dies right after its message
    /// has left the room on the list. That is not done for every message, so one may come after a version was read and
    /// before the room is settled by it. Three times keep that from doing harm. A process goes on under the version it
    /// knows for 5 s; an append that arrives at the server later than [`LiveTimings::mark_holds`] after its version is
    /// sent back by the script to unsettle the room again; and a room can be settled only by a version that was already
    /// older than [`LiveTimings::settle_after`] when it was read. Whoever reads the stream after reading such a version
    /// thus sees every message that was appended under it, and one that comes under a later version changes the
    /// version. The difference of the last two is what clocks may differ by, where a slot has moved to another node.
    async fn unsettle(&self, room: &str, again: bool, until: Instant) -> Result<Seq, LiveError> {
        let (since, losses) = (Instant::now(), self.server.client.losses());
        // By the server's clock, and never before we give the append up: `since` is before the version.
        let holds = |version: Seq, since: Instant| {
            let given_up = micros(until.duration_since(since));
            version + given_up.min(micros(self.timings.mark_holds))
        };
        let fresh = UNSETTLE_AGAIN_AFTER.min(self.timings.mark_holds / 2);
        if !again
            && let Some(known) = self.versions().get(room)
            && known.losses == losses
            && since.duration_since(known.since) < fresh
        {
            return Ok(holds(known.version, known.since));
        }
        let [key, ..] = self.server.keys.unsettled(self.server.list_part(room));
        let version: String = self
            .server
            .call_within(
                left(until),
                "unsettling a room",
                &self.scripts.unsettle,
                &[&key],
                &[room.as_bytes()],
            )
            .await?;
        let version = version
            .parse()
            .map_err(|error| failed("unsettling a room", error))?;
        let mut versions = self.versions();
        if versions.len() >= VERSIONS_REMEMBERED_MAX {
            versions.retain(|_, known| since.duration_since(known.since) < fresh);
        }
        if versions.len() < VERSIONS_REMEMBERED_MAX {
            versions.insert(
                room.to_owned(),
                KnownVersion {
                    since,
                    losses,
                    version,
                },
            );
        }
        Ok(holds(version, since))
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<String, KnownVersion>> {
        self.versions.lock()
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// One answer of the script: a word, and what belongs to it.
fn appended(text: &[u8], message: &NewMessage) -> Result<Appended, LiveError> {
    let split = text.iter().position(|&byte| byte == b' ');
    let (word, rest) = text.split_at(split.unwrap_or(text.len()));
    let rest = rest.get(1..).unwrap_or_default();
    let number = |text: &str| text.parse().map_err(|error| failed(WHAT, error));
    let text = || std::str::from_utf8(rest).map_err(|error| failed(WHAT, error));
    Ok(match word {
        b"new" => {
            let (seq, prev) = text()?.split_once(' ').unwrap_or_default();
            Appended::New(message.clone().at(number(seq)?, number(prev)?))
        }
        b"known" => Appended::Known(frame(WHAT, rest)?),
        b"forgotten" => Appended::KnownOnly(number(text()?)?),
        b"taken" => Appended::Taken,
        b"fenced" => Appended::Fenced,
        b"gone" => Appended::Gone,
        b"later" => Appended::TooSoon(Duration::from_micros(number(text()?)?)),
        _ => return Err(failed(WHAT, "an answer that the script does not give")),
    })
}

/// The present second, and how RFC 3339 writes it.
fn present() -> (String, String) {
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut date = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    // The `Z`.
    date.pop();
    (since.as_secs().to_string(), date)
}

/// A role, as the script reads it.
fn role_word(role: BotRole, message: &NewMessage) -> Vec<u8> {
    if let Some(of) = message.of {
        let word = if message.kind == Kind::Deleted {
            "-"
        } else {
            "~"
        };
        let reply = reply_id(&message.room, of);
        return [format!("{word}{of}").as_bytes(), reply.as_bytes()].concat();
    }
    match role {
        BotRole::None => Vec::new(),
        BotRole::Request(reply) => [b"?", reply.as_bytes().as_slice()].concat(),
        BotRole::Reply(fence) => format!("={}", fence.word()).into_bytes(),
    }
}

pub(super) fn number(
    text: Option<Vec<u8>>,
) -> Result<Seq, Box<dyn std::error::Error + Send + Sync>> {
    let text = String::from_utf8(text.unwrap_or_default())?;
    Ok(text.parse()?)
}

/// A message as a stream keeps it.
pub(super) fn frame(what: &'static str, frame: &[u8]) -> Result<Message, LiveError> {
    Message::from_frame(frame).map_err(|error| failed(what, error))
}
