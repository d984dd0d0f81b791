//! Where finished spans go: to a collector, by OTLP over HTTP. One that hangs or is gone costs nothing: spans wait in a queue
//! with an end, beside everything else, and what does not fit is dropped. It is told once, and once when it is back.

use std::{
    env, fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;
use clap::Args;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};

use super::TRACER;
use crate::causes::WithCauses;

/// How long the collector may take for one batch of spans.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// How long a process that ends waits for its last spans to be taken.
const LAST_LIMIT: Duration = Duration::from_secs(1);

/// Where traces go. The standard's other names, such as `OTEL_TRACES_SAMPLER`, are read by its own library.
#[derive(Args, Clone, Debug, Default)]
pub struct TraceSettings {
    /// Where a collector takes traces by OTLP over HTTP, as in http://127.0.0.1:4318; without it there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = check_url)]
    pub otel_exporter_otlp_endpoint: Option<String>,
}

fn check_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("write http://host:port, or https://".to_owned()),
    }
}

/// What sends this process's traces, if that is set.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends this program's traces from now on, if that is set. Must be called on a Tokio runtime.
pub(crate) fn begin(settings: &TraceSettings, program: &str) {
    let Some(endpoint) = &settings.otel_exporter_otlp_endpoint else {
        return;
    };
    if env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return;
    }
    match provider(endpoint, program) {
        Ok(provider) => {
            let provider = PROVIDER.get_or_init(|| provider);
            TRACER.get_or_init(|| provider.tracer("chinwag"));
            tracing::info!("traces are sent");
        }
        // Nobody is to be without chat for want of traces.
        Err(why) => tracing::error!(why, "no traces are sent"),
    }
}

/// Sends the last ones, within about a second.
pub(crate) async fn finish() {
    if let Some(provider) = PROVIDER.get() {
        // From a thread of the library's own, which needs this runtime; so whoever waits is none of its workers.
        let last = spawn_blocking(|| drop(provider.shutdown_with_timeout(LAST_LIMIT)));
        drop(timeout(2 * LAST_LIMIT, last).await);
    }
}

fn provider(endpoint: &str, program: &str) -> Result<SdkTracerProvider, String> {
    let client = Collector {
        http: reqwest::Client::builder()
            .timeout(SEND_LIMIT)
            .build()
            .map_err(|error| WithCauses(&error).to_string())?,
        runtime: Handle::current(),
        is_away: AtomicBool::new(false),
    };
    let traces = env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let traces = traces.unwrap_or_else(|_| format!("{}/v1/traces", endpoint.trim_end_matches('/')));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(traces)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| WithCauses(&error).to_string())?;
    let is_named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|all| all.contains("service.name="));
    let mut resource = Resource::builder();
    if !is_named {
        resource = resource.with_service_name(program.to_owned());
    }
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}

/// The collector, as one reaches it: by this process's one HTTP client, on its runtime.
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    is_away: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let call = self
            .http
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(body);
        // Whoever calls is a thread without a runtime.
        let sent = self.runtime.spawn(async move {
            let answer = call.send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let sent = sent.await.map_err(|_| "the process ends")?;
        match &sent {
            Ok((status, _)) if status.is_success() => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("traces are taken again");
                }
            }
            refused => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    let why = match refused {
                        Ok((status, _)) => status.to_string(),
                        // Without its address, in which there may be a password.
                        Err(error) if error.is_timeout() => "no answer in time".to_owned(),
                        Err(error) if error.is_connect() => "no connection".to_owned(),
                        Err(_) => "the connection broke".to_owned(),
                    };
                    tracing::warn!(
                        why,
                        "traces are not taken (OTEL_EXPORTER_OTLP_ENDPOINT); they are dropped until that changes, which is told"
                    );
                }
            }
        }
        let (status, body) = sent.map_err(|error| HttpError::from(error.without_url()))?;
        Ok(Response::builder().status(status).body(body)?)
    }
}
