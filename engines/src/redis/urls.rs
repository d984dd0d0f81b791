//! The forms of `REDIS_URL`: the client reads those of one server; here are the ones that name several hosts.

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

/// How one connects to the one server that a URL names.
///
/// # Errors
/// What is wrong with it, without its secrets.
pub(super) fn connection_info(url: &str) -> Result<ConnectionInfo, String> {
    // The error of the client may quote what it could not read, and a password may be in it.
    let info = url
        .into_connection_info()
        .map_err(|error| format!("REDIS_URL: {}", error.category()))?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    Ok(info
        .set_redis_settings(settings)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// The parts of a URL that names several hosts: `credentials@host:port,host:port/path?query#fragment`.
pub(super) struct Several<'a> {
    credentials: &'a str,
    pub(super) hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Several<'a> {
    pub(super) fn split(rest: &'a str) -> Several<'a> {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        Several {
            credentials,
            hosts: hosts.split(',').filter(|host| !host.is_empty()).collect(),
            path: path.split('/').filter(|part| !part.is_empty()).collect(),
            query,
            fragment,
        }
    }

    /// The URL of one data node.
    pub(super) fn one(&self, scheme: &str, host: &str) -> String {
        let database = match self.path.as_slice() {
            [database] if self.service_is_in_query() => database,
            [_, database] => database,
            _ => "",
        };
        self.url(scheme, self.credentials, host, database)
    }

    fn url(&self, scheme: &str, credentials: &str, host: &str, database: &str) -> String {
        let at = if credentials.is_empty() { "" } else { "@" };
        let hash = if self.fragment.is_empty() { "" } else { "#" };
        format!(
            "{scheme}://{credentials}{at}{host}/{database}{hash}{}",
            self.fragment
        )
    }

    pub(super) fn service(&self) -> Option<String> {
        let in_query = self.parameter("service");
        in_query.or_else(|| self.path.first().map(ToString::to_string))
    }

    fn service_is_in_query(&self) -> bool {
        self.parameter("service").is_some()
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// How Sentinels are connected to. Their credentials are their own: `sentinel_username`, `sentinel_password`.
    pub(super) fn sentinel_info(&self, scheme: &str) -> Result<ConnectionInfo, String> {
        let host = self.hosts.first().copied().unwrap_or_default();
        let info = connection_info(&self.url(scheme, "", host, ""))?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = self.parameter("sentinel_username") {
            settings = settings.set_username(username);
        }
        if let Some(password) = self.parameter("sentinel_password") {
            settings = settings.set_password(password);
        }
        Ok(info.set_redis_settings(settings))
    }
}
