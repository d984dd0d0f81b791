//! Passwords as they are compared (RFC 8265, `OpaqueString`): a letter that was typed as one character or as letter and
//! mark is the same letter, and any blank is a blank. Keyboards and systems differ in both, and a person cannot see it.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The password as it is kept and compared. Of plain ASCII nothing changes.
pub(super) fn prepared(password: &str) -> Cow<'_, str> {
    let is_blank = |c: char| !c.is_ascii() && c.is_whitespace() && !c.is_control();
    let is_plain = is_nfc_quick(password.chars()) == IsNormalized::Yes;
    if is_plain && !password.contains(is_blank) {
        return Cow::Borrowed(password);
    }
    let blank = |c: char| if is_blank(c) { ' ' } else { c };
    Cow::Owned(password.chars().map(blank).nfc().collect())
}

/// What a password may have been kept as: prepared, or, from before there was such a thing, as it was typed.
pub(super) fn kept_as(password: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let prepared = prepared(password);
    let as_typed = (*prepared != *password).then_some(Cow::Borrowed(password));
    std::iter::once(prepared).chain(as_typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_the_same_however_it_was_typed() {
        for (typed, kept) in [
            ("plain ascii 123", "plain ascii 123"),
            ("caf\u{e9} au lait", "caf\u{e9} au lait"),
            ("cafe\u{301} au lait", "caf\u{e9} au lait"),
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("\u{1100}\u{1161}", "\u{ac00}"),
            // Wide letters stay what they are, and so does case.
            ("\u{ff21}Aa", "\u{ff21}Aa"),
            ("q\u{307}\u{323}", "q\u{323}\u{307}"),
        ] {
            assert_eq!(prepared(typed), kept, "{typed:?}");
            let tried: Vec<_> = kept_as(typed).collect();
            assert!(
                tried.iter().any(|one| one == typed) && tried[0] == kept,
                "{typed:?}"
            );
        }
    }
}
