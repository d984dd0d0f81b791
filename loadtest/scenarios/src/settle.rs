//! The end of a run: what is owed is waited for, then the ledger is held against the history.

use std::{
    collections::HashMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    ledger::{Reader, State, Stored},
    scenarios::Run,
};

/// How long each of the three things that are owed is waited for: acks and replies, the history, what readers are to
/// see.
const LIMIT: Duration = Duration::from_secs(90);

/// The most breaches that are listed.
const LISTED_MAX: usize = 1_000;

/// Settles, prints the ledger, and says whether every promise was kept.
pub async fn settle(run: &Run) -> ExitCode {
    let ledger = &run.ledger;
    until(|| {
        let entries = ledger.open();
        let all = entries.said.len();
        entries.waiting() == 0 && entries.acked() == all && !entries.is_changing()
    })
    .await;
    let histories = loop {
        let acked = ledger.open().acked();
        let histories = match histories(run).await {
            Ok(histories) => histories,
            Err(why) => {
                println!("ledger: the history cannot be read: {why}");
                return ExitCode::FAILURE;
            }
        };
        if ledger.open().acked() == acked {
            break histories;
        }
    };
    let latest = |room: &str| {
        histories
            .get(room)
            .and_then(|all| all.last())
            .map_or(0, |last| last.seq)
    };
    until(|| {
        let entries = ledger.open();
        let is_told = |reader: &Reader| {
            let last = entries.last_change(&reader.room);
            reader.last() >= last.max(latest(&reader.room))
        };
        entries.readers.iter().all(is_told)
    })
    .await;

    let entries = ledger.open();
    let breaches = entries.audit(&histories);
    println!("ledger: {}", entries.summary());
    for breach in breaches.iter().take(LISTED_MAX) {
        println!("ledger: BREACH: {breach}");
    }
    if entries.acked() == 0 {
        println!("ledger: nothing was acked, so nothing was shown");
        return ExitCode::FAILURE;
    }
    if breaches.is_empty() {
        println!("ledger: every promise was kept");
        ExitCode::SUCCESS
    } else {
        println!("ledger: {} promises were broken", breaches.len());
        ExitCode::FAILURE
    }
}

/// Waits until something is so, or the time is up.
async fn until(is_so: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !is_so() && Instant::now() < limit {
        sleep(Duration::from_millis(50)).await;
    }
}

/// The whole history of every room.
async fn histories(run: &Run) -> Result<HashMap<String, Vec<Stored>>, String> {
    let mut histories = HashMap::new();
    let rooms = run.rooms().clone();
    for (room, client) in rooms {
        // A server that is away for a moment is asked again.
        let messages = client.history(&room, LIMIT, |_| true).await?;
        let read = |message: &Value| stored(message).ok_or(format!("unreadable: {message}"));
        let history: Result<Vec<Stored>, String> = messages.iter().map(read).collect();
        histories.insert(room, history?);
    }
    Ok(histories)
}

fn stored(message: &Value) -> Option<Stored> {
    let uuid = |field: &str| {
        message[field]
            .as_str()
            .and_then(|id| Uuid::parse_str(id).ok())
    };
    Some(Stored {
        seq: message["seq"].as_u64()?,
        id: uuid("id")?,
        reply_to: uuid("reply_to"),
        by_bot: message["kind"] != "user",
        state: state(message),
    })
}

/// What a message in the history has become.
fn state(message: &Value) -> Option<State> {
    if message["deleted"] == true {
        // Nothing of it is to be left.
        let is_empty = message["message"] == "";
        return is_empty.then_some(State { seq: 0, text: None });
    }
    Some(State {
        seq: message["edited"].as_u64()?,
        text: message["message"].as_str().map(str::to_owned),
    })
}
