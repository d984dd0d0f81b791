//! The list of unsettled rooms: where a process may have died between showing a message and handing it to the queue.
//!
//! A room must be on it before anything is appended to the room, so whatever keeps the list away stops everybody who posts.
//! In a Cluster each slot has a list of its own for its rooms: where their list is away, or on the move, the rooms are
//! as well, and nobody else's. Whoever reads the list reads all of them, and does without those that are away. One server
//! has one list for all rooms, which is also what earlier versions have in a Cluster: it is read there as well, for as
//! long as it has something, since edges of both versions may run side by side.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use common::live::{LiveError, LiveTimings, Looker, Unsettled};
use redis::{Cmd, FromRedisValue, ServerErrorKind, Value, cmd, from_redis_value};

use super::{
    append::number,
    deployment::Address,
    keys::{ListPart, SLOTS, slot},
    request::{Request, RequestError},
    scripts::Scripts,
    server::{RedisServer, failed, micros},
};

/// How many slots' lists are looked for in one round trip: other commands' answers wait for as long as that takes.
const LOOKED_FOR_AT_ONCE: usize = 512;

/// How many lists are read in one round trip.
const READ_AT_ONCE: usize = 16;

const LISTING: &str = "listing unsettled rooms";
const SETTLING: &str = "settling a room";
const COMPARING: &str = "having all rooms compared anew";

/// The list, in as many parts as there are.
pub(super) struct UnsettledRooms {
    server: RedisServer,
    scripts: Arc<Scripts>,
    timings: LiveTimings,
    stream_idle: Duration,
    /// With which slot the next listing goes on: what one has no room for, the next one has.
    next: AtomicU16,
    /// In a Cluster: whether the list that all rooms have in common was there when it was looked for last.
    has_common: AtomicBool,
}

/// What each part of the list is asked.
#[derive(Clone, Copy)]
struct Asking<'a> {
    limit: usize,
    server: &'a str,
    looker: Option<&'a Looker>,
    /// The rooms that the looker could not look at, by the part that they are on.
    failed: &'a [(ListPart, &'a str)],
}

impl UnsettledRooms {
    pub(super) fn new(
        server: RedisServer,
        scripts: Arc<Scripts>,
        timings: LiveTimings,
        stream_idle: Duration,
    ) -> UnsettledRooms {
        UnsettledRooms {
            server,
            scripts,
            timings,
            stream_idle,
            next: AtomicU16::new(rand::random_range(0..SLOTS)),
            has_common: AtomicBool::new(true),
        }
    }

    fn is_split(&self) -> bool {
        self.server.client.deployment().is_cluster()
    }

    /// As [`Live::unsettled`](common::live::Live::unsettled), and with a looker as
    /// [`Live::take_unsettled`](common::live::Live::take_unsettled).
    pub(super) async fn list(
        &self,
        limit: usize,
        server: &str,
        looker: Option<&Looker>,
    ) -> Result<Vec<Unsettled>, LiveError> {
        let failed = looker.map_or(&[][..], |looker| &looker.failed).iter();
        let mut failed: Vec<(ListPart, &str)> = failed
            .map(|room| (self.server.list_part(room), room.as_str()))
            .collect();
        failed.sort_unstable();
        let asking = Asking {
            limit,
            server,
            looker,
            failed: &failed,
        };
        if !self.is_split() {
            return self.list_common(&asking).await;
        }
        // While there are two kinds of lists, neither keeps the other waiting.
        let half = Asking {
            limit: limit.div_ceil(2),
            ..asking
        };
        let in_common = self.list_if_there(&half).await;
        let taken = in_common.as_ref().map_or(0, Vec::len);
        let of_slots = Asking {
            limit: limit - taken.min(limit),
            ..asking
        };
        let (mut rooms, error) = self.list_slots(&of_slots).await;
        let is_nothing_read = match (&in_common, &error) {
            (Err(_), Some(_)) => rooms.is_empty(),
            _ => false,
        };
        if let Some(error) = in_common.as_ref().err().or(error.as_ref()) {
            tracing::debug!(%error, "some unsettled rooms cannot be listed");
        }
        if is_nothing_read {
            return in_common;
        }
        rooms.extend(in_common.unwrap_or_default());
        Ok(rooms)
    }

    /// The part that all rooms have in common.
    async fn list_common(&self, asking: &Asking<'_>) -> Result<Vec<Unsettled>, LiveError> {
        let part = ListPart::Common;
        let keys = self.server.keys.unsettled(part);
        let keys = keys.each_ref().map(String::as_str);
        let arguments = self.arguments(asking, part);
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let listed = self
            .server
            .call(LISTING, &self.scripts.unsettled, &keys, &arguments);
        read_list(listed.await?)
    }

    /// The same in a Cluster, where nobody writes to it any more once all are of this version.
    async fn list_if_there(&self, asking: &Asking<'_>) -> Result<Vec<Unsettled>, LiveError> {
        let [unsettled, settled, ..] = self.server.keys.unsettled(ListPart::Common);
        let mut exists = cmd("EXISTS");
        exists.arg(&unsettled).arg(&settled);
        let slot = slot(unsettled.as_bytes());
        let request = Request::idempotent(vec![exists]);
        let answers = self.server.client.run(slot, request).await;
        let answer = answers.map_err(|error| failed(LISTING, error))?.pop();
        let count: u64 = read(LISTING, answer.unwrap_or_default())?;
        self.has_common.store(count > 0, Ordering::Relaxed);
        match count {
            0 => Ok(Vec::new()),
            _ => self.list_common(asking).await,
        }
    }

    /// The parts of all slots, from where the last listing ended; and why some could not be read, if so.
    async fn list_slots(&self, asking: &Asking<'_>) -> (Vec<Unsettled>, Option<LiveError>) {
        let slots = self.server.client.nodes().borrow().slots.clone();
        let mut all: Vec<u16> = (0..SLOTS)
            .filter(|slot| slots.owner(*slot).is_some())
            .collect();
        let from = self.next.load(Ordering::Relaxed);
        let first = all.partition_point(|slot| *slot < from);
        all.rotate_left(first);
        let (mut rooms, mut why) = (Vec::new(), None);
        let mut away: Vec<&Address> = Vec::new();
        for of_node in all.chunk_by(|one, next| slots.owner(*one) == slots.owner(*next)) {
            let Some(node) = of_node.first().and_then(|slot| slots.owner(*slot)) else {
                continue;
            };
            for some in of_node.chunks(LOOKED_FOR_AT_ONCE) {
                if rooms.len() >= asking.limit {
                    return (rooms, why);
                }
                if away.contains(&node) {
                    break;
                }
                if let Err(error) = self.list_some(node, some, asking, &mut rooms).await {
                    away.push(node);
                    why = Some(error);
                }
            }
        }
        (rooms, why)
    }

    /// The parts of some slots of one node.
    async fn list_some(
        &self,
        node: &Address,
        slots: &[u16],
        asking: &Asking<'_>,
        rooms: &mut Vec<Unsettled>,
    ) -> Result<(), LiveError> {
        let there = self.there(node, slots, asking.server).await?;
        let mut there = there.as_slice();
        while !there.is_empty() && rooms.len() < asking.limit {
            let limit = asking.limit - rooms.len();
            let (some, rest) = there.split_at(READ_AT_ONCE.min(limit).min(there.len()));
            let left = Asking { limit, ..*asking };
            rooms.extend(self.read_lists(node, some, &left).await?);
            let last = some.last().copied().unwrap_or_default();
            self.next.store(last + 1, Ordering::Relaxed);
            there = rest;
        }
        Ok(())
    }

    /// Those of a node's slots that have a list with something in it, or rooms that are to be compared again. Most have nothing
    /// at all, so that is asked first.
    async fn there(
        &self,
        node: &Address,
        slots: &[u16],
        server: &str,
    ) -> Result<Vec<u16>, LiveError> {
        let client = &self.server.client;
        let run = async |commands: Vec<Cmd>| {
            let answers = client.run_on(node, commands).await;
            answers.map_err(|error| failed(LISTING, error))
        };
        let keys = |slot: u16| self.server.keys.unsettled(ListPart::Slot(slot));
        let any = slots.iter().map(|slot| {
            let [unsettled, settled, ..] = keys(*slot);
            let mut exists = cmd("EXISTS");
            exists.arg(unsettled).arg(settled);
            exists
        });
        let any = run(any.collect()).await?;
        if any
            .iter()
            .any(|answer| matches!(answer, Value::ServerError(_)))
        {
            // A slot has moved: it is listed where it is, next time.
            client.refresh_topology();
        }
        let has_any = |(slot, answer): (&u16, Value)| match answer {
            Value::Int(count) if count > 0 => Some(*slot),
            _ => None,
        };
        let mut there: Vec<u16> = slots.iter().zip(any).filter_map(has_any).collect();
        if there.is_empty() {
            return Ok(there);
        }
        let asked = there.iter().flat_map(|slot| {
            let [unsettled, settled, round, _] = keys(*slot);
            let (mut exists, mut oldest, mut known) = (cmd("EXISTS"), cmd("ZRANGE"), cmd("HMGET"));
            exists.arg(unsettled);
            oldest.arg(settled).arg(0).arg(0).arg("WITHSCORES");
            known.arg(round).arg("server").arg("round");
            [exists, oldest, known]
        });
        let mut answers = run(asked.collect()).await?.into_iter();
        let mut is_due = || {
            let [unsettled, oldest, known] = [(); 3].map(|()| answers.next().unwrap_or_default());
            let unsettled: u64 = read(LISTING, unsettled)?;
            let oldest: Vec<(Value, f64)> = read(LISTING, oldest)?;
            let (compared_with, round): (Option<String>, Option<f64>) = read(LISTING, known)?;
            let is_compared = compared_with.as_deref() == Some(server);
            let is_older = |(_, settled): &(Value, f64)| {
                !is_compared || round.is_some_and(|round| *settled < round)
            };
            Ok::<_, LiveError>(unsettled > 0 || oldest.first().is_some_and(is_older))
        };
        // One that has moved at this moment is left out as well.
        there.retain(|_| is_due().unwrap_or(false));
        Ok(there)
    }

    async fn read_lists(
        &self,
        node: &Address,
        slots: &[u16],
        asking: &Asking<'_>,
    ) -> Result<Vec<Unsettled>, LiveError> {
        let call = |slot: &u16| {
            let part = ListPart::Slot(*slot);
            let arguments = self.arguments(asking, part);
            let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
            let keys = self.server.keys.unsettled(part);
            let keys = keys.each_ref().map(String::as_bytes);
            self.scripts.unsettled.call(&keys, &arguments)
        };
        let calls: Vec<Cmd> = slots.iter().map(call).collect();
        let client = &self.server.client;
        let run = |calls: Vec<Cmd>| async move {
            let answers = client.run_on(node, calls).await;
            answers.map_err(|error| failed(LISTING, error))
        };
        let mut answers = run(calls.clone()).await?;
        let is_unknown = |answer: &Value| {
            matches!(answer, Value::ServerError(error)
                if error.kind() == Some(ServerErrorKind::NoScript))
        };
        if answers.iter().any(is_unknown) {
            // Those that were answered stay so: they may have been given to the looker.
            for (answer, call) in answers.iter_mut().zip(&calls) {
                if is_unknown(answer) {
                    let whole = self.scripts.unsettled.with_code(call);
                    *answer = run(vec![whole]).await?.pop().unwrap_or_default();
                }
            }
        }
        let mut rooms = Vec::new();
        for answer in answers {
            match answer {
                Value::ServerError(error) => {
                    tracing::debug!(%node, ?error, "an unsettled room cannot be listed");
                    client.refresh_topology();
                }
                listed => rooms.extend(read_list(read(LISTING, listed)?)?),
            }
        }
        Ok(rooms)
    }

    fn arguments(&self, asking: &Asking<'_>, part: ListPart) -> Vec<String> {
        let mut arguments = vec![
            asking.limit.to_string(),
            micros(self.timings.settle_after).to_string(),
            // A room that is silent for so long has no stream any more.
            micros(self.stream_idle).to_string(),
            asking.server.to_owned(),
        ];
        if let Some(looker) = asking.looker {
            arguments.push(looker.process.clone());
            arguments.push(self.timings.look_lease.as_millis().to_string());
            let failed = match part {
                ListPart::Common => asking.failed,
                ListPart::Slot(_) => {
                    let first = asking.failed.partition_point(|(of, _)| *of < part);
                    let last = asking.failed.partition_point(|(of, _)| *of <= part);
                    &asking.failed[first..last]
                }
            };
            arguments.extend(failed.iter().map(|(_, room)| (*room).to_owned()));
        }
        arguments
    }

    /// As [`Live::settled`](common::live::Live::settled).
    pub(super) async fn settle(&self, room: &Unsettled) -> Result<(), LiveError> {
        if room.version == 0 {
            return Ok(());
        }
        let part = self.server.list_part(&room.room);
        self.settle_in(part, room).await?;
        if part != ListPart::Common
            && self.has_common.load(Ordering::Relaxed)
            && let Err(error) = self.settle_in(ListPart::Common, room).await
        {
            tracing::debug!(%error, room = room.room, "a room stays on the list of earlier versions");
        }
        Ok(())
    }

    /// Does nothing where the room's version is of another part.
    async fn settle_in(&self, part: ListPart, room: &Unsettled) -> Result<(), LiveError> {
        let keys = self.server.keys.unsettled(part);
        let keys = keys.each_ref().map(String::as_str);
        let (version, round) = (room.version.to_string(), room.round.to_string());
        let arguments = [room.room.as_str(), &version, &round].map(str::as_bytes);
        self.server
            .call::<()>(SETTLING, &self.scripts.settled, &keys, &arguments)
            .await
    }

    /// As [`Live::compare_anew`](common::live::Live::compare_anew): all parts, or it fails.
    pub(super) async fn compare_anew(&self) -> Result<(), LiveError> {
        let forget = |part: ListPart| {
            let [_, _, round, _] = self.server.keys.unsettled(part);
            let mut forget = cmd("HDEL");
            forget.arg(round).arg("server");
            forget
        };
        let client = &self.server.client;
        if self.is_split() {
            let slots = client.nodes().borrow().slots.clone();
            for node in slots.nodes() {
                let own: Vec<u16> = slots.of(&node).collect();
                for some in own.chunks(LOOKED_FOR_AT_ONCE) {
                    let forgets = some.iter().map(|slot| forget(ListPart::Slot(*slot)));
                    let answers = client.run_on(&node, forgets.collect()).await;
                    for answer in answers.map_err(|error| failed(COMPARING, error))? {
                        answer
                            .extract_error()
                            .map_err(|error| failed(COMPARING, RequestError::from(error)))?;
                    }
                }
            }
        }
        let [_, _, round, _] = self.server.keys.unsettled(ListPart::Common);
        let request = Request::idempotent(vec![forget(ListPart::Common)]);
        let forgotten = client.run(slot(round.as_bytes()), request).await;
        forgotten
            .map(drop)
            .map_err(|error| failed(COMPARING, error))
    }
}

fn read<T: FromRedisValue>(what: &'static str, value: Value) -> Result<T, LiveError> {
    from_redis_value(value).map_err(|error| failed(what, error))
}

fn read_list(
    (round, rooms): (Vec<u8>, Vec<(String, Vec<u8>)>),
) -> Result<Vec<Unsettled>, LiveError> {
    let number = |text| number(Some(text)).map_err(|error| failed(LISTING, error));
    let round = number(round)?;
    let rooms = rooms.into_iter().map(|(room, version)| {
        let version = number(version)?;
        Ok(Unsettled {
            room,
            version,
            round,
        })
    });
    rooms.collect()
}
