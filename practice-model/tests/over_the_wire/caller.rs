//! A caller of the practice model: sends what a worker would and notes all that comes back.

use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use practice_model::PracticeModel;
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// No step of a test takes longer, unless something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) const MODEL: &str = "gemini-3.5-flash";

/// A running practice model and a client for it.
pub(crate) struct Caller {
    pub model: PracticeModel,
    pub client: Client,
}

/// What a stream brought until it ended.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub status: u16,
    /// The bytes as they came, chunk by chunk.
    pub chunks: Vec<Vec<u8>>,
    /// Whether the body came to its proper end.
    pub complete: bool,
}

impl Streamed {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// The events, parsed; a broken one is an error of the test.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text().replace("\r\n", "\n");
        text.split("\n\n")
            .filter(|frame| !frame.is_empty())
            .map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    /// The text of all parts that are to be shown.
    pub(crate) fn said(&self) -> String {
        let events = self.events();
        let parts = events
            .iter()
            .filter_map(|event| event["candidates"][0]["content"]["parts"].as_array())
            .flatten();
        parts
            .filter(|part| part["thought"] != true)
            .filter_map(|part| part["text"].as_str())
            .collect()
    }

    /// The `finishReason` of each event, or "".
    pub(crate) fn finishes(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| {
                event["candidates"][0]["finishReason"]
                    .as_str()
                    .unwrap_or("")
                    .to_owned()
            })
            .collect()
    }
}

pub(crate) fn asking(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// The ports below those that the system gives to outgoing connections, so that an address can be taken again after a stop.
pub(crate) async fn start() -> PracticeModel {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 8_000).unwrap();
    for _ in 0..8_000 {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        if let Ok(model) = PracticeModel::start(([127, 0, 0, 1], port).into()).await {
            return model;
        }
    }
    panic!("no port is free");
}

pub(crate) fn client() -> Client {
    static TLS: Once = Once::new();
    // A client wants a TLS provider even where it only speaks plain HTTP.
    TLS.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
    // Without a proxy that the environment may name.
    Client::builder().no_proxy().timeout(LIMIT).build().unwrap()
}

impl Caller {
    /// At full speed, unless an order says otherwise.
    pub(crate) async fn new() -> Caller {
        let model = start().await;
        model.behave("pace=0ms").unwrap();
        Caller {
            model,
            client: client(),
        }
    }

    /// One with this order for the next call.
    pub(crate) async fn with(order: &str) -> Caller {
        let caller = Caller::new().await;
        caller.model.behave_next([order]).unwrap();
        caller
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.model.base_url())
    }

    /// A call of this method, as a worker makes it.
    pub(crate) fn request(&self, method: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(&format!("/v1beta/models/{MODEL}:{method}")))
            .header("x-goog-api-key", "any")
            .json(body)
    }

    /// The answer to a question, to be read while it comes.
    pub(crate) async fn asks(&self, text: &str) -> reqwest::Result<Response> {
        let request = self.request("streamGenerateContent?alt=sse", &asking(text));
        request.send().await
    }

    pub(crate) async fn status(&self, text: &str) -> u16 {
        self.asks(text).await.unwrap().status().as_u16()
    }

    pub(crate) async fn stream(&self, text: &str) -> Streamed {
        read(self.asks(text).await.unwrap()).await
    }

    /// The body of the error that a streaming call gets, and its HTTP status.
    pub(crate) async fn error(&self, text: &str) -> (u16, Value) {
        let streamed = self.stream(text).await;
        (
            streamed.status,
            serde_json::from_slice(&streamed.bytes()).unwrap(),
        )
    }

    pub(crate) async fn control(&self, path: &str, body: &str) -> (u16, Value) {
        let response = self
            .client
            .post(self.url(path))
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn shown(&self, path: &str) -> Value {
        self.client
            .get(self.url(path))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

pub(crate) async fn read(mut response: Response) -> Streamed {
    let status = response.status().as_u16();
    let mut chunks = Vec::new();
    let complete = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => chunks.push(chunk.to_vec()),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Streamed {
        status,
        chunks,
        complete,
    }
}
