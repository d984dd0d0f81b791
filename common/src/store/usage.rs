//! Sums over the log of replies: what was asked of the models, by whom, where and when, and about what it cost.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

/// What the sums are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UsageBy {
    /// The day of the reply, in UTC.
    Day,
    /// The room.
    Room,
    /// Who asked.
    User,
    /// The model that answered, or was tried last.
    Model,
}

impl UsageBy {
    /// Every one, in the order of [`UsageSum`]'s fields.
    pub const ALL: [UsageBy; 4] = [UsageBy::Day, UsageBy::Room, UsageBy::User, UsageBy::Model];

    /// Its word, which is the column's name too.
    pub fn as_str(self) -> &'static str {
        match self {
            UsageBy::Day => "day",
            UsageBy::Room => "room",
            UsageBy::User => "user",
            UsageBy::Model => "model",
        }
    }
}

/// The day (UTC) of a time since the Unix epoch, such as `2026-11-22`.
pub fn day_of(since_epoch: Duration) -> String {
    let mut day = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string();
    day.truncate("2026-11-22".len());
    day
}

/// A day as somebody wrote it.
///
/// # Errors
/// How to write one.
pub fn check_day(text: &str) -> Result<String, String> {
    humantime::parse_rfc3339(&format!("{text}T00:00:00Z"))
        .map(|_| text.to_owned())
        .map_err(|_| "write a day such as 2026-11-22".to_owned())
}

/// What is to be summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageAsked {
    /// Told apart by these; by none, it is one sum over all.
    pub by: Vec<UsageBy>,
    /// The first day, such as `2026-11-01`, in UTC.
    pub since: String,
    /// The last day.
    pub until: String,
}

/// One sum. What it is not told apart by is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageSum {
    /// The day, in UTC.
    pub day: String,
    /// The room.
    pub room: String,
    /// Who asked.
    pub user: String,
    /// The model.
    pub model: String,
    /// Requests that have a reply, whatever it is.
    pub requests: i64,
    /// Those that a model answered.
    pub answered: i64,
    /// Calls to models.
    pub calls: i64,
    /// Tokens of prompts, as far as the models counted them.
    pub tokens_in: i64,
    /// Tokens of answers and thoughts.
    pub tokens_out: i64,
    /// The estimated cost, in millionths of the price table's currency.
    pub cost_micros: i64,
    /// Answers whose cost is not in that: the price table did not have the model.
    pub unpriced: i64,
}
