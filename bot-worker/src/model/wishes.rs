//! What is asked of a model beside an answer, and what it turned out to take of that. A model that refuses a request for
//! one of these fields is asked once more with less, and that is remembered: an answer without them is better than none,
//! and the next request is not to be refused as well. Without I/O.

use std::collections::HashMap;

use common::store::Thinking;
use parking_lot::Mutex;

use super::ModelError;
use crate::fallback::Reason;

/// What is wished for beside an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wishes {
    /// How much the model is to think.
    pub thinking: Thinking,
    /// Whether it may look things up.
    pub search: bool,
}

/// How much of the wishes is in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Which of the ways to ask for thinking, from the first, which says all, to the last, which says nothing.
    pub way: usize,
    /// Whether tools are offered.
    pub search: bool,
}

/// What is known of what models take.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<HashMap<(String, Wishes), Asked>>);

impl Taken {
    /// What to ask of this model first.
    pub(super) fn first(&self, model: &str, wishes: Wishes) -> Asked {
        let all = Asked {
            way: 0,
            search: wishes.search,
        };
        self.known(model, wishes).unwrap_or(all)
    }

    /// What to ask of it after it refused that, if it may have been for these fields. `ways` is how many there are.
    pub(super) fn less(
        &self,
        model: &str,
        wishes: Wishes,
        asked: Asked,
        ways: usize,
        error: &ModelError,
    ) -> Option<Asked> {
        let plain = Asked {
            way: ways - 1,
            search: false,
        };
        // What it has taken before, it takes: it is something else that it refuses.
        let is_taken = self.known(model, wishes) == Some(asked);
        if error.reason != Reason::BadRequest || is_taken || asked == plain {
            return None;
        }
        let words = error.detail.to_ascii_lowercase();
        let names = |of: &[&str]| of.iter().any(|word| words.contains(word));
        if asked.search && names(&["tool", "search", "url_context", "urlcontext", "grounding"]) {
            return Some(Asked {
                search: false,
                ..asked
            });
        }
        if asked.way + 1 < ways && names(&["think", "thought", "reason", "budget", "level"]) {
            return Some(Asked {
                way: asked.way + 1,
                ..asked
            });
        }
        Some(plain)
    }

    /// It has taken that.
    pub(super) fn took(&self, model: &str, wishes: Wishes, asked: Asked) {
        self.0.lock().insert((model.to_owned(), wishes), asked);
    }

    fn known(&self, model: &str, wishes: Wishes) -> Option<Asked> {
        self.0.lock().get(&(model.to_owned(), wishes)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Advice;

    fn refused(words: &str) -> ModelError {
        ModelError {
            advice: Advice::GiveUp,
            reason: Reason::BadRequest,
            status: "400",
            detail: words.to_owned(),
        }
    }

    #[test]
    fn what_a_model_refuses_is_left_out_and_that_is_remembered() {
        let (taken, wishes) = (
            Taken::default(),
            Wishes {
                thinking: Thinking::Low,
                search: true,
            },
        );
        let less = |asked, words: &str| taken.less("m", wishes, asked, 3, &refused(words));
        let asked = |way, search| Asked { way, search };
        let all = taken.first("m", wishes);
        assert_eq!(all, asked(0, true));
        let words = "Search Grounding is not supported.";
        assert_eq!(less(all, words), Some(asked(0, false)));
        let words = "Thinking level MINIMAL is not supported for this model.";
        assert_eq!(less(all, words), Some(asked(1, true)));
        assert_eq!(less(asked(1, true), words), Some(asked(2, true)));
        // Nobody knows for what: with nothing of it.
        assert_eq!(less(asked(2, true), words), Some(asked(2, false)));
        let words = "Request contains an invalid argument.";
        assert_eq!(less(all, words), Some(asked(2, false)));
        assert_eq!(less(asked(2, false), words), None);

        taken.took("m", wishes, asked(1, false));
        assert_eq!(taken.first("m", wishes), asked(1, false));
        assert_eq!(less(asked(1, false), words), None, "it is something else");
        assert_eq!(taken.first("other", wishes), all);
        let broken = ModelError {
            reason: Reason::Broken,
            ..refused("thinking")
        };
        assert_eq!(taken.less("other", wishes, all, 3, &broken), None);
    }
}
