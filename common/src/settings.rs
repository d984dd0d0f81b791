//! Settings that every process has. Each is an environment variable and a flag, checked at start and refused by name;
//! nothing reads the environment later. Those of an engine are with the engine, in the crate `engines`.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    net::SocketAddr,
    time::Duration,
};

use clap::{Arg, Args, Command, CommandFactory, Parser, error::ErrorKind};

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

/// Reads flags and environment, as [`Parser::parse`] does. A secret (a setting whose value is hidden) may also lie in a file
/// that `NAME_FILE` names. Ends the process if something is wrong with them.
pub fn parse<Settings: Parser>() -> Settings {
    let mut command = match with_files(Settings::command(), |name| env::var_os(name)) {
        Ok(command) => command,
        Err(problem) => Settings::command()
            .error(ErrorKind::ValueValidation, problem)
            .exit(),
    };
    let mut matches = command.get_matches_mut();
    Settings::from_arg_matches_mut(&mut matches)
        .unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The command with the secrets that lie in files as values of their settings.
fn with_files(
    mut command: Command,
    variable: impl Copy + Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let secrets: Vec<Arg> = command
        .get_arguments()
        .filter(|arg| arg.is_hide_env_values_set())
        .cloned()
        .collect();
    for secret in secrets {
        let Some(name) = secret.get_env().and_then(OsStr::to_str) else {
            continue;
        };
        let Some(path) = variable(&format!("{name}_FILE")) else {
            continue;
        };
        if variable(name).is_some() {
            return Err(format!(
                "{name} and {name}_FILE are both set: give one of them"
            ));
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("{name}_FILE: {}: {error}", path.display()))?;
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Err(format!("{name}_FILE: {} is empty", path.display()));
        }
        command = command.mut_arg(secret.get_id(), |arg| {
            arg.required(false)
                .default_value(text)
                .hide_default_value(true)
        });
    }
    let jobs: Vec<String> = command
        .get_subcommands()
        .map(|job| job.get_name().to_owned())
        .collect();
    for name in jobs {
        let mut problem = None;
        command = command.mut_subcommand(name, |job| {
            with_files(job.clone(), variable).unwrap_or_else(|why| {
                problem = Some(why);
                job
            })
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
    }
    Ok(command)
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

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[derive(Debug, Parser)]
    enum Job {
        Call {
            #[arg(long, env = "TEST_SECRET", hide_env_values = true)]
            secret: String,
            #[arg(long, env = "TEST_SPOKEN")]
            spoken: Option<String>,
        },
    }

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Job, String> {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        };
        let command = with_files(Job::command(), variable)?;
        let mut matches = command
            .try_get_matches_from(["job", "call"].iter().chain(arguments))
            .map_err(|error| error.to_string())?;
        Job::from_arg_matches_mut(&mut matches).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let path = path.to_str().unwrap();
        let in_file = [("TEST_SECRET_FILE", path), ("TEST_SPOKEN_FILE", path)];

        let missing = read(&[], &in_file).unwrap_err();
        assert!(
            missing.contains("TEST_SECRET_FILE") && missing.contains(path),
            "{missing}"
        );
        fs::write(path, "\n").unwrap();
        let empty = read(&[], &in_file).unwrap_err();
        assert!(
            empty.contains("TEST_SECRET_FILE") && empty.contains("empty"),
            "{empty}"
        );

        fs::write(path, " over the hills \r\n").unwrap();
        let Job::Call { secret, spoken } = read(&[], &in_file).unwrap();
        assert_eq!((secret.as_str(), spoken), (" over the hills ", None));
        let Job::Call { secret, .. } = read(&["--secret", "by hand"], &in_file).unwrap();
        assert_eq!(secret, "by hand");
        let help = read(&["--help"], &in_file).unwrap_err();
        assert!(
            help.contains("TEST_SECRET") && !help.contains("hills"),
            "{help}"
        );

        let both = read(&[], &[in_file[0], ("TEST_SECRET", "by hand")]).unwrap_err();
        assert!(both.contains("both"), "{both}");
    }
}
