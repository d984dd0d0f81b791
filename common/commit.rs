//! Run when a program is built: what `--version` says. The commit comes from `CHINWAG_COMMIT` where there is no git, as in an
//! image, else from git, and without either it is left out. A debug build does not ask: it would be linked anew with each commit.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=CHINWAG_COMMIT");
    let given = env::var("CHINWAG_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(from_git).flatten());
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=CHINWAG_VERSION={version}");
}

/// Its first twelve digits.
fn from_git() -> Option<String> {
    // Written to whenever the commit changes.
    if let Some(log) = git(&[
        "rev-parse",
        "--path-format=absolute",
        "--git-path",
        "logs/HEAD",
    ]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let text = text.trim();
    (answer.status.success() && !text.is_empty()).then(|| text.to_owned())
}
