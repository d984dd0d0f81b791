//! Redis's settings, and whether they can be used.

use std::time::Duration;

use clap::Args;
use common::settings::seconds;
use secrecy::{ExposeSecret, SecretString};

use super::{deployment::Deployment, keys::Keys};

/// The live engine.
#[derive(Args, Clone, Debug)]
pub struct RedisSettings {
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

impl RedisSettings {
    /// Whether the URL and the prefix can be used, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        self.deployment()?;
        self.keys()?;
        Ok(())
    }

    pub(super) fn deployment(&self) -> Result<Deployment, String> {
        Deployment::parse(self.redis_url.expose_secret())
    }

    pub(super) fn keys(&self) -> Result<Keys, String> {
        Ok(Keys::new(&self.redis_prefix)?)
    }
}
