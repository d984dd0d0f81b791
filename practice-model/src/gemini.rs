//! Gemini's requests as they come over the wire, and what Gemini refuses about them. As strict as the real one or
//! stricter, so that a request that is built wrongly fails in a test and not in front of people.

use serde::Deserialize;
use serde_json::Value;

/// Most input tokens that are taken, as of the current models.
pub const INPUT_TOKEN_LIMIT: u64 = 1_048_576;

/// Most tokens that are given out.
pub const OUTPUT_TOKEN_LIMIT: u64 = 65_536;

/// About as many characters make a token, says Google.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Roughly the tokens of a text: enough to count quotas with.
pub fn tokens_of(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(CHARACTERS_PER_TOKEN)
}

/// The body of `generateContent` and `streamGenerateContent`. A field that Gemini does not know is refused by it, and so
/// it is here; the names with underscores are what it takes as well.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "some fields are there only to be known, as they are to Gemini"
)]
pub struct GenerateRequest {
    #[serde(default)]
    pub contents: Vec<Content>,
    #[serde(default, alias = "system_instruction")]
    pub system_instruction: Option<Content>,
    #[serde(default, alias = "generation_config")]
    pub generation_config: Option<GenerationConfig>,
    #[serde(default, alias = "safety_settings")]
    pub safety_settings: Vec<SafetySetting>,
    #[serde(default)]
    pub tools: Value,
    #[serde(default, alias = "tool_config")]
    pub tool_config: Value,
    #[serde(default, alias = "cached_content")]
    pub cached_content: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    #[serde(default)]
    pub role: Option<String>,
    #[serde(default)]
    pub parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "some fields are there only to be known, as they are to Gemini"
)]
pub struct Part {
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub thought: Option<bool>,
    #[serde(default, alias = "thought_signature")]
    pub thought_signature: Option<String>,
    #[serde(default, alias = "inline_data")]
    pub inline_data: Option<Value>,
    #[serde(default, alias = "file_data")]
    pub file_data: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "some fields are there only to be known, as they are to Gemini"
)]
pub struct GenerationConfig {
    #[serde(default)]
    pub temperature: Option<f64>,
    #[serde(default, alias = "top_p")]
    pub top_p: Option<f64>,
    #[serde(default, alias = "top_k")]
    pub top_k: Option<i64>,
    #[serde(default, alias = "max_output_tokens")]
    pub max_output_tokens: Option<i64>,
    #[serde(default, alias = "candidate_count")]
    pub candidate_count: Option<i64>,
    #[serde(default, alias = "stop_sequences")]
    pub stop_sequences: Vec<String>,
    #[serde(default)]
    pub seed: Option<i64>,
    #[serde(default, alias = "presence_penalty")]
    pub presence_penalty: Option<f64>,
    #[serde(default, alias = "frequency_penalty")]
    pub frequency_penalty: Option<f64>,
    #[serde(default, alias = "response_mime_type")]
    pub response_mime_type: Option<String>,
    #[serde(default, alias = "thinking_config")]
    pub thinking_config: Option<ThinkingConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "some fields are there only to be known, as they are to Gemini"
)]
pub struct ThinkingConfig {
    #[serde(default, alias = "thinking_budget")]
    pub thinking_budget: Option<i64>,
    #[serde(default, alias = "thinking_level")]
    pub thinking_level: Option<String>,
    #[serde(default, alias = "include_thoughts")]
    pub include_thoughts: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetySetting {
    pub category: String,
    pub threshold: String,
}

const CATEGORIES: [&str; 5] = [
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
];
const THRESHOLDS: [&str; 6] = [
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
];
const THINKING_LEVELS: [&str; 4] = ["MINIMAL", "LOW", "MEDIUM", "HIGH"];

impl GenerateRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// The message of the 400 INVALID_ARGUMENT that Gemini answers with.
    pub fn read(body: &[u8]) -> Result<GenerateRequest, String> {
        let request: GenerateRequest = serde_json::from_slice(body)
            .map_err(|error| format!("Invalid JSON payload received. {error}"))?;
        request.check()?;
        Ok(request)
    }

    /// Roughly the tokens of all that was sent in.
    pub fn input_tokens(&self) -> u64 {
        self.contents
            .iter()
            .chain(&self.system_instruction)
            .flat_map(|content| &content.parts)
            .map(Part::tokens)
            .sum()
    }

    fn check(&self) -> Result<(), String> {
        let Some(last) = self.contents.last() else {
            return Err(
                "* GenerateContentRequest.contents: contents is not specified\n".to_owned(),
            );
        };
        for (index, content) in self.contents.iter().enumerate() {
            if !matches!(content.role.as_deref(), None | Some("user" | "model")) {
                return Err("Please use a valid role: user, model.".to_owned());
            }
            content.check_parts(&format!("GenerateContentRequest.contents[{index}]"))?;
        }
        if last.role.as_deref() == Some("model") {
            return Err("Please ensure that multiturn requests end with a user role or a function response.".to_owned());
        }
        if self.contents.len() > 1 && self.contents.iter().any(|content| content.role.is_none()) {
            return Err("Please use a valid role: user, model.".to_owned());
        }
        if let Some(instruction) = &self.system_instruction {
            instruction.check_parts("GenerateContentRequest.system_instruction")?;
        }
        if let Some(config) = &self.generation_config {
            config.check()?;
        }
        for setting in &self.safety_settings {
            check_known("safety_settings.category", &setting.category, &CATEGORIES)?;
            check_known("safety_settings.threshold", &setting.threshold, &THRESHOLDS)?;
        }
        let tokens = self.input_tokens();
        if tokens > INPUT_TOKEN_LIMIT {
            return Err(format!(
                "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({INPUT_TOKEN_LIMIT})."
            ));
        }
        Ok(())
    }
}

impl Content {
    fn check_parts(&self, at: &str) -> Result<(), String> {
        if self.parts.is_empty() {
            return Err(format!("* {at}.parts: contents.parts must not be empty.\n"));
        }
        match self.parts.iter().position(Part::is_empty) {
            Some(index) => Err(format!(
                "* {at}.parts[{index}].data: required oneof field 'data' must have one initialized field\n"
            )),
            None => Ok(()),
        }
    }
}

impl Part {
    fn is_empty(&self) -> bool {
        self.text.as_deref().is_none_or(str::is_empty)
            && self.inline_data.is_none()
            && self.file_data.is_none()
    }

    fn tokens(&self) -> u64 {
        // Anything that is not text counts as one picture does.
        const PICTURE: u64 = 258;
        let others = u64::from(self.inline_data.is_some()) + u64::from(self.file_data.is_some());
        self.text.as_deref().map_or(0, tokens_of) + others * PICTURE
    }
}

impl GenerationConfig {
    fn check(&self) -> Result<(), String> {
        let in_range = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..=high).contains(&value) => Err(format!(
                "* GenerateContentRequest.generation_config.{name}: {name} must be in the range [{low:?}, {high:?}].\n"
            )),
            _ => Ok(()),
        };
        in_range("temperature", self.temperature, 0.0, 2.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        if self.top_k.is_some_and(|k| k < 1) {
            return Err(
                "* GenerateContentRequest.generation_config.top_k: top_k must be positive.\n"
                    .to_owned(),
            );
        }
        if self.candidate_count.is_some_and(|count| count != 1) {
            return Err("Only one candidate can be specified in the current model".to_owned());
        }
        if self
            .max_output_tokens
            .is_some_and(|most| most < 1 || most.unsigned_abs() > OUTPUT_TOKEN_LIMIT)
        {
            return Err(format!(
                "Unable to submit request because it has a maxOutputTokens value that is not from 1 to {OUTPUT_TOKEN_LIMIT}."
            ));
        }
        if self.stop_sequences.len() > 5 || self.stop_sequences.iter().any(String::is_empty) {
            return Err("* GenerateContentRequest.generation_config.stop_sequences: at most 5, none empty.\n".to_owned());
        }
        let Some(thinking) = &self.thinking_config else {
            return Ok(());
        };
        if thinking.thinking_budget.is_some() && thinking.thinking_level.is_some() {
            return Err(
                "You can only set only one of thinking budget and thinking level.".to_owned(),
            );
        }
        match thinking
            .thinking_level
            .as_deref()
            .map(str::to_ascii_uppercase)
        {
            Some(level) => check_known(
                "generation_config.thinking_config.thinking_level",
                &level,
                &THINKING_LEVELS,
            ),
            None => Ok(()),
        }
    }
}

fn check_known(field: &str, value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(format!("Invalid value at '{field}': \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<GenerateRequest, String> {
        GenerateRequest::read(body.to_string().as_bytes())
    }

    fn turn(role: &str) -> Value {
        json!({"role": role, "parts": [{"text": "eight ch"}]})
    }

    #[test]
    fn a_full_request_is_taken() {
        let request = read(&json!({
            "systemInstruction": {"parts": [{"text": "Be kind."}]},
            "contents": [turn("user"), turn("user"), turn("model"), turn("user")],
            "generationConfig": {"temperature": 0.7, "topP": 0.9, "topK": 40, "maxOutputTokens": 500,
                "stopSequences": ["END"], "thinkingConfig": {"thinkingBudget": 0}},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
        }))
        .unwrap();
        assert_eq!(request.input_tokens(), 2 * 5);
        assert!(
            read(&json!({"contents": [{"parts": [{"text": "one turn needs no role"}]}]})).is_ok()
        );
    }

    #[test]
    fn what_gemini_refuses_is_refused() {
        let user = turn("user");
        for (body, named) in [
            (json!({}), "contents is not specified"),
            (json!({"contents": []}), "contents is not specified"),
            (json!({"contents": [turn("assistant")]}), "valid role"),
            (json!({"contents": [turn("system"), user]}), "valid role"),
            (
                json!({"contents": [{"parts": [{"text": "a"}]}, user]}),
                "valid role",
            ),
            (
                json!({"contents": [user, turn("model")]}),
                "end with a user role",
            ),
            (json!({"contents": [{"role": "user"}]}), "contents[0].parts"),
            (
                json!({"contents": [{"role": "user", "parts": []}]}),
                "must not be empty",
            ),
            (
                json!({"contents": [user, {"role": "user", "parts": [{"text": ""}]}]}),
                "contents[1].parts[0].data",
            ),
            (
                json!({"contents": [{"role": "user", "parts": [{}]}]}),
                "oneof field 'data'",
            ),
            (
                json!({"contents": [{"role": "user", "parts": [{"content": "x"}]}]}),
                "content",
            ),
            (
                json!({"contents": [user], "systemInstruction": {"parts": []}}),
                "system_instruction",
            ),
            (json!({"contents": [user], "messages": []}), "messages"),
            (json!({"contents": "hello"}), "Invalid JSON"),
            (
                json!({"contents": [user], "generationConfig": {"temperature": 3}}),
                "temperature",
            ),
            (
                json!({"contents": [user], "generationConfig": {"topP": -0.5}}),
                "top_p",
            ),
            (
                json!({"contents": [user], "generationConfig": {"topK": 0}}),
                "top_k",
            ),
            (
                json!({"contents": [user], "generationConfig": {"maxOutputTokens": 0}}),
                "maxOutputTokens",
            ),
            (
                json!({"contents": [user], "generationConfig": {"maxTokens": 5}}),
                "maxTokens",
            ),
            (
                json!({"contents": [user], "generationConfig": {"candidateCount": 2}}),
                "candidate",
            ),
            (
                json!({"contents": [user], "generationConfig": {"stopSequences": [""]}}),
                "stop_sequences",
            ),
            (
                json!({"contents": [user], "generationConfig": {"thinkingConfig": {"thinkingLevel": "DEEP"}}}),
                "DEEP",
            ),
            (
                json!({"contents": [user], "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}}),
                "only one",
            ),
            (
                json!({"contents": [user], "safetySettings": [{"category": "RUDE", "threshold": "OFF"}]}),
                "RUDE",
            ),
        ] {
            let problem = read(&body).unwrap_err();
            assert!(problem.contains(named), "{body}: {problem}");
        }
        assert!(
            GenerateRequest::read(b"not json")
                .unwrap_err()
                .contains("Invalid JSON")
        );
    }
}
