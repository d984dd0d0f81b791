//! The routes: Gemini's calls, those of the OpenAI-compatible chat API, and the control calls under `/practice`. It walks
//! the scripts and notices who hangs up; what happens is decided in `practice` and `script`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::chat::{ChatCall, Speech};
use crate::fault::ErrorReply;
use crate::gemini::{INPUT_TOKEN_LIMIT, OUTPUT_TOKEN_LIMIT};
use crate::order::{Behaviour, Outcome};
use crate::practice::{Call, Orders, Practice, micros_since_epoch};
use crate::record::{CallUse, Record};
use crate::script::{JSON, Script, Step, error_body};

/// Largest body, as Gemini's own.
const BODY_LIMIT_BYTES: usize = 20 * 1024 * 1024;

const ABOUT: &str = "This is Chinwag's practice model: it speaks Gemini's REST and SSE, is no model, and needs no key.\n";

/// The models that are listed: the ones that the settings' defaults speak of.
const LISTED_MODELS: [&str; 4] = [
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
];

type Shared = State<Arc<Practice>>;

/// All routes.
pub(crate) fn router(practice: Arc<Practice>) -> Router {
    Router::new()
        .route("/", get(|| async { ABOUT }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1beta/models/{call}", get(show_model).post(generate))
        .route("/v1/models", get(list_chat_models))
        .route("/v1/chat/completions", post(chat))
        .route("/practice/behaviour", post(set_orders))
        .route("/practice/requests", get(requests))
        .route("/practice/reset", post(reset))
        .fallback(async || refusal(&ErrorReply::no_such_call(), Speech::Gemini))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(practice)
}

async fn generate(
    State(practice): Shared,
    Path(call): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(model) = call.strip_suffix(":streamGenerateContent") else {
        return refusal(&ErrorReply::no_such_call(), Speech::Gemini);
    };
    let id = practice.write(|record| record.begin(model, micros_since_epoch(), &body));
    let mut under_way = UnderWay::new(&practice, id);

    let refused = refuse_key(&headers, &query).or_else(|| {
        // Without it Gemini streams one JSON array, bit by bit. Nobody here wants that; it would be a forgotten parameter.
        let is_sse = query.get("alt").is_some_and(|alt| alt == "sse");
        (!is_sse)
            .then(|| ErrorReply::invalid_argument("The practice model streams with alt=sse only."))
    });
    if let Some(error) = refused {
        under_way.decided(&error.name());
        under_way.end();
        return refusal(&error, Speech::Gemini);
    }
    let call = Call {
        speech: Speech::Gemini,
        model,
        body: &body,
        id,
    };
    answer(&practice, &call, under_way).await
}

/// Takes any key, and none: servers at home want none.
async fn chat(State(practice): Shared, body: Bytes) -> Response {
    let read = ChatCall::read(&body);
    let model = read.as_ref().map_or("", |call| call.model.as_str());
    let id = practice.write(|record| record.begin(model, micros_since_epoch(), &body));
    let mut under_way = UnderWay::new(&practice, id);
    match &read {
        Err(problem) => {
            let error = ErrorReply::invalid_argument(problem);
            under_way.decided(&error.name());
            under_way.end();
            refusal(&error, Speech::Chat)
        }
        Ok(read) => {
            let call = Call {
                speech: Speech::Chat,
                model,
                body: &read.body,
                id,
            };
            answer(&practice, &call, under_way).await
        }
    }
}

async fn answer(practice: &Practice, call: &Call<'_>, under_way: UnderWay) -> Response {
    let decision = practice.decide(call);
    under_way.decided(&decision.outcome);
    if !decision.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(decision.delay) => {}
            () = practice.stopping.cancelled() => {}
        }
    }
    perform(decision.script, under_way).await
}

/// The key belongs into the header: one in the URL ends in logs, so here it is refused, which the real one would not.
fn refuse_key(headers: &HeaderMap, query: &HashMap<String, String>) -> Option<ErrorReply> {
    if query.contains_key("key") {
        return Some(ErrorReply::invalid_argument(
            "The practice model takes no key in the URL: it would end in logs. Use x-goog-api-key.",
        ));
    }
    let has_key = headers
        .get("x-goog-api-key")
        .is_some_and(|key| !key.is_empty());
    (!has_key).then(ErrorReply::key_missing)
}

async fn perform(script: Script, mut under_way: UnderWay) -> Response {
    match script {
        Script::Hang => {
            under_way.practice.stopping.cancelled().await;
            under_way.end();
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Script::Drop => {
            under_way.end();
            // The connection's task is its own: unwinding it closes the socket without a byte, and `resume_unwind`, unlike
            // `panic!`, prints nothing.
            std::panic::resume_unwind(Box::new("the order was to drop the connection"))
        }
        Script::Respond {
            status,
            content_type,
            steps,
        } => {
            let body = match steps.as_slice() {
                // What is all there is over before it is sent.
                [] | [Step::Send(_)] => {
                    under_way.end();
                    let bytes = steps.into_iter().find_map(Step::sent);
                    Body::from(bytes.unwrap_or_default())
                }
                _ => body_of(steps, under_way),
            };
            response(status, &content_type, body)
        }
    }
}

/// A body that takes the steps one by one. Whoever hangs up drops it, and with it `under_way`, which notes that.
fn body_of(steps: Vec<Step>, under_way: UnderWay) -> Body {
    let walk = stream::unfold(
        (steps.into_iter(), under_way),
        |(mut steps, mut under_way)| async move {
            let stopping = under_way.practice.stopping.clone();
            loop {
                let item = match steps.next() {
                    None => {
                        under_way.end();
                        return None;
                    }
                    Some(Step::Send(bytes)) => Ok(bytes),
                    Some(Step::Used(used)) => {
                        under_way.used(used);
                        continue;
                    }
                    Some(Step::Wait(time)) => tokio::select! {
                        () = tokio::time::sleep(time) => continue,
                        () = stopping.cancelled() => Err(closed()),
                    },
                    Some(Step::Stall) => {
                        stopping.cancelled().await;
                        Err(closed())
                    }
                    Some(Step::Cut) => {
                        // Lets the server write out what it was given before; with the error it drops what it holds.
                        tokio::task::yield_now().await;
                        Err(closed())
                    }
                };
                if item.is_err() {
                    under_way.end();
                }
                return Some((item, (steps, under_way)));
            }
        },
    );
    Body::from_stream(walk)
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the order was to close the connection",
    )
}

/// A call that is not over. Dropped before its end, it was the caller who hung up.
struct UnderWay {
    practice: Arc<Practice>,
    id: u64,
    ended: bool,
}

impl UnderWay {
    fn new(practice: &Arc<Practice>, id: u64) -> UnderWay {
        UnderWay {
            practice: Arc::clone(practice),
            id,
            ended: false,
        }
    }

    fn decided(&self, outcome: &str) {
        self.practice
            .write(|record| record.note(self.id, |call| outcome.clone_into(&mut call.outcome)));
    }

    fn used(&self, used: CallUse) {
        self.practice.write(|record| record.used(self.id, used));
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.practice
                .write(|record| record.end(self.id, micros_since_epoch(), false));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.ended {
            let hung_up = !self.practice.stopping.is_cancelled();
            self.practice
                .write(|record| record.end(self.id, micros_since_epoch(), hung_up));
        }
    }
}

async fn list_chat_models(State(practice): Shared) -> Json<Value> {
    practice.write(Record::model_check);
    let models =
        LISTED_MODELS.map(|name| json!({"id": name, "object": "model", "owned_by": "practice"}));
    Json(json!({"object": "list", "data": models}))
}

/// Any model is there, unless an order says otherwise.
async fn show_model(
    State(practice): Shared,
    Path(model): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    practice.write(Record::model_check);
    if let Some(error) = refuse_key(&headers, &query) {
        return refusal(&error, Speech::Gemini);
    }
    let behaviour = practice.decide_model(&model).unwrap_or_default();
    match &behaviour.outcome {
        Some(Outcome::Error(fault)) => {
            let error = fault.reply(&model, behaviour.retry.as_deref(), None);
            error_response(&error, &behaviour, Speech::Gemini)
        }
        Some(Outcome::Hang) => {
            practice.stopping.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        _ => {
            let model = json!({
                "name": format!("models/{model}"),
                "version": "practice",
                "displayName": format!("Practice model in the place of {model}"),
                "inputTokenLimit": INPUT_TOKEN_LIMIT,
                "outputTokenLimit": OUTPUT_TOKEN_LIMIT,
                "supportedGenerationMethods": ["streamGenerateContent"],
            });
            Json(model).into_response()
        }
    }
}

async fn set_orders(State(practice): Shared, body: Bytes) -> Response {
    // Read by hand, so that no content type has to be given with curl.
    let set = serde_json::from_slice::<Orders>(&body)
        .map_err(|error| error.to_string())
        .and_then(|orders| practice.set(&orders).map_err(|error| error.to_string()));
    match set {
        Ok(()) => Json(json!({})).into_response(),
        Err(problem) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))).into_response()
        }
    }
}

async fn requests(
    State(practice): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let after = query
        .get("after")
        .and_then(|after| after.parse().ok())
        .unwrap_or(0);
    Json(practice.read(|record| {
        json!({
            "requests": record.after(after),
            "received": record.received(),
            "model_checks": record.model_checks(),
            "used": record.used_by_model(),
            "quota": practice.quota_report(),
        })
    }))
}

async fn reset(State(practice): Shared) -> Json<Value> {
    practice.reset();
    Json(json!({}))
}

/// An error that is no order's.
fn refusal(error: &ErrorReply, speech: Speech) -> Response {
    error_response(error, &Behaviour::default(), speech)
}

fn error_response(error: &ErrorReply, behaviour: &Behaviour, speech: Speech) -> Response {
    let (status, body) = error_body(error, behaviour, speech);
    response(status, JSON, body.into())
}

fn response(status: u16, content_type: &str, body: Body) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    // An order may name anything; what no header can hold is none.
    if let Ok(kind) = content_type.parse::<HeaderValue>()
        && !kind.is_empty()
    {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
