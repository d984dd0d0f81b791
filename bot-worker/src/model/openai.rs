//! Whoever speaks the OpenAI-compatible chat API, such as a server at home: one call is one attempt. Its stories are
//! those of Gemini, told of both in `tests/it/models.rs`.

use async_trait::async_trait;
use common::store::Thinking;
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Advice, Finished, Model, ModelError, Pieces, Prompt, Role, Usage,
    answer::Answer,
    chat_answer::ChatDialect,
    chat_error,
    http::{Endpoint, SetupError, SilenceLimits},
    json::{readable, values},
    wishes::{Asked, Taken},
};
use crate::fallback::Reason;

/// A server with the OpenAI-compatible chat API.
#[derive(Debug)]
pub struct OpenAi {
    endpoint: Endpoint,
    taken: Taken,
}

/// The ways to ask for thinking: by its effort, and not at all. (Looking things up has no form that servers have in common.)
const WAYS: usize = 2;

impl OpenAi {
    /// One for a whole process: it keeps the connections. The address ends where `/chat/completions` follows, which is
    /// mostly after `/v1`.
    ///
    /// # Errors
    /// If no HTTP client can be made, or the key is no header value.
    pub fn new(
        base_url: &Url,
        key: Option<&SecretString>,
        limits: SilenceLimits,
    ) -> Result<OpenAi, SetupError> {
        const KEY: &str = "OPENAI_API_KEY";
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let bearer = format!("Bearer {}", key.expose_secret());
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| SetupError::Key(KEY))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let endpoint = Endpoint::new(
            "OPENAI_BASE_URL",
            base_url,
            headers,
            limits,
            chat_error::meaning,
            KEY,
        )?;
        Ok(OpenAi {
            endpoint,
            taken: Taken::default(),
        })
    }
}

#[async_trait]
impl Model for OpenAi {
    async fn ask(
        &self,
        model: &str,
        prompt: &Prompt,
        pieces: Pieces<'_>,
        usage: &mut Usage,
    ) -> Result<Finished, ModelError> {
        let request = |asked: Asked| {
            let effort = (asked.way == 0).then_some(prompt.wishes.thinking);
            let request = self.endpoint.post("/chat/completions");
            (
                request.json(&body_of(model, prompt, effort)),
                Answer::new(ChatDialect::new(), prompt.enough_chars),
            )
        };
        self.endpoint
            .ask_for(&self.taken, model, prompt, WAYS, request, pieces, usage)
            .await
    }

    /// Servers at home have no call for a single model, so all are listed.
    async fn check(&self, model: &str) -> Result<(), ModelError> {
        let body = self.endpoint.check(self.endpoint.get("/models")).await?;
        let body = readable(&body);
        let (values, _) = values(&body);
        let models = values.first().map(|list| list.fields().items("data"));
        let names: Vec<String> = models
            .unwrap_or_default()
            .into_iter()
            .filter_map(|listed| listed.fields().word("id"))
            .collect();
        let is_it = |name: &String| {
            name == model
                || name
                    .strip_suffix(":latest")
                    .is_some_and(|name| name == model)
        };
        // Some list nothing that could be read, and answer all the same.
        if names.is_empty() || names.iter().any(is_it) {
            return Ok(());
        }
        let others: Vec<String> = names.into_iter().take(10).collect();
        Err(ModelError {
            advice: Advice::NextModel,
            reason: Reason::NoModel,
            status: "404",
            detail: format!("not listed; there are: {}", others.join(", ")),
        })
    }
}

fn body_of(model: &str, prompt: &Prompt, effort: Option<Thinking>) -> Value {
    let system = json!({"role": "system", "content": prompt.system});
    let turns = prompt.turns.iter().map(|turn| {
        let role = match turn.role {
            Role::People => "user",
            Role::Model => "assistant",
        };
        // Not every server takes a list of parts, and some want roles to take turns.
        json!({"role": role, "content": turn.parts.join("\n\n")})
    });
    let messages: Vec<Value> = std::iter::once(system).chain(turns).collect();
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if let Some(effort) = effort {
        body["reasoning_effort"] = match effort {
            Thinking::Off => "none",
            other => other.as_str(),
        }
        .into();
    }
    body
}
