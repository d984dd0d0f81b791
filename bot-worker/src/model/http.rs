//! What models that are asked over HTTP have in common: a client that keeps its connections, limits on silence and on
//! what is read, and a stream of events that ends well or in a [`ModelError`].

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use common::causes::WithCauses;
use reqwest::{Client, RequestBuilder, Response, Url, header::HeaderMap, redirect::Policy};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Advice, Finished, ModelError, Pieces, Prompt, Usage,
    answer::{Answer, Dialect},
    reading::Reading,
    sse::EVENT_MAX_BYTES,
    wishes::{Asked, Taken},
};
use crate::fallback::Reason;

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long the check of one model at start may take.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// Idle connections are kept this long: a little shorter than what Google keeps them.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// HTTP/2 has all calls on one connection: one that died in silence would take the retries along, so it is pinged.
const PING_EVERY: Duration = Duration::from_secs(5);
/// After an answer has ended, how long its body may take to: what it cost may follow.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);
/// The most that is read of a body that is no stream, in bytes.
const BODY_MAX_BYTES: usize = EVENT_MAX_BYTES;

/// How long a model may be silent.
#[derive(Clone, Copy, Debug)]
pub struct SilenceLimits {
    /// From the call to the first word, and from a thought to what comes after it: a model that thinks may be silent for long.
    pub first_token: Duration,
    /// From one word to the next, in the middle of an answer.
    pub idle: Duration,
}

/// Why a model cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key, by the setting's name.
    #[error("{0} cannot stand in an HTTP header")]
    Key(&'static str),
    /// No HTTP client, for the address in the setting of this name.
    #[error(
        "{0}: no HTTP client can be made for this address. Has this machine the CA certificates that https needs (the \
         package ca-certificates, or SSL_CERT_FILE)?"
    )]
    Client(&'static str, #[source] reqwest::Error),
}

/// What a failed response says, by its status, headers and body.
pub(super) type Meaning = fn(u16, &HeaderMap, &[u8]) -> ModelError;

/// Where a model is asked.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: Client,
    url_setting: &'static str,
    base_url: String,
    limits: SilenceLimits,
    meaning: Meaning,
    key_setting: &'static str,
    key_refused: AtomicBool,
}

impl Endpoint {
    /// `headers` go along with every call, the key among them; `url_setting` and `key_setting` are whence the address and
    /// the key came.
    pub(super) fn new(
        url_setting: &'static str,
        base_url: &Url,
        headers: HeaderMap,
        limits: SilenceLimits,
        meaning: Meaning,
        key_setting: &'static str,
    ) -> Result<Endpoint, SetupError> {
        let builder = || {
            let builder = Client::builder()
                .default_headers(headers.clone())
                .connect_timeout(CONNECT_TIME)
                .pool_idle_timeout(POOL_IDLE)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_EVERY)
                .http2_keep_alive_timeout(PING_EVERY)
                // The key would be sent along to wherever a redirect leads.
                .redirect(Policy::none());
            if is_this_machine(base_url) {
                builder.no_proxy()
            } else {
                builder
            }
        };
        let http = match builder().build() {
            // Most likely this machine has no CA certificates. Plain HTTP needs none, and trusts nobody then.
            Err(_) if base_url.scheme() == "http" => builder().tls_certs_only([]).build(),
            built => built,
        };
        Ok(Endpoint {
            http: http.map_err(|error| SetupError::Client(url_setting, error))?,
            url_setting,
            base_url: base_url.as_str().trim_end_matches('/').to_owned(),
            limits,
            meaning,
            key_setting,
            key_refused: AtomicBool::new(false),
        })
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base_url))
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base_url))
    }

    /// One call, whose answer is shown in pieces as it comes.
    pub(super) async fn ask(
        &self,
        request: RequestBuilder,
        answer: Answer<impl Dialect>,
        pieces: Pieces<'_>,
        usage: &mut Usage,
    ) -> Result<Finished, ModelError> {
        let first_token_by = Instant::now() + self.limits.first_token;
        let sent = timeout_at(first_token_by, self.send(request))
            .await
            .map_err(|_| ModelError::silent("no answer"));
        let answered = match sent {
            Ok(Ok(response)) => {
                let reading = Reading::new(answer, usage);
                self.read(response, first_token_by, reading, pieces).await
            }
            Ok(Err(error)) | Err(error) => Err(error),
        };
        answered.map_err(|error| self.told_about_key(error))
    }

    /// As [`Endpoint::ask`], first for all that the prompt wishes for and that this model is known to take, and then, as long as
    /// it refuses that and nothing was said, for less. `request` makes the request and takes what there is of the answer.
    #[expect(
        clippy::too_many_arguments,
        reason = "a call, and what is known before it"
    )]
    pub(super) async fn ask_for<D: Dialect>(
        &self,
        taken: &Taken,
        model: &str,
        prompt: &Prompt,
        ways: usize,
        request: impl Fn(Asked) -> (RequestBuilder, Answer<D>) + Send + Sync,
        pieces: Pieces<'_>,
        usage: &mut Usage,
    ) -> Result<Finished, ModelError> {
        let mut asked = taken.first(model, prompt.wishes);
        let mut has_said = false;
        loop {
            let (call, answer) = request(asked);
            let mut noted = |piece: &str| {
                has_said = true;
                pieces(piece);
            };
            let answered = self.ask(call, answer, &mut noted, usage).await;
            match answered {
                Err(error) if !has_said => {
                    match taken.less(model, prompt.wishes, asked, ways, &error) {
                        Some(less) => {
                            tracing::info!(model, %error, ?asked, ?less, "the model may not take what was wished for beside an answer: asking for less");
                            asked = less;
                        }
                        None => return Err(error),
                    }
                }
                Err(error) => return Err(error),
                Ok(finished) => {
                    taken.took(model, prompt.wishes, asked);
                    return Ok(finished);
                }
            }
        }
    }

    /// One call that asks about a model. Returns the body.
    pub(super) async fn check(&self, request: RequestBuilder) -> Result<Vec<u8>, ModelError> {
        let asked = async { whole_body(self.send(request).await?).await };
        match timeout(CHECK_TIME, asked).await {
            Ok(asked) => asked.map_err(|error| self.told_about_key(error)),
            Err(_) => Err(ModelError::silent("no answer to the check")),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ModelError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = whole_body(response).await.unwrap_or_default();
        Err((self.meaning)(status, &headers, &body))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ModelError {
        ModelError {
            advice: Advice::Again { after: None },
            reason: Reason::Broken,
            status: "unreachable",
            detail: format!("{}: {}", self.url_setting, WithCauses(error)),
        }
    }

    /// The key is the operator's to mend, so they are told loudly; once, since every request would say it again.
    fn told_about_key(&self, error: ModelError) -> ModelError {
        if error.reason == Reason::Refused && !self.key_refused.swap(true, Ordering::Relaxed) {
            let setting = self.key_setting;
            tracing::error!(%error, "the model refuses the key: check {setting}, and the credit behind it. Until then everyone gets the fallback");
        }
        error
    }

    async fn read(
        &self,
        mut response: Response,
        first_token_by: Instant,
        mut reading: Reading<'_, impl Dialect>,
        pieces: Pieces<'_>,
    ) -> Result<Finished, ModelError> {
        let mut silent_by = first_token_by;
        // What comes behind the end is waited for a little, and not longer for whatever comes.
        let mut closed_by = None;
        loop {
            let until = closed_by.map_or(silent_by, |closed_by: Instant| closed_by.min(silent_by));
            let chunk = match timeout_at(until, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return reading.finish(pieces),
                Ok(Err(error)) => {
                    return reading.break_off(ModelError::cut(&error.to_string()), pieces);
                }
                Err(_) => {
                    let silent = if reading.began() {
                        "stopped in the middle"
                    } else {
                        "said nothing"
                    };
                    return reading.break_off(ModelError::silent(silent), pieces);
                }
            };
            // Comments and empty events keep a connection open; only words show that the model is at work.
            if reading.push(&chunk, pieces)? {
                let limit = match reading.thinks() {
                    true => self.limits.first_token,
                    false => self.limits.idle,
                };
                silent_by = Instant::now() + limit;
            }
            if reading.is_enough() {
                return reading.finish(pieces);
            }
            closed_by = reading
                .has_surely_ended()
                .then(|| closed_by.unwrap_or_else(|| Instant::now() + CLOSES_WITHIN));
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

async fn whole_body(mut response: Response) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ModelError::cut(&error.to_string()))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_MAX_BYTES {
            return Err(ModelError::garbage("a body without an end"));
        }
    }
    Ok(body)
}
