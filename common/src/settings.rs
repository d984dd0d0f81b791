//! Settings that every process has. Each is an environment variable and a flag, checked at start and refused by name;
//! nothing reads the environment later. Those of an engine are with the engine, in the crate `engines`.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, CommandFactory, error::ErrorKind};

/// Where the operator's calls are answered, and how long stopping may take.
#[derive(Args, Clone, Debug)]
pub struct ProcessSettings {
    /// Address for /healthz, /readyz and /metrics; none unless given.
    #[arg(long, env = "ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// Seconds after SIGTERM within which the process is gone.
    #[arg(long, env = "DRAIN_SECONDS", default_value = "20", value_parser = seconds)]
    pub drain_seconds: Duration,
}

/// Ends the process as it ends for any other bad flag or variable, if one of these checks failed. (Checked while
/// parsing, a value would be printed with the error, and a password with it.)
pub fn refuse_bad<Command: CommandFactory>(checks: impl IntoIterator<Item = Result<(), String>>) {
    if let Some(problem) = checks.into_iter().find_map(Result::err) {
        let mut command = Command::command();
        command.error(ErrorKind::ValueValidation, problem).exit();
    }
}

/// A time in seconds: `60`, `0.5`, or with a unit as in `90s`, `2m`.
///
/// # Errors
/// In words for people.
pub fn seconds(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write seconds, such as 60, or 90s, 2m"))
}
