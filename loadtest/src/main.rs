//! Load against any Chinwag: `loadtest --host http://... --users 100 --run-time 10m`. Everything is handed on to goose's
//! scenarios, which are a workspace of their own (see `docs/decisions/goose-apart.md`).

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/Cargo.toml");

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut scenarios = Command::new(cargo);
    scenarios.args(["run", "--locked", "--manifest-path", SCENARIOS]);
    if !cfg!(debug_assertions) {
        scenarios.arg("--release");
    }
    scenarios.arg("--").args(std::env::args_os().skip(1));
    // Becomes it, and does not come back.
    let error = scenarios.exec();
    eprintln!("cargo cannot be started: {error}");
    ExitCode::FAILURE
}
