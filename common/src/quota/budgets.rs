//! The fleet's budgets: how much of the models a person, a room and the whole server may use in a day and in a month, in
//! tokens or in money. What is kept beside them is what each of them has used, also where no budget is set.
//!
//! A call is held at the most it can cost before it goes out, and settled at what it did. Why it is so:
//! `docs/decisions/budgets.md`.

use std::{
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::QuotaError;
use crate::wire::Seq;

/// Exceeded by one call at most, however many processes ask and whichever of them die: what is held by one of those counts
/// as it was estimated.
#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// Says which budgets hold, for whoever shows them, and asks whether the books are whole.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn keep_budgets(&self, limits: &BudgetLimits, at: Seq) -> Result<Books, QuotaError>;

    /// Holds what a call may cost against each budget that it counts against. Idempotent by the call's id.
    ///
    /// # Errors
    /// [`QuotaError`]; it may be held all the same, and then counts as it was estimated.
    async fn hold(
        &self,
        call: &CostlyCall<'_>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Held, QuotaError>;

    /// Whether there is anything left of the budgets that a call of this person in this room counts against.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn look(
        &self,
        user: &str,
        room: &str,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Option<BudgetOut>, QuotaError>;

    /// Puts what a call has used in the place of what is held for it; none if it never went out. A call that nothing is held
    /// for is counted all the same, once. What was held for too long is set right. Returns which budgets came to
    /// [a share](TOLD_AT) of theirs by this, or by what lapsed before it: each is told once, to one process.
    ///
    /// # Errors
    /// [`QuotaError`]; it then counts as it was estimated.
    async fn settle(
        &self,
        call: &CostlyCall<'_>,
        used: Option<Spending>,
        limits: &BudgetLimits,
        at: Seq,
    ) -> Result<Vec<Reached>, QuotaError>;

    /// Makes the books whole with what the log of replies says, in addition to what was counted since they were empty.
    /// Does nothing if they are whole.
    ///
    /// # Errors
    /// [`QuotaError`]; it may be done all the same.
    async fn fill(&self, past: &[PastSpending], at: Seq) -> Result<(), QuotaError>;

    /// What was used in the day and the month of this time.
    ///
    /// # Errors
    /// [`QuotaError`].
    async fn spent(&self, user: &str, room: Option<&str>, at: Seq)
    -> Result<SpentView, QuotaError>;
}

/// The share of a budget, in percent, at which it is told that it is nearly used up, and that it is.
pub const TOLD_AT: [u64; 2] = [80, 100];

/// Whether everything that was used is in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Books {
    /// It is.
    Whole,
    /// The engine has lost its memory, and the caller is to [fill](Budgets::fill) them within [`FILLS_WITHIN`].
    YoursToFill,
    /// Another process is at it.
    BeingFilled,
}

/// How long one process may take to fill the books before another begins.
pub const FILLS_WITHIN: Duration = Duration::from_secs(60);

/// A call to a model, and the most it can cost.
#[derive(Clone, Copy, Debug)]
pub struct CostlyCall<'a> {
    /// The call.
    pub id: Uuid,
    /// Who asked the bot.
    pub user: &'a str,
    /// And where.
    pub room: &'a str,
    /// The most that it can use.
    pub most: Spending,
    /// When it is over at the latest. If nobody has said by then what it has used, it was this most.
    pub over_by: Seq,
}

/// What became of holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Go.
    Yes,
    /// A budget would be used up if the calls that are under way cost the most they can; it may turn out better.
    Wait,
    /// A budget is used up.
    Out(BudgetOut),
    /// What was used is not known just now.
    NotKnown,
}

/// A budget that is used up; of several the one that opens last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetOut {
    /// Whose it is.
    pub scope: BudgetScope,
    /// For how long.
    pub period: BudgetPeriod,
}

/// What calls have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// How many.
    pub calls: u64,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers and thoughts.
    pub tokens_out: u64,
    /// In millionths of the price table's currency; 0 for models without a price.
    pub cost_micros: u64,
}

impl Spending {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Spending) -> Spending {
        Spending {
            calls: self.calls.saturating_add(other.calls),
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }

    /// What is left when the other is taken off.
    #[must_use]
    pub fn without(self, other: Spending) -> Spending {
        Spending {
            calls: self.calls.saturating_sub(other.calls),
            tokens_in: self.tokens_in.saturating_sub(other.tokens_in),
            tokens_out: self.tokens_out.saturating_sub(other.tokens_out),
            cost_micros: self.cost_micros.saturating_sub(other.cost_micros),
        }
    }

    /// That, in what a budget is counted in.
    pub fn in_unit(self, unit: BudgetUnit) -> u64 {
        match unit {
            BudgetUnit::Tokens => self.tokens_in.saturating_add(self.tokens_out),
            BudgetUnit::CostMicros => self.cost_micros,
        }
    }
}

/// A budget has come to a share of what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose it is.
    pub scope: BudgetScope,
    /// For how long.
    pub period: BudgetPeriod,
    /// The person's or the room's name; empty for the server.
    pub name: String,
    /// One of [`TOLD_AT`].
    pub percent: u64,
}

/// What one of them has used in a period, by the log of replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastSpending {
    /// In which period.
    pub period: BudgetPeriod,
    /// Whose.
    pub scope: BudgetScope,
    /// The person's or the room's name; empty for the server.
    pub name: String,
    /// How much.
    pub spent: Spending,
}

/// What was used, and what may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpentView {
    /// Whether that is all of it: the engine may have lost its memory, and not have it back yet.
    pub is_whole: bool,
    /// By the person, in the day and in the month.
    pub person: [Spending; 2],
    /// In the room, if one was asked for.
    pub room: [Spending; 2],
    /// By all.
    pub server: [Spending; 2],
    /// The budgets, as a worker said last.
    pub limits: BudgetLimits,
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// One of each person.
    Person,
    /// One of each room.
    Room,
    /// One for all.
    Server,
}

impl BudgetScope {
    /// Every one, in the order of [`BudgetLimits`].
    pub const ALL: [BudgetScope; 3] = [BudgetScope::Person, BudgetScope::Room, BudgetScope::Server];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            BudgetScope::Person => "person",
            BudgetScope::Room => "room",
            BudgetScope::Server => "server",
        }
    }
}

/// For how long a budget is. Days and months begin and end in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// A day.
    Day,
    /// A month of the calendar.
    Month,
}

impl BudgetPeriod {
    /// Every one, in the order of [`BudgetLimits`].
    pub const ALL: [BudgetPeriod; 2] = [BudgetPeriod::Day, BudgetPeriod::Month];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            BudgetPeriod::Day => "day",
            BudgetPeriod::Month => "month",
        }
    }

    /// The period that a time is in, by a number that grows: days since the Unix epoch, months since the year 0.
    pub fn number(self, at: Seq) -> u64 {
        let (year, month) = month_of(at);
        match self {
            BudgetPeriod::Day => at / DAY_MICROS,
            BudgetPeriod::Month => 12 * year + month - 1,
        }
    }

    /// How the period of this time is written: `2026-11-28`, `2026-11`.
    pub fn name(self, at: Seq) -> String {
        let mut day = rfc3339(at);
        day.truncate(match self {
            BudgetPeriod::Day => "2026-11-28".len(),
            BudgetPeriod::Month => "2026-11".len(),
        });
        day
    }

    /// When the period of this time ends.
    pub fn ends(self, at: Seq) -> Seq {
        let day = at / DAY_MICROS;
        let mut next = day + 1;
        if self == BudgetPeriod::Month {
            let month = month_of(at);
            // No month has more days than these.
            while month_of(next * DAY_MICROS) == month {
                next += 1;
            }
        }
        next * DAY_MICROS
    }
}

const DAY_MICROS: Seq = 24 * 3_600 * 1_000_000;

/// As RFC 3339 has it, in UTC, to the second.
pub fn rfc3339(at: Seq) -> String {
    // Beyond the year 9999 nothing is written.
    let at = Duration::from_micros(at.min(253_402_300_799_000_000));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

fn month_of(at: Seq) -> (u64, u64) {
    let text = rfc3339(at);
    let number = |from: usize, to: usize| text[from..to].parse().unwrap_or_default();
    (number(0, 4), number(5, 7))
}

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetUnit {
    /// Tokens, of prompts and answers together.
    Tokens,
    /// Millionths of the price table's currency.
    CostMicros,
}

/// One budget: `200000 tokens`, or `2.50` in the currency of the prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// So many.
    pub limit: u64,
    /// Of these.
    pub unit: BudgetUnit,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        const HOW: &str = "write a number of tokens such as `200000 tokens`, or an amount of money such as `2.50`, in the \
                           currency of BOT_PRICES; each more than 0";
        let text = text.trim();
        let tokens = text
            .strip_suffix("tokens")
            .or_else(|| text.strip_suffix("token"));
        let (limit, unit) = match tokens {
            Some(number) => (whole(&number.trim().replace('_', "")), BudgetUnit::Tokens),
            None => (micros(text), BudgetUnit::CostMicros),
        };
        let limit = limit.filter(|limit| (1..=BUDGET_MAX).contains(limit));
        limit
            .map(|limit| Budget { limit, unit })
            .ok_or_else(|| format!("{text:?} is no budget; {HOW}"))
    }
}

/// The highest budget: what a script in Redis still counts exactly.
const BUDGET_MAX: u64 = 1_000_000_000_000_000;

fn whole(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Exactly, unlike a floating-point number: `2.50` is 2,500,000. What is smaller than a millionth is no money.
fn micros(text: &str) -> Option<u64> {
    let (units, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 6 {
        return None;
    }
    let part = whole(&format!("{part:0<6}"))?;
    whole(units)?.checked_mul(1_000_000)?.checked_add(part)
}

/// The budgets there are, each by [scope](BudgetScope::ALL) and [period](BudgetPeriod::ALL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimits(pub [[Option<Budget>; 2]; 3]);

impl BudgetLimits {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == BudgetLimits::default()
    }

    /// Each that there is.
    pub fn all(&self) -> impl Iterator<Item = (BudgetScope, BudgetPeriod, Budget)> + '_ {
        BudgetScope::ALL
            .into_iter()
            .zip(self.0)
            .flat_map(|(scope, limits)| {
                let there = move |(period, limit): (BudgetPeriod, Option<Budget>)| {
                    limit.map(|budget| (scope, period, budget))
                };
                BudgetPeriod::ALL.into_iter().zip(limits).filter_map(there)
            })
    }

    /// Six words, by scope and period: `t200000`, `m2500000`, `-`.
    pub fn words(&self) -> [String; 6] {
        let mut words = self.0.as_flattened().iter().map(|limit| match limit {
            Some(Budget {
                limit,
                unit: BudgetUnit::Tokens,
            }) => format!("t{limit}"),
            Some(Budget {
                limit,
                unit: BudgetUnit::CostMicros,
            }) => format!("m{limit}"),
            None => "-".to_owned(),
        });
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }

    /// What [`BudgetLimits::words`] wrote; a word that is not known is no budget.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> BudgetLimits {
        let mut limits = BudgetLimits::default();
        for (limit, word) in limits.0.as_flattened_mut().iter_mut().zip(words) {
            let read = |prefix, unit| {
                let limit = word.strip_prefix(prefix)?.parse().ok()?;
                Some(Budget { limit, unit })
            };
            *limit = read('t', BudgetUnit::Tokens).or_else(|| read('m', BudgetUnit::CostMicros));
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Seq {
        let time = humantime::parse_rfc3339(text).unwrap();
        time.duration_since(UNIX_EPOCH).unwrap().as_micros() as Seq
    }

    #[test]
    fn a_budget_is_of_tokens_or_of_money() {
        for (text, limit, unit) in [
            ("200000 tokens", 200_000, BudgetUnit::Tokens),
            (" 5tokens ", 5, BudgetUnit::Tokens),
            ("2.50", 2_500_000, BudgetUnit::CostMicros),
            ("3", 3_000_000, BudgetUnit::CostMicros),
            ("0.000001", 1, BudgetUnit::CostMicros),
        ] {
            assert_eq!(text.parse(), Ok(Budget { limit, unit }), "{text}");
        }
        for wrong in [
            "",
            "0",
            "0 tokens",
            "-1",
            "2,50",
            "2.",
            ".5.",
            "1e9",
            "tokens",
            "1.5 tokens",
            "0.0000001",
            "$2",
            "inf",
            "99999999999999999999 tokens",
        ] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_and_months_end_in_utc() {
        for (time, day, month) in [
            (
                "2026-11-28T23:59:59Z",
                "2026-11-29T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            (
                "2026-12-31T00:00:00Z",
                "2027-01-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "2028-02-28T12:00:00Z",
                "2028-02-29T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
        ] {
            for (period, end) in [(BudgetPeriod::Day, day), (BudgetPeriod::Month, month)] {
                let now = at(time);
                assert_eq!(rfc3339(period.ends(now)), end, "{time}");
                assert_eq!(period.number(period.ends(now)), period.number(now) + 1);
                assert_eq!(period.number(period.ends(now) - 1), period.number(now));
            }
        }
        assert_eq!(
            BudgetPeriod::Day.name(at("2026-11-28T23:59:59Z")),
            "2026-11-28"
        );
        assert_eq!(
            BudgetPeriod::Month.name(at("2026-11-28T23:59:59Z")),
            "2026-11"
        );
    }

    #[test]
    fn budgets_are_read_as_they_are_written() {
        let mut limits = BudgetLimits::default();
        limits.0[0][1] = "2.50".parse().ok();
        limits.0[2][0] = "7 tokens".parse().ok();
        let words = limits.words();
        assert_eq!(words, ["-", "m2500000", "-", "-", "t7", "-"]);
        assert_eq!(
            BudgetLimits::from_words(words.iter().map(String::as_str)),
            limits
        );
        assert_eq!(limits.all().count(), 2);
    }
}
