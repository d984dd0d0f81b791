//! Google's errors, word for word as they come over the wire. The worker has to read the delay and the quota out of them,
//! so the details are where the real ones have them, and missing where the real ones lack them.

use serde_json::{Value, json};

/// An error that can be ordered.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    /// The word that asks for it: the HTTP status, and which of several errors with that status.
    pub word: &'static str,
    /// `{model}` stands for the model's name, `{retry}` for the delay.
    message: &'static str,
    /// The quotas that were exceeded; with them come `QuotaFailure` and, for all but the day's, `RetryInfo`.
    quotas: &'static [QuotaName],
}

/// The quota that a 429 speaks of.
#[derive(Debug, PartialEq)]
struct QuotaName {
    metric: &'static str,
    id: &'static str,
    /// What the error says the limit is, where no quota is counted.
    limit: u64,
}

const REQUESTS_PER_MINUTE: QuotaName = QuotaName {
    metric: "generativelanguage.googleapis.com/generate_content_paid_tier_requests",
    id: "GenerateRequestsPerMinutePerProjectPerModel-PaidTier",
    limit: 10,
};
const TOKENS_PER_MINUTE: QuotaName = QuotaName {
    metric: "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
    id: "GenerateContentPaidTierInputTokensPerModelPerMinute",
    limit: 250_000,
};
const REQUESTS_PER_DAY: QuotaName = QuotaName {
    metric: "generativelanguage.googleapis.com/generate_content_paid_tier_requests",
    id: "GenerateRequestsPerDayPerProjectPerModel-PaidTier",
    limit: 250,
};

const OVER_QUOTA: &str =
    "You exceeded your current quota, please check your plan and billing details.";
const KEY_INVALID: &str = "API key not valid. Please pass a valid API key.";
const NOT_FOUND: &str = "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                         ListModels to see the list of available models and their supported methods.";

const fn fault(word: &'static str, message: &'static str, quotas: &'static [QuotaName]) -> Fault {
    Fault {
        word,
        message,
        quotas,
    }
}

/// Requests per minute were exceeded.
pub(crate) static OVER_REQUESTS: Fault = fault("429", OVER_QUOTA, &[REQUESTS_PER_MINUTE]);
/// Input tokens per minute were.
pub(crate) static OVER_TOKENS: Fault = fault("429-tokens", OVER_QUOTA, &[TOKENS_PER_MINUTE]);

static FAULTS: [Fault; 13] = [
    fault("400", "Request contains an invalid argument.", &[]),
    fault(
        "400-precondition",
        "User location is not supported for the API use.",
        &[],
    ),
    // A key that Google does not know is a 400 with the reason API_KEY_INVALID, not a 403.
    fault("400-key", KEY_INVALID, &[]),
    fault(
        "402",
        "Your prepayment credits are depleted. Please add credit to go on.",
        &[],
    ),
    fault(
        "403",
        "Your API key was reported as leaked. Please use another API key.",
        &[],
    ),
    fault("404", NOT_FOUND, &[]),
    fault("429-day", OVER_QUOTA, &[REQUESTS_PER_DAY]),
    // With a `RetryInfo` that cannot be true for the day's.
    fault(
        "429-all",
        OVER_QUOTA,
        &[TOKENS_PER_MINUTE, REQUESTS_PER_MINUTE, REQUESTS_PER_DAY],
    ),
    fault(
        "429-message",
        "You exceeded your current quota. Please retry in {retry}.",
        &[],
    ),
    fault(
        "429-bare",
        "Resource has been exhausted (e.g. check quota).",
        &[],
    ),
    fault(
        "500",
        "An internal error has occurred. Please retry or report.",
        &[],
    ),
    fault(
        "503",
        "The model is overloaded. Please try again later.",
        &[],
    ),
    fault(
        "504",
        "Deadline expired before operation could complete.",
        &[],
    ),
];

impl Fault {
    /// The fault of a word, if it is one.
    pub(crate) fn of_word(word: &str) -> Option<&'static Fault> {
        [&OVER_REQUESTS, &OVER_TOKENS]
            .into_iter()
            .chain(&FAULTS)
            .find(|fault| fault.word == word)
    }

    fn code_and_status(&self) -> (u16, &'static str) {
        match self.word {
            "400-precondition" => (400, "FAILED_PRECONDITION"),
            "400" | "400-key" => (400, "INVALID_ARGUMENT"),
            "402" => (402, "RESOURCE_EXHAUSTED"),
            "403" => (403, "PERMISSION_DENIED"),
            "404" => (404, "NOT_FOUND"),
            "500" => (500, "INTERNAL"),
            "503" => (503, "UNAVAILABLE"),
            "504" => (504, "DEADLINE_EXCEEDED"),
            _ => (429, "RESOURCE_EXHAUSTED"),
        }
    }

    /// The error as it goes out. `limit` is the real one, where a quota is counted; `retry` is 1 s where an error needs
    /// one and none is given.
    pub(crate) fn reply(&self, model: &str, retry: Option<&str>, limit: Option<u64>) -> ErrorReply {
        let message = self
            .message
            .replace("{model}", model)
            .replace("{retry}", retry.unwrap_or("1s"));
        let (code, status) = self.code_and_status();
        let mut error = ErrorReply::plain(code, status, message);
        if self.message == KEY_INVALID {
            error.details.push(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }));
        }
        if self.quotas.is_empty() {
            return error;
        }
        let mut violations = Vec::new();
        for quota in self.quotas {
            let (metric, limit) = (quota.metric, limit.unwrap_or(quota.limit));
            error.message.push_str(&format!(
                "\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}"
            ));
            violations.push(json!({
                "quotaMetric": metric,
                "quotaId": quota.id,
                "quotaDimensions": {"location": "global", "model": model},
                "quotaValue": limit.to_string(),
            }));
        }
        error.details = vec![
            json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}),
            json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
            }),
        ];
        // For a day's quota alone the real one names none either.
        let always = (*self.quotas != [REQUESTS_PER_DAY]).then_some("1s");
        if let Some(retry) = retry.or(always) {
            error
                .message
                .push_str(&format!("\nPlease retry in {retry}."));
            error.details.push(
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry}),
            );
        }
        error
    }
}

/// An error as it goes out: the HTTP status and the body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ErrorReply {
    pub code: u16,
    /// Google's name for it, such as `RESOURCE_EXHAUSTED`.
    pub status: &'static str,
    /// What went wrong, for people.
    pub message: String,
    /// Google's `details`, left out when empty.
    pub details: Vec<Value>,
}

impl ErrorReply {
    fn plain(code: u16, status: &'static str, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            code,
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> ErrorReply {
        ErrorReply::plain(400, "INVALID_ARGUMENT", message)
    }

    /// For a path that is none of Gemini's.
    pub(crate) fn no_such_call() -> ErrorReply {
        let message = "The practice model knows streamGenerateContent and models only.";
        ErrorReply::plain(404, "NOT_FOUND", message)
    }

    /// A call without a key.
    pub(crate) fn key_missing() -> ErrorReply {
        let message = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key \
                       or other form of API consumer identity to call this API.";
        ErrorReply::plain(403, "PERMISSION_DENIED", message)
    }

    /// `{"error": {...}}`.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({ "error": error })
    }

    /// `429 RESOURCE_EXHAUSTED`: how the record names it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.code, self.status)
    }
}
