//! The benchmark: `cargo build --release --workspace --bins && target/release/bench [FIGURES]`.
//!
//! Starts private engines and the services built beside it, measures each figure three times and its floor, by the
//! plainest possible program, right after it, and writes the table into `docs/performance.md`, the numbers and the
//! curves into `docs/performance/`. Without arguments all figures are measured; named ones replace their own rows only.
//! `--look` measures once and writes nothing. `bench instructions` is another thing: it counts, and compares with what
//! it counted last.

mod client;
mod fan_out;
mod figures;
mod floor;
mod processes;
mod report;

use std::process::ExitCode;

use figures::Bench;
use report::Report;

/// How often each figure is measured.
const RUNS: usize = 3;

/// The argument for a quick look while something is being changed: every figure is measured once, and nothing written.
const LOOK: &str = "--look";

#[tokio::main]
async fn main() -> ExitCode {
    // An error means that there is one already, which will do.
    let _there = rustls::crypto::ring::default_provider().install_default();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, address] = &arguments[..]
        && first == "floor"
    {
        floor::fan_out(address.parse().expect("an address")).await;
        return ExitCode::SUCCESS;
    }
    if let [first, rest @ ..] = &arguments[..]
        && first == "instructions"
    {
        return instructions(rest).await;
    }
    let before = arguments.len();
    arguments.retain(|argument| argument != LOOK);
    let is_look = arguments.len() < before;
    let unknown = arguments
        .iter()
        .find(|name| !figures::ALL.contains(&name.as_str()));
    if let Some(unknown) = unknown {
        eprintln!(
            "there is no figure {unknown}, only {}",
            figures::ALL.join(", ")
        );
        return ExitCode::FAILURE;
    }
    tokio::select! {
        () = measure(&arguments, is_look) => ExitCode::SUCCESS,
        // Everything that was started ends with what owns it.
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
    }
}

async fn instructions(arguments: &[String]) -> ExitCode {
    let accept = match arguments {
        [] => false,
        [only] if only == "--accept" => true,
        _ => {
            eprintln!("bench instructions [--accept]");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        code = figures::instructions(accept) => code,
        // Everything that was started ends with what owns it.
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
    }
}

async fn measure(wanted: &[String], is_look: bool) {
    let mut report = Report::open();
    let bench = Bench::start(if is_look { 1 } else { RUNS }).await;
    for name in figures::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("== {name}");
            let found = bench.figure(name).await;
            found.print();
            if !is_look {
                // After each, so that a run that is cut short leaves what it found.
                report.replace(name, found);
                report.write();
            }
        }
    }
}
