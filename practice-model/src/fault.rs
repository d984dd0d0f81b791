//! Google's errors, word for word as they come over the wire. The worker has to read the delay and the quota out of them,
//! so the details are where the real ones have them, and missing where the real ones lack them.

use serde_json::{Value, json};

use crate::behaviour::{Fault, RetryDelay};

/// An error as it goes out: the HTTP status and the body.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorReply {
    /// The HTTP status.
    pub code: u16,
    /// Google's name for it, such as `RESOURCE_EXHAUSTED`.
    pub status: &'static str,
    /// What went wrong, for people.
    pub message: String,
    /// Google's `details`, left out when empty.
    pub details: Vec<Value>,
}

impl ErrorReply {
    /// A 400 INVALID_ARGUMENT with that message.
    pub fn invalid_argument(message: impl Into<String>) -> ErrorReply {
        ErrorReply::plain(400, "INVALID_ARGUMENT", message)
    }

    /// A 404 for a path that is none of Gemini's.
    pub fn no_such_call() -> ErrorReply {
        ErrorReply::plain(
            404,
            "NOT_FOUND",
            "The practice model knows generateContent, streamGenerateContent and models only.",
        )
    }

    fn plain(code: u16, status: &'static str, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            code,
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// `{"error": {...}}`.
    pub fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({ "error": error })
    }

    /// `429 RESOURCE_EXHAUSTED`: how the record names it.
    pub fn name(&self) -> String {
        format!("{} {}", self.code, self.status)
    }
}

const EXHAUSTED: &str = "RESOURCE_EXHAUSTED";

/// The quota that a 429 speaks of.
#[derive(Debug, Clone, Copy)]
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

/// The error of a fault. `limit` is the real one, where a quota is counted; `retry` is 1 s where an error needs one and
/// none is given.
pub fn error_reply(
    fault: Fault,
    model: &str,
    retry: Option<&RetryDelay>,
    limit: Option<u64>,
) -> ErrorReply {
    let one_second = RetryDelay::from(std::time::Duration::from_secs(1));
    let with_retry = Some(retry.unwrap_or(&one_second));
    match fault {
        Fault::InvalidArgument => {
            ErrorReply::invalid_argument("Request contains an invalid argument.")
        }
        Fault::FailedPrecondition => ErrorReply::plain(
            400,
            "FAILED_PRECONDITION",
            "User location is not supported for the API use.",
        ),
        Fault::KeyInvalid => key_invalid(),
        Fault::CreditUsedUp => ErrorReply::plain(
            402,
            EXHAUSTED,
            "Your prepayment credits are depleted. Please add credit to go on.",
        ),
        Fault::PermissionDenied => ErrorReply::plain(
            403,
            "PERMISSION_DENIED",
            "Your API key was reported as leaked. Please use another API key.",
        ),
        Fault::NotFound => not_found(model),
        Fault::RequestsPerMinute => over_quota(&[REQUESTS_PER_MINUTE], model, with_retry, limit),
        Fault::TokensPerMinute => over_quota(&[TOKENS_PER_MINUTE], model, with_retry, limit),
        Fault::RequestsPerDay => over_quota(&[REQUESTS_PER_DAY], model, retry, limit),
        Fault::AllQuotas => over_quota(
            &[TOKENS_PER_MINUTE, REQUESTS_PER_MINUTE, REQUESTS_PER_DAY],
            model,
            with_retry,
            limit,
        ),
        Fault::MessageOnly => {
            let delay = with_retry.map(RetryDelay::text).unwrap_or_default();
            ErrorReply::plain(
                429,
                EXHAUSTED,
                format!("You exceeded your current quota. Please retry in {delay}."),
            )
        }
        Fault::Bare => ErrorReply::plain(
            429,
            EXHAUSTED,
            "Resource has been exhausted (e.g. check quota).",
        ),
        Fault::Internal => ErrorReply::plain(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report.",
        ),
        Fault::Unavailable => ErrorReply::plain(
            503,
            "UNAVAILABLE",
            "The model is overloaded. Please try again later.",
        ),
        Fault::DeadlineExceeded => ErrorReply::plain(
            504,
            "DEADLINE_EXCEEDED",
            "Deadline expired before operation could complete.",
        ),
    }
}

/// A call without a key.
pub fn key_missing() -> ErrorReply {
    ErrorReply::plain(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of \
         API consumer identity to call this API.",
    )
}

/// A model that is not there, or is no more.
pub fn not_found(model: &str) -> ErrorReply {
    ErrorReply::plain(
        404,
        "NOT_FOUND",
        format!(
            "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see \
             the list of available models and their supported methods."
        ),
    )
}

fn key_invalid() -> ErrorReply {
    let mut error = ErrorReply::invalid_argument("API key not valid. Please pass a valid API key.");
    error.details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    })];
    error
}

fn over_quota(
    quotas: &[QuotaName],
    model: &str,
    retry: Option<&RetryDelay>,
    limit: Option<u64>,
) -> ErrorReply {
    let mut message =
        "You exceeded your current quota, please check your plan and billing details.".to_owned();
    let mut violations = Vec::new();
    for quota in quotas {
        let limit = limit.unwrap_or(quota.limit);
        message.push_str(&format!(
            "\n* Quota exceeded for metric: {}, limit: {limit}, model: {model}",
            quota.metric
        ));
        violations.push(json!({
            "quotaMetric": quota.metric,
            "quotaId": quota.id,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": limit.to_string(),
        }));
    }
    let mut error = ErrorReply::plain(429, EXHAUSTED, message);
    error.details = vec![
        json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}),
        json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
        }),
    ];
    if let Some(retry) = retry {
        error
            .message
            .push_str(&format!("\nPlease retry in {}.", retry.text()));
        error.details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry.text()}));
    }
    error
}
