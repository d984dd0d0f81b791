//! A span for each call, in the trace of whoever calls if they say which (`traceparent`), and that in the answer. Only of whoever
//! is known: a stranger's word that all of their calls are to be sampled would be the collector's flood.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use common::traces::{self, Span, SpanKind, TraceContext};

use super::Http;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Around a call. Health and the page's files are nobody's question.
pub(super) async fn traced(State(http): State<Arc<Http>>, call: Request, next: Next) -> Response {
    if !traces::is_on() {
        return next.run(call).await;
    }
    let route = call.extensions().get::<MatchedPath>().cloned();
    let Some(route) = route.filter(|route| is_traced(route.as_str())) else {
        return next.run(call).await;
    };
    let (method, route) = (call.method().clone(), route.as_str());
    let caller = call.headers().get(TRACEPARENT);
    let mut caller = caller.and_then(|given| TraceContext::read(given.to_str().ok()?));
    let is_asked = caller.is_some_and(TraceContext::is_sampled);
    // What is sampled then is what this server samples by itself.
    if is_asked {
        let headers = call.headers().clone();
        // The call itself finds them remembered then.
        let known = http.services.sessions.authenticate(&headers).await;
        caller = caller.filter(|_| known.is_ok());
    }
    let mut span = Span::root("call", SpanKind::Server, caller);
    if span.context().is_some() {
        span.rename(format!("{method} {route}"));
        span.set("http.request.method", method.to_string());
        span.set("http.route", route.to_owned());
    }
    // What is sent on a socket is a trace of its own, unless whoever connects has one for it.
    let inside = match is_socket(route) && caller.is_none() {
        true => None,
        false => span.context(),
    };
    let mut answer = traces::within(inside, next.run(call)).await;
    let status = answer.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.failed(status);
    }
    let context = span.any_context().map(|context| context.to_string());
    if let Some(Ok(context)) = context.map(HeaderValue::try_from) {
        answer.headers_mut().insert(TRACEPARENT, context);
    }
    answer
}

fn is_traced(route: &str) -> bool {
    route.contains("/api/") || is_socket(route)
}

fn is_socket(route: &str) -> bool {
    route.ends_with("/ws") || route.contains("/ws/chat/")
}
