//! What Gemini's answers say: out of one event after the other, the text, how it ended, and what it cost. Without I/O.

use serde::Deserialize;

use super::{
    Advice, Finished, ModelError, Pieces, Usage,
    google_error::{GoogleError, is_array},
    http::Answer,
};

/// One event, or one whole body. Fields that are not named here are nothing to the worker.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    error: Option<GoogleError>,
    candidates: Vec<Candidate>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<UsageMetadata>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    parts: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    text: Option<String>,
    thought: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UsageMetadata {
    prompt_token_count: u32,
    candidates_token_count: u32,
    thoughts_token_count: u32,
}

/// An answer as it comes in.
pub(super) struct GeminiAnswer {
    enough_chars: usize,
    chars: usize,
    began: bool,
    has_text: bool,
    finish_reason: Option<String>,
    usage: Usage,
}

impl GeminiAnswer {
    pub(super) fn new(enough_chars: usize) -> GeminiAnswer {
        GeminiAnswer {
            enough_chars,
            chars: 0,
            began: false,
            has_text: false,
            finish_reason: None,
            usage: Usage::default(),
        }
    }

    fn take(&mut self, event: Event, pieces: Pieces<'_>) -> Result<bool, ModelError> {
        if let Some(error) = event.error {
            return Err(error.meaning(200));
        }
        if let Some(usage) = event.usage_metadata {
            // Each event has the counts so far, and some relays send empty ones at the end.
            let out = usage
                .candidates_token_count
                .saturating_add(usage.thoughts_token_count);
            self.usage.tokens_in = self.usage.tokens_in.max(usage.prompt_token_count);
            self.usage.tokens_out = self.usage.tokens_out.max(out);
        }
        if let Some(reason) = event
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason)
            && reason != "BLOCK_REASON_UNSPECIFIED"
        {
            return Err(ModelError::blocked(&format!(
                "the prompt was blocked: {}",
                short(&reason)
            )));
        }
        let Some(candidate) = event.candidates.into_iter().next() else {
            return Ok(false);
        };
        let mut at_work = false;
        for part in candidate.content.unwrap_or_default().parts {
            let Some(text) = part.text.filter(|text| !text.is_empty()) else {
                continue;
            };
            at_work = true;
            if part.thought {
                continue;
            }
            self.has_text |= !text.trim().is_empty();
            self.chars += text.chars().count();
            pieces(&text);
        }
        if let Some(reason) = candidate
            .finish_reason
            .filter(|reason| reason != "FINISH_REASON_UNSPECIFIED")
        {
            at_work = true;
            self.finish_reason = Some(reason);
        }
        self.began |= at_work;
        Ok(at_work)
    }
}

impl Answer for GeminiAnswer {
    /// One event, or an array of them, or a whole body that is no stream. True if it shows the model at work.
    fn take_event(&mut self, json: &[u8], pieces: Pieces<'_>) -> Result<bool, ModelError> {
        let events: Result<Vec<Event>, _> = if is_array(json) {
            serde_json::from_slice(json)
        } else {
            serde_json::from_slice(json).map(|event| vec![event])
        };
        let mut at_work = false;
        for event in events.map_err(|error| ModelError::garbage(&error.to_string()))? {
            at_work |= self.take(event, pieces)?;
        }
        Ok(at_work)
    }

    fn began(&self) -> bool {
        self.began
    }

    fn is_enough(&self) -> bool {
        self.chars > self.enough_chars
    }

    /// The body has ended: a reply is finished if there was a `finishReason`, wherever, and there is text.
    fn finish(self, _: Pieces<'_>) -> Result<Finished, ModelError> {
        let usage = self.usage;
        if self.is_enough() {
            return Ok(Finished {
                complete: false,
                usage,
            });
        }
        let Some(reason) = self.finish_reason else {
            return Err(if self.has_text {
                ModelError::cut("the stream ended without a finishReason")
            } else {
                ModelError::empty("an empty 200", Advice::Again { after: None })
            });
        };
        match reason.as_str() {
            "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "RECITATION"
            | "IMAGE_SAFETY" => Err(ModelError::blocked(&format!(
                "the answer was blocked: {reason}"
            ))),
            "MAX_TOKENS" if self.has_text => Ok(Finished {
                complete: false,
                usage,
            }),
            // All of it went into thoughts; the same model would do the same again.
            "MAX_TOKENS" => Err(ModelError::empty(
                "MAX_TOKENS and no text",
                Advice::NextModel,
            )),
            // STOP, OTHER, and whatever is new.
            _ if self.has_text => Ok(Finished {
                complete: true,
                usage,
            }),
            other => Err(ModelError::empty(
                &format!("{} and no text", short(other)),
                Advice::Again { after: None },
            )),
        }
    }
}

/// A reason as it came, for the log: it is the model's word, so it may be anything.
fn short(reason: &str) -> String {
    reason.chars().take(60).collect()
}
