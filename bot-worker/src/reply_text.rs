//! From what a model wrote to what may stand in a room: without its own name before it, within the limit of a message.

use common::{
    names::BOT,
    wire::{MESSAGE_MAX_CHARS, says_nothing},
};

use crate::{code_blocks, fallback::Reason};

/// Below this many characters a piece of an answer is not better than words that say what went wrong.
const PARTIAL_MIN_CHARS: usize = 20;

/// Where a text that is too long is cut, a border is looked for among this many characters before.
const BORDER_WITHIN_CHARS: usize = 400;

const ELLIPSIS: &str = " …";
const BROKEN_OFF: &str = "\n\n*(The answer breaks off here.)*";

/// A model's text as it is shown: without the blanks and the `bot:` that some put before it. Of a text that grows, the
/// result grows too and never changes at its beginning, but for a text that may still turn out to be that name, of
/// which nothing is shown yet (`finished` false).
pub(crate) fn shown(text: &str, finished: bool) -> &str {
    let text = text.trim_start();
    let prefix_end = BOT.len() + 1;
    let name = text.get(..BOT.len().min(text.len())).unwrap_or_default();
    let may_be_name = BOT.len() >= name.len()
        && BOT
            .get(..name.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    if !may_be_name {
        return text;
    }
    match text.as_bytes().get(BOT.len()) {
        Some(b':') => text[prefix_end..].trim_start(),
        Some(_) => text,
        None if finished => text,
        None => "",
    }
}

/// A model's whole text as a message: trimmed, without `bot:`, at most 4,000 characters. None if nothing is left.
/// `complete` is false if the model stopped before it had said all, which then shows.
pub(crate) fn message(text: &str, complete: bool) -> Option<String> {
    let text = shown(text, true).trim_end();
    if says_nothing(text) {
        return None;
    }
    let end = if complete { "" } else { ELLIPSIS };
    Some(with_end(text, end, ELLIPSIS))
}

/// What is posted when the model did not come to an end, though it had written something. A stopped reply is what is
/// there, as it is. After a failure a piece that says something is better than an excuse, if it says that it is a piece.
/// Nothing of what a safety filter stopped is kept.
pub(crate) fn partial(text: &str, reason: Reason) -> Option<String> {
    let text = shown(text, true).trim_end();
    match reason {
        Reason::Stopped if !says_nothing(text) => Some(stopped(text)),
        Reason::TooSlow
        | Reason::Broken
        | Reason::NoWords
        | Reason::Quota
        | Reason::Budget
        | Reason::BudgetNotKnown
        | Reason::Busy
        | Reason::NoModel
            if text.chars().count() >= PARTIAL_MIN_CHARS =>
        {
            Some(with_end(text, BROKEN_OFF, BROKEN_OFF))
        }
        _ => None,
    }
}

/// What is there, as it is; but what stands behind it, wherever it is shown, is not to stand in its code.
fn stopped(text: &str) -> String {
    let closed = code_blocks::closed(text);
    let text = if closed.is_empty() { text } else { &closed };
    with_end(text, "", ELLIPSIS)
}

/// What of a message of the bot is the model's own: without our note that it breaks off, which a model that reads it as
/// its own words would learn to write.
pub(crate) fn own_words(message: &str) -> &str {
    message.strip_suffix(BROKEN_OFF).unwrap_or(message)
}

/// The text with `end`, or, if that is too long for a message, cut at a border with `end_of_cut`. A code block that is
/// open there is closed before.
fn with_end(text: &str, end: &str, end_of_cut: &str) -> String {
    // What the model has ended is left as it is.
    let closed = if end.is_empty() {
        text.to_owned()
    } else {
        code_blocks::closed(text)
    };
    let whole = with_note(text, &closed, end);
    if whole.chars().count() <= MESSAGE_MAX_CHARS {
        return whole;
    }
    let mut room = MESSAGE_MAX_CHARS - end_of_cut.chars().count();
    loop {
        let cut = at_border(text, room);
        let cut = with_note(cut, &code_blocks::closed(cut), end_of_cut);
        let over = cut.chars().count().saturating_sub(MESSAGE_MAX_CHARS);
        if over == 0 {
            return cut;
        }
        room = room.saturating_sub(over);
    }
}

/// Behind a block that had to be closed, a note begins a paragraph.
fn with_note(text: &str, closed: &str, note: &str) -> String {
    let between = if closed == text || note.starts_with('\n') {
        ""
    } else {
        "\n\n"
    };
    let note = if between.is_empty() {
        note
    } else {
        note.trim_start()
    };
    format!("{closed}{between}{note}").trim_start().to_owned()
}

/// The beginning of a text, of so many characters at most, to a border if there is one near.
fn at_border(text: &str, room: usize) -> &str {
    let cut = text
        .char_indices()
        .nth(room)
        .map_or(text, |(at, _)| &text[..at]);
    let earliest = cut
        .char_indices()
        .rev()
        .nth(BORDER_WITHIN_CHARS)
        .map_or(0, |(at, _)| at);
    let border = ["\n\n", "\n", ". ", " "]
        .iter()
        .filter_map(|border| cut.rfind(border).map(|at| at + border.trim_end().len()))
        .find(|at| *at > earliest);
    cut[..border.unwrap_or(cut.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bots_own_name_is_not_shown() {
        for (text, wanted) in [
            ("bot: four", "four"),
            ("  Bot:four", "four"),
            ("BOT:\n\nfour", "four"),
            ("bottle: no", "bottle: no"),
            ("bot", "bot"),
            ("botany", "botany"),
            ("four", "four"),
            ("ä: x", "ä: x"),
            ("böt: x", "böt: x"),
        ] {
            assert_eq!(message(text, true).as_deref(), Some(wanted), "{text:?}");
        }
        assert_eq!(shown("bo", false), "");
        assert_eq!(shown("bot", false), "");
        assert_eq!(shown("bot: f", false), "f");
        assert_eq!(shown("both", false), "both");
    }

    #[test]
    fn nothing_is_no_message() {
        for text in ["", " \n", "bot:", "Bot: \n", "\u{200b}", "bot: \u{feff}"] {
            assert_eq!(message(text, true), None, "{text:?}");
        }
    }

    #[test]
    fn a_text_too_long_is_cut_at_a_border() {
        let text = "A sentence of some words. ".repeat(400);
        let cut = message(&text, true).unwrap();
        assert!(cut.ends_with("some words. …"), "{}", &cut[cut.len() - 30..]);
        assert!(cut.chars().count() <= MESSAGE_MAX_CHARS);
        let cut = message(&"x".repeat(5_000), true).unwrap();
        assert_eq!(cut.chars().count(), MESSAGE_MAX_CHARS);
    }

    #[test]
    fn a_code_block_is_closed_before_a_note() {
        let code = "Like this:\n\n```rust\nfn main() {";
        for (reason, wanted) in [
            (
                Reason::TooSlow,
                "Like this:\n\n```rust\nfn main() {\n```\n\n*(The answer breaks off here.)*",
            ),
            (Reason::Stopped, "Like this:\n\n```rust\nfn main() {\n```"),
        ] {
            assert_eq!(partial(code, reason).as_deref(), Some(wanted));
        }
        let cut_short = "Like this:\n\n```rust\nfn main() {\n```\n\n…";
        assert_eq!(message(code, false).as_deref(), Some(cut_short));
        let long = format!("{code}\n{}", "    call();\n".repeat(500));
        let cut = message(&long, true).unwrap();
        assert!(cut.ends_with("    call();\n```\n\n…") && cut.chars().count() <= MESSAGE_MAX_CHARS);
        // As the model left it.
        assert_eq!(message(code, true).as_deref(), Some(code));
        let fence = "`".repeat(3_990);
        assert!(
            message(&format!("{fence}\nx\n{fence}"), true)
                .unwrap()
                .chars()
                .count()
                <= MESSAGE_MAX_CHARS
        );
        assert_eq!(partial("```", Reason::Stopped).as_deref(), Some("```"));
    }

    #[test]
    fn what_the_model_did_not_end_shows_it() {
        assert_eq!(message("One, two,", false).as_deref(), Some("One, two, …"));
        let piece = "The first reason is that ";
        assert_eq!(
            partial(piece, Reason::Stopped).as_deref(),
            Some(piece.trim_end())
        );
        assert!(
            partial(piece, Reason::TooSlow)
                .unwrap()
                .ends_with("breaks off here.)*")
        );
        let broken_off = partial(piece, Reason::TooSlow).unwrap();
        assert_eq!(own_words(&broken_off), piece.trim_end());
        assert_eq!(own_words("whole"), "whole");
        assert_eq!(partial("The", Reason::TooSlow), None);
        assert_eq!(partial("The", Reason::Stopped).as_deref(), Some("The"));
        assert_eq!(partial(piece, Reason::Safety), None);
        assert_eq!(partial(" ", Reason::Stopped), None);
    }

    proptest! {
        #[test]
        fn every_text_becomes_a_message_that_the_wire_takes(text in "(?s).{0,200}", times in 1..60usize, complete: bool) {
            let text = text.repeat(times);
            if let Some(message) = message(&text, complete) {
                prop_assert!(message.chars().count() <= MESSAGE_MAX_CHARS && message.trim() == message && !message.is_empty());
            }
        }

        #[test]
        fn what_is_shown_only_grows(text in "(?i)(bot)?:?(?s).{0,20}") {
            let mut before = "";
            for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let now = shown(&text[..at], false);
                prop_assert!(now.starts_with(before), "{before:?} then {now:?}");
                before = now;
            }
            prop_assert!(shown(&text, true).starts_with(before));
        }
    }
}
