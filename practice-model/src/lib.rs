//! A small local server that speaks Gemini's own REST and SSE, and says that it is no model: what the one-command start
//! uses where there is no key, and what tests and load tests use in the place of the outside world.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use practice_model::PracticeModel;
//!
//! let model = PracticeModel::start(([127, 0, 0, 1], 0).into()).await?;
//! model.behave_next(["503", "429 retry=50ms"])?; // and then well
//! println!("{}", model.base_url());
//! # Ok(())
//! # }
//! ```
//!
//! # Calls
//! | call | does |
//! |---|---|
//! | `POST /v1beta/models/{model}:streamGenerateContent?alt=sse` | an answer, over SSE |
//! | `GET /v1beta/models/{model}` | what there is of a model |
//! | `POST /v1/chat/completions` · `GET /v1/models` | the same over the OpenAI-compatible chat API, streamed only |
//! | `POST /practice/behaviour` | sets orders: JSON of [`Orders`], `{"default": "...", "next": ["..."], "models": {"NAME": "..."}}` |
//! | `GET /practice/requests?after=ID` | `{"requests": [...], "received", "model_checks", "quota", "used"}`, each request a [`ReceivedCall`]; `used` has for each model a [`ModelUse`] |
//! | `POST /practice/reset` | forgets orders, quotas and requests |
//!
//! Like the real ones, models are particular about thinking by their names: `gemini-2.5-…` take budgets, `gemini-3…` levels, of which
//! `gemini-3.8…` have no MINIMAL, and older ones nothing; any other takes either.
//!
//! Any key will do, in the header `x-goog-api-key`; none is a 403, one in the URL a 400. Requests that Gemini would refuse are
//! refused.
//!
//! # Orders
//! How a call goes is said in one small language, in a marker in the last message (`[[practice: 429 retry=2s]]`) or by a
//! control call ([`PracticeModel::behave`] and its like). Words are set apart by blanks; a value with blanks stands in double
//! quotes (`say="two words\n"`). A special order is laid over a more general one: default, then the model's, the queue's, the
//! marker's. One with an outcome says all about how the call ends (so `ok` is a proper reply where the default is `503`), and
//! only `delay`, `pace`, `split`, `crlf`, `say`, `words` and the quota still come from below.
//!
//! | word | what happens |
//! |---|---|
//! | `p=0.1` | the order holds for that share of calls |
//! | **outcomes**, one at most | |
//! | `ok` | a proper reply |
//! | `400` `400-precondition` `400-key` | INVALID_ARGUMENT, FAILED_PRECONDITION, INVALID_ARGUMENT with API_KEY_INVALID |
//! | `402` `403` `404` | credit used up, PERMISSION_DENIED, NOT_FOUND (a retired model) |
//! | `429` `429-tokens` | per minute, with `RetryInfo` and `QuotaFailure`; `retry=2s` is the delay, written as given (1s) |
//! | `429-day` | per day; `RetryInfo` only with `retry=` |
//! | `429-all` | three quotas in one error, the day's among them |
//! | `429-message` `429-bare` | the delay in the message only; nowhere |
//! | `500` `503` `504` | INTERNAL, UNAVAILABLE, DEADLINE_EXCEEDED |
//! | `hang` | never a header |
//! | `drop` | closes the connection before any header |
//! | `stall` | headers and `after=N` chunks (2), then nothing, and the connection stays open |
//! | `cut` `cut-line` `cut-char` | closes the connection after `after=N` chunks (half): between events, inside a line, inside a UTF-8 character |
//! | `garbage` | a 200 that is not JSON, from chunk `after=N` on (0) |
//! | `html=CODE` | an HTML error page with that status |
//! | `empty` | a 200 with no body |
//! | `event-error=WORD` | a 200 with an error object (any error's word) as the event after `after=N` chunks (0) |
//! | `block` `block=REASON` | `promptFeedback.blockReason` (SAFETY) and no candidates |
//! | `no-text` | a `finishReason` and no parts |
//! | `thoughts-only` | thought parts, then MAX_TOKENS, no text |
//! | **errors** | |
//! | `retry=34.07s` `retry=900ms` | the delay that a 429 names |
//! | `array` | the error stands in an array of one |
//! | **how a reply is made** | |
//! | `say="..."` | this text |
//! | `words=500` | exactly so many words (at most 20,000) |
//! | `thoughts` `thoughts-between` | parts with `thought: true` before the text; in the middle of it as well |
//! | `think=26s` | it thinks so long before the first word; what it thinks comes meanwhile in ten parts, if the request includes thoughts |
//! | `silent` | what it thinks does not come, whatever the request includes |
//! | `signature` | a last part with a `thoughtSignature` and an empty text |
//! | `no-thinking` `no-tools` | a request that says anything on thinking, or offers tools, is a 400 |
//! | `search` `search=3` | it searches so often, if the request lets it: queries, sources, and what is to be shown along |
//! | `search-pieces` | what it found comes on several of the last events |
//! | `reads` | it reads a page, and fails to read another, if the request lets it |
//! | `counts=last` `counts=none` | tokens are counted on the last event only, or on none; else on each, as running totals |
//! | `cached=90` `tool-tokens=50` | so many of the prompt's tokens were cached; so many more were read by tools |
//! | `safety` `max-tokens` | ends half way, or after `after=N` chunks, with that `finishReason` |
//! | `finish=REASON` | ends with this `finishReason`, known or not; with `after=N` early |
//! | `stop-every` `stop-early` `finish-apart` `no-finish` | `finishReason` on every event; on an empty first one only; on a last one without parts; nowhere (with `after=N` the text ends early, in silence) |
//! | **what is odd about it** | each for itself, in the order given |
//! | `done` | `[DONE]` behind the last event, where there should be none |
//! | `parts-null` `candidates-null` | one more event at the end: an end with `null` for parts; usage with `null` for candidates |
//! | `listed` | text in a list of parts, where the chat API has a string |
//! | `halves` | each emoji is cut in two: `\ud83e` in one event, `\udd89` in the next |
//! | `bad-byte=N` `garbled=N` `doubled=N` `retyped=N` `left-out=N` | event N (from 0) has a byte that is not UTF-8, is no JSON, comes twice, has a list for an object, is missing |
//! | `content-type=TYPE` `content-type=""` | this `Content-Type`; none |
//! | **how it is delivered** | |
//! | `delay=200ms` | before the headers |
//! | `pace=50ms` | between two chunks of three words (30ms) |
//! | `split=1` | the body in pieces of so many bytes |
//! | `crlf` | SSE lines end in CRLF |
//! | **quotas** | |
//! | `quota rpm=3 tpm=1000 window=2s` | answers 429 to calls beyond so many requests and input tokens a "minute" (60s), each model counted by itself |
//!
//! Times are `200ms`, `1.5s`, `1m`. An order that cannot be read is refused: by a control call with a 400, in a marker by a
//! reply that says so. Only a marker in the last message holds, so that the conversation that goes along does not repeat
//! what was ordered before.

#![warn(missing_docs)]

mod chat;
mod conversation;
mod fault;
mod gemini;
mod oddity;
mod order;
mod practice;
mod quota;
mod record;
mod reply;
mod script;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use order::OrderError;
pub use practice::{Orders, QuotaReport};
pub use record::{CallUse, ModelUse, ReceivedCall};

use practice::Practice;

/// How long [`PracticeModel::stop`] waits for open connections; they are all closed by then, unless the machine is stuck.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running practice model. It stops when this is dropped.
#[derive(Debug)]
pub struct PracticeModel {
    practice: Arc<Practice>,
    address: SocketAddr,
    serving: Option<JoinHandle<io::Result<()>>>,
}

impl PracticeModel {
    /// Starts one in the background of the current tokio runtime. Port 0 takes any free one.
    ///
    /// # Errors
    /// Those of binding the address.
    pub async fn start(listener_addr: SocketAddr) -> io::Result<PracticeModel> {
        let listener = TcpListener::bind(listener_addr).await?;
        let address = listener.local_addr()?;
        let practice = Arc::new(Practice::new());
        let stopping = practice.stopping.clone();
        // Small events are to leave at once, as the pace says.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
        });
        let routes = server::router(practice.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes)
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await
        });
        tracing::info!(%address, "the practice model listens: it speaks as Gemini does, and is no model");
        Ok(PracticeModel {
            practice,
            address,
            serving: Some(serving),
        })
    }

    /// `http://127.0.0.1:PORT`: what `GEMINI_BASE_URL` takes.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the order for every call.
    ///
    /// # Errors
    /// An order that cannot be read; then nothing changes.
    pub fn behave(&self, order: &str) -> Result<(), OrderError> {
        self.order(&Orders {
            default: Some(order.to_owned()),
            ..Orders::default()
        })
    }

    /// Sets the orders of the next calls, one each, in the place of those that still wait.
    ///
    /// # Errors
    /// An order that cannot be read, or too many; then nothing changes.
    pub fn behave_next<'a>(
        &self,
        orders: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), OrderError> {
        let next = orders.into_iter().map(str::to_owned).collect();
        self.order(&Orders {
            next: Some(next),
            ..Orders::default()
        })
    }

    /// Sets the order for the calls of one model.
    ///
    /// # Errors
    /// An order that cannot be read; then nothing changes.
    pub fn behave_for_model(&self, model: &str, order: &str) -> Result<(), OrderError> {
        self.order(&Orders {
            models: [(model.to_owned(), order.to_owned())].into(),
            ..Orders::default()
        })
    }

    /// Sets all that a control call can.
    ///
    /// # Errors
    /// An order that cannot be read; then nothing changes.
    pub fn order(&self, orders: &Orders) -> Result<(), OrderError> {
        self.practice.set(orders)
    }

    /// The calls since the start or the last reset, the oldest first; at most the last 10,000.
    pub fn requests(&self) -> Vec<ReceivedCall> {
        self.practice.read(|record| record.after(0))
    }

    /// What the calls that are remembered have used, by model: the count against which any other is held.
    pub fn used_by_model(&self) -> BTreeMap<String, ModelUse> {
        self.practice.read(record::Record::used_by_model)
    }

    /// How often somebody asked whether a model is there (`GET /v1beta/models/{model}`).
    pub fn model_checks(&self) -> u64 {
        self.practice.read(record::Record::model_checks)
    }

    /// Waits until the calls are as wanted, and returns them as they were then; `None` if they never were within the limit.
    pub async fn requests_when(
        &self,
        limit: Duration,
        wanted: impl Fn(&[ReceivedCall]) -> bool,
    ) -> Option<Vec<ReceivedCall>> {
        let mut changes = self.practice.changes();
        let seen = async {
            loop {
                changes.borrow_and_update();
                let requests = self.requests();
                if wanted(&requests) {
                    return Some(requests);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, seen).await.ok().flatten()
    }

    /// What was used of the quotas, and how often they were exceeded.
    pub fn quota(&self) -> QuotaReport {
        self.practice.quota_report()
    }

    /// Forgets orders, quotas and requests.
    pub fn reset(&self) {
        self.practice.reset();
    }

    /// Waits for its end, which it comes to by itself only if it can serve no more.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn ended(&mut self) -> io::Result<()> {
        let Some(serving) = &mut self.serving else {
            return Ok(());
        };
        let served = serving.await;
        self.serving = None;
        served.map_err(io::Error::other)?
    }

    /// Stops it: streams under way are cut, calls that hang get a 503, and the address is free again.
    ///
    /// # Errors
    /// Those of the server, or `TimedOut` if a connection would not end within 5 s.
    pub async fn stop(mut self) -> io::Result<()> {
        self.practice.stopping.cancel();
        let Some(serving) = self.serving.take() else {
            return Ok(());
        };
        match tokio::time::timeout(STOP_LIMIT, serving).await {
            Ok(served) => served.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a connection would not end",
            )),
        }
    }
}

impl Drop for PracticeModel {
    fn drop(&mut self) {
        self.practice.stopping.cancel();
    }
}
