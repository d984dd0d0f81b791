//! What Google's errors mean, out of the JSON that stands in a failed response or in the middle of a stream. Pure.

use std::time::Duration;

use super::{
    Advice, ModelError,
    delay::{after_words, parse_delay},
    json::{Json, readable, values},
};
use crate::fallback::Reason;

/// How much of an error's text goes into the log, in characters.
const DETAIL_MAX_CHARS: usize = 300;

/// `{"error": {...}}`'s inside. Every field may be missing or of another type: relays write their own.
#[derive(Clone, Debug, Default)]
pub(super) struct GoogleError {
    code: u16,
    message: String,
    status: String,
    details: Vec<serde_json::Value>,
}

impl GoogleError {
    /// The error in a body, which may stand in an array. None if there is none to be read.
    pub(super) fn read(body: &[u8]) -> Option<GoogleError> {
        let body = readable(body);
        let (values, _) = values(&body);
        let error = values.first()?.fields().get("error")?;
        Some(GoogleError::of(error))
    }

    /// The error that stands there: an object, or only words.
    pub(super) fn of(error: Json<'_>) -> GoogleError {
        let fields = error.fields();
        let details = fields.items("details");
        GoogleError {
            code: u16::try_from(fields.count("code")).unwrap_or(0),
            message: fields
                .word("message")
                .or_else(|| error.word())
                .unwrap_or_default(),
            status: fields.word("status").unwrap_or_default(),
            details: details.into_iter().map(Json::value).collect(),
        }
    }

    /// What this error, which came with that HTTP status (200 inside a stream), says to do.
    pub(super) fn meaning(&self, http_status: u16) -> ModelError {
        let code = match http_status {
            200..=299 => self.effective_code(),
            other => other,
        };
        let text = if self.message.is_empty() {
            "no message"
        } else {
            &self.message
        };
        let text: String = text.chars().take(DETAIL_MAX_CHARS).collect();
        let detail = format!("{code} {}: {text}", self.status);
        let (advice, reason, status) = match code {
            400 if self.is_about_the_key() => (Advice::GiveUp, Reason::Refused, "403"),
            400 => (Advice::GiveUp, Reason::BadRequest, "400"),
            401 | 403 => (Advice::GiveUp, Reason::Refused, "403"),
            402 => (Advice::GiveUp, Reason::Refused, "402"),
            404 => (Advice::NextModel, Reason::NoModel, "404"),
            408 => (Advice::Again { after: None }, Reason::Broken, "408"),
            429 if self.is_for_the_day() => (Advice::NextModel, Reason::Quota, "429-day"),
            429 => (
                Advice::Again {
                    after: self.delay(),
                },
                Reason::Quota,
                "429",
            ),
            504 => (Advice::Again { after: None }, Reason::TooSlow, "504"),
            500..=599 => (
                Advice::Again {
                    after: self.delay(),
                },
                Reason::Broken,
                five_hundred(code),
            ),
            _ => (Advice::GiveUp, Reason::BadRequest, "other"),
        };
        ModelError {
            advice,
            reason,
            status,
            detail,
        }
    }

    /// An error inside a stream may have the code, or only Google's word for it.
    fn effective_code(&self) -> u16 {
        if self.code >= 400 {
            return self.code;
        }
        match self.status.as_str() {
            "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
            "UNAUTHENTICATED" => 401,
            "PERMISSION_DENIED" => 403,
            "NOT_FOUND" => 404,
            "RESOURCE_EXHAUSTED" => 429,
            "UNAVAILABLE" => 503,
            "DEADLINE_EXCEEDED" => 504,
            _ => 500,
        }
    }

    /// A key that Google does not know is a 400, told from a bad request by its details only.
    fn is_about_the_key(&self) -> bool {
        let named = |detail: &serde_json::Value| {
            detail["reason"]
                .as_str()
                .is_some_and(|reason| reason.starts_with("API_KEY_"))
        };
        self.details.iter().any(named) || self.message.contains("API key not valid")
    }

    fn is_for_the_day(&self) -> bool {
        let violations = self
            .of_type("google.rpc.QuotaFailure")
            .filter_map(|failure| failure["violations"].as_array())
            .flatten();
        violations
            .filter_map(|violation| violation["quotaId"].as_str())
            .any(|id| id.contains("PerDay"))
    }

    fn delay(&self) -> Option<Duration> {
        let named = self
            .of_type("google.rpc.RetryInfo")
            .find_map(|info| parse_delay(info["retryDelay"].as_str()?));
        named.or_else(|| after_words("retry in ", &self.message))
    }

    fn of_type(&self, name: &'static str) -> impl Iterator<Item = &serde_json::Value> {
        self.details.iter().filter(move |detail| {
            detail["@type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with(name))
        })
    }
}

fn five_hundred(code: u16) -> &'static str {
    match code {
        500 => "500",
        502 => "502",
        503 => "503",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(code: u16, status: &str, message: &str, details: serde_json::Value) -> GoogleError {
        let body = json!({"error": {"code": code, "status": status, "message": message, "details": details}});
        GoogleError::read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_delay_of_a_429_stands_in_its_details_or_else_in_its_message() {
        let info =
            json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]);
        let at_once =
            json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0s"}]);
        let none = json!([]);
        for (message, details, after) in [
            ("Please retry in 34s.", &info, Some(Duration::from_secs(2))),
            (
                "Please retry in 34.07s.",
                &none,
                Some(Duration::from_millis(34_070)),
            ),
            (
                "quota. Please retry in 1.5s, friend",
                &none,
                Some(Duration::from_millis(1_500)),
            ),
            ("check quota", &none, None),
            ("Please retry in 0s.", &none, None),
            (
                "Please retry in 1.5s.",
                &at_once,
                Some(Duration::from_millis(1_500)),
            ),
            ("check quota", &at_once, None),
        ] {
            let meaning = error(429, "RESOURCE_EXHAUSTED", message, details.clone()).meaning(429);
            assert_eq!(meaning.advice, Advice::Again { after }, "{message}");
        }
    }

    #[test]
    fn a_days_quota_is_not_waited_for_even_where_a_delay_is_named() {
        let details = json!([
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"},
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}, {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"},
            ]},
        ]);
        let meaning = error(429, "RESOURCE_EXHAUSTED", "", details).meaning(429);
        assert_eq!(
            (meaning.advice, meaning.reason),
            (Advice::NextModel, Reason::Quota)
        );
    }

    #[test]
    fn each_status_says_what_to_do() {
        let again = Advice::Again { after: None };
        for (code, advice, reason) in [
            (400, Advice::GiveUp, Reason::BadRequest),
            (402, Advice::GiveUp, Reason::Refused),
            (403, Advice::GiveUp, Reason::Refused),
            (404, Advice::NextModel, Reason::NoModel),
            (429, again, Reason::Quota),
            (500, again, Reason::Broken),
            (502, again, Reason::Broken),
            (503, again, Reason::Broken),
            (504, again, Reason::TooSlow),
            (301, Advice::GiveUp, Reason::BadRequest),
        ] {
            let meaning = GoogleError::default().meaning(code);
            assert_eq!((meaning.advice, meaning.reason), (advice, reason), "{code}");
        }
        let in_stream = error(0, "RESOURCE_EXHAUSTED", "", json!([])).meaning(200);
        assert_eq!((in_stream.advice, in_stream.reason), (again, Reason::Quota));
        assert_eq!(
            error(503, "UNAVAILABLE", "", json!([])).meaning(200).status,
            "503"
        );
    }

    #[test]
    fn a_key_that_nobody_knows_is_no_bad_request() {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
        let meaning = error(400, "INVALID_ARGUMENT", "", details).meaning(400);
        assert_eq!(
            (meaning.advice, meaning.reason),
            (Advice::GiveUp, Reason::Refused)
        );
    }

    #[test]
    fn what_is_odd_about_an_error_hides_nothing_else_of_it() {
        let odd = br#"{"error": {"code": "429", "message": null, "status": 8, "details": [7, {"@type": "google.rpc.RetryInfo", "retryDelay": "2s"}], "new": "\ud83e"}}"#;
        let after = Some(Duration::from_secs(2));
        assert_eq!(
            GoogleError::read(odd).unwrap().meaning(200).advice,
            Advice::Again { after }
        );
        let words = GoogleError::read(br#"{"error": "Please retry in 2s."}"#).unwrap();
        assert_eq!(words.meaning(429).advice, Advice::Again { after });
    }

    #[test]
    fn errors_stand_in_arrays_too_and_may_be_none_at_all() {
        let in_array = GoogleError::read(br#" [{"error": {"code": 503}}]"#).unwrap();
        assert_eq!(in_array.meaning(200).status, "503");
        for body in [&b"[]"[..], b"<html>", b"", b"{}", br#"{"error": null}"#] {
            assert!(GoogleError::read(body).is_none());
        }
    }
}
