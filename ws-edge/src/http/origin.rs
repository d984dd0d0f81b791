//! Which pages may call: a browser says where a page came from, and a page from elsewhere may not use the session
//! that the browser holds.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{EdgeSettings, problem::Problem};

/// The rule of one edge.
pub(super) struct Origins {
    /// As they were set; empty: the page's own.
    allowed: Vec<String>,
    /// Only this machine's own names are believed for the page's own origin: a page of another site whose name was
    /// made to point here (DNS rebinding) looks like the page's own otherwise.
    only_this_machine: bool,
}

impl Origins {
    pub(super) fn new(settings: &EdgeSettings) -> Origins {
        Origins {
            allowed: settings.allowed_origins.clone(),
            only_this_machine: settings.listen.ip().is_loopback(),
        }
    }

    /// Whether a call that only reads was surely not brought about by a page from elsewhere: the page itself says so, or it is no
    /// browser. Those say where a call comes from wherever they trust the connection: over TLS, and on one machine.
    pub(super) fn surely_own(&self, headers: &HeaderMap, is_over_tls: bool) -> bool {
        match headers.get("sec-fetch-site") {
            Some(site) => site == "same-origin",
            None => is_over_tls || host(headers).is_some_and(is_this_machine),
        }
    }

    /// Where this server is, as the browser has called it.
    ///
    /// # Errors
    /// 400 if it does not say so.
    pub(super) fn of_server(
        &self,
        headers: &HeaderMap,
        is_over_tls: bool,
    ) -> Result<String, Problem> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        let host = host(headers).filter(|host| !host.is_empty() && host.chars().all(is_plain));
        let host = host.ok_or_else(|| Problem::bad_request("the header `Host` is missing"))?;
        let host = host.to_ascii_lowercase();
        let is_it = |origin: &&String| origin.split_once("://").is_some_and(|(_, of)| of == host);
        let named = self.allowed.iter().find(is_it);
        // A proxy may not pass on what the browser called.
        let named = named.or(match &*self.allowed {
            [only] => Some(only),
            _ => None,
        });
        let scheme = if is_over_tls { "https" } else { "http" };
        Ok(named.map_or_else(|| format!("{scheme}://{host}"), Clone::clone))
    }

    /// Whether the caller may call: programs that are no browsers (no `Origin`), and the pages that `ALLOWED_ORIGINS` names, or the edge's own page if
    /// it names none.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            // Browsers send it with every call that changes something; where one does not, this still tells.
            let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
            return !matches!(site, Some(b"cross-site" | b"same-site"));
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let origin = origin.to_ascii_lowercase();
        if !self.allowed.is_empty() {
            return self.allowed.contains(&origin);
        }
        let Some(page) = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
        else {
            return false;
        };
        let is_own = host(headers).is_some_and(|host| host.eq_ignore_ascii_case(page));
        is_own && (!self.only_this_machine || is_this_machine(page))
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a host (with or without a port) is this machine, by a name that nobody else can make point here.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost"
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(allowed: &[&str], only_this_machine: bool) -> Origins {
        let allowed = allowed.iter().map(|&origin| origin.to_owned()).collect();
        Origins {
            allowed,
            only_this_machine,
        }
    }

    fn from_page(origin: &'static str, host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers
    }

    #[test]
    fn the_own_page_may_call() {
        let rule = origins(&[], false);
        assert!(rule.allowed(&from_page("https://chat.example", "chat.example")));
        assert!(rule.allowed(&from_page("http://Chat.example:8080", "chat.EXAMPLE:8080")));
        assert!(!rule.allowed(&from_page("https://evil.example", "chat.example")));
        assert!(!rule.allowed(&from_page("http://chat.example:81", "chat.example:80")));
        assert!(!rule.allowed(&from_page("null", "null")));
    }

    #[test]
    fn named_pages_may_call_and_no_others() {
        let rule = origins(&["https://chat.example"], true);
        assert!(rule.allowed(&from_page("https://chat.example", "10.0.0.7:8080")));
        assert!(!rule.allowed(&from_page("http://10.0.0.7:8080", "10.0.0.7:8080")));
        assert!(!rule.allowed(&from_page("https://chat.example.evil", "chat.example")));
    }

    #[test]
    fn on_loopback_a_name_made_to_point_here_is_not_the_own_page() {
        let rule = origins(&[], true);
        for own in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
        ] {
            let mut headers = from_page("http://localhost:8080", own);
            let origin = HeaderValue::from_str(&format!("http://{own}")).unwrap();
            headers.insert(header::ORIGIN, origin);
            assert!(rule.allowed(&headers), "{own}");
        }
        assert!(!rule.allowed(&from_page("http://evil.example:8080", "evil.example:8080")));
        assert!(!rule.allowed(&from_page(
            "http://localhost.evil.example",
            "localhost.evil.example"
        )));
    }

    #[test]
    fn what_a_page_from_elsewhere_brings_about_is_told_from_the_own_pages() {
        let rule = origins(&[], false);
        let from = |site: Option<&'static str>, host: &'static str| {
            let mut headers = from_page("null", host);
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            headers
        };
        for (site, host, over_tls, own) in [
            (Some("same-origin"), "chat.example", true, true),
            (Some("same-site"), "chat.example", true, false),
            (Some("cross-site"), "127.0.0.1:80", false, false),
            // Typed, or opened from a mail: who knows by whom.
            (Some("none"), "chat.example", true, false),
            (None, "chat.example", true, true),
            (None, "localhost:8080", false, true),
            // A browser does not say it there.
            (None, "chat.example", false, false),
        ] {
            assert_eq!(
                rule.surely_own(&from(site, host), over_tls),
                own,
                "{site:?} {host}"
            );
        }
    }

    #[test]
    fn a_server_is_where_it_was_called() {
        let rule = origins(&["https://chat.example", "http://chat.example:81"], false);
        let of = |host: &'static str, over_tls| {
            let of = rule.of_server(&from_page("null", host), over_tls);
            of.unwrap_or_default()
        };
        assert_eq!(of("Chat.example", false), "https://chat.example");
        assert_eq!(of("other.example:81", true), "https://other.example:81");
        assert_eq!(of("chat.example:81", true), "http://chat.example:81");
        assert_eq!(of("[::1]:80", false), "http://[::1]:80");
        let only = origins(&["https://chat.example"], false);
        let behind_proxy = only.of_server(&from_page("null", "10.0.0.7:8080"), false);
        assert_eq!(behind_proxy.unwrap(), "https://chat.example");
        for odd in ["", "a/b", "a@b", "a b"] {
            assert_eq!(of(odd, true), "", "{odd}");
        }
    }

    #[test]
    fn no_browser_no_origin() {
        let rule = origins(&[], true);
        assert!(rule.allowed(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(!rule.allowed(&headers));
    }
}
