//! What can be set about the ways in: passwords, and a provider of single sign-on.

use std::{convert::Infallible, net::IpAddr, str::FromStr};

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// The most characters of what the provider is called.
const NAME_MAX_CHARS: usize = 40;

/// How people show who they are.
#[derive(Args, Clone, Debug)]
pub struct SignOnSettings {
    /// Whether people register and log in with passwords. `off` needs OIDC_ISSUER: who may come in is then what the
    /// provider says, and REGISTRATION.
    #[arg(long, env = "PASSWORDS", value_enum, default_value = "on")]
    pub passwords: PasswordsAre,
    /// The provider of single sign-on (OpenID Connect): its issuer, `https://login.example.org/realms/team`. None
    /// given: there is none.
    #[arg(long, env = "OIDC_ISSUER")]
    pub oidc_issuer: Option<Issuer>,
    /// What this server is called there.
    #[arg(long, env = "OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// Its secret there. A public client has none.
    #[arg(long, env = "OIDC_CLIENT_SECRET", hide_env_values = true)]
    pub oidc_client_secret: Option<SecretString>,
    /// What people call the provider, for the button of the page. None given: the issuer's host.
    #[arg(long, env = "OIDC_NAME")]
    pub oidc_name: Option<String>,
}

/// Whether there are passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PasswordsAre {
    /// People register and log in with them.
    On,
    /// Nobody does.
    Off,
}

/// Where the provider is, or why that is nowhere. Judged by `SignOnSettings::check`, so that nothing of what was
/// written is printed.
#[derive(Clone, Debug)]
pub struct Issuer(Result<Url, String>);

impl FromStr for Issuer {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Issuer, Infallible> {
        Ok(Issuer(provider_url(text)))
    }
}

/// A provider that is set up.
#[derive(Clone, Debug)]
pub(crate) struct ProviderSettings {
    /// Its issuer, without a slash at the end.
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretString>,
    /// For people.
    pub(crate) name: String,
}

impl SignOnSettings {
    /// What no single setting shows by itself.
    ///
    /// # Errors
    /// In words for people, with the setting's name.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(Issuer(Err(why))) = &self.oidc_issuer {
            return Err(format!("OIDC_ISSUER: {why}"));
        }
        if self.oidc_issuer.is_some() && there(self.oidc_client_id.as_deref()).is_none() {
            return Err(
                "OIDC_CLIENT_ID is missing: what is this server called at OIDC_ISSUER?".to_owned(),
            );
        }
        let name = self.oidc_name.as_deref().unwrap_or_default();
        if name.chars().count() > NAME_MAX_CHARS || name.chars().any(char::is_control) {
            return Err(format!(
                "OIDC_NAME: at most {NAME_MAX_CHARS} characters, and no control characters"
            ));
        }
        if self.passwords == PasswordsAre::Off && self.oidc_issuer.is_none() {
            return Err(
                "PASSWORDS is off and OIDC_ISSUER is missing: nobody could come in".to_owned(),
            );
        }
        Ok(())
    }

    pub(crate) fn are_passwords_on(&self) -> bool {
        self.passwords == PasswordsAre::On
    }

    /// The provider, if there is one.
    pub(crate) fn provider(&self) -> Option<ProviderSettings> {
        let Issuer(Ok(url)) = self.oidc_issuer.as_ref()? else {
            return None;
        };
        let client_id = there(self.oidc_client_id.as_deref())?;
        let name = there(self.oidc_name.as_deref()).or_else(|| url.host_str());
        let secret = self.oidc_client_secret.as_ref();
        Some(ProviderSettings {
            issuer: url.as_str().trim_end_matches('/').to_owned(),
            client_id: client_id.to_owned(),
            client_secret: secret
                .filter(|secret| !secret.expose_secret().is_empty())
                .cloned(),
            name: name.unwrap_or_default().to_owned(),
        })
    }
}

/// An empty setting is none, since that is how deployments leave a variable out.
fn there(setting: Option<&str>) -> Option<&str> {
    setting.map(str::trim).filter(|text| !text.is_empty())
}

/// An address of the provider: what goes there and comes from there is who people are, so it goes over TLS, except
/// within one machine.
///
/// # Errors
/// In words for people, without anything of what was written.
pub(super) fn provider_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => return Err("write https://host".to_owned()),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err("write https://host; http:// is for this machine alone".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("an address only: no user, no password and no #".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        sign_on: SignOnSettings,
    }

    fn read(flags: &[&str]) -> SignOnSettings {
        Cli::parse_from([&["edge"], flags].concat()).sign_on
    }

    #[test]
    fn what_is_missing_or_odd_is_refused_by_name() {
        for (flags, named) in [
            (
                &["--oidc-issuer", "https://id.example"][..],
                "OIDC_CLIENT_ID",
            ),
            (&["--oidc-issuer", "http://id.example"], "OIDC_ISSUER"),
            (
                &["--oidc-issuer", "https://u:secret@id.example"],
                "OIDC_ISSUER",
            ),
            (&["--oidc-issuer", "id.example"], "OIDC_ISSUER"),
            (&["--passwords", "off"], "PASSWORDS"),
            (&["--oidc-name", "a\u{7}"], "OIDC_NAME"),
        ] {
            let refused = read(flags).check().unwrap_err();
            assert!(refused.contains(named), "{refused}");
            assert!(!refused.contains("secret@"), "{refused}");
        }
    }

    #[test]
    fn a_provider_is_called_by_its_host_if_it_has_no_other_name() {
        let flags = [
            "--oidc-issuer",
            "https://id.example/team/",
            "--oidc-client-id",
            "chat",
        ];
        let provider = read(&flags).provider().unwrap();
        assert_eq!(provider.issuer, "https://id.example/team");
        assert_eq!(provider.name, "id.example");
        let named = [
            &flags[..],
            &["--oidc-name", "Example", "--passwords", "off"],
        ]
        .concat();
        let named = read(&named);
        assert_eq!(named.check(), Ok(()));
        assert_eq!(named.provider().unwrap().name, "Example");
        assert!(read(&[]).provider().is_none());
    }
}
