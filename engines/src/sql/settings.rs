//! The database's settings, and whether they can be used.

use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::MySqlConnectOptions;

/// The database.
#[derive(Args, Clone, Debug)]
pub struct MySqlSettings {
    /// MySQL 8 or MariaDB 10.11 and later: `mysql://user:password@host:3306/database`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// The most connections of this process to the database.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "10")]
    pub database_connections: u32,
}

impl MySqlSettings {
    /// Whether the URL is one, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        self.options().map(drop)
    }

    pub(super) fn options(&self) -> Result<MySqlConnectOptions, String> {
        let url = self.database_url.expose_secret();
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err("DATABASE_URL must begin with mysql://".to_owned());
        }
        let options = MySqlConnectOptions::from_str(url)
            .map_err(|error| format!("DATABASE_URL cannot be read: {error}"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err("DATABASE_URL names no database".to_owned());
        }
        // The modes are set on each connection; no column has a time zone.
        Ok(options
            .charset("utf8mb4")
            .collation("utf8mb4_bin")
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None))
    }
}
