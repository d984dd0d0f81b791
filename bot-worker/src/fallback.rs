//! Why there is no answer of a model, and the words that say so to people: true ones, so that they know whether asking
//! again helps.

use std::{borrow::Cow, time::Duration};

use common::{
    quota::budgets::{BudgetOut, BudgetPeriod, BudgetScope},
    wire::Seq,
};

/// Why a request gets a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The model did not answer in time.
    TooSlow,
    /// The request waited until its deadline and was never asked: too many are before it.
    Busy,
    /// The quota of every model is used up.
    Quota,
    /// The account has no credit left, or the key is refused.
    Refused,
    /// None of the models exists any more.
    NoModel,
    /// The model called the request one it cannot read.
    BadRequest,
    /// The model, or the filter before it, would not say it.
    Safety,
    /// Errors, cut streams, garbage, nothing: over and over.
    Broken,
    /// The model is well, and has no words for this question.
    NoWords,
    /// The request was delivered again and again and never answered.
    GaveUp,
    /// Somebody stopped the reply before a word of it was there.
    Stopped,
    /// Who asked has asked more than one person may in a minute.
    TooSoon,
    /// A budget is used up.
    Budget,
    /// It cannot be told what is left of the budgets.
    BudgetNotKnown,
}

/// What people read who cannot be answered in time, and should ask again after `wait`.
fn busy(wait: Duration) -> String {
    let seconds = wait.as_secs().max(1);
    let when = match seconds {
        1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        more => format!("{} minutes", more.div_ceil(60)),
    };
    format!("Sorry, too many questions are waiting just now. Please ask again in about {when}.")
}

const TOO_SOON: &str = "Sorry, that is more than I may answer one person in a minute.";

/// What people read who asked too often, and may ask again after `wait`.
pub fn too_soon(wait: Duration) -> String {
    match wait.as_secs() + u64::from(wait.subsec_nanos() > 0) {
        0 => format!("{TOO_SOON} You can ask again now."),
        1 => format!("{TOO_SOON} Please ask again in a second."),
        seconds => format!("{TOO_SOON} Please ask again in {seconds} seconds."),
    }
}

/// What people read where a budget is used up that opens again at this time.
pub(crate) fn out_of_budget(out: BudgetOut, opens_at: Seq) -> String {
    let period = match out.period {
        BudgetPeriod::Day => "today",
        BudgetPeriod::Month => "this month",
    };
    let whose = match out.scope {
        BudgetScope::Person => "you",
        BudgetScope::Room => "this room",
        BudgetScope::Server => "this server",
    };
    // Days and months end at midnight.
    let day = BudgetPeriod::Day.name(opens_at);
    format!(
        "Sorry, that was all that {whose} may have of my answers {period}. Please ask again from {day}, 00:00 UTC, on."
    )
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Reason; 14] = [
        Reason::TooSlow,
        Reason::Busy,
        Reason::Quota,
        Reason::Refused,
        Reason::NoModel,
        Reason::BadRequest,
        Reason::Safety,
        Reason::Broken,
        Reason::NoWords,
        Reason::GaveUp,
        Reason::Stopped,
        Reason::TooSoon,
        Reason::Budget,
        Reason::BudgetNotKnown,
    ];

    /// One snake_case word, for the log of replies and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooSlow => "too_slow",
            Reason::Busy => "busy",
            Reason::Quota => "quota",
            Reason::Refused => "refused",
            Reason::NoModel => "no_model",
            Reason::BadRequest => "bad_request",
            Reason::Safety => "safety",
            Reason::Broken => "broken",
            Reason::NoWords => "no_words",
            Reason::GaveUp => "gave_up",
            Reason::Stopped => "stopped",
            Reason::TooSoon => "too_soon",
            Reason::Budget => "budget",
            Reason::BudgetNotKnown => "budget_not_known",
        }
    }

    /// What people read. `general` (`BOT_FALLBACK`) stands for every failure, whatever failed; what people did themselves
    /// keeps its own words. `again`, if it is known, is when asking again makes sense.
    pub fn text(self, general: Option<&str>, again: Option<Duration>) -> Cow<'_, str> {
        let general = general.filter(|text| !text.is_empty());
        match (self, general, again) {
            (Reason::Stopped | Reason::TooSoon | Reason::Budget, ..) => self.own_text().into(),
            (_, Some(general), _) => general.to_owned().into(),
            (Reason::Busy, None, Some(wait)) => busy(wait).into(),
            _ => self.own_text().into(),
        }
    }

    fn own_text(self) -> &'static str {
        match self {
            Reason::Stopped => "Stopped, before I had said anything.",
            Reason::TooSoon => TOO_SOON,
            Reason::Budget => {
                "Sorry, the budget for my answers is used up. Please ask again later."
            }
            Reason::BudgetNotKnown => {
                "Sorry, I cannot tell just now what is left of the budget for my answers. Please ask again in a moment."
            }
            Reason::TooSlow => {
                "Sorry, the model took too long to answer. Please ask again in a moment."
            }
            Reason::Busy => {
                "Sorry, too many questions are waiting just now. Please ask again in a moment."
            }
            Reason::Quota => {
                "Sorry, I have answered as much as my quota allows for now. Please ask again later."
            }
            Reason::Refused => {
                "Sorry, the model refuses the key I was given. Whoever runs this server has to mend that."
            }
            Reason::NoModel => {
                "Sorry, the model I was set to use does not exist any more. Whoever runs this server has to mend that."
            }
            Reason::BadRequest => {
                "Sorry, the model could not read this question. Asking in other words may help."
            }
            Reason::Safety => {
                "I can't answer that one: the model's safety filter stopped it. Asking in other words may help."
            }
            Reason::Broken => {
                "Sorry, the model is having trouble and gave no answer. Please ask again in a moment."
            }
            Reason::NoWords => {
                "Sorry, the model came to no answer to this question. Asking in other words may help."
            }
            Reason::GaveUp => {
                "Sorry, I tried this question several times and never came to an end. Asking in other words may help."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_were_set_stand_for_every_failure_and_for_nothing_else() {
        let set = Some("The bot is out to lunch.");
        for failure in [
            Reason::TooSlow,
            Reason::Busy,
            Reason::Quota,
            Reason::Refused,
            Reason::NoModel,
            Reason::BadRequest,
            Reason::Safety,
            Reason::Broken,
            Reason::NoWords,
            Reason::GaveUp,
            Reason::BudgetNotKnown,
        ] {
            assert_eq!(Some(&*failure.text(set, None)), set, "{failure:?}");
            assert!(failure.text(None, None).len() > 20 && failure.text(Some(""), None).len() > 20);
        }
        for theirs in [Reason::Stopped, Reason::TooSoon, Reason::Budget] {
            assert_eq!(
                theirs.text(set, None),
                theirs.text(None, None),
                "{theirs:?}"
            );
        }
    }

    #[test]
    fn whoever_is_out_of_budget_is_told_whose_it_is_and_when_it_opens() {
        // In the evening of 2026-11-29, UTC.
        let at = 1_795_990_000_000_000;
        for (scope, period, wanted) in [
            (
                BudgetScope::Person,
                BudgetPeriod::Day,
                "you may have of my answers today. Please ask again from 2026-11-30",
            ),
            (
                BudgetScope::Room,
                BudgetPeriod::Month,
                "this room may have of my answers this month. Please ask again from 2026-12-01",
            ),
        ] {
            let text = out_of_budget(BudgetOut { scope, period }, period.ends(at));
            assert!(
                text.contains(wanted) && text.contains("00:00 UTC"),
                "{text}"
            );
        }
    }

    #[test]
    fn whoever_is_told_that_too_many_wait_is_told_when_to_ask_again() {
        for (seconds, wanted) in [(0, "a second."), (45, "45 seconds."), (200, "4 minutes.")] {
            let text = Reason::Busy.text(None, Some(Duration::from_secs(seconds)));
            assert!(text.ends_with(wanted), "{text}");
        }
    }
}
