//! What an engine can be seen to be set to when a service connects, and what is dangerous about it. Said once, in words, with
//! the page to read. Nothing here needs a right beyond those that the services have: what may not be asked is not said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::repeated_lines::EACH_LINE;

/// Where an operator reads what to do.
const PAGE: &str = "docs/running.md#what-the-services-say-at-their-start";

/// Clocks that are further apart than this make the times of messages, and of what waits, untrue.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(2);

/// Tells an operator.
pub(crate) fn say(dangers: impl IntoIterator<Item = String>) {
    for danger in dangers {
        tracing::warn!(name: EACH_LINE, "{danger}; see {PAGE}");
    }
}

/// This machine's time, since the Unix epoch.
pub(crate) fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// What is dangerous about a clock that said `theirs` at some time between these two.
pub(crate) fn clock(
    whose: &str,
    asked: Duration,
    theirs: Duration,
    answered: Duration,
) -> Option<String> {
    let (apart, which) = if theirs > answered {
        (theirs - answered, "ahead of")
    } else {
        (asked.saturating_sub(theirs), "behind")
    };
    let seconds = apart.as_secs_f64();
    (apart > CLOCKS_APART_MAX).then(|| {
        format!("the clock of {whose} is {seconds:.0} s {which} this machine's: set both by NTP")
    })
}

/// Whether a version, as in `7.0.15` or `10.11.6-MariaDB`, is one before these two numbers.
pub(crate) fn is_before(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < least,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_what_the_answer_took_and_a_little() {
        let at = Duration::from_secs_f64;
        let told = |theirs| clock("Redis", at(100.0), at(theirs), at(101.5));
        assert_eq!(told(98.5), None);
        assert_eq!(told(100.7), None);
        assert_eq!(told(103.0), None);
        assert!(told(97.0).unwrap().contains("3 s behind"));
        assert!(told(111.5).unwrap().contains("10 s ahead of"));
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_before("6.2.14", (7, 0)));
        assert!(!is_before("7.0.15", (7, 0)));
        assert!(is_before("10.6.18-MariaDB-log", (10, 11)));
        assert!(!is_before("10.11.6-MariaDB", (10, 11)));
        assert!(!is_before("of our own", (7, 0)));
    }
}
