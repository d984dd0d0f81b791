//! The OpenAI-compatible chat API, as another way of saying what is said to and by Gemini: a request is put into Gemini's
//! form before anything is decided, and what is decided is put into this form on its way out.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::ErrorReply;

/// Whose API a call speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Gemini's.
    Gemini,
    /// The OpenAI-compatible chat API.
    Chat,
}

/// What a chat call asks for.
#[derive(Debug)]
pub(crate) struct ChatCall {
    pub model: String,
    /// The same in Gemini's form.
    pub body: Vec<u8>,
}

/// The body of `/v1/chat/completions`. A field that is not known here is refused: it would be a mistake of the worker's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatRequest {
    model: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    stream: bool,
    #[serde(default, rename = "stream_options")]
    _stream_options: Value,
    #[serde(default)]
    max_tokens: Option<i64>,
    #[serde(default)]
    reasoning_effort: Option<String>,
}

const EFFORTS: [&str; 5] = ["none", "minimal", "low", "medium", "high"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatMessage {
    role: String,
    content: String,
}

impl ChatCall {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, for a 400.
    pub(crate) fn read(body: &[u8]) -> Result<ChatCall, String> {
        let request: ChatRequest =
            serde_json::from_slice(body).map_err(|error| format!("Invalid JSON: {error}"))?;
        if !request.stream {
            return Err("The practice model streams only.".to_owned());
        }
        let mut turns = Vec::new();
        let mut system = Vec::new();
        for message in request.messages {
            let part = json!({"text": message.content});
            match message.role.as_str() {
                "system" if turns.is_empty() => system.push(part),
                "user" => turns.push(json!({"role": "user", "parts": [part]})),
                "assistant" => turns.push(json!({"role": "model", "parts": [part]})),
                other => return Err(format!("a message of role {other:?} cannot stand there")),
            }
        }
        let mut body = json!({ "contents": turns });
        if !system.is_empty() {
            body["systemInstruction"] = json!({ "parts": system });
        }
        if let Some(most) = request.max_tokens {
            body["generationConfig"]["maxOutputTokens"] = most.into();
        }
        if let Some(effort) = request.reasoning_effort {
            if !EFFORTS.contains(&effort.as_str()) {
                return Err(format!("Invalid value for reasoning_effort: {effort:?}"));
            }
            body["generationConfig"]["thinkingConfig"] = json!({ "includeThoughts": true });
        }
        Ok(ChatCall {
            model: request.model,
            body: body.to_string().into_bytes(),
        })
    }
}

impl Speech {
    /// The events of a whole stream, given Gemini's. `ends` is false where the order was to leave the end out.
    pub(crate) fn events(self, events: &[Value], ends: bool) -> Vec<String> {
        match self {
            Speech::Gemini => events.iter().map(Value::to_string).collect(),
            Speech::Chat => {
                let mut all: Vec<String> = events
                    .iter()
                    .map(|event| chunk(event).to_string())
                    .collect();
                if ends {
                    let mut last = chunk(&Value::Null);
                    last["choices"] = json!([]);
                    last["usage"] = events.last().map_or(Value::Null, usage);
                    all.extend([last.to_string(), "[DONE]".to_owned()]);
                }
                all
            }
        }
    }

    /// An error's HTTP status and body.
    pub(crate) fn error(self, error: &ErrorReply) -> (u16, Value) {
        match self {
            Speech::Gemini => (error.code, error.body()),
            Speech::Chat => chat_error(error),
        }
    }
}

/// Gemini's event as a piece of chat.
fn chunk(event: &Value) -> Value {
    let candidate = &event["candidates"][0];
    let mut words = json!({"role": "assistant"});
    let parts = candidate["content"]["parts"].as_array();
    for part in parts.into_iter().flatten() {
        let name = match part["thought"] {
            Value::Bool(true) => "reasoning_content",
            _ => "content",
        };
        let before = words[name].as_str().unwrap_or_default();
        words[name] = format!("{before}{}", part["text"].as_str().unwrap_or_default()).into();
    }
    let blocked = !event["promptFeedback"]["blockReason"].is_null();
    let finish = match candidate["finishReason"].as_str() {
        _ if blocked => "content_filter".into(),
        None => Value::Null,
        Some("STOP") => "stop".into(),
        Some("MAX_TOKENS") => "length".into(),
        Some("SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "RECITATION") => {
            "content_filter".into()
        }
        Some(other) => other.to_ascii_lowercase().into(),
    };
    json!({
        "id": event["responseId"],
        "object": "chat.completion.chunk",
        "model": event["modelVersion"],
        "choices": [{"index": 0, "delta": words, "finish_reason": finish}],
    })
}

fn usage(event: &Value) -> Value {
    let counts = &event["usageMetadata"];
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    let out = count("candidatesTokenCount") + count("thoughtsTokenCount");
    json!({
        "prompt_tokens": count("promptTokenCount"),
        "prompt_tokens_details": {"cached_tokens": count("cachedContentTokenCount")},
        "completion_tokens": out,
        "completion_tokens_details": {"reasoning_tokens": count("thoughtsTokenCount")},
        "total_tokens": count("promptTokenCount") + out,
    })
}

fn chat_error(error: &ErrorReply) -> (u16, Value) {
    let of_type = |name: &str| {
        let named = |detail: &&Value| {
            detail["@type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with(name))
        };
        error.details.iter().find(named)
    };
    let is_for_the_day = of_type("QuotaFailure")
        .and_then(|failure| failure["violations"].as_array())
        .is_some_and(|all| {
            all.iter().any(|one| {
                one["quotaId"]
                    .as_str()
                    .is_some_and(|id| id.contains("PerDay"))
            })
        });
    let delay = of_type("RetryInfo").and_then(|info| info["retryDelay"].as_str());
    let is_about_the_key = of_type("ErrorInfo").is_some();
    let (status, kind, code) = match error.code {
        400 if is_about_the_key => (401, "invalid_request_error", "invalid_api_key".into()),
        400 => (400, "invalid_request_error", Value::Null),
        402 => (429, "insufficient_quota", "insufficient_quota".into()),
        403 => (403, "permission_error", Value::Null),
        404 => (404, "invalid_request_error", "model_not_found".into()),
        429 => (429, "requests", "rate_limit_exceeded".into()),
        504 => (504, "timeout", Value::Null),
        other => (other, "server_error", Value::from(other)),
    };
    let message = match (is_for_the_day, delay) {
        (true, _) => "Rate limit reached on requests per day (RPD).".to_owned(),
        (false, Some(delay)) => format!("Rate limit reached. Please try again in {delay}."),
        (false, None) => error
            .message
            .replace("Please retry in", "Please try again in"),
    };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    (status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_geminis_conversation_in_other_words() {
        let body = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "ada: hi"},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "ada: and now?"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        let call = ChatCall::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(call.model, "m");
        let gemini: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(gemini["systemInstruction"]["parts"][0]["text"], "Be kind.");
        assert_eq!(gemini["contents"][1]["role"], "model");
        assert_eq!(gemini["contents"][2]["parts"][0]["text"], "ada: and now?");
    }

    #[test]
    fn what_no_server_would_take_is_refused() {
        for wrong in [
            json!({"stream": true, "messages": []}),
            json!({"stream": true, "model": "m", "messages": [{"role": "model", "content": "hi"}]}),
            json!({"stream": true, "model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            json!({"stream": true, "model": "m", "messages": [], "contents": []}),
            json!({"model": "m", "messages": []}),
        ] {
            assert!(
                ChatCall::read(wrong.to_string().as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }
}
