//! RabbitMQ's settings, and whether they can be used.

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{
    addresses::{self, Address},
    partitions::PARTITIONS_MAX,
};

/// The queue.
#[derive(Args, Clone, Debug)]
pub struct RabbitSettings {
    /// RabbitMQ 3.10 and later: `amqp://user:password@host:5672/vhost`, several with commas for a cluster.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: SecretString,
    /// Into how many queues each of `persist` and `bot.requests` is split, by room; to be the same for all services.
    #[arg(long, env = "QUEUE_PARTITIONS", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=PARTITIONS_MAX as i64))]
    pub queue_partitions: u16,
}

impl RabbitSettings {
    /// A broker at these addresses, with one queue of each name.
    pub fn at(url: impl Into<String>) -> RabbitSettings {
        RabbitSettings {
            amqp_url: url.into().into(),
            queue_partitions: 1,
        }
    }

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
