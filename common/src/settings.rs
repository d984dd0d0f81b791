//! Settings that more than one process has. Each is an environment variable and a flag, checked at start and refused
//! by name; nothing reads the environment later.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, CommandFactory, error::ErrorKind};
use secrecy::SecretString;

use crate::{live::redis::RedisLive, queue::rabbitmq::RabbitQueue, store::mysql::MySqlStore};

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

/// The database.
#[derive(Args, Clone, Debug)]
pub struct StoreSettings {
    /// MySQL 8 or MariaDB 10.11 and later: `mysql://user:password@host:3306/database`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// The most connections of this process to the database.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "10")]
    pub database_connections: u32,
}

impl StoreSettings {
    /// Whether the URL is one, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        MySqlStore::check(self)
    }
}

/// The live engine.
#[derive(Args, Clone, Debug)]
pub struct LiveSettings {
    /// Redis 7 and later: `redis://host:6379/0`, `redis-cluster://host:port,host:port`, or
    /// `redis-sentinel://host:port,host:port/service/0`; with TLS `rediss...`.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: SecretString,
    /// What every key and channel begins with.
    #[arg(long, env = "REDIS_PREFIX", default_value = "chinwag:")]
    pub redis_prefix: String,
    /// Seconds after its last message at which a silent room's stream expires. Its messages are in the database.
    #[arg(long, env = "STREAM_IDLE_SECONDS", default_value = "86400", value_parser = seconds)]
    pub stream_idle_seconds: Duration,
}

impl LiveSettings {
    /// Whether the URL and the prefix can be used, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        RedisLive::check(self)
    }
}

/// The queue.
#[derive(Args, Clone, Debug)]
pub struct QueueSettings {
    /// RabbitMQ 3.10 and later: `amqp://user:password@host:5672/vhost`, several with commas for a cluster.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: SecretString,
}

impl QueueSettings {
    /// Whether the URL is one, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        RabbitQueue::check(self)
    }
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
