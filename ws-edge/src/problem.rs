//! How a call is refused: an RFC 9457 problem document with the wire's own code in it, so that a program that knows
//! the socket's errors knows these as well.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{store::StoreError, timeline::TimelineError, wire::ErrorCode};
use serde::Serialize;

use crate::access::AccessError;

/// When to try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub(crate) struct Problem {
    /// The answer's status.
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) code: ErrorCode,
    /// For people.
    pub(crate) detail: String,
    /// When another attempt makes sense.
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// 400.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, detail)
    }

    /// A status of its own where the wire's code is just `bad_request`: 405, 409, 415.
    pub(crate) fn bad_request_as(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem::new(status, ErrorCode::BadRequest, detail)
    }

    /// 401.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, detail)
    }

    /// 403.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, detail)
    }

    /// 413.
    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, detail)
    }

    /// 429, with the time after which the next attempt is heard.
    pub(crate) fn rate_limited(detail: impl Into<String>, retry_after: Duration) -> Problem {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem {
            retry_after: Some(retry_after),
            ..Problem::new(status, ErrorCode::RateLimited, detail)
        }
    }

    /// 503: something behind is away or full.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem {
            retry_after: Some(RETRY_AFTER),
            ..Problem::new(status, ErrorCode::Unavailable, detail)
        }
    }

    /// 500: a fault of this program. What exactly is in the log, not in the answer.
    pub(crate) fn internal() -> Problem {
        let detail = "the server made a mistake; it is in its log";
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unavailable,
            detail,
        )
    }
}

/// The document. `about:blank` says that the title is the status's own and the code says the rest.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: ErrorCode,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let body = serde_json::to_string(&document).expect("strings and numbers always serialise");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        // An error is true for one caller at one moment; nobody may keep it.
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, no_store);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: earlier would be refused again.
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
            );
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(%why, "a call fails: the store is unavailable");
                Problem::unavailable("the database does not answer just now")
            }
            StoreError::Taken => {
                Problem::bad_request_as(StatusCode::CONFLICT, StoreError::Taken.to_string())
            }
            StoreError::Forbidden(why) | StoreError::Full(why) => Problem::forbidden(why),
            StoreError::NotFound(what) => Problem::not_found(what),
            StoreError::TooOften { limit, again_in } => Problem::rate_limited(limit, again_in),
        }
    }
}

impl From<TimelineError> for Problem {
    fn from(error: TimelineError) -> Problem {
        tracing::warn!(%error, "a page of history cannot be read");
        Problem::unavailable("this room's history cannot be read without a gap just now")
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Problem {
        match error {
            AccessError::NotFound => {
                Problem::not_found("there is no such room, or you may not see it")
            }
            AccessError::Unavailable => {
                Problem::unavailable("the database does not answer just now")
            }
        }
    }
}
