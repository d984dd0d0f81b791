//! What an answer stands on that looked things up: the pages that it used, and what the search engine asks to be shown
//! along with them. It comes from outside, so everything of it is checked and bounded here, wherever it was read.

use serde::{Deserialize, Serialize};

use super::says_nothing;

/// The most sources of one answer.
pub const SOURCES_MAX: usize = 20;

/// The most characters of a source's title; a longer one is cut.
pub const SOURCE_TITLE_MAX_CHARS: usize = 200;

/// The most bytes of a source's address; a longer one is left out, since half an address leads nowhere.
pub const SOURCE_URI_MAX_BYTES: usize = 1_000;

/// The most bytes of what is to be shown along with the sources. Half a document shows anything, so it is all of it or
/// nothing.
pub const SUGGESTIONS_MAX_BYTES: usize = 16 * 1024;

/// A page that an answer stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What it calls itself; never empty.
    pub title: String,
    /// Where it is, by http or https. With Gemini this leads through Google and comes to an end some day.
    pub uri: String,
}

impl Source {
    /// A source, if the address is one that may be shown. Without a title it is called as its host is.
    pub fn new(title: &str, uri: &str) -> Option<Source> {
        let uri = uri.trim();
        let behind = ["https://", "http://"].into_iter().find_map(|scheme| {
            let begins = uri
                .get(..scheme.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
            begins.then(|| &uri[scheme.len()..])
        })?;
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || "\"'<>\\^`{|}".contains(c);
        let host = behind.split(['/', '?', '#']).next().unwrap_or_default();
        // What stands before an @ looks like the host and is none.
        if host.is_empty()
            || host.contains('@')
            || uri.len() > SOURCE_URI_MAX_BYTES
            || uri.contains(is_odd)
        {
            return None;
        }
        let mut title: String = title
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .filter(|c| !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            .take(SOURCE_TITLE_MAX_CHARS)
            .collect();
        title.truncate(title.trim_end().len());
        let title = match says_nothing(&title) {
            true => host.to_owned(),
            false => title.trim_start().to_owned(),
        };
        Some(Source {
            title,
            uri: uri.to_owned(),
        })
    }
}

/// What an answer stands on. Empty for everything but an answer that looked things up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReadGrounding")]
pub struct Grounding {
    /// The pages, each once, in the order in which the model named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// HTML of the search engine's with a style of its own, which is to be shown along with the sources. It is not ours:
    /// it belongs into a frame from which it cannot get at the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestions: Option<String>,
}

impl Grounding {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let of = |source: &Source| source.title.len() + source.uri.len();
        self.sources.iter().map(of).sum::<usize>()
            + self.suggestions.as_ref().map_or(0, String::len)
    }

    /// What of it may be shown, of something that was read.
    pub(super) fn checked(sources: Vec<Source>, suggestions: Option<String>) -> Grounding {
        let mut grounding = Grounding::default();
        for Source { title, uri } in sources {
            if let Some(source) = Source::new(&title, &uri) {
                grounding.add(source);
            }
        }
        if let Some(html) = suggestions {
            grounding.suggest(&html);
        }
        grounding
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.suggestions.is_none()
    }

    /// One more page, unless it is there, or there are enough.
    pub fn add(&mut self, source: Source) {
        let is_there = self.sources.iter().any(|known| known.uri == source.uri);
        if !is_there && self.sources.len() < SOURCES_MAX {
            self.sources.push(source);
        }
    }

    /// What is to be shown along with them; what is too long is left out.
    pub fn suggest(&mut self, html: &str) {
        if !html.trim().is_empty() && html.len() <= SUGGESTIONS_MAX_BYTES {
            self.suggestions = Some(html.to_owned());
        }
    }
}

/// A grounding as it is read, from a stream, a queue or the database.
#[derive(Deserialize)]
struct ReadGrounding {
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    suggestions: Option<String>,
}

impl From<ReadGrounding> for Grounding {
    fn from(read: ReadGrounding) -> Grounding {
        Grounding::checked(read.sources, read.suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_lead_somewhere_harmless_are_sources() {
        for (title, uri, shown) in [
            ("A page", "https://example.org/a?b=c#d", Some("A page")),
            (" ", "https://example.org/a", Some("example.org")),
            ("two\nlines", "HTTP://example.org", Some("two lines")),
            ("\u{202e}evil", "http://example.org/", Some("evil")),
            ("x", "javascript:alert(1)", None),
            ("x", "data:text/html,x", None),
            ("x", "//example.org", None),
            ("x", "https://", None),
            ("x", "https://bank.example@evil.example/", None),
            ("x", "https://example.org/a b", None),
            ("x", "https://example.org/\"onclick", None),
            ("x", "", None),
        ] {
            let source = Source::new(title, uri);
            assert_eq!(source.map(|source| source.title).as_deref(), shown, "{uri}");
        }
        let long = Source::new(&"ä".repeat(500), "https://example.org").unwrap();
        assert_eq!(long.title.chars().count(), SOURCE_TITLE_MAX_CHARS);
        let uri = format!("https://example.org/{}", "x".repeat(SOURCE_URI_MAX_BYTES));
        assert_eq!(Source::new("x", &uri), None);
    }

    #[test]
    fn there_are_so_many_and_each_once_wherever_they_are_read() {
        let many: Vec<_> = (0..50)
            .map(|at| format!(r#"{{"title":"t","uri":"https://example.org/{}"}}"#, at / 2))
            .collect();
        let html = "x".repeat(SUGGESTIONS_MAX_BYTES + 1);
        let json = format!(
            r#"{{"sources":[{}],"suggestions":"{html}"}}"#,
            many.join(",")
        );
        let read: Grounding = serde_json::from_str(&json).unwrap();
        assert_eq!(read.sources.len(), SOURCES_MAX);
        assert_eq!(read.suggestions, None);
        let odd = r#"{"sources":[{"title":"t","uri":"javascript:1"}]}"#;
        assert!(serde_json::from_str::<Grounding>(odd).unwrap().is_empty());
    }
}
