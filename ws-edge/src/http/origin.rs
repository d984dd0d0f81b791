//! Which pages may call: a browser says where a page came from, and a page from elsewhere may not use the session
//! that the browser holds.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::EdgeSettings;

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
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let is_own = host.is_some_and(|host| host.eq_ignore_ascii_case(page));
        is_own && (!self.only_this_machine || is_this_machine(page))
    }
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
    fn no_browser_no_origin() {
        let rule = origins(&[], true);
        assert!(rule.allowed(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(!rule.allowed(&headers));
    }
}
