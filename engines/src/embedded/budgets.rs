//! The budgets inside one process: the same books as the script keeps in Redis. They begin empty with the process, so the
//! worker fills them from the log of replies before its first call.

use std::collections::{BTreeSet, HashMap};

use common::{
    quota::budgets::{
        Books, BudgetLimits, BudgetOut, BudgetPeriod, BudgetScope, CostlyCall, FILLS_WITHIN, Held,
        PastSpending, Reached, Spending, SpentView, TOLD_AT,
    },
    wire::Seq,
};
use uuid::Uuid;

use crate::quota_rules::{LAPSED_KEPT, SETTLED_KEPT};

/// What was used, and what is held for the calls that are under way.
#[derive(Default)]
pub(super) struct SpendingBooks {
    is_whole: bool,
    /// Until when somebody has the right to fill them.
    filled_until: Seq,
    limits: BudgetLimits,
    /// The day and the month.
    used: [Used; 2],
    calls: HashMap<Uuid, Entry>,
    /// The calls by when they lapse, or are forgotten.
    until: BTreeSet<(Seq, Uuid)>,
    held: HashMap<Party, Spending>,
    /// What lapsed calls have made budgets come to, until somebody is told.
    reached: Vec<Reached>,
}

/// What each has used in one period.
#[derive(Default)]
struct Used {
    number: u64,
    by: HashMap<Party, Spending>,
}

type Party = (BudgetScope, String);

struct Entry {
    state: State,
    user: String,
    room: String,
    most: Spending,
    until: Seq,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// Nobody has said what it has used; it counts as its most.
    Lapsed,
    Settled,
}

fn parties(user: &str, room: &str) -> [Party; 3] {
    let names = [user, room, ""];
    std::array::from_fn(|at| (BudgetScope::ALL[at], names[at].to_owned()))
}

impl SpendingBooks {
    pub(super) fn keep(&mut self, limits: &BudgetLimits, at: Seq) -> Books {
        self.limits = *limits;
        self.go_on(limits, at);
        if self.is_whole {
            return Books::Whole;
        }
        if self.filled_until > at {
            return Books::BeingFilled;
        }
        self.filled_until = at + FILLS_WITHIN.as_micros() as Seq;
        Books::YoursToFill
    }

    pub(super) fn hold(&mut self, call: &CostlyCall<'_>, limits: &BudgetLimits, at: Seq) -> Held {
        self.go_on(limits, at);
        if self.calls.contains_key(&call.id) {
            return Held::Yes;
        }
        if !self.is_whole {
            return Held::NotKnown;
        }
        match self.standing(call.user, call.room, limits) {
            Held::Yes => {}
            no => return no,
        }
        for party in parties(call.user, call.room) {
            let held = self.held.entry(party).or_default();
            *held = held.and(call.most);
        }
        self.enter(call, State::Held, call.over_by.max(at));
        Held::Yes
    }

    pub(super) fn look(
        &mut self,
        user: &str,
        room: &str,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Option<BudgetOut> {
        self.go_on(limits, at);
        match self.standing(user, room, limits) {
            Held::Out(out) => Some(out),
            _ => None,
        }
    }

    pub(super) fn settle(
        &mut self,
        call: &CostlyCall<'_>,
        used: Option<Spending>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Vec<Reached> {
        self.go_on(limits, at);
        let entry = self.calls.remove(&call.id);
        if let Some(entry) = &entry {
            self.until.remove(&(entry.until, call.id));
        }
        let (off, used) = match &entry {
            Some(entry) if entry.state == State::Settled => (None, None),
            Some(entry) if entry.state == State::Lapsed => {
                (Some(entry.most), Some(used.unwrap_or_default()))
            }
            Some(entry) => {
                self.release(&entry.user, &entry.room, entry.most);
                (None, used)
            }
            None => (None, used),
        };
        if let Some(used) = used {
            self.spend(call.user, call.room, used, off.unwrap_or_default(), limits);
        }
        if used.is_some() || entry.is_some_and(|entry| entry.state != State::Held) {
            self.enter(call, State::Settled, at + micros(SETTLED_KEPT));
        }
        std::mem::take(&mut self.reached)
    }

    pub(super) fn fill(&mut self, past: &[PastSpending], at: Seq) {
        self.go_on(&BudgetLimits::default(), at);
        if self.is_whole {
            return;
        }
        for line in past {
            let used = &mut self.used[line.period as usize];
            let spent = used.by.entry((line.scope, line.name.clone())).or_default();
            *spent = spent.and(line.spent);
        }
        self.is_whole = true;
    }

    pub(super) fn spent(&self, user: &str, room: Option<&str>, at: Seq) -> SpentView {
        let of = |scope, name: &str| {
            BudgetPeriod::ALL.map(|period| {
                let used = &self.used[period as usize];
                let spent = used.by.get(&(scope, name.to_owned()));
                let is_now = used.number >= period.number(at);
                spent.copied().filter(|_| is_now).unwrap_or_default()
            })
        };
        SpentView {
            is_whole: self.is_whole,
            person: of(BudgetScope::Person, user),
            room: room
                .map(|room| of(BudgetScope::Room, room))
                .unwrap_or_default(),
            server: of(BudgetScope::Server, ""),
            limits: self.limits,
        }
    }

    /// Ends what is over: the day, the month, and calls of which nobody has said anything.
    fn go_on(&mut self, limits: &BudgetLimits, at: Seq) {
        for (period, used) in BudgetPeriod::ALL.into_iter().zip(&mut self.used) {
            let number = period.number(at);
            if number > used.number {
                *used = Used {
                    number,
                    by: HashMap::new(),
                };
            }
        }
        while let Some((until, id)) = self
            .until
            .first()
            .copied()
            .filter(|(until, _)| *until <= at)
        {
            self.until.remove(&(until, id));
            let Some(mut entry) = self.calls.remove(&id) else {
                continue;
            };
            if entry.state == State::Held {
                self.release(&entry.user, &entry.room, entry.most);
                let nothing = Spending::default();
                self.spend(&entry.user, &entry.room, entry.most, nothing, limits);
                (entry.state, entry.until) = (State::Lapsed, at + micros(LAPSED_KEPT));
                self.until.insert((entry.until, id));
                self.calls.insert(id, entry);
            }
        }
    }

    fn enter(&mut self, call: &CostlyCall<'_>, state: State, until: Seq) {
        let entry = Entry {
            state,
            user: call.user.to_owned(),
            room: call.room.to_owned(),
            most: call.most,
            until,
        };
        self.until.insert((until, call.id));
        self.calls.insert(call.id, entry);
    }

    fn release(&mut self, user: &str, room: &str, most: Spending) {
        for party in parties(user, room) {
            if let Some(held) = self.held.get_mut(&party) {
                *held = held.without(most);
                if held.calls == 0 {
                    self.held.remove(&party);
                }
            }
        }
    }

    fn standing(&self, user: &str, room: &str, limits: &BudgetLimits) -> Held {
        let parties = parties(user, room);
        let (mut out, mut is_full) = (None, false);
        for (scope, period, budget) in limits.all() {
            let party = &parties[scope as usize];
            let used = self.used[period as usize]
                .by
                .get(party)
                .copied()
                .unwrap_or_default();
            let held = self.held.get(party).copied().unwrap_or_default();
            if used.in_unit(budget.unit) >= budget.limit {
                let is_longer = out.is_none_or(|out: BudgetOut| out.period < period);
                if is_longer {
                    out = Some(BudgetOut { scope, period });
                }
            }
            is_full |= used.and(held).in_unit(budget.unit) >= budget.limit;
        }
        match (out, is_full) {
            (Some(out), _) => Held::Out(out),
            (None, true) => Held::Wait,
            (None, false) => Held::Yes,
        }
    }

    fn spend(
        &mut self,
        user: &str,
        room: &str,
        used: Spending,
        off: Spending,
        limits: &BudgetLimits,
    ) {
        for (party, limits) in parties(user, room).into_iter().zip(limits.0) {
            for ((period, of), limit) in BudgetPeriod::ALL
                .into_iter()
                .zip(&mut self.used)
                .zip(limits)
            {
                let spent = of.by.entry(party.clone()).or_default();
                let before = *spent;
                *spent = before.and(used).without(off);
                let Some(budget) = limit else { continue };
                let [before, after] = [before, *spent].map(|spent| spent.in_unit(budget.unit));
                for percent in TOLD_AT {
                    let share = budget.limit * percent;
                    if 100 * before < share && 100 * after >= share {
                        let (scope, name) = party.clone();
                        self.reached.push(Reached {
                            scope,
                            period,
                            name,
                            percent,
                        });
                    }
                }
            }
        }
    }
}

fn micros(time: std::time::Duration) -> Seq {
    Seq::try_from(time.as_micros()).unwrap_or(Seq::MAX / 2)
}
