//! The worker's part in the fleet's budgets: before a call goes out, the most that it can cost is held against them; after
//! it, what it has used is put in its place. What is in the log of no reply is noted in the store, so that the books can be
//! filled from there when the engine has lost its memory. Why it is so: `docs/decisions/budgets.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    quota::{
        Quota,
        budgets::{
            Books, BudgetLimits, BudgetOut, BudgetPeriod, BudgetScope, CostlyCall, FILLS_WITHIN,
            Held, Reached, Spending,
        },
    },
    store::{SpendingLine, Store, StoreError},
    wire::Seq,
};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    allowance::Allowance,
    model::{Prompt, Usage, gemini::output_tokens_max},
    prices::Prices,
};

/// How often a worker looks whether the books are whole, and says which budgets there are.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a call may go on after its request's time is up before it is taken for dead.
const OVERTIME: Duration = Duration::from_secs(10);
/// How long the store may take to note a call before it goes out without.
const NOTE_TIME: Duration = Duration::from_secs(1);
/// What a message may cost beside its text: the marks that a model sets around it.
const TOKENS_AROUND: usize = 16;

/// What all calls of one worker share.
pub(crate) struct Budgeting {
    quota: Arc<dyn Quota>,
    store: Arc<dyn Store>,
    allowance: Arc<Allowance>,
    limits: BudgetLimits,
    prices: Prices,
    /// Until when this worker is the one that fills the books.
    fills_until: Mutex<Seq>,
    /// What is still to be written down.
    writing: TaskTracker,
}

/// What became of asking whether a call may be paid.
pub(crate) enum Funds {
    /// It may.
    Held(HeldCall),
    /// Calls that are under way may use up what is left; ask again in a moment.
    Wait,
    /// What was used is not known just now; ask again in a moment.
    NotKnown,
    /// There is nothing left.
    Out(BudgetOut),
}

impl Budgeting {
    pub(crate) fn new(
        quota: Arc<dyn Quota>,
        store: Arc<dyn Store>,
        allowance: Arc<Allowance>,
        limits: BudgetLimits,
        prices: Prices,
    ) -> Arc<Budgeting> {
        Arc::new(Budgeting {
            quota,
            store,
            allowance,
            limits,
            prices,
            fills_until: Mutex::new(0),
            writing: TaskTracker::new(),
        })
    }

    /// Sees to it that the books are whole, for ever.
    pub(crate) async fn keep_up(&self) {
        loop {
            self.look_after().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Fills the books if they are empty and nobody else is at it.
    pub(crate) async fn look_after(&self) {
        let at = self.allowance.now();
        let books = self.quota.keep_budgets(&self.limits, at).await;
        if let Ok(Books::YoursToFill) = books {
            *self.fills_until.lock() = at + micros(FILLS_WITHIN);
        }
        match books {
            Ok(Books::Whole) => {}
            Ok(Books::BeingFilled) if *self.fills_until.lock() <= at => {}
            // Where it has failed once, it is tried again.
            Ok(Books::YoursToFill | Books::BeingFilled) => match self.fill(at).await {
                Ok(lines) => tracing::info!(
                    lines,
                    "what was used this month is in the books of the budgets"
                ),
                Err(error) => {
                    tracing::warn!(%error, "the books of the budgets are empty and cannot be filled: no model is asked where a budget is set");
                }
            },
            Err(error) => tracing::debug!(%error, "cannot look after the budgets"),
        }
        self.show_server_share().await;
    }

    async fn fill(&self, at: Seq) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let past = self.store.spent_by_log(at).await?;
        self.quota.fill(&past, at).await?;
        Ok(past.len())
    }

    async fn show_server_share(&self) {
        let of_server = self.limits.0[BudgetScope::Server as usize];
        if of_server == [None; 2] {
            return;
        }
        if let Ok(view) = self.quota.spent("", None, self.allowance.now()).await {
            for (period, limit) in BudgetPeriod::ALL.into_iter().zip(of_server) {
                if let Some(budget) = limit {
                    let used = view.server[period as usize].in_unit(budget.unit);
                    gauge!("chinwag_bot_budget_used_ratio", "scope" => "server", "period" => period.as_str())
                        .set(used as f64 / budget.limit as f64);
                }
            }
        }
    }

    /// Waits until everything is written down.
    pub(crate) async fn written(&self, until: Instant) -> bool {
        self.writing.close();
        timeout_at(until, self.writing.wait()).await.is_ok()
    }

    /// The budget that is used up, if one is that a question of this person in this room counts against. While that cannot be
    /// told, none.
    pub(crate) async fn is_out(&self, user: &str, room: &str) -> Option<BudgetOut> {
        if self.limits.is_none() {
            return None;
        }
        let at = self.allowance.now();
        let out = self.quota.look(user, room, &self.limits, at).await.ok()??;
        count_refused(out);
        Some(out)
    }

    /// When a budget opens again.
    pub(crate) fn opens(&self, out: BudgetOut) -> Seq {
        out.period.ends(self.allowance.now())
    }

    /// Holds what a call to this model can cost at most, for a request whose time is up after `left`.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        tally: &Arc<Tally>,
        model: &str,
        prompt: &Prompt,
        left: Duration,
    ) -> Funds {
        let at = self.allowance.now();
        let most = most(prompt);
        let call = HeldCall {
            budgeting: Arc::clone(self),
            tally: Arc::clone(tally),
            id: Uuid::now_v7(),
            model: model.to_owned(),
            most,
            over_by: at + micros(left + OVERTIME),
            about_in: u32::try_from(prompt.tokens).unwrap_or(u32::MAX),
            usage: Usage::default(),
            has_said: false,
            is_left_open: false,
            went_out: false,
            is_settled: false,
        };
        if self.limits.is_none() {
            return Funds::Held(call);
        }
        match self.quota.hold(&call.costly(), &self.limits, at).await {
            Ok(Held::Yes) => {}
            Ok(Held::Wait) => return call.kept_back(Funds::Wait),
            Ok(Held::NotKnown) => return call.kept_back(Funds::NotKnown),
            Ok(Held::Out(out)) => {
                count_refused(out);
                return call.kept_back(Funds::Out(out));
            }
            // It may be held; dropped, it is given back.
            Err(error) => {
                tracing::debug!(model, %error, "the budgets cannot be asked");
                return Funds::NotKnown;
            }
        }
        // So that it counts also when this process dies along with its books. People go on talking without the database,
        // and so does the bot.
        let line = call.line(most, call.over_by);
        match timeout(NOTE_TIME, self.store.note_spending(&line)).await {
            Ok(Ok(())) => tally.noted(call.id),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a call goes out that is not noted in the store");
            }
            Err(_) => tracing::debug!("a call goes out that the store did not note in time"),
        }
        Funds::Held(call)
    }

    fn spending(&self, model: &str, usage: Usage) -> Spending {
        Spending {
            calls: 1,
            tokens_in: usage.tokens_in.into(),
            tokens_out: usage.tokens_out.into(),
            cost_micros: self.prices.cost_micros(model, usage).unwrap_or_default(),
        }
    }

    fn line(
        &self,
        tally: &Tally,
        id: Uuid,
        model: &str,
        usage: Usage,
        open_until: Seq,
    ) -> SpendingLine {
        let at = self.allowance.now();
        SpendingLine {
            id,
            day: BudgetPeriod::Day.name(at),
            room: tally.room.clone(),
            user: tally.user.clone(),
            model: model.to_owned(),
            spent: self.spending(model, usage),
            is_priced: self.prices.cost_micros(model, usage).is_some(),
            open_until,
        }
    }
}

/// What is taken for the most of pages that a model reads for one answer, in tokens, and of queries. Google names no limit.
const TOKENS_READ: u32 = 100_000;
const SEARCHES: u32 = 10;

/// The most that a call can use: no token is shorter than a character.
fn most(prompt: &Prompt) -> Usage {
    let texts = prompt.turns.iter().flat_map(|turn| &turn.parts);
    let texts = texts.chain([&prompt.system]);
    let tokens: usize = texts.map(|text| text.chars().count() + TOKENS_AROUND).sum();
    let (read, searches) = match prompt.wishes.search {
        true => (TOKENS_READ, SEARCHES),
        false => (0, 0),
    };
    Usage {
        tokens_in: u32::try_from(tokens)
            .unwrap_or(u32::MAX)
            .saturating_add(read),
        tokens_out: output_tokens_max(prompt.wishes.thinking),
        searches,
        ..Usage::default()
    }
}

fn micros(time: Duration) -> Seq {
    Seq::try_from(time.as_micros()).unwrap_or(Seq::MAX / 4)
}

fn count_refused(out: BudgetOut) {
    counter!("chinwag_bot_budget_refused_total", "scope" => out.scope.as_str(), "period" => out.period.as_str())
        .increment(1);
}

fn tell(reached: &[Reached]) {
    for Reached {
        scope,
        period,
        name,
        percent,
    } in reached
    {
        counter!("chinwag_bot_budget_reached_total", "scope" => scope.as_str(), "period" => period.as_str(), "percent" => percent.to_string())
            .increment(1);
        tracing::warn!(
            scope = scope.as_str(),
            period = period.as_str(),
            name,
            "a budget is used up to {percent} %"
        );
    }
}

/// A call that is paid for. Dropped in the middle, it has used what the model said last, and about what it was given if
/// it said nothing; if it never went out, nothing. In the budgets it is the most that it can have been if it was broken
/// off before the first word, or while what was thought is not counted: nobody hears how much that was.
pub(crate) struct HeldCall {
    budgeting: Arc<Budgeting>,
    tally: Arc<Tally>,
    id: Uuid,
    model: String,
    most: Usage,
    over_by: Seq,
    about_in: u32,
    /// What the model says that it has used.
    pub usage: Usage,
    /// A word of it was seen.
    pub has_said: bool,
    is_left_open: bool,
    went_out: bool,
    is_settled: bool,
}

impl HeldCall {
    fn costly(&self) -> CostlyCall<'_> {
        CostlyCall {
            id: self.id,
            user: &self.tally.user,
            room: &self.tally.room,
            most: self.budgeting.spending(&self.model, self.most),
            over_by: self.over_by,
        }
    }

    fn line(&self, usage: Usage, open_until: Seq) -> SpendingLine {
        let Tally { budgeting, .. } = &*self.tally;
        budgeting.line(&self.tally, self.id, &self.model, usage, open_until)
    }

    /// Nothing is held for it.
    fn kept_back(mut self, funds: Funds) -> Funds {
        self.is_settled = true;
        funds
    }

    /// Against whose budget it counts.
    pub(crate) fn who_pays(&self) -> &str {
        &self.tally.user
    }

    /// It goes out now.
    pub(crate) fn goes_out(&mut self) {
        self.went_out = true;
    }

    /// It is broken off, before anything is put in the place of what the model did not count.
    pub(crate) fn is_broken_off(&mut self) {
        let is_counted = self.usage.tokens_out > 0 && !self.usage.is_estimated;
        let thought = self.usage.tokens_thought > 0;
        self.is_left_open = !is_counted && (thought || !self.has_said);
    }

    /// It is over. Returns what it has used.
    pub(crate) fn over(mut self) -> Usage {
        self.settle(Some(self.usage))
    }

    fn settle(&mut self, used: Option<Usage>) -> Usage {
        self.is_settled = true;
        if let Some(used) = used {
            for (way, count) in [("in", used.tokens_in), ("out", used.tokens_out)] {
                counter!("chinwag_bot_tokens_total", "model" => self.model.clone(), "way" => way)
                    .increment(count.into());
            }
        }
        let paid = used.map(|used| match self.is_left_open {
            true => self.most,
            false => used,
        });
        if let Some(paid) = paid {
            self.tally.add(self.id, &self.model, paid);
        }
        let (budgeting, tally) = (Arc::clone(&self.budgeting), Arc::clone(&self.tally));
        let (id, most, over_by) = (self.id, self.costly().most, self.over_by);
        let spent = paid.map(|paid| budgeting.spending(&self.model, paid));
        let at = budgeting.allowance.now();
        let writing = budgeting.writing.clone();
        // No reply waits for the books.
        writing.spawn(async move {
            let call = CostlyCall {
                id,
                user: &tally.user,
                room: &tally.room,
                most,
                over_by,
            };
            match budgeting
                .quota
                .settle(&call, spent, &budgeting.limits, at)
                .await
            {
                Ok(reached) => tell(&reached),
                Err(error) => {
                    tracing::debug!(%error, "a call counts in the budgets as it was estimated");
                }
            }
        });
        used.unwrap_or_default()
    }
}

impl Drop for HeldCall {
    fn drop(&mut self) {
        if !self.is_settled {
            if !self.is_left_open {
                self.is_broken_off();
            }
            if self.usage.tokens_in == 0 {
                (self.usage.tokens_in, self.usage.is_estimated) = (self.about_in, true);
            }
            let used = self.went_out.then_some(self.usage);
            self.settle(used);
        }
    }
}

/// What the calls for one request have used, until the log of its reply has it. Dropped before that, it is noted apart.
pub(crate) struct Tally {
    budgeting: Arc<Budgeting>,
    user: String,
    room: String,
    calls: Mutex<TalliedCalls>,
    is_logged: AtomicBool,
}

#[derive(Default)]
struct TalliedCalls {
    used: Vec<(Uuid, String, Usage)>,
    /// Those that the store has a line of.
    noted: Vec<Uuid>,
}

impl Tally {
    /// Of what this person asks in this room.
    pub(crate) fn new(budgeting: &Arc<Budgeting>, user: &str, room: &str) -> Arc<Tally> {
        Arc::new(Tally {
            budgeting: Arc::clone(budgeting),
            user: user.to_owned(),
            room: room.to_owned(),
            calls: Mutex::default(),
            is_logged: AtomicBool::new(false),
        })
    }

    fn noted(&self, call: Uuid) {
        self.calls.lock().noted.push(call);
    }

    fn add(&self, call: Uuid, model: &str, used: Usage) {
        self.calls.lock().used.push((call, model.to_owned(), used));
    }

    /// The log of the reply has all of it.
    pub(crate) fn logged(&self) {
        self.is_logged.store(true, Relaxed);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let TalliedCalls { used, mut noted } = std::mem::take(&mut *self.calls.lock());
        let mut lines = Vec::new();
        if !self.is_logged.load(Relaxed) {
            for (call, model, used) in &used {
                noted.retain(|noted| noted != call);
                lines.push(self.budgeting.line(self, *call, model, *used, 0));
            }
        }
        if lines.is_empty() && noted.is_empty() {
            return;
        }
        let store = Arc::clone(&self.budgeting.store);
        self.budgeting.writing.spawn(async move {
            if let Err(error) = write_down(&*store, &lines, &noted).await {
                tracing::warn!(%error, lines = lines.len(), "what calls have used is not noted in the store");
            }
        });
    }
}

async fn write_down(
    store: &dyn Store,
    lines: &[SpendingLine],
    dropped: &[Uuid],
) -> Result<(), StoreError> {
    for line in lines {
        store.note_spending(line).await?;
    }
    match dropped {
        [] => Ok(()),
        dropped => store.drop_spendings(dropped).await,
    }
}
