//! What errors of the OpenAI-compatible chat API mean, out of a failed response or the middle of a stream. Pure.

use std::time::Duration;

use super::{
    Advice, ModelError,
    delay::{after_words, believed},
    json::{Json, readable, values},
};
use crate::fallback::Reason;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How much of an error's text goes into the log, in characters.
const DETAIL_MAX_CHARS: usize = 300;

/// `{"error": ...}`'s inside: an object, or only words.
#[derive(Clone, Debug, Default)]
pub(super) struct ChatError {
    message: Option<String>,
    /// The type and the code, where they are words.
    words: String,
    /// The code, where it is a number.
    code: u32,
}

/// What a failed response says.
pub(super) fn meaning(status: u16, headers: &HeaderMap, body: &[u8]) -> ModelError {
    let body = readable(body);
    // Google's own side of this API puts it in an array of one, and some servers leave the object around it out.
    let (values, _) = values(&body);
    let error = values
        .first()
        .map(|value| value.fields().get("error").unwrap_or(*value));
    error
        .map(ChatError::of)
        .unwrap_or_default()
        .meaning(status, retry_after(headers))
}

/// In seconds, or, from some, in milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|milliseconds| milliseconds / 1_000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))?;
    believed(seconds)
}

impl ChatError {
    /// The error that stands there.
    pub(super) fn of(error: Json<'_>) -> ChatError {
        let fields = error.fields();
        let words = [fields.word("type"), fields.word("code")]
            .into_iter()
            .flatten();
        let words: Vec<String> = words.collect();
        ChatError {
            message: fields.word("message").or_else(|| error.word()),
            words: words.join(" ").chars().take(DETAIL_MAX_CHARS).collect(),
            code: fields.count("code"),
        }
    }

    /// What this error, which came with that HTTP status (200 inside a stream), says to do.
    pub(super) fn meaning(&self, http_status: u16, retry_after: Option<Duration>) -> ModelError {
        let code = match http_status {
            200..=299 => self.effective_code(),
            other => other,
        };
        let words = &self.words;
        let delay = retry_after.or_else(|| after_words("try again in ", self.message()));
        let (advice, reason, status) = match code {
            _ if words.contains("insufficient_quota") => (Advice::GiveUp, Reason::Refused, "402"),
            _ if words.contains("content_filter") || words.contains("content_policy") => {
                (Advice::GiveUp, Reason::Safety, "blocked")
            }
            400 if words.contains("model_not_found") => (Advice::NextModel, Reason::NoModel, "404"),
            400 | 413 | 422 => (Advice::GiveUp, Reason::BadRequest, "400"),
            401 | 403 => (Advice::GiveUp, Reason::Refused, "403"),
            402 => (Advice::GiveUp, Reason::Refused, "402"),
            404 => (Advice::NextModel, Reason::NoModel, "404"),
            408 | 409 | 425 => (Advice::Again { after: delay }, Reason::Broken, "408"),
            429 if self.message().contains("per day") => {
                (Advice::NextModel, Reason::Quota, "429-day")
            }
            429 => (Advice::Again { after: delay }, Reason::Quota, "429"),
            504 => (Advice::Again { after: None }, Reason::TooSlow, "504"),
            500 => (Advice::Again { after: delay }, Reason::Broken, "500"),
            502 => (Advice::Again { after: delay }, Reason::Broken, "502"),
            503 => (Advice::Again { after: delay }, Reason::Broken, "503"),
            501..=599 => (Advice::Again { after: delay }, Reason::Broken, "5xx"),
            _ => (Advice::GiveUp, Reason::BadRequest, "other"),
        };
        let message: String = self.message().chars().take(DETAIL_MAX_CHARS).collect();
        ModelError {
            advice,
            reason,
            status,
            detail: format!("{code} {words}: {message}"),
        }
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("no message")
    }

    /// An error inside a stream has the status as its code, or a word for it.
    fn effective_code(&self) -> u16 {
        if (400..600).contains(&self.code) {
            return u16::try_from(self.code).unwrap_or(500);
        }
        let known = [
            ("rate_limit", 429),
            ("insufficient_quota", 429),
            ("model_not_found", 404),
            ("not_found_error", 404),
            ("invalid_api_key", 401),
            ("authentication_error", 401),
            ("permission", 403),
            ("overloaded", 503),
            ("unavailable", 503),
            ("timeout", 504),
            ("invalid_request", 400),
        ];
        let found = known
            .into_iter()
            .find(|(word, _)| self.words.contains(word));
        found.map_or(500, |(_, code)| code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Advice = Advice::Again { after: None };

    fn read(status: u16, body: &str) -> ModelError {
        meaning(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn each_status_says_what_to_do() {
        for (status, advice, reason) in [
            (400, Advice::GiveUp, Reason::BadRequest),
            (401, Advice::GiveUp, Reason::Refused),
            (402, Advice::GiveUp, Reason::Refused),
            (404, Advice::NextModel, Reason::NoModel),
            (429, AGAIN, Reason::Quota),
            (500, AGAIN, Reason::Broken),
            (503, AGAIN, Reason::Broken),
            (504, AGAIN, Reason::TooSlow),
            (529, AGAIN, Reason::Broken),
            (302, Advice::GiveUp, Reason::BadRequest),
        ] {
            let meaning = read(status, "<html>");
            assert_eq!(
                (meaning.advice, meaning.reason),
                (advice, reason),
                "{status}"
            );
        }
    }

    #[test]
    fn words_say_more_than_the_status() {
        for (status, body, advice, reason) in [
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Advice::GiveUp,
                Reason::Refused,
            ),
            (
                429,
                r#"{"error":{"message":"Limit reached on requests per day (RPD). Please try again in 8m38s.","code":"rate_limit_exceeded"}}"#,
                Advice::NextModel,
                Reason::Quota,
            ),
            (
                429,
                r#"{"error":{"message":"Rate limit reached. Please try again in 1.5s.","code":"rate_limit_exceeded"}}"#,
                Advice::Again {
                    after: Some(Duration::from_millis(1_500)),
                },
                Reason::Quota,
            ),
            (
                400,
                r#"{"error":{"message":"flagged","code":"content_filter"}}"#,
                Advice::GiveUp,
                Reason::Safety,
            ),
            (
                200,
                r#"{"error":{"message":"later","code":503}}"#,
                AGAIN,
                Reason::Broken,
            ),
            (200, r#"{"error":"out of memory"}"#, AGAIN, Reason::Broken),
            (
                200,
                r#"{"error":{"message":"no","type":"rate_limit_error","code":null}}"#,
                AGAIN,
                Reason::Quota,
            ),
        ] {
            let meaning = read(status, body);
            assert_eq!((meaning.advice, meaning.reason), (advice, reason), "{body}");
        }
    }

    #[test]
    fn the_delay_stands_in_a_header() {
        for (name, value, milliseconds) in [
            ("retry-after", "2", Some(2_000)),
            ("retry-after-ms", "150", Some(150)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "0", None),
            ("retry-after-ms", "0", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            let after = milliseconds.map(Duration::from_millis);
            assert_eq!(
                meaning(429, &headers, b"").advice,
                Advice::Again { after },
                "{name}: {value}"
            );
        }
    }
}
