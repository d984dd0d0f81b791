//! The budgets on Redis: one script on keys that share a hash tag. What time it is, the caller says, by this server's clock as
//! it was heard last: a day ends for all workers at the same moment.

use async_trait::async_trait;
use common::{
    quota::{
        QuotaError,
        budgets::{
            Books, BudgetLimits, BudgetOut, BudgetPeriod, BudgetScope, Budgets, CostlyCall,
            FILLS_WITHIN, Held, PastSpending, Reached, Spending, SpentView, TOLD_AT,
        },
    },
    wire::Seq,
};
use redis::FromRedisValue;

use super::{quota::RedisQuota, scripts::Script, server::micros};
use crate::quota_rules::{LAPSED_KEPT, SETTLED_KEPT};

/// The script, with the numbers it needs.
pub(super) fn script() -> Script {
    let [at_first, at_last] = TOLD_AT;
    Script::new(format!(
        "local TOLD_AT = {{{at_first}, {at_last}}}\n\
         local LAPSED_KEPT_US, SETTLED_KEPT_US, FILLS_WITHIN_US = {}, {}, {}\n{}",
        micros(LAPSED_KEPT),
        micros(SETTLED_KEPT),
        micros(FILLS_WITHIN),
        include_str!("scripts/budgets.lua")
    ))
}

impl RedisQuota {
    async fn of_budgets<T: FromRedisValue>(
        &self,
        what: &'static str,
        task: &str,
        at: Seq,
        limits: Option<&BudgetLimits>,
        more: &[&str],
    ) -> Result<T, QuotaError> {
        let keys = ["day", "month", "calls", "until", "held", "about"];
        let keys = keys.map(|part| self.server.keys.other(":budgets", part));
        let keys = keys.each_ref().map(String::as_str);
        let [now, day, month] = [
            at.to_string(),
            BudgetPeriod::Day.number(at).to_string(),
            BudgetPeriod::Month.number(at).to_string(),
        ];
        let limits = limits.map(BudgetLimits::words);
        let mut arguments = vec![task, &now, &day, &month];
        arguments.extend(limits.iter().flatten().map(String::as_str));
        arguments.extend(more);
        self.call(what, &self.budgets, &keys, &arguments).await
    }
}

#[async_trait]
impl Budgets for RedisQuota {
    async fn keep_budgets(&self, limits: &BudgetLimits, at: Seq) -> Result<Books, QuotaError> {
        const WHAT: &str = "saying which budgets hold";
        let (word,): (String,) = self.of_budgets(WHAT, "keep", at, Some(limits), &[]).await?;
        match word.as_str() {
            "whole" => Ok(Books::Whole),
            "yours to fill" => Ok(Books::YoursToFill),
            "being filled" => Ok(Books::BeingFilled),
            _ => Err(unknown(WHAT)),
        }
    }

    async fn hold(
        &self,
        call: &CostlyCall<'_>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Held, QuotaError> {
        const WHAT: &str = "holding a part of the budgets";
        let (id, most, over_by) = (
            call.id.to_string(),
            written(call.most),
            call.over_by.to_string(),
        );
        let more = [&id, call.user, call.room, &most, &over_by];
        let answer: Vec<String> = self
            .of_budgets(WHAT, "hold", at, Some(limits), &more)
            .await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["yes"] => Ok(Held::Yes),
            ["wait"] => Ok(Held::Wait),
            ["not known"] => Ok(Held::NotKnown),
            ["out", index] => out(index).map(Held::Out).ok_or_else(|| unknown(WHAT)),
            _ => Err(unknown(WHAT)),
        }
    }

    async fn look(
        &self,
        user: &str,
        room: &str,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Option<BudgetOut>, QuotaError> {
        const WHAT: &str = "looking what is left of the budgets";
        let (_, index): (String, String) = self
            .of_budgets(WHAT, "look", at, Some(limits), &[user, room])
            .await?;
        Ok(out(&index))
    }

    async fn settle(
        &self,
        call: &CostlyCall<'_>,
        used: Option<Spending>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Vec<Reached>, QuotaError> {
        const WHAT: &str = "settling what a call has used";
        let (id, most) = (call.id.to_string(), written(call.most));
        let used = used.map(written).unwrap_or_default();
        let more = [&id, call.user, call.room, &most, &used];
        let (reached,): (String,) = self
            .of_budgets(WHAT, "settle", at, Some(limits), &more)
            .await?;
        Ok(reached.lines().filter_map(read_reached).collect())
    }

    async fn fill(&self, past: &[PastSpending], at: Seq) -> Result<(), QuotaError> {
        let words: Vec<[String; 3]> = past
            .iter()
            .map(|line| {
                let period = match line.period {
                    BudgetPeriod::Day => "1",
                    BudgetPeriod::Month => "2",
                };
                let party = format!("{}{}", prefix(line.scope), line.name);
                [period.to_owned(), party, written(line.spent)]
            })
            .collect();
        let words: Vec<&str> = words.as_flattened().iter().map(String::as_str).collect();
        let (_,): (String,) = self
            .of_budgets("filling the books of the budgets", "fill", at, None, &words)
            .await?;
        Ok(())
    }

    async fn spent(
        &self,
        user: &str,
        room: Option<&str>,
        at: Seq,
    ) -> Result<SpentView, QuotaError> {
        const WHAT: &str = "reading what was used";
        let person = format!("{}{user}", prefix(BudgetScope::Person));
        let of_room = format!("{}{}", prefix(BudgetScope::Room), room.unwrap_or_default());
        let more = [&*person, &*of_room, prefix(BudgetScope::Server)];
        let answer: Vec<Option<String>> = self.of_budgets(WHAT, "spent", at, None, &more).await?;
        let answer: Vec<String> = answer.into_iter().map(Option::unwrap_or_default).collect();
        let [whole, limits, spent @ ..] = &answer[..] else {
            return Err(unknown(WHAT));
        };
        let spent = |scope: BudgetScope| {
            let at = 2 * scope as usize;
            [at, at + 1].map(|at| read(spent.get(at).map(String::as_str).unwrap_or_default()))
        };
        Ok(SpentView {
            is_whole: whole == "1",
            person: spent(BudgetScope::Person),
            room: room.map(|_| spent(BudgetScope::Room)).unwrap_or_default(),
            server: spent(BudgetScope::Server),
            limits: BudgetLimits::from_words(limits.split(' ')),
        })
    }
}

fn prefix(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Person => "u:",
        BudgetScope::Room => "r:",
        BudgetScope::Server => "s:",
    }
}

/// The budget at an index from 1, by scope and period; none at 0.
fn out(index: &str) -> Option<BudgetOut> {
    let index = index.parse::<usize>().ok()?.checked_sub(1)?;
    Some(BudgetOut {
        scope: *BudgetScope::ALL.get(index / 2)?,
        period: BudgetPeriod::ALL[index % 2],
    })
}

fn read_reached(line: &str) -> Option<Reached> {
    let mut words = line.split(' ');
    let period = match words.next()? {
        "1" => BudgetPeriod::Day,
        _ => BudgetPeriod::Month,
    };
    let percent = words.next()?.parse().ok()?;
    let party = words.next()?;
    let scope = BudgetScope::ALL
        .into_iter()
        .find(|scope| party.starts_with(prefix(*scope)))?;
    let name = party[prefix(scope).len()..].to_owned();
    Some(Reached {
        scope,
        period,
        name,
        percent,
    })
}

fn written(spending: Spending) -> String {
    let Spending {
        calls,
        tokens_in,
        tokens_out,
        cost_micros,
    } = spending;
    format!("{calls} {tokens_in} {tokens_out} {cost_micros}")
}

fn read(text: &str) -> Spending {
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Spending {
        calls: next(),
        tokens_in: next(),
        tokens_out: next(),
        cost_micros: next(),
    }
}

fn unknown(what: &'static str) -> QuotaError {
    QuotaError {
        what,
        source: "an answer that the script does not give".into(),
    }
}
