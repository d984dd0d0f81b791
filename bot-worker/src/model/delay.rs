//! Delays as models' errors write them. Pure.

use std::time::Duration;

/// The longest delay that is believed; a day's quota is not named by a delay.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The delay that a message names after these words.
pub(super) fn after_words(words: &str, message: &str) -> Option<Duration> {
    let (_, after) = message.split_once(words)?;
    let end = after
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .unwrap_or(after.len());
    parse_delay(after[..end].trim_end_matches('.'))
}

/// `34.074824224s`, `500ms`, `1m30s`. A delay of nothing names none: whoever asks again at once only adds to the load.
pub(super) fn parse_delay(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit_and_rest) = rest.split_at(unit_at);
        let unit_end = unit_and_rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(unit_and_rest.len());
        let (unit, after) = unit_and_rest.split_at(unit_end);
        let per_unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * per_unit;
        rest = after;
    }
    believed(seconds)
}

/// The delay of so many seconds, if it is one.
pub(super) fn believed(seconds: f64) -> Option<Duration> {
    let delay = Duration::try_from_secs_f64(seconds).ok()?;
    (!delay.is_zero()).then(|| delay.min(DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_come_with_fractions_and_units() {
        for (text, wanted) in [
            ("34.074824224s", Some(Duration::from_nanos(34_074_824_224))),
            ("500ms", Some(Duration::from_millis(500))),
            ("900.5ms", Some(Duration::from_micros(900_500))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("0s", None),
            ("0.000s", None),
            ("99999999999s", Some(DELAY_MAX)),
            ("-1s", None),
            ("soon", None),
            ("5", None),
            ("", None),
            ("s", None),
        ] {
            assert_eq!(parse_delay(text), wanted, "{text:?}");
        }
    }
}
