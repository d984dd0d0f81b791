//! The live seam on Redis, shared by any number of processes: one server, a Cluster, or a server with Sentinels.
//!
//! A room is a stream, a sorted set of the ids it remembers (whose highest score is the room's latest seq), a hash of
//! who is there, and a channel. `append` is one script on them. Why it is so: `docs/decisions/sequence-and-stream.md`
//! and `docs/decisions/one-redis-client.md`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    live::{
        AppendRequest, Appended, Change, Live, LiveError, LiveEvent, LiveTimings, Looker,
        PRESENCE_MAX_USERS, Signal, Subscriber, Tail, Unsettled,
        turns::{
            Draft, DraftOutcome, DraftSnapshot, Fence, IN_HAND_MAX, TurnMode, TurnRequest,
            TurnStatus, Turns,
        },
    },
    readiness::Health,
    wire::{Message, Seq},
};
use redis::{Value, cmd, from_redis_value};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    append::{Appends, frame, number},
    keys::slot,
    request::Request,
    scripts::{ROOM_GONE, Scripts},
    server::{RedisServer, failed, micros},
    settings::RedisSettings,
    subscription::{self, Subscription},
    unsettled::UnsettledRooms,
};

/// How many messages of a stream are read at a time: other commands' answers wait for as long as that takes.
const PAGE_MESSAGES: usize = 500;

/// The live seam on Redis.
pub struct RedisLive {
    server: RedisServer,
    scripts: Arc<Scripts>,
    appends: Appends,
    unsettled: UnsettledRooms,
    timings: LiveTimings,
}

impl RedisLive {
    /// Its name, for people.
    pub const NAME: &'static str = "Redis";

    /// Connects to what `REDIS_URL` names and waits until all of it answers, or ten seconds for as much of it as does. From
    /// then on every break of a connection, and every move of a node, is mended without anybody's help, for ever.
    ///
    /// # Errors
    /// [`LiveError`] if the URL or the prefix cannot be used, or if no node answers within ten seconds.
    pub async fn connect(settings: &RedisSettings) -> Result<Arc<RedisLive>, LiveError> {
        RedisLive::connect_with(settings, LiveTimings::default()).await
    }

    /// As [`RedisLive::connect`], with other timings than the default.
    ///
    /// # Errors
    /// As [`RedisLive::connect`].
    pub async fn connect_with(
        settings: &RedisSettings,
        timings: LiveTimings,
    ) -> Result<Arc<RedisLive>, LiveError> {
        let server = RedisServer::connect(settings).await?;
        let scripts = Arc::new(Scripts::new(settings.stream_idle_seconds));
        Ok(Arc::new(RedisLive {
            appends: Appends::new(server.clone(), Arc::clone(&scripts), timings),
            unsettled: UnsettledRooms::new(
                server.clone(),
                Arc::clone(&scripts),
                timings,
                settings.stream_idle_seconds,
            ),
            server,
            scripts,
            timings,
        }))
    }

    pub(super) fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// What the quota uses as well.
    pub(super) fn server(&self) -> &RedisServer {
        &self.server
    }

    /// The room's latest seq, and its messages from a seq on, at most `count`.
    async fn page(
        &self,
        room: &str,
        from: Seq,
        count: usize,
    ) -> Result<(Seq, Vec<Message>), LiveError> {
        const WHAT: &str = "reading a room's stream";
        let (ids, stream) = (self.server.keys.ids(room), self.server.keys.stream(room));
        // The latest seq is read first: what comes between the two commands is then in the second one's answer.
        let mut latest = cmd("ZRANGE");
        latest.arg(&ids).arg(-1).arg(-1).arg("WITHSCORES");
        let mut range = cmd("XRANGE");
        range.arg(&stream).arg(format!("{from}-0")).arg("+");
        range.arg("COUNT").arg(count);
        let request = Request::idempotent(vec![latest, range]);
        let answers = self.server.client.run(slot(ids.as_bytes()), request).await;
        let mut answers = answers.map_err(|error| failed(WHAT, error))?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let unreadable = |error| failed(WHAT, error);
        let latest: Vec<(Value, f64)> = from_redis_value(next()).map_err(unreadable)?;
        let entries: Vec<(Value, Vec<Vec<u8>>)> = from_redis_value(next()).map_err(unreadable)?;
        let messages = entries
            .iter()
            .map(|(_, fields)| frame(WHAT, fields.get(3).map_or(&[], Vec::as_slice)))
            .collect::<Result<Vec<_>, _>>()?;
        // Below 2^53, so the double holds it exactly.
        let latest = latest.first().map_or(0, |(_, score)| *score as Seq);
        let latest = if latest >= ROOM_GONE { 0 } else { latest };
        Ok((latest, messages))
    }
}

#[async_trait]
impl Live for RedisLive {
    async fn append_all(
        &self,
        room: &str,
        requests: &[AppendRequest],
        floor: Option<Seq>,
    ) -> Result<Vec<Appended>, LiveError> {
        self.appends.append(room, requests, floor).await
    }

    async fn tail(&self, room: &str, after: Seq, limit: usize) -> Result<Tail, LiveError> {
        let first = after.saturating_add(1);
        let (latest, mut messages) = self.page(room, first, limit.min(PAGE_MESSAGES)).await?;
        let mut last_page = messages.len();
        while last_page >= PAGE_MESSAGES && messages.len() < limit {
            // The next page begins with the last message of this one. If that is not there any more, the stream was
            // trimmed meanwhile, and more may be gone that comes after it: what was read so far does not link up.
            let seam = messages.last().map_or(0, |last| last.seq);
            let count = (limit - messages.len()).min(PAGE_MESSAGES) + 1;
            let (_, mut page) = self.page(room, seam, count).await?;
            if page.first().is_some_and(|first| first.seq == seam) {
                page.remove(0);
            } else {
                messages.clear();
            }
            last_page = page.len();
            messages.append(&mut page);
        }
        Ok(Tail::new(after, messages, latest))
    }

    async fn find(&self, room: &str, id: Uuid) -> Result<Option<Message>, LiveError> {
        const WHAT: &str = "looking for a message";
        let keys = [self.server.keys.stream(room), self.server.keys.ids(room)];
        let keys = keys.each_ref().map(String::as_str);
        let found: Option<Vec<u8>> = self
            .server
            .call(WHAT, &self.scripts.find, &keys, &[id.as_bytes()])
            .await?;
        found.map(|found| frame(WHAT, &found)).transpose()
    }

    async fn changes(&self, room: &str, ids: &[Uuid]) -> Result<Vec<Change>, LiveError> {
        const WHAT: &str = "reading what has changed";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.server.keys.changes(room);
        let slot = slot(key.as_bytes());
        let mut newest = cmd("HMGET");
        newest.arg(&key);
        for id in ids {
            newest.arg(id.to_string());
        }
        let answers = self
            .server
            .client
            .run(slot, Request::idempotent(vec![newest]));
        let answer = answers.await.map_err(|error| failed(WHAT, error))?.pop();
        let newest: Vec<Option<Vec<u8>>> =
            from_redis_value(answer.unwrap_or_default()).map_err(|error| failed(WHAT, error))?;
        let (mut changes, mut edited) = (Vec::new(), Vec::new());
        for (of, word) in ids.iter().zip(newest) {
            let Some(word) = word else { continue };
            let number =
                |text: &[u8]| number(Some(text.to_vec())).map_err(|error| failed(WHAT, error));
            match word.strip_prefix(b"d") {
                Some(seq) => changes.push(Change {
                    of: *of,
                    seq: number(seq)?,
                    text: None,
                }),
                None => edited.push((*of, number(&word)?)),
            }
        }
        if edited.is_empty() {
            return Ok(changes);
        }
        let stream = self.server.keys.stream(room);
        let entries = edited.iter().map(|(_, seq)| {
            let (mut entry, at) = (cmd("XRANGE"), format!("{seq}-0"));
            entry.arg(&stream).arg(&at).arg(&at);
            entry
        });
        let request = Request::idempotent(entries.collect());
        let answers = self.server.client.run(slot, request).await;
        let answers = answers.map_err(|error| failed(WHAT, error))?;
        for ((of, seq), answer) in edited.into_iter().zip(answers) {
            let entries: Vec<(Value, Vec<Vec<u8>>)> =
                from_redis_value(answer).map_err(|error| failed(WHAT, error))?;
            // One that the stream has dropped is told by the database; one without a text was deleted a moment ago.
            let Some(text) = entries.first().and_then(|(_, fields)| fields.get(3)) else {
                continue;
            };
            let text = Some(frame(WHAT, text)?.message).filter(|text| !text.is_empty());
            changes.push(Change { of, seq, text });
        }
        Ok(changes)
    }

    async fn signal(&self, signal: &Signal) -> Result<(), LiveError> {
        const WHAT: &str = "sending a signal";
        let (channel, payload) = match signal {
            Signal::Room { room, frame } => {
                let mut payload = Vec::with_capacity(frame.len() + 1);
                payload.push(subscription::SIGNAL);
                payload.extend_from_slice(frame);
                (self.server.keys.channel(room), payload)
            }
            Signal::Control(control) => {
                let payload = serde_json::to_vec(control).map_err(|error| failed(WHAT, error))?;
                (self.server.keys.control(), payload)
            }
        };
        let mut publish = cmd("SPUBLISH");
        publish.arg(&channel).arg(payload);
        let request = Request::at_most_once(publish);
        let published = self
            .server
            .client
            .run(slot(channel.as_bytes()), request)
            .await;
        published.map(drop).map_err(|error| failed(WHAT, error))
    }

    async fn announce(
        &self,
        process: &str,
        room: &str,
        users: &[String],
    ) -> Result<Vec<String>, LiveError> {
        let (present, channel) = (
            self.server.keys.present(room),
            self.server.keys.channel(room),
        );
        let users = users[..users.len().min(PRESENCE_MAX_USERS)].join(",");
        let ttl = self.timings.presence_ttl.as_millis().to_string();
        let arguments = [process, &users, room, &ttl, &channel].map(str::as_bytes);
        self.server
            .call(
                "announcing who is there",
                &self.scripts.announce,
                &[&present],
                &arguments,
            )
            .await
    }

    async fn unsettled(&self, limit: usize, server: &str) -> Result<Vec<Unsettled>, LiveError> {
        self.unsettled.list(limit, server, None).await
    }

    async fn take_unsettled(
        &self,
        limit: usize,
        server: &str,
        looker: &Looker,
    ) -> Result<Vec<Unsettled>, LiveError> {
        self.unsettled.list(limit, server, Some(looker)).await
    }

    async fn settled(&self, room: &Unsettled) -> Result<(), LiveError> {
        self.unsettled.settle(room).await
    }

    async fn compare_anew(&self) -> Result<(), LiveError> {
        self.unsettled.compare_anew().await
    }

    async fn erase(&self, room: &str) -> Result<(), LiveError> {
        let keys = &self.server.keys;
        let keys = [
            keys.stream(room),
            keys.ids(room),
            keys.turn_queue(room),
            keys.turn(room),
            keys.draft(room),
            keys.present(room),
            keys.changes(room),
        ];
        let keys = keys.each_ref().map(String::as_str);
        self.server
            .call::<i64>("erasing a room", &self.scripts.erase, &keys, &[])
            .await
            .map(drop)
    }

    async fn forget_until(&self, room: &str, until: Seq) -> Result<(), LiveError> {
        let keys = [
            self.server.keys.stream(room),
            self.server.keys.changes(room),
        ];
        let keys = keys.each_ref().map(String::as_str);
        let until = until.to_string();
        self.server
            .call::<i64>(
                "forgetting what is old",
                &self.scripts.forget,
                &keys,
                &[until.as_bytes()],
            )
            .await
            .map(drop)
    }

    async fn scrub(&self, room: &str, deleted: &[(Uuid, Seq)]) -> Result<usize, LiveError> {
        let keys = &self.server.keys;
        let keys = [
            keys.stream(room),
            keys.ids(room),
            keys.turn_queue(room),
            keys.turn(room),
            keys.draft(room),
            keys.changes(room),
        ];
        let keys = keys.each_ref().map(String::as_str);
        let arguments: Vec<String> = deleted
            .iter()
            .flat_map(|(id, seq)| [id.to_string(), seq.to_string()])
            .collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let scrubbed = self.server.call::<usize>(
            "taking texts out of a stream",
            &self.scripts.scrub,
            &keys,
            &arguments,
        );
        scrubbed.await
    }

    fn subscriber(&self, capacity: usize) -> (Arc<dyn Subscriber>, mpsc::Receiver<LiveEvent>) {
        let (subscription, events) = Subscription::open(
            Arc::clone(&self.server.client),
            Arc::clone(&self.server.keys),
            capacity,
        );
        (Arc::new(subscription), events)
    }

    async fn ping(&self) -> Result<Health, LiveError> {
        self.try_writing().await
    }
}

#[async_trait]
impl Turns for RedisLive {
    async fn request_turn(
        &self,
        request: &TurnRequest,
        mode: TurnMode,
        keep: Duration,
    ) -> Result<TurnStatus, LiveError> {
        const WHAT: &str = "requesting a turn";
        let room = request.room.as_str();
        let keys = [
            self.server.keys.ids(room),
            self.server.keys.turn_queue(room),
            self.server.keys.turn(room),
        ];
        let keys = keys.each_ref().map(String::as_str);
        let seq = request.seq.to_string();
        let holder = request.holder.simple().to_string();
        let at_least = request.at_least.to_string();
        let lease = micros(self.timings.turn_lease).to_string();
        let keep = micros(keep).to_string();
        let mut arguments = vec![
            request.reply.as_bytes().as_slice(),
            seq.as_bytes(),
            holder.as_bytes(),
            at_least.as_bytes(),
            lease.as_bytes(),
            keep.as_bytes(),
            match mode {
                TurnMode::InOrder => b"",
                TurnMode::Now => b"now",
            },
        ];
        let in_hand = request.in_hand.iter().take(IN_HAND_MAX);
        arguments.extend(in_hand.map(|reply| reply.as_bytes().as_slice()));
        let answer: Vec<String> = self
            .server
            .call(WHAT, &self.scripts.request_turn, &keys, &arguments)
            .await?;
        match answer.first().map(String::as_str) {
            Some("granted") => {
                let number = answer.get(1).map_or("", String::as_str).parse();
                Ok(TurnStatus::Granted(Fence {
                    holder: request.holder,
                    number: number.map_err(|error| failed(WHAT, error))?,
                }))
            }
            Some("waiting") => Ok(TurnStatus::Waiting),
            Some("answered") => Ok(TurnStatus::Answered),
            _ => Err(failed(WHAT, "an answer that the script does not give")),
        }
    }

    async fn release_turn(&self, request: &TurnRequest, for_good: bool) -> Result<(), LiveError> {
        let room = request.room.as_str();
        let keys = [
            self.server.keys.turn_queue(room),
            self.server.keys.turn(room),
        ];
        let keys = keys.each_ref().map(String::as_str);
        let holder = request.holder.simple().to_string();
        let for_good: &[u8] = if for_good { b"for good" } else { b"" };
        let arguments = [
            request.reply.as_bytes().as_slice(),
            holder.as_bytes(),
            for_good,
        ];
        self.server
            .call(
                "releasing a turn",
                &self.scripts.release_turn,
                &keys,
                &arguments,
            )
            .await
    }

    async fn draft(&self, draft: &Draft) -> Result<DraftOutcome, LiveError> {
        const WHAT: &str = "publishing a draft";
        let room = draft.room.as_str();
        let keys = [self.server.keys.turn(room), self.server.keys.draft(room)];
        let keys = keys.each_ref().map(String::as_str);
        let (fence, frame) = (draft.fence.word(), draft.frame());
        let attempt = draft.attempt.to_string();
        let offset = draft.offset_bytes.to_string();
        let channel = self.server.keys.channel(room);
        let arguments = [
            draft.reply.as_bytes().as_slice(),
            fence.as_bytes(),
            attempt.as_bytes(),
            draft.reply_to.as_bytes().as_slice(),
            offset.as_bytes(),
            draft.text.as_bytes(),
            frame.as_bytes(),
            channel.as_bytes(),
        ];
        let answer: String = self
            .server
            .call(WHAT, &self.scripts.draft, &keys, &arguments)
            .await?;
        match answer.as_str() {
            "shown" => Ok(DraftOutcome::Shown),
            "fenced" => Ok(DraftOutcome::Fenced),
            "from start" => Ok(DraftOutcome::FromStart),
            _ => Err(failed(WHAT, "an answer that the script does not give")),
        }
    }

    async fn requests_before(&self, room: &str, reply: Uuid) -> Result<Option<usize>, LiveError> {
        const WHAT: &str = "looking how many requests are before one";
        let key = self.server.keys.turn_queue(room);
        let mut rank = cmd("ZRANK");
        rank.arg(&key).arg(reply.as_bytes().as_slice());
        let request = Request::idempotent(vec![rank]);
        let answers = self.server.client.run(slot(key.as_bytes()), request);
        let answer = answers.await.map_err(|error| failed(WHAT, error))?.pop();
        from_redis_value(answer.unwrap_or_default()).map_err(|error| failed(WHAT, error))
    }

    async fn draft_snapshot(&self, room: &str) -> Result<Option<DraftSnapshot>, LiveError> {
        const WHAT: &str = "reading a draft";
        let keys = [self.server.keys.turn(room), self.server.keys.draft(room)];
        let keys = keys.each_ref().map(String::as_str);
        let found: Vec<Vec<u8>> = self
            .server
            .call(WHAT, &self.scripts.draft_snapshot, &keys, &[])
            .await?;
        let [reply, attempt, reply_to, written] = found.as_slice() else {
            return Ok(None);
        };
        let id = |bytes: &[u8]| Uuid::from_slice(bytes).map_err(|error| failed(WHAT, error));
        let text =
            |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| failed(WHAT, error));
        let (reply, reply_to) = (id(reply)?, id(reply_to)?);
        let attempt = text(attempt)?
            .parse()
            .map_err(|error| failed(WHAT, error))?;
        Ok(Some(DraftSnapshot {
            reply,
            reply_to,
            attempt,
            text: text(written)?,
        }))
    }
}
