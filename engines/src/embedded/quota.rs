//! The quota inside one process: the same books as the script keeps in Redis, behind one lock.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use common::{
    quota::{
        CallReport, CallRequest, Quota, QuotaError, QuotaLimits, QuotaTimings, Reservation,
        WorkerFleet,
        budgets::{
            Books as BooksState, BudgetLimits, BudgetOut, Budgets, CostlyCall, Held, PastSpending,
            Reached, Spending, SpentView,
        },
        run_queue::{Offer, Place, RunQueue},
    },
    wire::{Seq, now_seq},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

use super::{budgets::SpendingBooks, run_queue::FairQueue};
use crate::{
    day::{DAY, behind_utc},
    quota_rules::{
        ASK_AGAIN, ASK_AGAIN_EACH, ASK_AGAIN_MIN, LEARNS, PACE_SLACK, RATIO_MAX, RATIO_MIN,
        SHARES_KEPT_FREE,
    },
};

/// The quota of a process that is all there is.
pub struct EmbeddedQuota {
    terms: Terms,
    began: (Seq, Instant),
    books: Mutex<Books>,
    run_queue: Mutex<FairQueue>,
    spending: Mutex<SpendingBooks>,
}

/// What the quota is.
struct Terms {
    limits: QuotaLimits,
    timings: QuotaTimings,
}

impl Terms {
    /// How long a call counts.
    fn window(&self) -> Seq {
        micros(self.timings.window + self.timings.margin)
    }
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
    estimate: f64,
    since: Seq,
    forgotten: Seq,
}

/// What goes before a call that waits.
#[derive(Clone, Copy)]
struct Before {
    calls: usize,
    tokens: f64,
}

/// Calls and tokens that a user or a room had in the window.
#[derive(Clone, Copy, Default)]
struct Had {
    calls: f64,
    tokens: f64,
}

/// What each user had, and each room.
type HadByAll = [HashMap<String, Had>; 2];

impl EmbeddedQuota {
    /// With these limits of each model.
    pub fn new(limits: QuotaLimits) -> Arc<EmbeddedQuota> {
        EmbeddedQuota::with(limits, QuotaTimings::default())
    }

    /// As [`EmbeddedQuota::new`], with other timings than the default.
    pub fn with(limits: QuotaLimits, timings: QuotaTimings) -> Arc<EmbeddedQuota> {
        Arc::new(EmbeddedQuota {
            terms: Terms { limits, timings },
            began: (now_seq(), Instant::now()),
            books: Mutex::default(),
            run_queue: Mutex::default(),
            spending: Mutex::default(),
        })
    }

    /// A clock that nobody sets.
    fn now(&self) -> Seq {
        self.began.0 + micros(self.began.1.elapsed())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }
}

impl Model {
    fn sweep(&mut self, now: Seq, terms: &Terms) {
        let lapsed: Vec<Uuid> = self
            .calls
            .iter()
            .filter(|(_, call)| call.lapses.is_some_and(|lapses| lapses <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in lapsed {
            self.give_back(id, terms);
        }
        let window = terms.window();
        self.calls.retain(|_, call| call.counts_from + window > now);
        self.waiting.retain(|_, waiter| waiter.forgotten > now);
    }

    fn give_back(&mut self, id: Uuid, terms: &Terms) -> bool {
        let Some(call) = self.calls.remove(&id) else {
            return false;
        };
        self.pace(0, -1.0, -call.tokens, terms);
        self.daily = self.daily.saturating_sub(1);
        true
    }

    /// Moves the times at which the next paced call is due.
    fn pace(&mut self, now: Seq, calls: f64, tokens: f64, terms: &Terms) {
        let (window, limits) = (terms.window(), terms.limits);
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

    fn reserve(&mut self, request: &CallRequest<'_>, now: Seq, terms: &Terms) -> Reservation {
        if self.calls.contains_key(&request.id) {
            return self.granted();
        }
        if self.pause > now {
            let left = Duration::from_micros(self.pause - now);
            return Reservation::Wait {
                expected: left,
                again: left,
            };
        }
        if terms.limits.is_none() {
            return self.granted();
        }
        let mine = self.waiter(request, now, terms.limits);
        let had = self.had();
        let before = self.before(request.id, &mine, &had, terms.limits);
        let due = if within_shares(&mine, &had, terms.limits) {
            0.0
        } else {
            self.paced(before, now, terms)
        };
        let today = self.room_in_day(before, now, terms.limits);
        let free = longer(self.room_in_window(&mine, before, now, terms), today);
        self.waiting.remove(&request.id);
        match free {
            None if due <= 0.0 => self.grant(request.id, mine, now, terms),
            free => self.wait(request.id, mine, due.max(free.unwrap_or(0.0)), now, terms),
        }
    }

    /// What a request is in the queue, with the tokens that it will probably cost.
    fn waiter(&self, request: &CallRequest<'_>, now: Seq, limits: QuotaLimits) -> Waiter {
        let estimate = f64::from(request.tokens);
        let tokens = (estimate * self.ratio.unwrap_or(1.0)).ceil();
        let waits = self.waiting.get(&request.id);
        Waiter {
            user: request.user.to_owned(),
            room: request.room.to_owned(),
            // A prompt larger than the quota goes when it is alone.
            tokens: limits
                .tokens
                .map_or(tokens, |limit| tokens.min(most(limit))),
            estimate,
            since: waits.map_or(now, |waiter| waiter.since),
            forgotten: 0,
        }
    }

    /// In how many µs it is due at the pace of the whole, after those before it; not above 0 if it is due now.
    fn paced(&self, before: Before, now: Seq, terms: &Terms) -> f64 {
        let window = terms.window() as f64;
        let early = PACE_SLACK * window + now as f64;
        let after = |next: f64, before: f64, limit: Option<NonZeroU32>| {
            limit.map_or(0.0, |limit| next - early + before * window / most(limit))
        };
        let calls = after(self.next_call, before.calls as f64, terms.limits.calls);
        calls.max(after(self.next_token, before.tokens, terms.limits.tokens))
    }

    /// In how many µs there is room for it in the window, after those before it; none if there is now.
    fn room_in_window(
        &self,
        mine: &Waiter,
        before: Before,
        now: Seq,
        terms: &Terms,
    ) -> Option<f64> {
        let (now_f, window) = (now as f64, terms.window() as f64);
        let mut oldest: Vec<(Seq, f64)> = self
            .calls
            .values()
            .map(|call| (call.counts_from, call.tokens))
            .collect();
        oldest.sort_unstable_by_key(|(from, _)| *from);
        let for_calls = terms.limits.calls.and_then(|limit| {
            let limit = limit.get() as usize;
            let too_many = (oldest.len() + before.calls + 1).checked_sub(limit + 1)?;
            let (laps, index) = (too_many / limit, too_many % limit);
            let leaves = oldest.get(index).map_or(now, |(from, _)| *from) as f64;
            Some(leaves + window * (laps + 1) as f64 - now_f)
        });
        let for_tokens = terms.limits.tokens.and_then(|limit| {
            let mut too_many = self.tokens() + before.tokens + mine.tokens - most(limit);
            if too_many <= 0.0 {
                return None;
            }
            let mut leaves = now_f - window;
            for (from, tokens) in &oldest {
                if too_many > 0.0 {
                    leaves = *from as f64;
                    too_many -= tokens;
                }
            }
            let beyond = too_many.max(0.0) / most(limit);
            Some(leaves + window * (1.0 + beyond) - now_f)
        });
        longer(for_calls, for_tokens)
    }

    /// In how many µs there is a day that has room for it; none if today has.
    fn room_in_day(&mut self, before: Before, now: Seq, limits: QuotaLimits) -> Option<f64> {
        let behind = behind_utc(now / 1_000_000) * 1_000_000;
        let day = (now - behind) / (DAY * 1_000_000);
        if self.day != day {
            (self.day, self.daily) = (day, 0);
        }
        let limit = limits.daily_calls?.get() as usize;
        let tomorrow = (day + 1) * DAY * 1_000_000 + behind;
        (self.daily as usize + before.calls >= limit).then_some(tomorrow as f64 - now as f64)
    }

    fn grant(&mut self, id: Uuid, mine: Waiter, now: Seq, terms: &Terms) -> Reservation {
        let tokens = mine.tokens;
        let call = Call {
            user: mine.user,
            room: mine.room,
            tokens,
            estimate: mine.estimate,
            counts_from: now,
            lapses: Some(now + micros(terms.timings.lease)),
        };
        self.calls.insert(id, call);
        self.pace(now, 1.0, tokens, terms);
        self.daily += 1;
        self.granted()
    }

    /// What the window holds now.
    fn granted(&self) -> Reservation {
        Reservation::Granted {
            calls: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            tokens: self.tokens() as u64,
        }
    }

    /// Keeps it in the queue until it should have asked again.
    fn wait(&mut self, id: Uuid, mine: Waiter, wait: f64, now: Seq, terms: &Terms) -> Reservation {
        let wait = Duration::from_secs_f64(wait / 1e6);
        let many = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        let again = wait
            .min(ASK_AGAIN.max(ASK_AGAIN_EACH * many))
            .max(ASK_AGAIN_MIN);
        let waiter = Waiter {
            forgotten: now + micros(again + terms.timings.grace),
            ..mine
        };
        self.waiting.insert(id, waiter);
        Reservation::Wait {
            expected: wait.max(again),
            again,
        }
    }

    /// What each user, and each room, had in the window.
    fn had(&self) -> HadByAll {
        let mut had = HadByAll::default();
        for call in self.calls.values() {
            for (kind, name) in [&call.user, &call.room].into_iter().enumerate() {
                let had = had[kind].entry(name.clone()).or_default();
                had.calls += 1.0;
                had.tokens += call.tokens;
            }
        }
        had
    }

    /// What is before this one: those whose users and rooms had less, each counted with what they wait for besides.
    fn before(&self, id: Uuid, mine: &Waiter, had: &HadByAll, limits: QuotaLimits) -> Before {
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
        let index = weighed.iter().position(|(other, ..)| *other == id);
        let index = index.expect("it is among them");
        let own = weighed[index].1;
        let nothing = Before {
            calls: 0,
            tokens: 0.0,
        };
        weighed
            .iter()
            .enumerate()
            .filter(|(at, (_, weight, _))| *weight < own || (*weight == own && *at < index))
            .fold(nothing, |before, (_, (_, _, tokens))| Before {
                calls: before.calls + 1,
                tokens: before.tokens + tokens,
            })
    }
}

/// Whether a call is within the shares of its user and its room: then it need not keep to the pace of the whole.
fn within_shares(mine: &Waiter, had: &HadByAll, limits: QuotaLimits) -> bool {
    [&mine.user, &mine.room]
        .into_iter()
        .zip(had)
        .all(|(name, all)| {
            let had = all.get(name).copied().unwrap_or_default();
            let share = 1.0 / (all.len() as f64 + SHARES_KEPT_FREE);
            let calls_fit = |limit| had.calls + 1.0 <= (most(limit) * share).ceil();
            let tokens_fit = |limit| had.tokens + mine.tokens <= most(limit) * share;
            had.calls == 0.0
                || limits.calls.is_none_or(calls_fit) && limits.tokens.is_none_or(tokens_fit)
        })
}

/// The longer of two waits, if there is any.
fn longer(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

#[async_trait]
impl Quota for EmbeddedQuota {
    async fn reserve(&self, request: &CallRequest<'_>) -> Result<Reservation, QuotaError> {
        let now = self.now();
        let mut books = self.books();
        let model = books.models.entry(request.model.to_owned()).or_default();
        model.sweep(now, &self.terms);
        Ok(model.reserve(request, now, &self.terms))
    }

    async fn report(&self, model: &str, id: Uuid, report: CallReport) -> Result<bool, QuotaError> {
        if self.terms.limits.is_none() {
            return Ok(true);
        }
        let now = self.now();
        let mut books = self.books();
        let model = books.models.entry(model.to_owned()).or_default();
        model.sweep(now, &self.terms);
        let Some(call) = model.calls.get_mut(&id) else {
            if report == CallReport::GivenBack {
                model.waiting.remove(&id);
            }
            return Ok(false);
        };
        match report {
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
                model.pace(now, 0.0, more, &self.terms);
            }
            CallReport::GivenBack => return Ok(model.give_back(id, &self.terms)),
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
        let (now, window) = (self.now(), micros(self.terms.timings.window));
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
        let [seen, gap] = [self.terms.timings.seen, self.terms.timings.gap].map(micros);
        let mut books = self.books();
        let newest = books.workers.values().max();
        // As seqs are given in this process, by a clock that may be set.
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

#[async_trait]
impl Budgets for EmbeddedQuota {
    async fn keep_budgets(&self, limits: &BudgetLimits, at: Seq) -> Result<BooksState, QuotaError> {
        Ok(self.spending.lock().keep(limits, at))
    }

    async fn hold(
        &self,
        call: &CostlyCall<'_>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Held, QuotaError> {
        Ok(self.spending.lock().hold(call, limits, at))
    }

    async fn look(
        &self,
        user: &str,
        room: &str,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Option<BudgetOut>, QuotaError> {
        Ok(self.spending.lock().look(user, room, limits, at))
    }

    async fn settle(
        &self,
        call: &CostlyCall<'_>,
        used: Option<Spending>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Vec<Reached>, QuotaError> {
        Ok(self.spending.lock().settle(call, used, limits, at))
    }

    async fn fill(&self, past: &[PastSpending], at: Seq) -> Result<(), QuotaError> {
        self.spending.lock().fill(past, at);
        Ok(())
    }

    async fn spent(
        &self,
        user: &str,
        room: Option<&str>,
        at: Seq,
    ) -> Result<SpentView, QuotaError> {
        Ok(self.spending.lock().spent(user, room, at))
    }
}

#[async_trait]
impl RunQueue for EmbeddedQuota {
    async fn offer(&self, offer: &Offer) -> Result<(), QuotaError> {
        self.run_queue.lock().offer(offer.clone());
        Ok(())
    }

    async fn before(&self, place: Place) -> Result<Option<usize>, QuotaError> {
        Ok(self.run_queue.lock().before(place))
    }

    async fn take(&self, passed_over: &[String]) -> Result<Option<Offer>, QuotaError> {
        Ok(self.run_queue.lock().take(passed_over))
    }

    async fn withdraw(&self, place: Place) -> Result<bool, QuotaError> {
        Ok(self.run_queue.lock().withdraw(place))
    }
}

/// Users of whom nothing counts any more are forgotten when there are more than so many.
const USERS_SWEPT_FROM: usize = 1_000;

fn most(limit: NonZeroU32) -> f64 {
    f64::from(limit.get())
}

fn micros(duration: Duration) -> Seq {
    Seq::try_from(duration.as_micros()).unwrap_or(Seq::MAX)
}
