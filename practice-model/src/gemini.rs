//! Gemini's requests as they come over the wire, and what Gemini refuses about them. As strict as the real one or
//! stricter (what the worker never sends is not known here), so that a request that is built wrongly fails in a test and
//! not in front of people.

use serde::Deserialize;
use serde_json::Value;

/// Most input tokens that are taken, as of the current models.
pub(crate) const INPUT_TOKEN_LIMIT: u64 = 1_048_576;

/// Most tokens that are given out.
pub(crate) const OUTPUT_TOKEN_LIMIT: u64 = 65_536;

/// About as many characters make a token, says Google.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Roughly the tokens of a text: enough to count quotas with.
pub(crate) fn tokens_of(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(CHARACTERS_PER_TOKEN)
}

/// The body of `generateContent` and `streamGenerateContent`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GenerateRequest {
    #[serde(default)]
    pub contents: Vec<Content>,
    #[serde(default)]
    system_instruction: Option<Content>,
    #[serde(default)]
    generation_config: GenerationConfig,
    #[serde(default, rename = "safetySettings")]
    _safety_settings: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    pub parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub thought: Option<bool>,
    #[serde(default, rename = "thoughtSignature")]
    _thought_signature: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GenerationConfig {
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    max_output_tokens: Option<i64>,
    #[serde(default)]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThinkingConfig {
    #[serde(default)]
    thinking_budget: Option<i64>,
    #[serde(default)]
    thinking_level: Option<String>,
    #[serde(default)]
    include_thoughts: Option<bool>,
}

const THINKING_LEVELS: [&str; 4] = ["MINIMAL", "LOW", "MEDIUM", "HIGH"];

impl GenerateRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// The message of the 400 INVALID_ARGUMENT that Gemini answers with.
    pub(crate) fn read(body: &[u8]) -> Result<GenerateRequest, String> {
        let request: GenerateRequest = serde_json::from_slice(body)
            .map_err(|error| format!("Invalid JSON payload received. {error}"))?;
        request.check()?;
        Ok(request)
    }

    /// Roughly the tokens of all that was sent in.
    pub(crate) fn input_tokens(&self) -> u64 {
        self.contents
            .iter()
            .chain(&self.system_instruction)
            .flat_map(|content| &content.parts)
            .map(|part| part.text.as_deref().map_or(0, tokens_of))
            .sum()
    }

    /// Whether what is thought is to come as well.
    pub(crate) fn includes_thoughts(&self) -> bool {
        let thinking = self.generation_config.thinking_config.as_ref();
        thinking.is_some_and(|thinking| thinking.include_thoughts == Some(true))
    }

    /// Whether anything is said on thinking.
    pub(crate) fn speaks_of_thinking(&self) -> bool {
        self.generation_config.thinking_config.is_some()
    }

    /// Whether this tool may be used.
    pub(crate) fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|offered| !offered[tool].is_null())
    }

    /// Whether any may.
    pub(crate) fn offers_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// What this very model does not take of it, by its name.
    ///
    /// # Errors
    /// As from [`GenerateRequest::read`].
    pub(crate) fn check_model(&self, model: &str) -> Result<(), String> {
        let Some(thinking) = &self.generation_config.thinking_config else {
            return Ok(());
        };
        let begins = |of: &[&str]| of.iter().any(|name| model.starts_with(name));
        if begins(&["gemini-1.", "gemini-2.0", "gemma-"]) {
            return Err(format!("Thinking is not supported by the model {model}."));
        }
        let level = thinking.thinking_level.as_deref();
        if begins(&["gemini-2.5"]) && level.is_some() {
            return Err("Thinking level is not supported for this model.".to_owned());
        }
        if begins(&["gemini-3"]) && thinking.thinking_budget.is_some() {
            return Err("Thinking budget is not supported for this model.".to_owned());
        }
        let is_minimal = level.is_some_and(|level| level.eq_ignore_ascii_case("MINIMAL"));
        if begins(&["gemini-3.8"]) && is_minimal {
            return Err("Thinking level MINIMAL is not supported for this model.".to_owned());
        }
        Ok(())
    }

    /// Most tokens that the caller wants.
    pub(crate) fn output_limit(&self) -> Option<usize> {
        let most = self.generation_config.max_output_tokens?;
        usize::try_from(most).ok()
    }

    fn check(&self) -> Result<(), String> {
        let Some(last) = self.contents.last() else {
            return Err(
                "* GenerateContentRequest.contents: contents is not specified\n".to_owned(),
            );
        };
        for (index, content) in self.contents.iter().enumerate() {
            let is_right = match content.role.as_deref() {
                Some(role) => ["user", "model"].contains(&role),
                None => self.contents.len() == 1,
            };
            if !is_right {
                return Err("Please use a valid role: user, model.".to_owned());
            }
            content.check_parts(&format!("GenerateContentRequest.contents[{index}]"))?;
        }
        if last.role.as_deref() == Some("model") {
            return Err("Please ensure that multiturn requests end with a user role or a function response.".to_owned());
        }
        if let Some(instruction) = &self.system_instruction {
            instruction.check_parts("GenerateContentRequest.system_instruction")?;
        }
        self.generation_config.check()?;
        let known = |tool: &Value| {
            let names = tool.as_object().map(|tool| tool.keys().collect::<Vec<_>>());
            names.is_some_and(|names| {
                names.len() == 1 && ["google_search", "url_context"].contains(&names[0].as_str())
            })
        };
        if let Some(unknown) = self.tools.iter().find(|tool| !known(tool)) {
            return Err(format!("Invalid value at 'tools': {unknown}"));
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
        let is_empty = |part: &Part| part.text.as_deref().is_none_or(str::is_empty);
        match self.parts.iter().position(is_empty) {
            Some(index) => Err(format!(
                "* {at}.parts[{index}].data: required oneof field 'data' must have one initialized field\n"
            )),
            None => Ok(()),
        }
    }
}

impl GenerationConfig {
    fn check(&self) -> Result<(), String> {
        if self
            .temperature
            .is_some_and(|degree| !(0.0..=2.0).contains(&degree))
        {
            return Err(
                "* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0].\n"
                    .to_owned(),
            );
        }
        let is_too_much = |most: i64| most < 1 || most.unsigned_abs() > OUTPUT_TOKEN_LIMIT;
        if self.max_output_tokens.is_some_and(is_too_much) {
            return Err(format!(
                "Unable to submit request because it has a maxOutputTokens value that is not from 1 to {OUTPUT_TOKEN_LIMIT}."
            ));
        }
        let Some(thinking) = &self.thinking_config else {
            return Ok(());
        };
        let Some(level) = thinking.thinking_level.as_deref() else {
            return Ok(());
        };
        if thinking.thinking_budget.is_some() {
            return Err(
                "You can only set only one of thinking budget and thinking level.".to_owned(),
            );
        }
        if !THINKING_LEVELS.contains(&level.to_ascii_uppercase().as_str()) {
            return Err(format!(
                "Invalid value at 'generation_config.thinking_config.thinking_level': \"{level}\""
            ));
        }
        Ok(())
    }
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
            "generationConfig": {"temperature": 0.7, "maxOutputTokens": 500, "thinkingConfig": {"thinkingBudget": 0}},
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
        let configured =
            |config: Value| json!({"contents": [turn("user")], "generationConfig": config});
        for (body, named) in [
            (json!({}), "contents is not specified"),
            (json!({"contents": [turn("assistant")]}), "valid role"),
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
                json!({"contents": [user, {"role": "user", "parts": [{"text": ""}]}]}),
                "contents[1].parts[0].data",
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
            (configured(json!({"temperature": 3})), "temperature"),
            (configured(json!({"maxOutputTokens": 0})), "maxOutputTokens"),
            (configured(json!({"maxTokens": 5})), "maxTokens"),
            (
                configured(json!({"thinkingConfig": {"thinkingLevel": "DEEP"}})),
                "DEEP",
            ),
            (
                configured(
                    json!({"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}),
                ),
                "only one",
            ),
        ] {
            let problem = read(&body).unwrap_err();
            assert!(problem.contains(named), "{body}: {problem}");
        }
    }
}
