//! Gemini's REST and SSE: one call is one attempt. How it answers, and how it fails, is told by this project's notes on
//! Gemini; every line of them is a test in `tests/gemini.rs`, against the practice model.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Advice, Finished, Model, ModelError, Prompt, Role,
    answer::{Answer, cut, garbage, silent},
    google_error::GoogleError,
    sse::{EVENT_MAX_BYTES, SseParser},
};
use crate::fallback::Reason;

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long the check of one model at start may take.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// Idle connections are kept this long: a little shorter than what Google keeps them.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// HTTP/2 has all calls on one connection: one that died in silence would take the retries along, so it is pinged.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The most that is read of a body that is no stream, in bytes.
const BODY_MAX_BYTES: usize = EVENT_MAX_BYTES;
/// The most tokens an answer may have, thoughts included. A message of 4,000 characters needs 1,000 to 4,000.
const OUTPUT_TOKENS_MAX: u32 = 8_192;

/// Gemini, or whoever speaks as it does.
#[derive(Debug)]
pub struct Gemini {
    http: Client,
    base_url: Url,
    limits: SilenceLimits,
    key_refused: AtomicBool,
}

/// How long a model may be silent.
#[derive(Clone, Copy, Debug)]
pub struct SilenceLimits {
    /// From the call to the first word (or thought).
    pub first_token: Duration,
    /// From one word to the next.
    pub idle: Duration,
}

impl Gemini {
    /// One for a whole process: it keeps the connections.
    ///
    /// # Errors
    /// If no HTTP client can be made, or the key is no header value.
    pub fn new(
        base_url: Url,
        key: Option<&SecretString>,
        limits: SilenceLimits,
    ) -> Result<Gemini, GeminiSetupError> {
        // Some that need no key of their own still want the header.
        let key = key.map_or("none", |key| key.expose_secret());
        let mut key = HeaderValue::from_str(key).map_err(|_| GeminiSetupError::Key)?;
        key.set_sensitive(true);
        let headers =
            HeaderMap::from_iter([("x-goog-api-key".parse().expect("a header's name"), key)]);
        let mut builder = Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIME)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            // The key would be sent along to wherever a redirect leads.
            .redirect(Policy::none());
        if is_this_machine(&base_url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(GeminiSetupError::Client)?;
        Ok(Gemini {
            http,
            base_url,
            limits,
            key_refused: AtomicBool::new(false),
        })
    }

    fn url(&self, model: &str, call: &str) -> String {
        let base = self.base_url.as_str().trim_end_matches('/');
        format!("{base}/v1beta/models/{model}{call}")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ModelError> {
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = whole_body(response).await.unwrap_or_default();
        let error = GoogleError::read(&body).unwrap_or_default().meaning(status);
        Err(error)
    }

    /// The key is the operator's to mend, so they are told loudly; once, since every request would say it again.
    fn told_about_key(&self, error: ModelError) -> ModelError {
        if error.reason == Reason::Refused && !self.key_refused.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "Gemini refuses the key: check GEMINI_API_KEY, and the credit of its project. Until then everyone gets the fallback");
        }
        error
    }

    async fn answer(
        &self,
        response: Response,
        first_token_by: Instant,
        prompt: &Prompt,
        pieces: &mut (dyn for<'a> FnMut(&'a str) + Send),
    ) -> Result<Finished, ModelError> {
        let mut answer = Answer::new(prompt.enough_chars);
        if !is_event_stream(&response) {
            let body = timeout_at(first_token_by, whole_body(response))
                .await
                .map_err(|_| silent("no whole body in time"))??;
            if !body.trim_ascii().is_empty() {
                answer.take_event(&body, pieces)?;
            }
            return answer.finish();
        }
        let mut response = response;
        let mut parser = SseParser::default();
        let mut silent_by = first_token_by;
        loop {
            let chunk = timeout_at(silent_by, response.chunk())
                .await
                .map_err(|_| {
                    silent(if answer.began {
                        "stopped in the middle"
                    } else {
                        "said nothing"
                    })
                })?
                .map_err(|error| cut(&error.to_string()))?;
            let Some(chunk) = chunk else { break };
            for event in parser
                .push(&chunk)
                .map_err(|error| garbage(&error.to_string()))?
            {
                // Comments and empty events keep a connection open; only words show that the model is at work.
                if answer.take_event(&event, pieces)? {
                    silent_by = Instant::now() + self.limits.idle;
                }
                if answer.is_enough() {
                    return answer.finish();
                }
            }
        }
        if let Some(event) = parser.finish() {
            answer.take_event(&event, pieces)?;
        }
        answer.finish()
    }
}

/// Why Gemini cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GeminiSetupError {
    /// The key cannot stand in a header.
    #[error("GEMINI_API_KEY cannot stand in an HTTP header")]
    Key,
    /// No HTTP client.
    #[error("no HTTP client for the model")]
    Client(#[source] reqwest::Error),
}

#[async_trait]
impl Model for Gemini {
    async fn ask(
        &self,
        model: &str,
        prompt: &Prompt,
        pieces: &mut (dyn for<'a> FnMut(&'a str) + Send),
    ) -> Result<Finished, ModelError> {
        let first_token_by = Instant::now() + self.limits.first_token;
        let request = self
            .http
            .post(self.url(model, ":streamGenerateContent"))
            .query(&[("alt", "sse")])
            .json(&body_of(prompt));
        let sent = timeout_at(first_token_by, self.send(request))
            .await
            .map_err(|_| silent("no answer"));
        let answered = match sent {
            Ok(Ok(response)) => self.answer(response, first_token_by, prompt, pieces).await,
            Ok(Err(error)) | Err(error) => Err(error),
        };
        answered.map_err(|error| self.told_about_key(error))
    }

    async fn check(&self, model: &str) -> Result<(), ModelError> {
        let request = self.http.get(self.url(model, ""));
        match timeout(CHECK_TIME, self.send(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.told_about_key(error)),
            Err(_) => Err(silent("no answer to the check")),
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn is_event_stream(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"))
}

async fn whole_body(mut response: Response) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| cut(&error.to_string()))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_MAX_BYTES {
            return Err(garbage("a body without an end"));
        }
    }
    Ok(body)
}

fn body_of(prompt: &Prompt) -> Value {
    let parts = |texts: &[String]| -> Vec<Value> {
        texts.iter().map(|text| json!({"text": text})).collect()
    };
    let contents: Vec<Value> = prompt
        .turns
        .iter()
        .map(|turn| {
            let role = match turn.role {
                Role::People => "user",
                Role::Model => "model",
            };
            json!({"role": role, "parts": parts(&turn.parts)})
        })
        .collect();
    json!({
        "systemInstruction": {"parts": [{"text": prompt.system}]},
        "contents": contents,
        "generationConfig": {"maxOutputTokens": OUTPUT_TOKENS_MAX},
    })
}

fn unreachable(error: &reqwest::Error) -> ModelError {
    use std::error::Error;
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    ModelError {
        advice: Advice::Again { after: None },
        reason: Reason::Broken,
        status: "unreachable",
        detail,
    }
}
