//! What the events of Gemini's answers say. Without I/O.

use common::wire::Source;

use super::{
    ModelError, Usage,
    answer::{Dialect, End, LookedUp, Said, short},
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
                Some(text) if is_thought => {
                    said.thinks |= !text.is_empty();
                    said.thought_bytes += text.len();
                }
                Some(text) => said.text.extend(text),
                None => {}
            }
        }
        said.end = candidate.reason("finishReason").and_then(end);
        said.looked_up = looked_up(&candidate);
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

/// What is counted. The prompt's tokens have those of the cache among them; what a tool read for it is counted beside them. Any
/// count may be missing: what is missing of the sum came out.
fn usage(counts: &Fields<'_>) -> Usage {
    let tokens_thought = counts.count("thoughtsTokenCount");
    let said = counts.count("candidatesTokenCount");
    let tokens_in = counts
        .count("promptTokenCount")
        .saturating_add(counts.count("toolUsePromptTokenCount"));
    let rest = match tokens_in {
        0 => 0,
        tokens_in => counts.count("totalTokenCount").saturating_sub(tokens_in),
    };
    Usage {
        tokens_in,
        tokens_cached: counts.count("cachedContentTokenCount").min(tokens_in),
        tokens_out: said.saturating_add(tokens_thought).max(rest),
        tokens_thought,
        ..Usage::default()
    }
}

/// What the model has looked up. Of the parts that say which sentence stands on which source nothing is kept.
fn looked_up(candidate: &Fields<'_>) -> LookedUp {
    let grounding = candidate.fields("groundingMetadata");
    let queries = grounding.items("webSearchQueries");
    let queries = queries.into_iter().filter_map(Json::word);
    let of_search = grounding.items("groundingChunks").into_iter();
    let of_search = of_search.filter_map(|chunk| {
        let web = chunk.fields().fields("web");
        Source::new(&web.word("title").unwrap_or_default(), &web.word("uri")?)
    });
    let read = candidate.fields("urlContextMetadata").items("urlMetadata");
    let read = read.into_iter().filter_map(|page| {
        let page = page.fields();
        let status = page.word("urlRetrievalStatus").unwrap_or_default();
        status.ends_with("SUCCESS").then_some(())?;
        Source::new("", &page.word("retrievedUrl")?)
    });
    let entry = grounding.fields("searchEntryPoint");
    LookedUp {
        queries: queries.collect(),
        sources: of_search.chain(read).collect(),
        suggestions: entry.word("renderedContent"),
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
