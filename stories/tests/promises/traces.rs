//! A trace from the socket to the row, as a collector that speaks the standard's protocol is told it.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use chat_client::http;
use futures_util::SinkExt as _;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue,
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::json;
use stories::{Chat, PATIENCE, Person, Setup, until};
use tokio::net::TcpListener;
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest as _};

/// What a span was told as, and by whom.
#[derive(Clone)]
struct Told {
    service: String,
    span: Span,
}

/// A collector.
#[derive(Clone, Default)]
struct Collector {
    told: Arc<Mutex<Vec<Told>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Collector {
    async fn start() -> (Collector, SocketAddr) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        (collector, address)
    }

    /// The spans of a trace, by the name of the service and their own.
    fn of(&self, trace: &str) -> Vec<Told> {
        let told = self.told.lock().expect("not poisoned");
        let of_it = told
            .iter()
            .filter(|one| hex(&one.span.trace_id) == trace)
            .cloned();
        of_it.collect()
    }

    /// The trace in which something of this name has this message's id.
    fn trace_of(&self, message: &str) -> Option<String> {
        let told = self.told.lock().expect("not poisoned");
        let named = told
            .iter()
            .find(|one| attribute(&one.span, "messaging.message.id").as_deref() == Some(message));
        named.map(|one| hex(&one.span.trace_id))
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    collector
        .headers
        .lock()
        .expect("not poisoned")
        .push(headers);
    let request = ExportTraceServiceRequest::decode(body).expect("it is the standard's protobuf");
    for resource in request.resource_spans {
        let attributes = resource.resource.expect("it says who").attributes;
        let named = attributes.iter().find(|one| one.key == "service.name");
        let service = named.and_then(|one| match one.value.as_ref()?.value.as_ref()? {
            AnyValue::StringValue(name) => Some(name.clone()),
            _ => None,
        });
        let service = service.expect("a name");
        let spans = resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        let told = spans.map(|span| Told {
            service: service.clone(),
            span,
        });
        collector.told.lock().expect("not poisoned").extend(told);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        AnyValue::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

fn settings(endpoint: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=chat".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ]
}

const QUESTION: [&str; 12] = [
    "send",
    "place",
    "publish",
    "queue",
    "persist",
    "answer",
    "wait for turn",
    "wait for a slot",
    "wait for quota",
    "ask the model",
    "drafts",
    "reply",
];

/// Waits until the trace of a message has all of these, each with a parent that is there, and returns it.
async fn whole(collector: &Collector, trace: &str, names: &[&str]) -> Vec<Told> {
    until(&format!("the trace has {names:?}"), PATIENCE, async || {
        let spans = collector.of(trace);
        let has = |name: &&str| spans.iter().any(|one| one.span.name == **name);
        let known = |id: &[u8]| spans.iter().any(|one| one.span.span_id == id);
        let hangs = |one: &Told| {
            let parent = &one.span.parent_span_id;
            parent.is_empty() || known(parent) || hex(parent) == CALLER
        };
        (names.iter().all(has) && spans.iter().all(hangs)).then_some(spans)
    })
    .await
}

const CALLER: &str = "00f067aa0ba902b7";

/// A question from its socket to the row of its answer.
async fn a_question_is_one_trace(chat: &Chat, collector: &Collector, services: [&str; 3]) {
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave_next(["503", "ok"]).expect("it can");
    let question = ada.says("@bot what is two plus two?").await;
    ada.gets_reply_to(question).await;
    let trace = until("the question is told", PATIENCE, async || {
        collector.trace_of(&question.to_string())
    })
    .await;
    let spans = whole(collector, &trace, &QUESTION).await;
    let by: HashMap<&str, &str> = spans
        .iter()
        .map(|one| (one.span.name.as_str(), one.service.as_str()))
        .collect();
    let [edge, worker, persister] = services;
    assert_eq!(by["send"], edge);
    assert_eq!(by["answer"], worker);
    assert_eq!(by["persist"], persister);
    let asked = spans.iter().filter(|one| one.span.name == "ask the model");
    let statuses: HashSet<String> = asked
        .filter_map(|one| attribute(&one.span, "status"))
        .collect();
    assert!(
        statuses.len() == 2 && statuses.contains("ok"),
        "{statuses:?}"
    );
    // The line that says what failed has the trace's id.
    let log = chat.workers.first().unwrap_or(&chat.edges[0]).log();
    let line = log.lines().find(|line| line.contains("the model failed"));
    let line = line.expect("it is told");
    assert!(line.contains(&format!("trace_id={trace}")), "{line}");
    // The question, and its answer; each linked with the batch in which it was written.
    let rows = || spans.iter().filter(|one| one.span.name == "persist");
    until("both rows are told", PATIENCE, async || {
        let spans = collector.of(&trace);
        let rows = spans.iter().filter(|one| one.span.name == "persist");
        (rows.count() == 2).then_some(())
    })
    .await;
    assert!(rows().all(|one| one.span.links.len() == 1));
    let sent = collector.headers.lock().expect("not poisoned");
    assert!(sent.iter().all(|headers| headers["x-tenant"] == "chat"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_one_trace_over_all_services() {
    let (collector, endpoint) = Collector::start().await;
    let chat = Chat::with(Setup {
        settings: settings(endpoint),
        ..Setup::default()
    })
    .await;
    a_question_is_one_trace(&chat, &collector, ["ws-edge", "bot-worker", "persister"]).await;

    // A caller's trace is gone on with, and told in the answer; by HTTP, and for all of a socket.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let bob = Person::register(&chat.url(0), "bob").await;
    let posting = http()
        .post(format!("{}/api/rooms/lobby/messages", chat.url(0)))
        .bearer_auth(&bob.token)
        .header("traceparent", format!("00-{trace}-{CALLER}-01"))
        .json(&json!({"message": "by a program"}));
    let answer = posting.send().await.expect("it answers");
    assert_eq!(answer.status(), 200);
    let told = answer.headers()["traceparent"].to_str().expect("text");
    assert!(
        told.starts_with(&format!("00-{trace}-")) && !told.contains(CALLER),
        "{told}"
    );
    let spans = whole(
        &collector,
        trace,
        &["place", "publish", "persist", "persist batch"],
    )
    .await;
    let name = "POST /api/rooms/{room}/messages";
    let call = spans.iter().find(|one| one.span.name == name);
    assert_eq!(hex(&call.expect("it is told").span.parent_span_id), CALLER);

    // What is sent on a socket belongs to the trace with which it was opened.
    let of_the_socket = trace.replace('4', "6");
    let url = format!("ws://{}/ws/chat/lobby", chat.edges[0].listen);
    let mut opening = url.into_client_request().expect("a call");
    for (name, value) in [
        ("authorization", format!("Bearer {}", bob.token)),
        ("traceparent", format!("00-{of_the_socket}-{CALLER}-01")),
    ] {
        let value = value.parse().expect("a header");
        opening.headers_mut().insert(name, value);
    }
    let (mut socket, opened) = connect_async(opening).await.expect("it opens");
    let told = opened.headers()["traceparent"].to_str().expect("text");
    assert!(told.starts_with(&format!("00-{of_the_socket}-")), "{told}");
    let frame = json!({"message": "on a socket"}).to_string();
    socket.send(frame.into()).await.expect("it is open");
    let spans = ["send", "place", "publish", "queue", "persist"];
    whole(&collector, &of_the_socket, &spans).await;

    // Whoever is not known does not decide what is sampled.
    let strangers = trace.replace('4', "7");
    for token in ["", "Bearer made-up"] {
        let mut call = http().get(format!("{}/api/me", chat.url(0)));
        call = call.header("traceparent", format!("00-{strangers}-{CALLER}-01"));
        if !token.is_empty() {
            call = call.header("authorization", token);
        }
        let answer = call.send().await.expect("it answers");
        assert_eq!(answer.status(), 401);
        let told = answer.headers()["traceparent"].to_str().expect("text");
        assert!(!told.contains(&strangers), "{told}");
        // It is sampled as any other call is.
        let own = told.split('-').nth(1).expect("a trace").to_owned();
        until("the call is told", PATIENCE, async || {
            (!collector.of(&own).is_empty()).then_some(())
        })
        .await;
    }
    assert!(collector.of(&strangers).is_empty());

    // Whoever is not sampled is not traced, and keeps the trace's id.
    let unsampled = http()
        .get(format!("{}/api/me", chat.url(0)))
        .bearer_auth(&bob.token)
        .header(
            "traceparent",
            format!("00-{}-{CALLER}-00", trace.replace('4', "5")),
        )
        .send()
        .await
        .expect("it answers");
    let told = unsampled.headers()["traceparent"].to_str().expect("text");
    assert!(told.ends_with("-00"), "{told}");
    assert!(collector.of(&trace.replace('4', "5")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_all_in_one_tells_the_same_trace() {
    let (collector, endpoint) = Collector::start().await;
    let chat = Chat::all_in_one_with(&settings(endpoint)).await;
    a_question_is_one_trace(&chat, &collector, ["chinwag"; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_is_gone_costs_nobody_anything_and_is_told_once() {
    // It takes connections and says nothing, ever.
    let hangs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = hangs.local_addr().expect("it has one");
    let chat = Chat::all_in_one_with(&settings(endpoint)).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    for n in 0..300 {
        ada.says_and_is_acked(&format!("message {n}")).await;
    }
    // Gone altogether: what waits for an answer breaks off, and nothing can be sent any more.
    drop(hangs);
    let edge = &chat.edges[0];
    until("it is told", PATIENCE, async || {
        edge.log().contains("traces are not taken").then_some(())
    })
    .await;
    for n in 0..100 {
        ada.says_and_is_acked(&format!("message after {n}")).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(edge.log().matches("traces are not taken").count(), 1);
    assert!(edge.terminate().await.success());
}
