//! The database's settings, and whether they can be used.

use std::str::FromStr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::MySqlConnectOptions;
use url::Url;

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
    /// Whether the URL is one, and the files that it names can be used, before anything is connected to.
    ///
    /// # Errors
    /// In words for people, with the setting's name and without its secrets.
    pub fn check(&self) -> Result<(), String> {
        self.options()?;
        for (name, path) in certificate_files(self.database_url.expose_secret()) {
            let refused = |why: &str| Err(format!("DATABASE_URL: {name}={path}: {why}"));
            match std::fs::read(&path) {
                Err(error) => return refused(&error.to_string()),
                Ok(pem) if name.ends_with("key") || holds_certificate(&pem) => {}
                Ok(_) => return refused("there is no certificate in this file (PEM)"),
            }
        }
        Ok(())
    }

    pub(super) fn options(&self) -> Result<MySqlConnectOptions, String> {
        let url = self.database_url.expose_secret();
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err("DATABASE_URL must begin with mysql://".to_owned());
        }
        let options = MySqlConnectOptions::from_str(url).map_err(|error| {
            // It is said once for each layer of the client library.
            let error = error.to_string();
            let why = error.trim_start_matches("error with configuration: ");
            format!("DATABASE_URL cannot be read: {why}")
        })?;
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

/// The files of certificates and keys that a URL names, with what it calls them. The client library looks at them when it
/// connects, and does not say which of them it means then.
fn certificate_files(url: &str) -> Vec<(String, String)> {
    let Ok(url) = Url::parse(url) else {
        return Vec::new();
    };
    let is_file = |name: &str| matches!(name, "sslca" | "ssl-ca" | "ssl-cert" | "ssl-key");
    let named = url.query_pairs().into_owned();
    named.filter(|(name, _)| is_file(name)).collect()
}

fn holds_certificate(pem: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    pem.windows(MARK.len()).any(|some| some == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_cannot_be_used_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mark = "-----BEGIN CERTIFICATE-----\n";
        std::fs::write(path("ca.pem"), mark).unwrap();
        std::fs::write(path("key.pem"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
        let check = |query: &str| {
            let database_url = format!("mysql://ada:secret@localhost/chat?{query}").into();
            let settings = MySqlSettings {
                database_url,
                database_connections: 1,
            };
            settings.check()
        };
        let (ca, key, none) = (path("ca.pem"), path("key.pem"), path("none.pem"));
        assert_eq!(check(&format!("ssl-mode=VERIFY_CA&ssl-ca={ca}")), Ok(()));
        assert_eq!(check(&format!("ssl-cert={ca}&ssl-key={key}")), Ok(()));
        for (query, why) in [
            (
                format!("ssl-ca={none}"),
                format!("ssl-ca={none}: No such file"),
            ),
            (
                format!("ssl-ca={key}"),
                format!("ssl-ca={key}: there is no certificate"),
            ),
            (
                "ssl-mode=ODD".to_owned(),
                "cannot be read: unknown value".to_owned(),
            ),
        ] {
            let refused = check(&query).unwrap_err();
            assert!(
                refused.starts_with("DATABASE_URL") && refused.contains(&why),
                "{refused}"
            );
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
