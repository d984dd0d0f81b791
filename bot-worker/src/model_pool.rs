//! The models in their order, and what this worker has learnt of each from all requests: whether it may be called now.

use crate::{
    attempts::{Bar, BarKind},
    circuits::Circuits,
    fallback::Reason,
    load::RecentTimes,
    model::{Advice, ModelError},
};
use parking_lot::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a model that will not do it (retired, or its day's quota used up) is passed over while there is another.
const REST: Duration = Duration::from_secs(600);

/// All models of one worker.
#[derive(Debug)]
pub(crate) struct ModelPool {
    models: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: Mutex<State>,
    took: RecentTimes,
}

#[derive(Debug, Default)]
struct State {
    circuits: Circuits,
    /// Not before then, and why.
    barred: Option<(Instant, Reason, BarKind)>,
}

impl ModelPool {
    /// The models of these names, in order.
    pub(crate) fn new(names: &[String]) -> ModelPool {
        let entry = |name: &String| Entry {
            name: name.clone(),
            state: Mutex::default(),
            took: RecentTimes::default(),
        };
        ModelPool {
            models: names.iter().map(entry).collect(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.models.len()
    }

    /// Where the model of this name stands; none if it is not among them.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|entry| entry.name == name)
    }

    /// The name of the model at this index.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.models.get(index).map_or("", |entry| &entry.name)
    }

    /// How long answers of the model at this index have lately taken.
    pub(crate) fn took(&self, index: usize) -> Option<&RecentTimes> {
        self.models.get(index).map(|entry| &entry.took)
    }

    /// What keeps each model from being called for this person now.
    pub(crate) fn bars(&self, user: &str, now: Instant) -> Vec<Option<Bar>> {
        self.models
            .iter()
            .map(|entry| entry.state().bar(user, now))
            .collect()
    }

    /// Begins a call to the model at this index, for this person. None if a bar has come up meanwhile.
    pub(crate) fn begin<'a>(
        &'a self,
        index: usize,
        user: &'a str,
        now: Instant,
    ) -> Option<Call<'a>> {
        let entry = self.models.get(index)?;
        let mut state = entry.state();
        let barred = state
            .bar(user, now)
            .is_some_and(|bar| bar.kind != BarKind::Rest);
        if barred || !state.circuits.let_pass(user, now) {
            return None;
        }
        Some(Call {
            entry,
            user,
            has_verdict: false,
        })
    }
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn bar(&self, user: &str, now: Instant) -> Option<Bar> {
        let named = self.barred.and_then(|(until, reason, kind)| {
            let left = until.saturating_duration_since(now);
            (!left.is_zero()).then_some(Bar { left, reason, kind })
        });
        let circuit = self.circuits.barred_for(user, now).map(|left| Bar {
            left,
            reason: Reason::Broken,
            kind: BarKind::Circuit,
        });
        match (named, circuit) {
            (Some(named), Some(circuit)) if circuit.left > named.left => Some(circuit),
            (named, circuit) => named.or(circuit),
        }
    }
}

/// A call under way. Dropped without a verdict, it says nothing about the model.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    entry: &'a Entry,
    user: &'a str,
    has_verdict: bool,
}

impl Call<'_> {
    /// The model's name.
    pub(crate) fn model(&self) -> &str {
        &self.entry.name
    }

    /// It has answered after so long.
    pub(crate) fn took(&self, time: Duration, now: Instant) {
        self.entry.took.add(time, now.into());
    }

    /// It had not answered after so long, when its time was up: that says something only where others were faster.
    pub(crate) fn took_longer(&self, time: Duration, now: Instant) {
        let known = self.entry.took.at_most(now.into());
        if known.is_none_or(|known| known < time) {
            self.took(time, now);
        }
    }

    /// The model did its work.
    pub(crate) fn succeeded(mut self) {
        self.has_verdict = true;
        let mut state = self.entry.state();
        state.circuits.succeeded(self.user);
        state.barred = None;
    }

    /// The model did not, at `now`.
    pub(crate) fn failed(mut self, error: &ModelError, now: Instant) {
        let mut state = self.entry.state();
        match (error.advice, error.reason) {
            (Advice::Again { after: Some(delay) }, reason) => {
                state.barred = Some((now + delay, reason, BarKind::Delay));
                // It is there, and says when: neither good nor bad.
                state.circuits.abandoned(self.user, now);
            }
            (Advice::Again { after: None } | Advice::AgainElsewhereFirst, _) => {
                state.circuits.failed(self.user, now);
            }
            (Advice::NextModel, reason @ (Reason::Quota | Reason::NoModel)) => {
                state.barred = Some((now + REST, reason, BarKind::Rest));
                state.circuits.abandoned(self.user, now);
            }
            // It is this request that it will not do.
            (Advice::OnceMore | Advice::NextModel | Advice::GiveUp, _) => {
                state.circuits.succeeded(self.user);
            }
        }
        drop(state);
        self.has_verdict = true;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_verdict {
            let mut state = self.entry.state();
            state.circuits.abandoned(self.user, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{FAILURES_TO_OPEN, OPEN_FIRST};

    fn two() -> ModelPool {
        ModelPool::new(&["a".to_owned(), "b".to_owned()])
    }

    fn error(advice: Advice, reason: Reason) -> ModelError {
        ModelError {
            advice,
            reason,
            status: "test",
            detail: String::new(),
        }
    }

    #[test]
    fn a_delay_that_one_request_was_told_holds_for_all() {
        let (models, now) = (two(), Instant::now());
        let delay = Duration::from_secs(30);
        let quota = error(Advice::Again { after: Some(delay) }, Reason::Quota);
        models.begin(0, "ada", now).unwrap().failed(&quota, now);
        let bar = Bar {
            left: delay,
            reason: Reason::Quota,
            kind: BarKind::Delay,
        };
        assert_eq!(models.bars("ada", now), [Some(bar), None]);
        assert!(models.begin(0, "ada", now).is_none());
        assert_eq!(models.bars("ada", now + delay), [None, None]);
    }

    #[test]
    fn a_model_that_keeps_failing_is_passed_over_and_probed_once() {
        let (models, now) = (two(), Instant::now());
        for _ in 0..FAILURES_TO_OPEN {
            let broken = error(Advice::Again { after: None }, Reason::Broken);
            models.begin(0, "ada", now).unwrap().failed(&broken, now);
        }
        assert!(models.begin(0, "ada", now).is_none() && models.begin(1, "ada", now).is_some());
        let later = now + OPEN_FIRST;
        let probe = models.begin(0, "ada", later).unwrap();
        assert!(models.begin(0, "ada", later).is_none());
        probe.succeeded();
        assert_eq!(models.bars("ada", later), [None, None]);
    }

    #[test]
    fn a_question_that_a_model_has_no_answer_to_says_that_the_model_is_well() {
        let (models, now) = (two(), Instant::now());
        let broken = error(Advice::Again { after: None }, Reason::Broken);
        let no_words = error(Advice::OnceMore, Reason::NoWords);
        for _ in 0..3 * FAILURES_TO_OPEN {
            models.begin(0, "ada", now).unwrap().failed(&no_words, now);
        }
        for user in ["bob", "eve", "kim"] {
            models.begin(0, user, now).unwrap().failed(&broken, now);
        }
        models.begin(0, "ada", now).unwrap().failed(&no_words, now);
        for user in ["bob", "eve", "kim"] {
            models.begin(0, user, now).unwrap().failed(&broken, now);
        }
        assert_eq!(models.bars("kim", now), [None, None]);
    }

    #[test]
    fn a_model_at_rest_may_still_be_asked() {
        let (models, now) = (two(), Instant::now());
        models
            .begin(0, "ada", now)
            .unwrap()
            .failed(&error(Advice::NextModel, Reason::Quota), now);
        assert_eq!(models.bars("ada", now)[0].unwrap().kind, BarKind::Rest);
        models.begin(0, "ada", now).unwrap().succeeded();
        assert_eq!(models.bars("ada", now)[0], None);
    }
}
