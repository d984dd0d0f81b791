//! What can be set about an edge.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use axum::http::HeaderName;
use clap::Args;

use crate::{PeopleLimits, Registration, SignOnSettings};

const STUCK_AFTER_LEAST: Duration = Duration::from_secs(2);
const STUCK_AFTER_MOST: Duration = Duration::from_secs(30);

/// The edge's own settings; those of every process are `common`'s, those of the engines are theirs.
#[derive(Args, Clone, Debug)]
pub struct EdgeSettings {
    /// Address for browsers.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// What stands before every address, where a proxy serves Chinwag below a path of a host: `/chat`. The proxy passes the
    /// path on as it is.
    #[arg(long, env = "BASE_PATH", default_value = "", value_parser = base_path)]
    pub base_path: String,
    /// Origins of pages that may call, with commas: `https://chat.example.org`. None given: the page's own origin, that
    /// is, the `Host` that was called.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub allowed_origins: Vec<String>,
    /// Who may register: whoever comes, whoever is invited by anybody, whoever is invited by an administrator. None given:
    /// `open` where LISTEN is an address of this machine alone, else `invite`.
    #[arg(long, env = "REGISTRATION", value_enum)]
    pub registration: Option<Registration>,
    /// How people show who they are.
    #[command(flatten)]
    pub sign_on: SignOnSettings,
    /// Send cookies over TLS only. Set it wherever browsers come by https.
    #[arg(long, env = "SECURE_COOKIES", default_value = "false", action = clap::ArgAction::Set)]
    pub secure_cookies: bool,
    /// The header in which a trusted proxy writes the client's address (`x-forwarded-for`); its last entry counts.
    /// None given: the peer's address.
    #[arg(long, env = "CLIENT_ADDRESS_HEADER")]
    pub client_address_header: Option<HeaderName>,
    /// Days without use after which a session ends.
    #[arg(long, env = "SESSION_DAYS", default_value = "30")]
    pub session_days: NonZeroU32,
    /// Messages a second that one user may post on this edge, in the long run.
    #[arg(long, env = "USER_MESSAGES_PER_SECOND", default_value = "100")]
    pub user_messages_per_second: NonZeroU32,
    /// Messages that one user may post on this edge at once.
    #[arg(long, env = "USER_MESSAGES_BURST", default_value = "1000")]
    pub user_messages_burst: NonZeroU32,
    /// The most sockets on this edge; further ones are answered with 503.
    #[arg(long, env = "SOCKETS_MAX", default_value = "50000")]
    pub sockets_max: usize,
    /// Milliseconds between two `ping` frames on a socket. One that answers none for twice as long is closed.
    #[arg(long, env = "PING_MS", default_value = "25000", value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub ping_ms: u64,
    /// What people may make.
    #[command(flatten)]
    pub people: PeopleLimits,

    // Shares at the network's edge: what one person or address may take. Each edge counts for itself; 0 is none. An
    // IPv6 /64 is one address. Why these numbers: `docs/decisions/shares-at-the-edge.md`.
    /// The most sockets of one user on this edge.
    #[arg(long, env = "USER_SOCKETS", default_value = "100")]
    pub user_sockets: usize,
    /// HTTP calls a second of one user on this edge, in the long run; ten seconds' worth at once.
    #[arg(long, env = "USER_REQUESTS_PER_SECOND", default_value = "100")]
    pub user_requests_per_second: u32,
    /// The most connections of one address to this edge, WebSockets included. Behind a proxy: calls under way, and
    /// WebSockets.
    #[arg(long, env = "ADDRESS_CONNECTIONS", default_value = "2000")]
    pub address_connections: usize,
    /// HTTP calls a second from one address to this edge, in the long run; ten seconds' worth at once.
    #[arg(long, env = "ADDRESS_REQUESTS_PER_SECOND", default_value = "500")]
    pub address_requests_per_second: u32,
}

impl EdgeSettings {
    /// What no single setting shows by itself.
    ///
    /// # Errors
    /// In words for people, with the setting's name.
    pub fn check(&self) -> Result<(), String> {
        self.sign_on.check()
    }

    /// Who may register.
    pub(crate) fn registration(&self) -> Registration {
        let default = || Registration::where_listening_on(self.listen.ip());
        self.registration.unwrap_or_else(default)
    }

    /// How long a client may take nothing of what it is sent, or take for one message: as long as it may be silent,
    /// within bounds.
    pub(crate) fn stuck_after(&self) -> Duration {
        let silence = 2 * Duration::from_millis(self.ping_ms);
        silence.clamp(STUCK_AFTER_LEAST, STUCK_AFTER_MOST)
    }
}

/// An origin as browsers write it: in lower case, without the port that goes with the scheme.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let (scheme, host) = text.split_once("://").unwrap_or_default();
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(no_origin(&text)),
    };
    if host.is_empty() || host.contains(['/', ' ', '*', '@']) {
        return Err(no_origin(&text));
    }
    let host = host.strip_suffix(default_port).unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

/// A path without a slash at its end, so that addresses can be written behind it; `/` is none.
fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim().trim_end_matches('/');
    let is_plain = |segment: &str| {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    match path.strip_prefix('/') {
        None if path.is_empty() => Ok(String::new()),
        Some(segments) if segments.split('/').all(is_plain) => Ok(path.to_owned()),
        _ => Err(format!(
            "{text:?} is no path; write /chat, with letters, digits, -, _, . and ~"
        )),
    }
}

fn no_origin(text: &str) -> String {
    format!("{text:?} is no origin; write https://host or http://host:port")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{EdgeSettings, base_path, origin};
    use crate::Registration;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        edge: EdgeSettings,
    }

    #[test]
    fn what_others_can_reach_is_not_open_unless_it_is_said() {
        for (flags, registration) in [
            (&["--listen", "127.0.0.1:80"][..], Registration::Open),
            (&["--listen", "[::1]:80"], Registration::Open),
            (&["--listen", "0.0.0.0:80"], Registration::Invite),
            (&["--listen", "192.0.2.1:80"], Registration::Invite),
            (
                &["--listen", "0.0.0.0:80", "--registration", "open"],
                Registration::Open,
            ),
            (&["--registration", "closed"], Registration::Closed),
        ] {
            let cli = Cli::try_parse_from([&["edge"], flags].concat()).unwrap();
            assert_eq!(cli.edge.registration(), registration, "{flags:?}");
        }
        let bad = Cli::try_parse_from(["edge", "--registration", "ajar"]);
        let words = bad.map(drop).unwrap_err().to_string();
        assert!(words.contains("registration"), "{words}");
    }

    #[test]
    fn a_base_path_has_no_slash_at_its_end() {
        for (text, read) in [
            ("", ""),
            ("/", ""),
            ("/chat", "/chat"),
            ("/a/b-1/", "/a/b-1"),
        ] {
            assert_eq!(base_path(text).as_deref(), Ok(read));
        }
        for bad in ["chat", "//chat", "/a//b", "/..", "/{room}", "/a b", "/a?b"] {
            assert!(base_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        for (text, written) in [
            ("https://Chat.Example", "https://chat.example"),
            ("https://chat.example:443", "https://chat.example"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://chat.example:443", "http://chat.example:443"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(written));
        }
        for bad in [
            "",
            "chat.example",
            "https://",
            "https://chat.example/",
            "*",
            "https://*.example",
            "ws://chat.example",
        ] {
            assert!(origin(bad).is_err(), "{bad:?}");
        }
    }
}
