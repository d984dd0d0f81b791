//! The quota inside one process: the same books as the script keeps in Redis, behind one lock.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use common::{
    quota::{
        CallReport, CallRequest, Quota, QuotaError, QuotaLimits, QuotaTimings, Reservation,
        WorkerFleet,
    },
    wire::{Seq, now_seq},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    day::{DAY, behind_utc},
    quota_rules::{
        ASK_AGAIN, ASK_AGAIN_EACH, ASK_AGAIN_MIN, LEARNS, PACE_SLACK, RATIO_MAX, RATIO_MIN,
        SHARES_KEPT_FREE,
    },
};

/// The quota of a process that is all there is.
pub struct EmbeddedQuota {
    limits: QuotaLimits,
    timings: QuotaTimings,
    began: (Seq, Instant),
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    models: HashMap<String, Model>,
    asked: HashMap<String, BTreeSet<(Seq, Uuid)>>,
    workers: HashMap<String, Seq>,
    /// Since when there has always been one of them.
    since: Seq,
}

/// What is known of one model. Times are in µs.
#[derive(Default)]
struct Model {
    calls: HashMap<Uuid, Call>,
    waiting: HashMap<Uuid, Waiter>,
    pause: Seq,
    /// When the next paced call, and the next paced token, is due.
    next_call: f64,
    next_token: f64,
    ratio: Option<f64>,
    day: u64,
    daily: u32,
}

#[derive(Clone)]
struct Call {
    user: String,
    room: String,
    tokens: f64,
    estimate: f64,
    counts_from: Seq,
    lapses: Option<Seq>,
}

#[derive(Clone)]
struct Waiter {
    user: String,
    room: String,
    tokens: f64,
    since: Seq,
    forgotten: Seq,
}

/// Calls and tokens that a user or a room had in the window.
#[derive(Clone, Copy, Default)]
struct Had {
    calls: f64,
    tokens: f64,
}

impl EmbeddedQuota {
    /// With these limits of each model.
    pub fn new(limits: QuotaLimits) -> Arc<EmbeddedQuota> {
        EmbeddedQuota::with(limits, QuotaTimings::default())
    }

    /// As [`EmbeddedQuota::new`], with other timings than the default.
    pub fn with(limits: QuotaLimits, timings: QuotaTimings) -> Arc<EmbeddedQuota> {
        Arc::new(EmbeddedQuota {
            limits,
            timings,
            began: (now_seq(), Instant::now()),
            books: Mutex::default(),
        })
    }

    /// A clock that nobody sets.
    fn now(&self) -> Seq {
        self.began.0 + micros(self.began.1.elapsed())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("nothing panics while holding it")
    }

    fn window(&self) -> Seq {
        micros(self.timings.window + self.timings.margin)
    }
}

impl Model {
    fn sweep(&mut self, now: Seq, window: Seq, limits: QuotaLimits) {
        let lapsed: Vec<Uuid> = self
            .calls
            .iter()
            .filter(|(_, call)| call.lapses.is_some_and(|lapses| lapses <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in lapsed {
            self.give_back(id, window, limits);
        }
        self.calls.retain(|_, call| call.counts_from + window > now);
        self.waiting.retain(|_, waiter| waiter.forgotten > now);
    }

    fn give_back(&mut self, id: Uuid, window: Seq, limits: QuotaLimits) -> bool {
        let Some(call) = self.calls.remove(&id) else {
            return false;
        };
        self.pace(0, -1.0, -call.tokens, window, limits);
        self.daily = self.daily.saturating_sub(1);
        true
    }

    /// Moves the times at which the next paced call is due.
    fn pace(&mut self, now: Seq, calls: f64, tokens: f64, window: Seq, limits: QuotaLimits) {
        let moved = |next: f64, by: f64, limit: Option<NonZeroU32>| {
            let from = if by > 0.0 { next.max(now as f64) } else { next };
            limit.map_or(next, |limit| from + by * window as f64 / most(limit))
        };
        self.next_call = moved(self.next_call, calls, limits.calls);
        self.next_token = moved(self.next_token, tokens, limits.tokens);
    }

    fn tokens(&self) -> f64 {
        self.calls.values().map(|call| call.tokens).sum()
    }

    fn reserve(
        &mut self,
        wish: &CallRequest<'_>,
        now: Seq,
        window: Seq,
        limits: QuotaLimits,
        timings: &QuotaTimings,
    ) -> Reservation {
        let used = self.calls.len();
        let used_tokens = self.tokens();
        if self.calls.contains_key(&wish.id) {
            return granted(used, used_tokens);
        }
        if self.pause > now {
            let left = Duration::from_micros(self.pause - now);
            return Reservation::Wait {
                expected: left,
                again: left,
            };
        }
        if limits.is_none() {
            return granted(0, 0.0);
        }
        let behind = behind_utc(now / 1_000_000) * 1_000_000;
        let day = (now - behind) / (DAY * 1_000_000);
        if self.day != day {
            (self.day, self.daily) = (day, 0);
        }
        let estimate = f64::from(wish.tokens);
        let tokens = (estimate * self.ratio.unwrap_or(1.0)).ceil();
        // A prompt larger than the quota goes when it is alone.
        let tokens = limits
            .tokens
            .map_or(tokens, |limit| tokens.min(most(limit)));
        let since = self
            .waiting
            .get(&wish.id)
            .map_or(now, |waiter| waiter.since);
        let mine = Waiter {
            user: wish.user.to_owned(),
            room: wish.room.to_owned(),
            tokens,
            since,
            forgotten: 0,
        };

        let (had, parties) = self.had();
        let (before, tokens_before) = self.before(wish.id, &mine, &had, limits);
        let now_f = now as f64;
        let window_f = window as f64;

        // When it is due: at once within the shares of its user and its room, else at the pace of the whole.
        let within_share = |kind: usize, name: &str| {
            let had = had[kind].get(name).copied().unwrap_or_default();
            let share = 1.0 / (parties[kind] as f64 + SHARES_KEPT_FREE);
            had.calls == 0.0
                || limits
                    .calls
                    .is_none_or(|most_| had.calls + 1.0 <= (most(most_) * share).ceil())
                    && limits
                        .tokens
                        .is_none_or(|most_| had.tokens + tokens <= most(most_) * share)
        };
        let mut wait = 0.0_f64;
        if !(within_share(0, wish.user) && within_share(1, wish.room)) {
            let early = PACE_SLACK * window_f + now_f;
            if let Some(limit) = limits.calls {
                wait = wait.max(self.next_call - early + before as f64 * window_f / most(limit));
            }
            if let Some(limit) = limits.tokens {
                wait = wait.max(self.next_token - early + tokens_before * window_f / most(limit));
            }
        }

        // And when there is room for it in the window, after those before it.
        let mut fits = true;
        let mut oldest: Vec<(Seq, f64)> = self
            .calls
            .values()
            .map(|call| (call.counts_from, call.tokens))
            .collect();
        oldest.sort_unstable_by_key(|(from, _)| *from);
        if let Some(limit) = limits.calls {
            let limit = limit.get() as usize;
            if let Some(too_many) = (used + before + 1).checked_sub(limit + 1) {
                fits = false;
                let (laps, place) = (too_many / limit, too_many % limit);
                let leaves = oldest.get(place).map_or(now, |(from, _)| *from) as f64;
                wait = wait.max(leaves + window_f * (laps + 1) as f64 - now_f);
            }
        }
        if let Some(limit) = limits.tokens {
            let mut too_many = used_tokens + tokens_before + tokens - most(limit);
            if too_many > 0.0 {
                fits = false;
                let mut leaves = now_f - window_f;
                for (from, tokens) in &oldest {
                    if too_many > 0.0 {
                        leaves = *from as f64;
                        too_many -= tokens;
                    }
                }
                let beyond = too_many.max(0.0) / most(limit);
                wait = wait.max(leaves + window_f * (1.0 + beyond) - now_f);
            }
        }
        if let Some(limit) = limits.daily_calls
            && self.daily as usize + before >= limit.get() as usize
        {
            fits = false;
            wait = wait.max(((day + 1) * DAY * 1_000_000 + behind) as f64 - now_f);
        }

        self.waiting.remove(&wish.id);
        if fits && wait <= 0.0 {
            let call = Call {
                user: mine.user,
                room: mine.room,
                tokens,
                estimate,
                counts_from: now,
                lapses: Some(now + micros(timings.lease)),
            };
            self.calls.insert(wish.id, call);
            self.pace(now, 1.0, tokens, window, limits);
            self.daily += 1;
            return granted(used + 1, used_tokens + tokens);
        }
        let wait = Duration::from_secs_f64(wait.max(0.0) / 1e6);
        let many = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        let again = wait
            .min(ASK_AGAIN.max(ASK_AGAIN_EACH * many))
            .max(ASK_AGAIN_MIN);
        let waiter = Waiter {
            forgotten: now + micros(again + timings.grace),
            ..mine
        };
        self.waiting.insert(wish.id, waiter);
        Reservation::Wait {
            expected: wait.max(again),
            again,
        }
    }

    /// What each user, and each room, had in the window, and how many of them had anything.
    fn had(&self) -> ([HashMap<String, Had>; 2], [usize; 2]) {
        let mut had = [HashMap::<String, Had>::new(), HashMap::new()];
        for call in self.calls.values() {
            for (kind, name) in [&call.user, &call.room].into_iter().enumerate() {
                let had = had[kind].entry(name.clone()).or_default();
                had.calls += 1.0;
                had.tokens += call.tokens;
            }
        }
        let parties = had.each_ref().map(HashMap::len);
        (had, parties)
    }

    /// How many are before this one, and their tokens: those whose users and rooms had less, each counted with what
    /// they wait for besides.
    fn before(
        &self,
        id: Uuid,
        mine: &Waiter,
        had: &[HashMap<String, Had>; 2],
        limits: QuotaLimits,
    ) -> (usize, f64) {
        let mut had = had.clone();
        let others = self.waiting.iter().filter(|(other, _)| **other != id);
        let mut waiters: Vec<(Seq, Uuid, &Waiter)> = others
            .map(|(id, waiter)| (waiter.since, *id, waiter))
            .chain([(mine.since, id, mine)])
            .collect();
        waiters.sort_unstable_by_key(|(since, id, _)| (*since, *id));
        let mut weighed = Vec::with_capacity(waiters.len());
        for (_, waiter_id, waiter) in waiters {
            let mut weight = 0.0_f64;
            for (kind, name) in [&waiter.user, &waiter.room].into_iter().enumerate() {
                let party = had[kind].entry(name.clone()).or_default();
                if let Some(limit) = limits.calls {
                    weight = weight.max(party.calls / most(limit));
                }
                if let Some(limit) = limits.tokens {
                    weight = weight.max(party.tokens / most(limit));
                }
                party.calls += 1.0;
                party.tokens += waiter.tokens;
            }
            weighed.push((waiter_id, weight, waiter.tokens));
        }
        let place = weighed.iter().position(|(other, ..)| *other == id);
        let place = place.expect("it is among them");
        let own = weighed[place].1;
        weighed
            .iter()
            .enumerate()
            .filter(|(at, (_, weight, _))| *weight < own || (*weight == own && *at < place))
            .fold((0, 0.0), |(calls, sum), (_, (_, _, tokens))| {
                (calls + 1, sum + tokens)
            })
    }
}

#[async_trait]
impl Quota for EmbeddedQuota {
    async fn reserve(&self, wish: &CallRequest<'_>) -> Result<Reservation, QuotaError> {
        let (now, window) = (self.now(), self.window());
        let mut books = self.books();
        let model = books.models.entry(wish.model.to_owned()).or_default();
        model.sweep(now, window, self.limits);
        Ok(model.reserve(wish, now, window, self.limits, &self.timings))
    }

    async fn report(&self, model: &str, id: Uuid, news: CallReport) -> Result<bool, QuotaError> {
        if self.limits.is_none() {
            return Ok(true);
        }
        let (now, window) = (self.now(), self.window());
        let mut books = self.books();
        let model = books.models.entry(model.to_owned()).or_default();
        model.sweep(now, window, self.limits);
        let Some(call) = model.calls.get_mut(&id) else {
            if news == CallReport::GivenBack {
                model.waiting.remove(&id);
            }
            return Ok(false);
        };
        match news {
            CallReport::Began => {
                if call.lapses.take().is_some() {
                    call.counts_from = now;
                }
            }
            CallReport::Cost(cost) => {
                let cost = f64::from(cost);
                let more = cost - call.tokens;
                call.tokens = cost;
                let ratio = model.ratio.unwrap_or(1.0);
                let learnt = ratio + LEARNS * (cost / call.estimate.max(1.0) - ratio);
                model.ratio = Some(learnt.clamp(RATIO_MIN, RATIO_MAX));
                model.pace(now, 0.0, more, window, self.limits);
            }
            CallReport::GivenBack => return Ok(model.give_back(id, window, self.limits)),
        }
        Ok(true)
    }

    async fn pause(&self, model: &str, pause: Duration) -> Result<(), QuotaError> {
        let until = self.now() + micros(pause);
        let mut books = self.books();
        let model = books.models.entry(model.to_owned()).or_default();
        model.pause = model.pause.max(until);
        Ok(())
    }

    async fn admit(
        &self,
        user: &str,
        request: Uuid,
        posted: Seq,
        a_minute: NonZeroU32,
    ) -> Result<Option<Duration>, QuotaError> {
        let (now, window) = (self.now(), micros(self.timings.window));
        let mut books = self.books();
        // Nobody else comes to clear away what is over.
        let recent = now.saturating_sub(2 * window);
        let dead = |asked: &BTreeSet<(Seq, Uuid)>| asked.last().is_none_or(|(at, _)| *at < recent);
        if books.asked.len() > USERS_SWEPT_FROM {
            books
                .asked
                .retain(|name, asked| name == user || !dead(asked));
        }
        let asked = books.asked.entry(user.to_owned()).or_default();
        if asked.iter().any(|(_, id)| *id == request) {
            return Ok(None);
        }
        asked.retain(|(at, _)| *at + 2 * window > posted);
        let lately: Vec<Seq> = asked
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| *at + window > posted && *at <= posted)
            .collect();
        if let Some(over) = lately.len().checked_sub(a_minute.get() as usize) {
            let free_at = lately[over] + window;
            return Ok(Some(Duration::from_micros(free_at.saturating_sub(now))));
        }
        asked.insert((posted, request));
        Ok(None)
    }

    async fn workers(&self, worker: &str) -> Result<WorkerFleet, QuotaError> {
        let now = self.now();
        let [seen, gap] = [self.timings.seen, self.timings.gap].map(micros);
        let mut books = self.books();
        let newest = books.workers.values().max();
        // As places are given in this process, by a clock that may be set.
        let time = now_seq();
        if newest.is_none_or(|at| now.saturating_sub(*at) > gap) {
            books.since = time;
        }
        books.workers.insert(worker.to_owned(), now);
        books.workers.retain(|_, at| *at + seen > now);
        Ok(WorkerFleet {
            workers: books.workers.len(),
            since: books.since,
            now: time,
        })
    }
}

/// Users of whom nothing counts any more are forgotten when there are more than so many.
const USERS_SWEPT_FROM: usize = 1_000;

fn granted(calls: usize, tokens: f64) -> Reservation {
    Reservation::Granted {
        calls: u32::try_from(calls).unwrap_or(u32::MAX),
        tokens: tokens as u64,
    }
}

fn most(limit: NonZeroU32) -> f64 {
    f64::from(limit.get())
}

fn micros(duration: Duration) -> Seq {
    Seq::try_from(duration.as_micros()).unwrap_or(Seq::MAX)
}
