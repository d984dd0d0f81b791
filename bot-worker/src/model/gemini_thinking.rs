//! How Gemini's models are asked to think, which differs by what they are called: levels since 3, budgets of tokens in 2.5,
//! nothing before. Of a model whose name says nothing, only signs of life are asked for. Pure.

use common::store::Thinking;
use serde_json::{Value, json};

/// How a model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// By a level; the least one is not known to all.
    Levels { has_minimal: bool },
    /// By a budget of tokens.
    Budgets { can_be_off: bool },
    /// Its name does not say.
    Unknown,
    /// It does not think.
    None,
}

/// The ways to ask this model to think so much, as values of `thinkingConfig`: the first says all of it, each further one
/// less, and the last is to say nothing.
pub(super) fn ways(model: &str, thinking: Thinking) -> Vec<Option<Value>> {
    let level = |level: &str| json!({"thinkingLevel": level, "includeThoughts": true});
    let budget = |tokens: i32| json!({"thinkingBudget": tokens, "includeThoughts": true});
    let mut ways = match (manner(model), thinking) {
        (Manner::None, _) => Vec::new(),
        (Manner::Unknown, _) => vec![json!({"includeThoughts": true})],
        (Manner::Levels { has_minimal: true }, Thinking::Off) => {
            vec![level("MINIMAL"), level("LOW")]
        }
        (Manner::Levels { .. }, Thinking::Off | Thinking::Low) => vec![level("LOW")],
        (Manner::Levels { .. }, Thinking::Medium) => vec![level("MEDIUM")],
        (Manner::Levels { .. }, Thinking::High) => vec![level("HIGH")],
        // What does not think has no thoughts to be included.
        (Manner::Budgets { can_be_off: true }, Thinking::Off) => {
            vec![json!({"thinkingBudget": 0}), budget(512)]
        }
        (Manner::Budgets { .. }, Thinking::Off) => vec![budget(128)],
        (Manner::Budgets { .. }, Thinking::Low) => vec![budget(1_024)],
        (Manner::Budgets { .. }, Thinking::Medium) => vec![budget(8_192)],
        // As much as it likes.
        (Manner::Budgets { .. }, Thinking::High) => vec![budget(-1)],
    };
    if matches!(
        manner(model),
        Manner::Levels { .. } | Manner::Budgets { .. }
    ) {
        ways.push(json!({"includeThoughts": true}));
    }
    ways.into_iter().map(Some).chain([None]).collect()
}

fn manner(model: &str) -> Manner {
    let name = model.to_ascii_lowercase();
    let Some(rest) = name.strip_prefix("gemini-") else {
        return match name.starts_with("gemma") {
            true => Manner::None,
            false => Manner::Unknown,
        };
    };
    let version = rest.split('-').next().unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return Manner::Unknown;
    };
    match (major, minor) {
        (3.., _) => Manner::Levels {
            // The newest Flash does not list it, and no Pro has it.
            has_minimal: (major, minor) < (3, 8) && rest.contains("flash"),
        },
        (2, 5..) => Manner::Budgets {
            can_be_off: rest.contains("flash"),
        },
        _ => Manner::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_asked_in_its_own_manner() {
        for (model, thinking, first) in [
            ("gemini-3.8-flash", Thinking::Low, r#""LOW""#),
            ("gemini-3.8-flash", Thinking::Off, r#""LOW""#),
            ("gemini-3.5-flash", Thinking::Off, r#""MINIMAL""#),
            ("gemini-3.5-flash-lite", Thinking::Medium, r#""MEDIUM""#),
            ("gemini-3-pro-preview", Thinking::High, r#""HIGH""#),
            ("gemini-4-flash", Thinking::High, r#""HIGH""#),
            ("gemini-2.5-flash", Thinking::Off, r#""thinkingBudget":0}"#),
            ("gemini-2.5-pro", Thinking::Off, r#""thinkingBudget":128"#),
            ("gemini-2.5-flash", Thinking::High, r#""thinkingBudget":-1"#),
            (
                "gemini-flash-latest",
                Thinking::High,
                r#"{"includeThoughts":true}"#,
            ),
            ("a-model", Thinking::Off, r#"{"includeThoughts":true}"#),
            ("gemini-2.0-flash", Thinking::High, "null"),
            ("gemma-3-27b", Thinking::High, "null"),
        ] {
            let ways = ways(model, thinking);
            let said = serde_json::to_string(&ways[0]).unwrap();
            assert!(said.contains(first), "{model} {thinking:?}: {said}");
            let both =
                |way: &Value| !way["thinkingLevel"].is_null() && !way["thinkingBudget"].is_null();
            assert!(!ways.iter().flatten().any(both), "a 400 by itself");
            assert_eq!(ways.last(), Some(&None), "the last says nothing");
        }
    }
}
