//! What the events of Gemini's answers say. Without I/O.

use super::{
    ModelError, Usage,
    answer::{Dialect, End, Said, short},
    google_error::GoogleError,
    json::{Fields, Json},
};

/// What one event of Gemini's has at its top.
const KNOWN: [&str; 6] = [
    "candidates",
    "usageMetadata",
    "promptFeedback",
    "modelVersion",
    "responseId",
    "error",
];

/// Gemini's way of answering.
#[derive(Debug)]
pub(super) struct GeminiDialect;

impl Dialect for GeminiDialect {
    fn read(&mut self, event: Json<'_>) -> Said {
        let event = event.fields();
        let mut said = Said {
            is_known: event.has_any(&KNOWN),
            error: error(&event),
            usage: usage(&event.fields("usageMetadata")),
            ..Said::default()
        };
        let candidates = event.items("candidates");
        let Some(candidate) = candidates.first().map(|candidate| candidate.fields()) else {
            return said;
        };
        for part in parts(&candidate) {
            let (text, is_thought) = match part.text() {
                Some(text) => (Some(text), false),
                None => {
                    let part = part.fields();
                    let is_thought = part.get("thought").is_some_and(Json::is_true);
                    (part.get("text").and_then(Json::text), is_thought)
                }
            };
            match text {
                Some(text) if is_thought => said.thinks |= !text.is_empty(),
                Some(text) => said.text.extend(text),
                None => {}
            }
        }
        said.end = candidate.reason("finishReason").and_then(end);
        said
    }
}

/// The parts of what a candidate says. Some write the only one without the list, or only its text.
fn parts<'a>(candidate: &Fields<'a>) -> Vec<Json<'a>> {
    match candidate.get("content") {
        Some(content) if content.text().is_some() => vec![content],
        Some(content) => match content.fields().get("parts") {
            Some(parts) if parts.text().is_some() => vec![parts],
            Some(parts) => parts.items(),
            None => Vec::new(),
        },
        None => Vec::new(),
    }
}

fn error(event: &Fields<'_>) -> Option<ModelError> {
    let error = event.get("error").filter(|error| !error.is_hollow());
    if let Some(error) = error {
        return Some(GoogleError::of(error).meaning(200));
    }
    let feedback = event.fields("promptFeedback");
    let reason = feedback
        .reason("blockReason")
        .filter(|reason| reason != "BLOCK_REASON_UNSPECIFIED")?;
    let detail = format!("the prompt was blocked: {}", short(&reason));
    Some(ModelError::blocked(&detail))
}

fn usage(counts: &Fields<'_>) -> Usage {
    let out = counts.count("candidatesTokenCount");
    Usage {
        tokens_in: counts.count("promptTokenCount"),
        tokens_out: out.saturating_add(counts.count("thoughtsTokenCount")),
        tokens_cached: counts.count("cachedContentTokenCount"),
    }
}

/// Reasons grow in number: one that is not known here ends an answer like any other.
fn end(reason: String) -> Option<End> {
    match reason.to_ascii_uppercase().as_str() {
        "FINISH_REASON_UNSPECIFIED" => None,
        "MAX_TOKENS" => Some(End::Limit),
        "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "RECITATION" | "IMAGE_SAFETY" => {
            Some(End::Blocked(format!("the answer was blocked: {reason}")))
        }
        _ => Some(End::Said(short(&reason))),
    }
}
