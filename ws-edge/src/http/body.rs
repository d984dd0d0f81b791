//! What a call brings along, read and checked, and refused in the same words wherever it is wrong.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, Path, Query, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
};
use common::{store::Session, wire::half_a_character};
use serde::de::DeserializeOwned;

use super::Http;
use crate::{admission::CallOrigin, problem::Problem, services::Services};

/// The most bytes of a call's body.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// Bodies up to this size are not counted while they come in.
const SMALL_BODY_BYTES: usize = 4 * 1024;

/// A JSON object. The content type must say so: a form of another site cannot set it without asking.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Http>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(call: Request, http: &Arc<Http>) -> Result<Self, Problem> {
        if !is_json(call.headers()) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::bad_request_as(
                status,
                "the content type must be application/json",
            ));
        }
        let length = call.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > BODY_MAX_BYTES) {
            return Err(too_large());
        }
        // Whoever sends it slowly holds a share of what their address may hold; but not of a small one, which is bounded by the
        // connections: others there could not log in.
        let origin = call.extensions().get::<CallOrigin>();
        let address = origin.ok_or_else(Problem::internal)?.address;
        let most = length.unwrap_or(BODY_MAX_BYTES);
        let answers = &http.services.answers;
        let _memory = match most {
            ..=SMALL_BODY_BYTES => None,
            _ => Some(answers.memory(None, address, most).await?),
        };
        let body = to_bytes(call.into_body(), BODY_MAX_BYTES)
            .await
            .map_err(|error| {
                let mut source: Option<&dyn std::error::Error> = Some(&error);
                while let Some(error) = source {
                    if error.is::<http_body_util::LengthLimitError>() {
                        return too_large();
                    }
                    source = error.source();
                }
                Problem::bad_request("the body broke off")
            })?;
        // Without this, a list of values would do for an object.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::bad_request("the body must be a JSON object"));
        }
        let value = serde_json::from_slice(&body);
        value.map(JsonBody).map_err(|error| {
            let why = error.to_string();
            let why = half_a_character(&why).unwrap_or(&why);
            Problem::bad_request(format!("the body is not as it should be: {why}"))
        })
    }
}

fn too_large() -> Problem {
    Problem::too_large(format!("a body may have {BODY_MAX_BYTES} bytes"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("");
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The parts of the address that stand for names.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Http>> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, http).await;
        // A name that cannot be one is the name of nothing.
        path.map(|Path(path)| InPath(path))
            .map_err(|_| Problem::not_found("there is nothing at this address"))
    }
}

/// What stands behind the question mark.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Http>> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Http>) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(query)| InQuery(query))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// Who is calling.
pub(super) struct Caller(pub(super) Arc<Session>);

impl FromRequestParts<Arc<Http>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, Problem> {
        let Address(address) = Address::from_request_parts(parts, http).await?;
        let Services {
            sessions,
            admission,
            ..
        } = &*http.services;
        let session = sessions.authenticate(&parts.headers).await?;
        if session.is_token && !is_for_programs(parts, &session.user, &http.base_path) {
            return Err(Problem::forbidden(
                "a program's token may not do this; log in for it",
            ));
        }
        admission.user_call(&session.user, address)?;
        Ok(Caller(session))
    }
}

/// What a token may call: it reads, posts, comes and goes, and makes rooms of its person's. All else could be used to stay after it
/// was revoked, or to take from its person what they have.
fn is_for_programs(parts: &Parts, user: &str, base_path: &str) -> bool {
    let route = parts.extensions.get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let route = route.strip_prefix(base_path).unwrap_or(route);
    match (&parts.method, route) {
        (method, _) if method.is_safe() => route == "/api/me" || route.starts_with("/api/rooms"),
        (&Method::POST, "/api/rooms" | "/api/rooms/{room}/messages") => true,
        // Taking an invitation, and leaving.
        (&Method::PUT | &Method::DELETE, "/api/rooms/{room}/members/{user}") => {
            parts.uri.path().rsplit('/').next() == Some(user)
        }
        _ => false,
    }
}

/// Where the call comes from: the peer, or what the proxy before this edge says.
pub(super) struct Address(pub(super) IpAddr);

impl FromRequestParts<Arc<Http>> for Address {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Http>) -> Result<Self, Problem> {
        let origin = parts.extensions.get::<CallOrigin>();
        origin
            .map(|origin| Address(origin.address))
            .ok_or_else(Problem::internal)
    }
}
