//! Appending: messages to a room's stream, and before that the mark that the room is to be looked after.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{
    live::{AppendRequest, Appended, BotRole, LiveError, LiveTimings},
    wire::{Message, NewMessage, Seq},
};
use parking_lot::{Mutex, MutexGuard};
use redis::{Value, from_redis_value};
use tokio::time::Instant;

use super::{
    scripts::Scripts,
    server::{RedisServer, failed, micros},
};

/// A process marks a room as unsettled again when its last mark is older than this.
const MARK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The most rooms whose marks one process remembers; it marks more often when there are more.
const MARKS_REMEMBERED_MAX: usize = 20_000;

/// That this process has marked a room.
#[derive(Clone, Copy)]
struct Mark {
    made: Instant,
    /// [`Fleet::losses`](super::fleet::Fleet::losses) at that time: a mark may be gone with its server's memory.
    losses: u64,
    /// The server's time of it, in µs.
    at: Seq,
}

const WHAT: &str = "appending messages";

/// Appending, with what this process knows of it.
pub(super) struct Appends {
    server: RedisServer,
    scripts: Arc<Scripts>,
    timings: LiveTimings,
    /// The marks that this process has made, by room.
    marks: Mutex<HashMap<String, Mark>>,
}

impl Appends {
    pub(super) fn new(server: RedisServer, scripts: Arc<Scripts>, timings: LiveTimings) -> Appends {
        Appends {
            server,
            scripts,
            timings,
            marks: Mutex::default(),
        }
    }

    /// As [`Live::append_all`](common::live::Live::append_all).
    pub(super) async fn append(
        &self,
        room: &str,
        offers: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        let mut keys = vec![self.server.keys.stream(room), self.server.keys.ids(room)];
        let any = |wanted: fn(&BotRole) -> bool| offers.iter().any(|offer| wanted(&offer.part));
        let answers = any(|part| matches!(part, BotRole::Reply(_)));
        if answers || any(|part| matches!(part, BotRole::Request(_))) {
            keys.push(self.server.keys.line(room));
        }
        if answers {
            keys.extend([self.server.keys.turn(room), self.server.keys.draft(room)]);
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let channel = self.server.keys.channel(room);
        let floor = floor.map_or_else(String::new, |floor| floor.to_string());
        let parts: Vec<Vec<u8>> = offers.iter().map(|offer| part_word(offer.part)).collect();
        let mut again = false;
        loop {
            let losses = self.server.fleet.losses();
            let marked_until = self.mark(room, again).await?.to_string();
            let (second, date) = present();
            let mut arguments = Vec::with_capacity(6 + 4 * offers.len());
            let first = [room, &channel, &floor, &marked_until, &second, &date];
            arguments.extend(first.map(str::as_bytes));
            for (offer, part) in offers.iter().zip(&parts) {
                let AppendRequest { message, tail, .. } = offer;
                arguments.extend([
                    message.id.as_bytes(),
                    message.sender.as_bytes(),
                    tail.as_bytes(),
                    part,
                ]);
            }
            let answer: Value = self
                .server
                .call(WHAT, &self.scripts.append, &keys, &arguments)
                .await?;
            let texts: Vec<Vec<u8>> = match answer {
                Value::BulkString(word) => match word.as_slice() {
                    b"cold" => return Ok(vec![Appended::Cold; offers.len()]),
                    b"mark again" if !again => {
                        again = true;
                        continue;
                    }
                    _ => return Err(failed(WHAT, "a word that the script does not say")),
                },
                texts => from_redis_value(texts).map_err(|error| failed(WHAT, error))?,
            };
            if texts.len() != offers.len() {
                return Err(failed(WHAT, "not one answer for each message"));
            }
            let appended = texts
                .iter()
                .zip(offers)
                .map(|(text, offer)| appended(text, &offer.message))
                .collect::<Result<Vec<_>, _>>()?;
            let is_new = |answer: &Appended| matches!(answer, Appended::New(_));
            if self.server.fleet.losses() != losses && appended.iter().any(is_new) {
                // The mark may have been lost in between. If it cannot be made again now, the next message or
                // the queue's confirm have to do.
                drop(self.mark(room, true).await);
            }
            return Ok(appended);
        }
    }

    /// Makes sure that the room is on the list of unsettled rooms, and returns until when (the server's µs) that holds.
    ///
    /// The order is what counts: the mark is made before the message, so a process that dies right after its message
    /// has left the mark behind. A mark is not made for every message, so one may come after a mark was read and
    /// before the room is settled by it. Three times keep that from doing harm. A process goes on under its mark for
    /// 5 s; an append that arrives at the server later than [`LiveTimings::mark_holds`] after its mark is sent back by the
    /// script to mark again; and a room can be settled only by a mark that was already older than
    /// [`LiveTimings::settle_after`] when it was read. Whoever reads the stream after reading such a mark thus sees every
    /// message that was appended under it, and one that comes under a later mark changes the mark. The difference of
    /// the last two is what the clocks of a Cluster's nodes may differ by.
    async fn mark(&self, room: &str, again: bool) -> Result<Seq, LiveError> {
        let (made, losses) = (Instant::now(), self.server.fleet.losses());
        let holds = |at: Seq| at + micros(self.timings.mark_holds);
        let fresh = MARK_AGAIN_AFTER.min(self.timings.mark_holds / 2);
        if !again
            && let Some(mark) = self.marks().get(room)
            && mark.losses == losses
            && made.duration_since(mark.made) < fresh
        {
            return Ok(holds(mark.at));
        }
        let key = self.server.keys.unsettled();
        let at: String = self
            .server
            .call(
                "marking a room",
                &self.scripts.mark,
                &[&key],
                &[room.as_bytes()],
            )
            .await?;
        let at = at
            .parse()
            .map_err(|error| failed("marking a room", error))?;
        let mut marks = self.marks();
        if marks.len() >= MARKS_REMEMBERED_MAX {
            marks.retain(|_, mark| made.duration_since(mark.made) < fresh);
        }
        if marks.len() < MARKS_REMEMBERED_MAX {
            marks.insert(room.to_owned(), Mark { made, losses, at });
        }
        Ok(holds(at))
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<String, Mark>> {
        self.marks.lock()
    }
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

/// A part, as the script reads it.
fn part_word(part: BotRole) -> Vec<u8> {
    match part {
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
