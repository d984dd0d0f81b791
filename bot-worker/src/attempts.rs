//! What comes after an attempt at an answer: the same model again, the next one, or the fallback. Pure: what the model
//! said, the bars on all models, the time left and the dice are passed in.

use std::time::Duration;

use common::retry::{BackOff, RetryPolicy};

use crate::{
    fallback::Reason,
    model::{Advice, ModelError},
};

/// Attempts at one model before another has its turn.
const TRIES_PER_MODEL: u32 = 3;
/// Attempts at a question that a model leaves unanswered though it is well, all models together, and at one of them.
const UNANSWERED_MAX: u32 = 3;
const UNANSWERED_PER_MODEL: u32 = 2;
/// Model calls for one request, all models together.
pub(crate) const CALLS_MAX: u32 = 9;
/// With less time than this left, no call is begun: no model answers so fast.
pub(crate) const CALL_MIN: Duration = Duration::from_millis(250);
/// A delay that a quota asks for is waited for up to this long while another model could be asked at once; beyond
/// that, people are better served by the other model. With no other, it is waited for as long as the deadline allows.
const QUOTA_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts, before the dice.
const CALL_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(500), Duration::from_secs(8));

/// Why a model must not be called just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// For how long.
    pub left: Duration,
    /// What people are told if nothing else is left to do.
    pub reason: Reason,
    /// Of what kind.
    pub kind: BarKind,
}

/// Why a model must not, or should not, be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarKind {
    /// The model itself named a delay.
    Delay,
    /// Its circuit is open: it kept failing.
    Circuit,
    /// It said that it will not do it for long (its day's quota is used up, it was retired). Asked only where there is
    /// no other, since it may have been mended meanwhile.
    Rest,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Call the model at this index.
    Call(usize),
    /// Do nothing for this long, then ask again.
    Wait(Duration),
    /// There will be no answer.
    GiveUp(Reason),
}

/// The attempts at one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Models that will not do it, by index.
    dead: Vec<bool>,
    /// Models that were called, by index.
    called: Vec<bool>,
    current: usize,
    tries_here: u32,
    calls: u32,
    /// So often a model was well, and had no answer.
    unanswered: u32,
    pause: Option<Duration>,
    back_off: BackOff,
    last: Option<Reason>,
    over: Option<Reason>,
}

impl Attempts {
    /// None made yet, with so many models, of which the one at this index comes first, then those after it, and at last those
    /// before it.
    pub(crate) fn new(models: usize, first: usize) -> Attempts {
        Attempts {
            dead: vec![false; models],
            called: vec![false; models],
            current: first,
            tries_here: 0,
            calls: 0,
            unanswered: 0,
            pause: None,
            back_off: CALL_AGAIN.back_off(),
            last: None,
            over: None,
        }
    }

    /// How many calls were begun.
    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }

    /// Why the last attempt failed, if there was one.
    pub(crate) fn last(&self) -> Option<Reason> {
        self.last
    }

    /// What to do now, with the bar on each model and the time left until a reply must be there. A [`Next::Wait`] that
    /// was done is over; asked again, this goes on.
    pub(crate) fn next(&mut self, bars: &[Option<Bar>], left: Duration) -> Next {
        if let Some(reason) = self.over {
            return Next::GiveUp(reason);
        }
        let give_up = |reason| Next::GiveUp(self.last.unwrap_or(reason));
        if self.calls >= CALLS_MAX {
            return give_up(Reason::Broken);
        }
        if left < CALL_MIN {
            return give_up(Reason::TooSlow);
        }
        let in_time = |delay: Duration| delay + CALL_MIN <= left;
        if let Some(pause) = self.pause.take() {
            // Beyond the deadline it is not waited for.
            if in_time(pause) {
                return Next::Wait(pause);
            }
            return give_up(Reason::TooSlow);
        }
        let (mut soonest, mut resting) = (None::<Bar>, None);
        for index in self.alive_from_current() {
            match bars.get(index).copied().flatten() {
                None => return Next::Call(index),
                Some(bar) if bar.kind == BarKind::Rest => resting = resting.or(Some(index)),
                Some(bar)
                    if bar.kind == BarKind::Delay
                        && bar.left <= QUOTA_PATIENCE
                        && in_time(bar.left) =>
                {
                    return Next::Wait(bar.left);
                }
                Some(bar) if soonest.is_none_or(|soonest| bar.left < soonest.left) => {
                    soonest = Some(bar);
                }
                Some(_) => {}
            }
        }
        match (soonest, resting) {
            (Some(bar), _) if in_time(bar.left) => Next::Wait(bar.left),
            (_, Some(index)) => Next::Call(index),
            (Some(bar), None) => give_up(bar.reason),
            (None, None) => give_up(Reason::NoModel),
        }
    }

    /// A call to the model at this index begins.
    pub(crate) fn begin(&mut self, index: usize) {
        if index != self.current {
            (self.current, self.tries_here) = (index, 0);
        }
        self.called[index] = true;
        self.tries_here += 1;
        self.calls += 1;
    }

    /// The call failed. `dice` is anything from 0 to 1, for full jitter: retries of many requests must not come together.
    pub(crate) fn failed(&mut self, error: &ModelError, dice: f64) {
        self.last = Some(error.reason);
        match error.advice {
            Advice::GiveUp => self.over = Some(error.reason),
            Advice::NextModel => {
                self.dead[self.current] = true;
                self.move_on(dice);
            }
            Advice::OnceMore => {
                self.unanswered += 1;
                if self.unanswered >= UNANSWERED_MAX {
                    self.over = Some(error.reason);
                } else if self.tries_here >= UNANSWERED_PER_MODEL {
                    self.move_on(dice);
                } else {
                    self.back_off(dice);
                }
            }
            Advice::AgainElsewhereFirst => self.move_on(dice),
            Advice::Again { .. } if self.tries_here >= TRIES_PER_MODEL => self.move_on(dice),
            // The delay itself is a bar on the model, for all requests.
            Advice::Again { after: Some(_) } => {}
            Advice::Again { after: None } => self.back_off(dice),
        }
    }

    fn alive_from_current(&self) -> impl Iterator<Item = usize> + use<> {
        let models = self.dead.len();
        let alive: Vec<usize> = (self.current..self.current + models)
            .map(|index| index % models)
            .filter(|index| !self.dead[*index])
            .collect();
        alive.into_iter()
    }

    /// To the next model that may still do it; at once if it is a fresh one.
    fn move_on(&mut self, dice: f64) {
        let current = self.current;
        let next = self
            .alive_from_current()
            .find(|index| *index != current)
            .or_else(|| self.alive_from_current().next());
        // With none left, `next` gives up.
        let Some(next) = next else { return };
        (self.current, self.tries_here) = (next, 0);
        if self.called[next] {
            self.back_off(dice);
        }
    }

    fn back_off(&mut self, dice: f64) {
        let longest = self.back_off.next_longest();
        self.pause = Some(longest.mul_f64(dice.clamp(0.0, 1.0)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const FREE: [Option<Bar>; 3] = [None; 3];

    fn error(advice: Advice, reason: Reason) -> ModelError {
        ModelError {
            advice,
            reason,
            status: "test",
            detail: String::new(),
        }
    }

    fn again() -> ModelError {
        error(Advice::Again { after: None }, Reason::Broken)
    }

    fn delay(seconds: u64) -> Option<Bar> {
        Some(Bar {
            left: Duration::from_secs(seconds),
            reason: Reason::Quota,
            kind: BarKind::Delay,
        })
    }

    fn call(attempts: &mut Attempts, bars: &[Option<Bar>], left: Duration) -> usize {
        loop {
            match attempts.next(bars, left) {
                Next::Call(index) => {
                    attempts.begin(index);
                    return index;
                }
                Next::Wait(_) => {}
                Next::GiveUp(reason) => panic!("gave up: {reason:?}"),
            }
        }
    }

    #[test]
    fn a_failing_model_is_tried_again_backing_off_and_then_the_next_at_once() {
        let mut attempts = Attempts::new(2, 0);
        for wanted in [500, 1_000] {
            assert_eq!(call(&mut attempts, &FREE, MINUTE), 0);
            attempts.failed(&again(), 1.0);
            assert_eq!(
                attempts.next(&FREE, MINUTE),
                Next::Wait(Duration::from_millis(wanted))
            );
        }
        assert_eq!(call(&mut attempts, &FREE, MINUTE), 0);
        attempts.failed(&again(), 1.0);
        assert_eq!(attempts.next(&FREE, MINUTE), Next::Call(1));
    }

    #[test]
    fn the_calls_for_one_request_are_bounded() {
        let mut attempts = Attempts::new(1, 0);
        for _ in 0..CALLS_MAX {
            call(&mut attempts, &FREE, MINUTE);
            attempts.failed(&again(), 0.0);
        }
        assert_eq!(attempts.next(&FREE, MINUTE), Next::GiveUp(Reason::Broken));
    }

    #[test]
    fn a_delay_beyond_the_deadline_is_not_waited_for() {
        let mut attempts = Attempts::new(3, 0);
        call(&mut attempts, &FREE, MINUTE);
        attempts.failed(
            &error(
                Advice::Again {
                    after: Some(2 * MINUTE),
                },
                Reason::Quota,
            ),
            1.0,
        );
        assert_eq!(
            attempts.next(&[delay(120), None, None], MINUTE),
            Next::Call(1)
        );
        assert_eq!(
            attempts.next(&[delay(120), delay(90), delay(70)], MINUTE),
            Next::GiveUp(Reason::Quota)
        );
    }

    #[test]
    fn a_short_delay_is_waited_for_and_a_long_one_only_where_no_other_model_is_free() {
        let mut attempts = Attempts::new(3, 0);
        assert_eq!(
            attempts.next(&[delay(2), None, None], MINUTE),
            Next::Wait(Duration::from_secs(2))
        );
        assert_eq!(
            attempts.next(&[delay(20), None, None], MINUTE),
            Next::Call(1)
        );
        assert_eq!(
            attempts.next(&[delay(20), delay(30), delay(40)], MINUTE),
            Next::Wait(Duration::from_secs(20))
        );
    }

    #[test]
    fn a_model_at_rest_is_asked_only_where_there_is_no_other() {
        let rest = Some(Bar {
            left: 10 * MINUTE,
            reason: Reason::Quota,
            kind: BarKind::Rest,
        });
        let mut attempts = Attempts::new(2, 0);
        assert_eq!(attempts.next(&[rest, None], MINUTE), Next::Call(1));
        assert_eq!(
            attempts.next(&[rest, delay(20)], MINUTE),
            Next::Wait(Duration::from_secs(20))
        );
        assert_eq!(attempts.next(&[rest, delay(80)], MINUTE), Next::Call(0));
        assert_eq!(attempts.next(&[rest, rest], MINUTE), Next::Call(0));
    }

    #[test]
    fn a_backoff_beyond_the_deadline_is_the_end() {
        let mut attempts = Attempts::new(1, 0);
        call(&mut attempts, &FREE, MINUTE);
        attempts.failed(&again(), 1.0);
        assert_eq!(
            attempts.next(&FREE, Duration::from_millis(600)),
            Next::GiveUp(Reason::Broken)
        );
        assert_eq!(
            Attempts::new(1, 0).next(&FREE, Duration::ZERO),
            Next::GiveUp(Reason::TooSlow)
        );
    }

    #[test]
    fn models_that_will_not_do_it_are_not_asked_again() {
        let mut attempts = Attempts::new(2, 0);
        let gone = error(Advice::NextModel, Reason::NoModel);
        assert_eq!(call(&mut attempts, &FREE, MINUTE), 0);
        attempts.failed(&gone, 1.0);
        assert_eq!(call(&mut attempts, &FREE, MINUTE), 1);
        attempts.failed(&gone, 1.0);
        assert_eq!(attempts.next(&FREE, MINUTE), Next::GiveUp(Reason::NoModel));
    }

    #[test]
    fn what_no_model_does_is_given_up_at_once() {
        let mut attempts = Attempts::new(3, 0);
        call(&mut attempts, &FREE, MINUTE);
        attempts.failed(&error(Advice::GiveUp, Reason::Safety), 1.0);
        assert_eq!(attempts.next(&FREE, MINUTE), Next::GiveUp(Reason::Safety));
    }

    #[test]
    fn a_question_without_an_answer_is_asked_a_few_times_only() {
        let no_words = error(Advice::OnceMore, Reason::NoWords);
        for (models, wanted) in [(1, [0, 0, 0]), (2, [0, 0, 1])] {
            let mut attempts = Attempts::new(models, 0);
            for wanted in wanted {
                assert_eq!(call(&mut attempts, &FREE, MINUTE), wanted);
                attempts.failed(&no_words, 1.0);
            }
            let given_up = Next::GiveUp(Reason::NoWords);
            assert_eq!(attempts.next(&FREE, MINUTE), given_up);
        }
    }

    #[test]
    fn after_silence_another_model_comes_first() {
        let mut attempts = Attempts::new(2, 0);
        let silent = error(Advice::AgainElsewhereFirst, Reason::TooSlow);
        for wanted in [0, 1, 0] {
            assert_eq!(call(&mut attempts, &FREE, MINUTE), wanted);
            attempts.failed(&silent, 0.0);
        }
    }

    #[test]
    fn a_room_s_own_model_comes_first_and_then_the_others() {
        let mut attempts = Attempts::new(3, 1);
        for index in [1, 2, 0] {
            assert_eq!(attempts.next(&FREE, MINUTE), Next::Call(index));
            attempts.begin(index);
            let gone = ModelError {
                advice: Advice::NextModel,
                reason: Reason::NoModel,
                status: "404",
                detail: String::new(),
            };
            attempts.failed(&gone, 0.0);
        }
        assert_eq!(attempts.next(&FREE, MINUTE), Next::GiveUp(Reason::NoModel));
    }

    proptest! {
        #[test]
        fn it_ends_and_never_waits_beyond_the_time_left(
            models in 1..4usize,
            outcomes in proptest::collection::vec((0..6u8, 0.0..1.0f64, 0..100_000u64, 0..100_000u64), 40),
        ) {
            let mut attempts = Attempts::new(models, 0);
            let mut left = MINUTE;
            let mut ended = false;
            for (kind, dice, bar_ms, taken_ms) in outcomes {
                let bar = (kind == 4).then(|| Bar { left: Duration::from_millis(bar_ms), reason: Reason::Quota, kind: if dice < 0.5 { BarKind::Delay } else { BarKind::Circuit } });
                match attempts.next(&vec![bar; models], left) {
                    Next::GiveUp(_) => { ended = true; break; }
                    Next::Wait(delay) => {
                        prop_assert!(delay + CALL_MIN <= left);
                        left -= delay;
                    }
                    Next::Call(index) => {
                        prop_assert!(index < models && left >= CALL_MIN);
                        attempts.begin(index);
                        left = left.saturating_sub(Duration::from_millis(taken_ms / 10));
                        let advice = match kind {
                            0 => Advice::GiveUp,
                            1 => Advice::NextModel,
                            2 => Advice::AgainElsewhereFirst,
                            5 => Advice::OnceMore,
                            _ => Advice::Again { after: None },
                        };
                        attempts.failed(&error(advice, Reason::Broken), dice);
                    }
                }
            }
            prop_assert!(ended || attempts.calls() <= CALLS_MAX);
        }
    }
}
