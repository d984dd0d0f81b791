//! `AMQP_URL`: one broker, or several of a cluster, separated by commas. What it cannot mean is refused at start, by
//! name, and the password is never in what is said.

use lapin::uri::{AMQPScheme, AMQPUri};
use url::Url;

/// Seconds between heartbeats. A peer that is silent for twice as long is gone.
const HEARTBEAT_SECONDS: u16 = 10;

/// One broker.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) uri: AMQPUri,
    /// Host and port, for logs.
    pub(super) host: String,
}

/// Reads the setting. An entry may be a whole URL, or only `host:port`: then the user is the first one's, and a
/// virtual host that only one entry names is everybody's, so that `amqp://user:password@a,b,c/vhost` works as well.
pub(super) fn parse(setting: &str) -> Result<Vec<Address>, String> {
    let entries: Vec<&str> = setting
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    let Some(first) = entries.first() else {
        return Err("AMQP_URL is empty".to_owned());
    };
    let Some((scheme, rest)) = first.split_once("://") else {
        return Err("AMQP_URL must begin with amqp:// or amqps://".to_owned());
    };
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let at = if user.is_empty() { "" } else { "@" };
    let whole = |entry: &&str| {
        if entry.contains("://") {
            (*entry).to_owned()
        } else {
            format!("{scheme}://{user}{at}{entry}")
        }
    };
    let urls: Vec<Url> = entries
        .iter()
        .map(|entry| {
            Url::parse(&whole(entry)).map_err(|error| format!("AMQP_URL cannot be read: {error}"))
        })
        .collect::<Result<_, _>>()?;
    let shared_path = urls
        .iter()
        .map(Url::path)
        .find(|path| path.len() > 1)
        .unwrap_or("")
        .to_owned();
    urls.into_iter()
        .map(|url| address(url, &shared_path))
        .collect()
}

fn address(mut url: Url, shared_path: &str) -> Result<Address, String> {
    if url.path().len() <= 1 {
        url.set_path(shared_path);
    }
    let mut uri: AMQPUri = url
        .as_str()
        .parse()
        .map_err(|error| format!("AMQP_URL cannot be read: {error}"))?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err("AMQP_URL names no host".to_owned());
    };
    // The library takes any address in brackets for `localhost`.
    uri.authority.host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if uri.vhost.is_empty() {
        // `amqp://host/` names, to the letter, a virtual host without a name. Nobody has one.
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let host = format!("{host}:{}", uri.authority.port);
    Ok(Address { uri, host })
}

impl Address {
    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(setting: &str) -> Vec<(String, String, String)> {
        let addresses = parse(setting).expect("it can be read");
        addresses
            .into_iter()
            .map(|one| (one.host, one.uri.authority.userinfo.username, one.uri.vhost))
            .collect()
    }

    fn entry(host: &str, user: &str, vhost: &str) -> (String, String, String) {
        (host.into(), user.into(), vhost.into())
    }

    #[test]
    fn one_or_several() {
        assert_eq!(
            read("amqp://ada:pw@mq:5673/chat"),
            [entry("mq:5673", "ada", "chat")]
        );
        assert_eq!(read("amqp://mq"), [entry("mq:5672", "guest", "/")]);
        assert_eq!(read("amqp://mq/"), [entry("mq:5672", "guest", "/")]);
        assert_eq!(read("amqp://mq/%2f"), [entry("mq:5672", "guest", "/")]);
        assert_eq!(read("amqps://[::1]/x"), [entry("[::1]:5671", "guest", "x")]);
        let both = [entry("a:5672", "ada", "v"), entry("b:5673", "bob", "w")];
        assert_eq!(read("amqp://ada:pw@a/v, amqp://bob:pw@b:5673/w"), both);
        let cluster = [entry("a:5672", "ada", "v"), entry("b:5672", "ada", "v")];
        assert_eq!(read("amqp://ada:pw@a,b/v"), cluster);
        assert_eq!(read("amqp://ada:pw@a/v,b"), cluster);
    }

    #[test]
    fn what_it_cannot_mean_is_refused_without_telling_the_password() {
        for setting in [
            "",
            " , ",
            "mq:5672",
            "http://ada:secret@mq",
            "amqp://ada:secret@mq:99999",
            "amqp://",
        ] {
            let why = parse(setting).expect_err(setting);
            assert!(why.contains("AMQP_URL"), "{why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
