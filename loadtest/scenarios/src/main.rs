//! People who talk, ask, read, come and go, by the thousand, against any deployment:
//!
//! ```text
//! cargo run --release -p loadtest -- --host http://127.0.0.1:8080 --users 100 --run-time 10m --report-file report.html
//! ```
//!
//! Goose starts them, paces them, and reports (its own flags: `--help`). At the end the ledger is held against the
//! history: a promise that was broken makes the run fail, and is listed.

mod ledger;
mod person;
mod scenarios;
mod settle;

use std::{process::ExitCode, time::Duration};

use goose::prelude::*;
use tokio::time::sleep;

use scenarios::RUN;

/// How often a line of progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<ExitCode, GooseError> {
    // Several processes against one server would fight for the port of goose's own controller.
    let mut attack = *GooseAttack::initialize()?.set_default(GooseDefault::NoTelnet, true)?;
    for scenario in scenarios::all()? {
        attack = attack.register_scenario(scenario);
    }
    let progress = tokio::spawn(progress());
    let metrics = attack.execute().await;
    progress.abort();
    metrics?;
    if RUN.server.get().is_none() {
        // Goose only listed something.
        return Ok(ExitCode::SUCCESS);
    }
    Ok(settle::settle(&RUN).await)
}

async fn progress() {
    loop {
        sleep(PROGRESS_EVERY).await;
        let ledger = RUN.ledger.open();
        println!("{}", ledger.summary());
    }
}
