//! Gemini's REST and SSE: one call is one attempt. How it answers, and how it fails, is told by this project's notes on
//! Gemini; every line of them is a test in `tests/it/models.rs`, against the practice model.

use async_trait::async_trait;
use common::store::Thinking;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Finished, Model, ModelError, Pieces, Prompt, Role, Usage,
    answer::Answer,
    gemini_answer::GeminiDialect,
    gemini_thinking::ways,
    google_error::GoogleError,
    http::{Endpoint, SetupError, SilenceLimits},
    wishes::{Asked, Taken},
};

/// The most tokens an answer may have, thoughts included. A message of 4,000 characters needs 1,000 to 4,000; the rest is for
/// thinking, so that no limit is reached in the middle of a thought.
pub(crate) fn output_tokens_max(thinking: Thinking) -> u32 {
    match thinking {
        Thinking::Off | Thinking::Low => 8_192,
        Thinking::Medium => 16_384,
        Thinking::High => 32_768,
    }
}

/// Gemini, or whoever speaks as it does.
#[derive(Debug)]
pub struct Gemini {
    endpoint: Endpoint,
    taken: Taken,
}

impl Gemini {
    /// One for a whole process: it keeps the connections.
    ///
    /// # Errors
    /// If no HTTP client can be made, or the key is no header value.
    pub fn new(
        base_url: &Url,
        key: Option<&SecretString>,
        limits: SilenceLimits,
    ) -> Result<Gemini, SetupError> {
        const KEY: &str = "GEMINI_API_KEY";
        // Some that need no key of their own still want the header.
        let key = key.map_or("none", |key| key.expose_secret());
        let mut key = HeaderValue::from_str(key).map_err(|_| SetupError::Key(KEY))?;
        key.set_sensitive(true);
        let headers =
            HeaderMap::from_iter([("x-goog-api-key".parse().expect("a header's name"), key)]);
        let endpoint = Endpoint::new("GEMINI_BASE_URL", base_url, headers, limits, meaning, KEY)?;
        Ok(Gemini {
            endpoint,
            taken: Taken::default(),
        })
    }
}

fn meaning(status: u16, _: &HeaderMap, body: &[u8]) -> ModelError {
    GoogleError::read(body).unwrap_or_default().meaning(status)
}

#[async_trait]
impl Model for Gemini {
    async fn ask(
        &self,
        model: &str,
        prompt: &Prompt,
        pieces: Pieces<'_>,
        usage: &mut Usage,
    ) -> Result<Finished, ModelError> {
        let path = format!("/v1beta/models/{model}:streamGenerateContent");
        let ways = ways(model, prompt.wishes.thinking);
        let request = |asked: Asked| {
            let body = body_of(prompt, ways[asked.way].as_ref(), asked.search);
            let request = self.endpoint.post(&path).query(&[("alt", "sse")]);
            (
                request.json(&body),
                Answer::new(GeminiDialect, prompt.enough_chars),
            )
        };
        self.endpoint
            .ask_for(
                &self.taken,
                model,
                prompt,
                ways.len(),
                request,
                pieces,
                usage,
            )
            .await
    }

    async fn check(&self, model: &str) -> Result<(), ModelError> {
        let request = self.endpoint.get(&format!("/v1beta/models/{model}"));
        self.endpoint.check(request).await.map(|_| ())
    }
}

fn body_of(prompt: &Prompt, thinking: Option<&Value>, search: bool) -> Value {
    // One stands behind the other as if they were one text: each begins a line.
    let parts = |texts: &[String]| -> Vec<Value> {
        let last = texts.len().saturating_sub(1);
        let part = |(at, text): (usize, &String)| match at {
            at if at == last => json!({"text": text}),
            _ => json!({"text": format!("{text}\n")}),
        };
        texts.iter().enumerate().map(part).collect()
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
    let mut config = json!({"maxOutputTokens": output_tokens_max(prompt.wishes.thinking)});
    if let Some(thinking) = thinking {
        config["thinkingConfig"] = thinking.clone();
    }
    let mut body = json!({
        "systemInstruction": {"parts": [{"text": prompt.system}]},
        "contents": contents,
        "generationConfig": config,
    });
    if search {
        body["tools"] = json!([{"google_search": {}}, {"url_context": {}}]);
    }
    body
}
