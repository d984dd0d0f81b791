//! Sums over the log of replies: the statement, and a row of what it gives.

use common::store::usage::{UsageAsked, UsageBy, UsageSum};

/// A row of the sums.
#[derive(sqlx::FromRow)]
pub(super) struct UsageRow {
    day: String,
    room: String,
    user: String,
    model: String,
    requests: i64,
    answered: i64,
    calls: i64,
    tokens_in: i64,
    tokens_out: i64,
    cost_micros: i64,
    unpriced: i64,
}

impl From<UsageRow> for UsageSum {
    fn from(row: UsageRow) -> UsageSum {
        UsageSum {
            day: row.day,
            room: row.room,
            user: row.user,
            model: row.model,
            requests: row.requests,
            answered: row.answered,
            calls: row.calls,
            tokens_in: row.tokens_in,
            tokens_out: row.tokens_out,
            cost_micros: row.cost_micros,
            unpriced: row.unpriced,
        }
    }
}

/// The statement, for both engines; it takes `since` and `until`, both once more, and the time (µs) at which calls of the other
/// spendings are over.
pub(super) fn statement(asked: &UsageAsked) -> String {
    let columns = UsageBy::ALL.map(|by| match asked.by.contains(&by) {
        true => by.as_str().to_owned(),
        false => format!("'' AS {}", by.as_str()),
    });
    let mut sql = format!(
        "SELECT {}, {}, {}, {}, {}, {}, {}, {} FROM (\
         SELECT day, room, user, model, 1 AS requests, attempts AS calls, tokens_in, tokens_out, cost_micros, outcome \
         FROM replies WHERE day >= ? AND day <= ? UNION ALL \
         SELECT day, room, user, model, 0, calls, tokens_in, tokens_out, cost_micros, '' \
         FROM spendings WHERE day >= ? AND day <= ? AND open_until <= ?) AS log",
        columns.join(", "),
        sum("requests", "requests"),
        sum(
            "CASE WHEN outcome = 'answered' THEN 1 ELSE 0 END",
            "answered"
        ),
        sum("calls", "calls"),
        sum("tokens_in", "tokens_in"),
        sum("tokens_out", "tokens_out"),
        sum("cost_micros", "cost_micros"),
        sum(
            "CASE WHEN outcome = 'answered' AND cost_micros IS NULL THEN 1 ELSE 0 END",
            "unpriced"
        ),
    );
    let by: Vec<&str> = asked.by.iter().map(|by| by.as_str()).collect();
    if !by.is_empty() {
        let by = by.join(", ");
        sql.push_str(&format!(" GROUP BY {by} ORDER BY {by}"));
    }
    sql
}

/// MySQL sums whole numbers to decimal ones, which are none here.
fn sum(of: &str, name: &str) -> String {
    format!("CAST(COALESCE(SUM({of}), 0) AS SIGNED) AS {name}")
}
