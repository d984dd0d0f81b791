//! An error as an operator reads it: what failed and why, down to the engine's own words, in one line and each said once.

use std::{error::Error, fmt};

/// Shows an error with its causes, as far as it does not say them itself.
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            source = cause.source();
        }
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn each_cause_is_said_once() {
        let engine = Layer("OOM command not allowed", None);
        let said = Layer("no answer: OOM command not allowed", Some(Box::new(engine)));
        let outer = Layer("marking a room", Some(Box::new(said)));
        let line = WithCauses(&outer).to_string();
        assert_eq!(line, "marking a room: no answer: OOM command not allowed");
    }
}
