//! `persister usage`: what was asked of the models, by whom, where and when, and about what it cost.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use clap::Args;
use common::store::usage::{UsageAsked, UsageBy, UsageSum, check_day, day_of};

/// How far back it looks, unless told.
const DAYS: u64 = 30;

/// Which sums, and how they are written.
#[derive(Args, Clone, Debug)]
pub struct UsageArguments {
    /// What the sums are told apart by, with commas: day, room, user, model.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "day")]
    by: Vec<UsageBy>,
    /// The first day, such as 2026-11-01, in UTC; 30 days ago unless given.
    #[arg(long, value_parser = check_day)]
    since: Option<String>,
    /// The last day; today unless given.
    #[arg(long, value_parser = check_day)]
    until: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl UsageArguments {
    /// What the store is to be asked.
    pub fn asked(&self) -> UsageAsked {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let ago = || day_of(now - Duration::from_secs(DAYS * 24 * 3_600));
        UsageAsked {
            by: self.by.clone(),
            since: self.since.clone().unwrap_or_else(ago),
            until: self.until.clone().unwrap_or_else(|| day_of(now)),
        }
    }

    /// Writes what it answered.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, sums: &[UsageSum], out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            for sum in sums {
                writeln!(out, "{}", serde_json::to_string(sum)?)?;
            }
            return Ok(());
        }
        let by: Vec<UsageBy> = UsageBy::ALL
            .into_iter()
            .filter(|by| self.by.contains(by))
            .collect();
        let head = by.iter().map(|by| by.as_str()).chain(NUMBERS);
        let mut lines = vec![head.map(str::to_owned).collect::<Vec<_>>()];
        lines.extend(sums.iter().map(|sum| {
            let keys = by.iter().map(|by| key(sum, *by).to_owned());
            keys.chain(numbers(sum)).collect()
        }));
        let widths: Vec<usize> = (0..lines[0].len())
            .map(|column| lines.iter().map(|line| line[column].len()).max())
            .map(Option::unwrap_or_default)
            .collect();
        for line in lines {
            let cells = line.iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(column, (cell, width))| match column < by.len() {
                    true => format!("{cell:width$}"),
                    false => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        let unpriced: i64 = sums.iter().map(|sum| sum.unpriced).sum();
        if unpriced > 0 {
            writeln!(
                out,
                "The cost lacks {unpriced} answers, whose models were not in the price table (BOT_PRICES)."
            )?;
        }
        Ok(())
    }
}

const NUMBERS: [&str; 6] = [
    "requests",
    "answered",
    "calls",
    "tokens_in",
    "tokens_out",
    "cost",
];

fn numbers(sum: &UsageSum) -> impl Iterator<Item = String> {
    let cost = format!(
        "{}.{:06}",
        sum.cost_micros / 1_000_000,
        sum.cost_micros % 1_000_000
    );
    let counts = [
        sum.requests,
        sum.answered,
        sum.calls,
        sum.tokens_in,
        sum.tokens_out,
    ];
    counts
        .map(|count| count.to_string())
        .into_iter()
        .chain([cost])
}

fn key(sum: &UsageSum, by: UsageBy) -> &str {
    match by {
        UsageBy::Day => &sum.day,
        UsageBy::Room => &sum.room,
        UsageBy::User => &sum.user,
        UsageBy::Model => &sum.model,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        usage: UsageArguments,
    }

    fn parsed(flags: &[&str]) -> Result<UsageArguments, clap::Error> {
        Cli::try_parse_from([&["usage"], flags].concat()).map(|cli| cli.usage)
    }

    #[test]
    fn a_table_has_what_it_is_told_apart_by_and_says_what_the_cost_lacks() {
        let sum = UsageSum {
            day: String::new(),
            room: "lobby".into(),
            user: "ada".into(),
            model: String::new(),
            requests: 12,
            answered: 11,
            calls: 15,
            tokens_in: 1_200,
            tokens_out: 340,
            cost_micros: 1_000_450,
            unpriced: 2,
        };
        let mut out = Vec::new();
        parsed(&["--by", "user,room"])
            .unwrap()
            .write(std::slice::from_ref(&sum), &mut out)
            .unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = out
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..3], ["room", "user", "requests"]);
        assert_eq!(
            lines[1],
            ["lobby", "ada", "12", "11", "15", "1200", "340", "1.000450"]
        );
        assert!(out.contains("lacks 2 answers"), "{out}");

        let mut out = Vec::new();
        parsed(&["--json"])
            .unwrap()
            .write(&[sum], &mut out)
            .unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["cost_micros"], 1_000_450);
    }

    #[test]
    fn days_are_days() {
        let asked = parsed(&["--since", "2026-02-28", "--until", "2026-03-01"])
            .unwrap()
            .asked();
        assert_eq!((&*asked.since, &*asked.until), ("2026-02-28", "2026-03-01"));
        assert_eq!(asked.by, [UsageBy::Day]);
        for wrong in ["yesterday", "2026-02-30", "2026-2-3", ""] {
            assert!(parsed(&["--since", wrong]).is_err(), "{wrong:?}");
        }
    }
}
