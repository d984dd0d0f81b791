//! RabbitMQ's settings, and whether they can be used.

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::addresses::{self, Address};

/// The queue.
#[derive(Args, Clone, Debug)]
pub struct RabbitSettings {
    /// RabbitMQ 3.10 and later: `amqp://user:password@host:5672/vhost`, several with commas for a cluster.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: SecretString,
}

impl RabbitSettings {
    /// Whether the URL is one, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        self.addresses().map(drop)
    }

    pub(super) fn addresses(&self) -> Result<Vec<Address>, String> {
        addresses::parse(self.amqp_url.expose_secret())
    }
}
