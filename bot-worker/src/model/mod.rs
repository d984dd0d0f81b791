//! The model seam: someone to ask. Two sides, [`gemini`] and [`openai`]; tests ask the practice model, which speaks as
//! both do.

mod answer;
mod chat_answer;
mod chat_error;
mod delay;
pub mod gemini;
mod gemini_answer;
mod gemini_thinking;
mod google_error;
pub mod http;
mod json;
pub mod openai;
mod reading;
pub mod sse;
mod wishes;

use std::time::Duration;

use async_trait::async_trait;
use common::wire::Grounding;

pub use wishes::Wishes;

use crate::fallback::Reason;

/// Takes an answer piece by piece, as it is written.
pub type Pieces<'a> = &'a mut (dyn for<'b> FnMut(&'b str) + Send);

/// Asks at most once a call: whether and when to ask again, and whom, is the caller's to decide.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// Asks the model of this name. The answer comes through `pieces`, text after text, as it is written; it is all
    /// there when this returns [`Finished`], and a part of it may be there when it returns an error. Dropping the
    /// future hangs up. Ends by itself when the model goes silent, which a model that thinks aloud is not, but has no limit for
    /// the whole. What the call has used so far stands in `usage`, also when it fails or is dropped: as the model counted it,
    /// or, where it did not, by what came of it. A model that refuses what the prompt [wishes for](Wishes) beside an answer
    /// is asked once more without, within the same call.
    ///
    /// # Errors
    /// [`ModelError`], which says what may be done about it.
    async fn ask(
        &self,
        model: &str,
        prompt: &Prompt,
        pieces: Pieces<'_>,
        usage: &mut Usage,
    ) -> Result<Finished, ModelError>;

    /// Whether the model is there for this key.
    ///
    /// # Errors
    /// [`ModelError`] if not, or if that cannot be told just now.
    async fn check(&self, model: &str) -> Result<(), ModelError>;
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Who the model is to be.
    pub system: String,
    /// The conversation: the first and the last turn are people's, and roles take turns.
    pub turns: Vec<Turn>,
    /// About how many tokens all that is.
    pub tokens: usize,
    /// After so many characters of answer the model need not go on: more would be cut away.
    pub enough_chars: usize,
    /// What it is asked for beside an answer, as far as it takes that.
    pub wishes: Wishes,
}

/// What was said by one side, in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// By whom.
    pub role: Role,
    /// The messages, one each; none is empty.
    pub parts: Vec<String>,
}

/// The two sides of a conversation, as models know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever of the people in the room.
    People,
    /// The model.
    Model,
}

/// How an answer ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// False if the model was cut short by a limit of its own or of the prompt, and had more to say.
    pub complete: bool,
    /// What the answer stands on, if it looked things up.
    pub grounding: Grounding,
}

/// What a call has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, and of what was read for it.
    pub tokens_in: u32,
    /// Those of them that were read from a cache.
    pub tokens_cached: u32,
    /// Tokens of the answer and of the thoughts before it.
    pub tokens_out: u32,
    /// Those of them that were thoughts.
    pub tokens_thought: u32,
    /// Queries that were searched for.
    pub searches: u32,
    /// Some of it was estimated here, since the model did not come to count it.
    pub is_estimated: bool,
}

/// A token is about four bytes: of English four letters, of Russian two, of Chinese one and a third.
pub(crate) const BYTES_PER_TOKEN: usize = 4;

impl Usage {
    /// Both together.
    pub fn and(self, other: Usage) -> Usage {
        Usage {
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_cached: self.tokens_cached.saturating_add(other.tokens_cached),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            tokens_thought: self.tokens_thought.saturating_add(other.tokens_thought),
            searches: self.searches.saturating_add(other.searches),
            is_estimated: self.is_estimated || other.is_estimated,
        }
    }

    /// What is known by now, where this was known before: counts only grow, and come in any order.
    pub(crate) fn at_least(self, other: Usage) -> Usage {
        Usage {
            tokens_in: self.tokens_in.max(other.tokens_in),
            tokens_cached: self.tokens_cached.max(other.tokens_cached),
            tokens_out: self.tokens_out.max(other.tokens_out),
            tokens_thought: self.tokens_thought.max(other.tokens_thought),
            searches: self.searches.max(other.searches),
            is_estimated: self.is_estimated || other.is_estimated,
        }
    }
}

/// The status of an answer that did not say that it ended.
const UNFINISHED: &str = "unfinished";

/// Why there is no answer, or only a part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ModelError {
    /// What may be done about it.
    pub advice: Advice,
    /// Why, for people, should nothing help.
    pub reason: Reason,
    /// One word or number for the metrics.
    pub status: &'static str,
    /// For the log.
    pub detail: String,
}

impl ModelError {
    fn broken(advice: Advice, status: &'static str, detail: String) -> ModelError {
        ModelError {
            advice,
            reason: Reason::Broken,
            status,
            detail,
        }
    }

    /// The answer ended in the middle.
    pub(crate) fn cut(detail: &str) -> ModelError {
        let detail = format!("the answer was cut: {detail}");
        ModelError::broken(Advice::Again { after: None }, "cut", detail)
    }

    /// It was no answer that this side knows.
    pub(crate) fn garbage(detail: &str) -> ModelError {
        let detail = format!("no answer of the model's kind: {detail}");
        ModelError::broken(Advice::Again { after: None }, "garbage", detail)
    }

    /// There was text, and the body ended as it should, but no event said that this was the end.
    pub(crate) fn unfinished() -> ModelError {
        let detail = "the stream ended without saying so".to_owned();
        ModelError::broken(Advice::OnceMore, UNFINISHED, detail)
    }

    /// Whether there is an answer, of which it is only not known whether it is all.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.status == UNFINISHED
    }

    /// Whether a model was at work until then, so that it has cost something, whether it came to count that or not. What was
    /// refused was not begun.
    pub(crate) fn was_at_work(&self) -> bool {
        matches!(self.status, "silent" | "cut" | "empty" | "blocked") || self.is_unfinished()
    }

    /// It was well, and there was nothing in it.
    pub(crate) fn empty(detail: &str, advice: Advice) -> ModelError {
        let reason = match advice {
            Advice::OnceMore => Reason::NoWords,
            _ => Reason::Broken,
        };
        ModelError {
            reason,
            ..ModelError::broken(advice, "empty", detail.to_owned())
        }
    }

    /// Nothing came any more.
    pub(crate) fn silent(detail: &str) -> ModelError {
        ModelError {
            advice: Advice::AgainElsewhereFirst,
            reason: Reason::TooSlow,
            status: "silent",
            detail: format!("the model went silent: {detail}"),
        }
    }

    /// The model, or the filter before it, would not say it.
    pub(crate) fn blocked(detail: &str) -> ModelError {
        ModelError {
            advice: Advice::GiveUp,
            reason: Reason::Safety,
            status: "blocked",
            detail: detail.to_owned(),
        }
    }
}

/// What may be done about a [`ModelError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The same model may do it, after this long if it said so.
    Again {
        /// What the model asked for.
        after: Option<Duration>,
    },
    /// The model is well: it is this question that it did not answer. It may the second time, and hardly the fourth.
    OnceMore,
    /// The same model may do it some time, but it took so long that another is the better try.
    AgainElsewhereFirst,
    /// This model will not do it for a long time; another may.
    NextModel,
    /// No model will do it.
    GiveUp,
}
