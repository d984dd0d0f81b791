//! Texts that nobody sees. Unicode has characters that are there and show nothing; of them alone, a message is empty.

/// Whether nothing of a text can be seen.
pub fn says_nothing(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// White space, and what Unicode calls ignorable by default (`Default_Ignorable_Code_Point`): joiners,
/// marks of direction, fillers, variation selectors, tags. Also the blank of Braille.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_says_nothing() {
        for nothing in [
            "",
            " \n",
            "\u{200b}",
            "\u{200d}\u{feff} \u{2060}",
            "\u{ad}",
            "\u{3164}\u{115f}",
            "\u{fe0f}",
            "\u{202e}\u{2066}\u{61c}",
            "\u{e0041}\u{e007f}",
            "\u{2800}",
        ] {
            assert!(says_nothing(nothing), "{nothing:?}");
        }
        for something in [
            ".",
            "\u{200b}a",
            "👩\u{200d}🚀",
            "ي",
            "あ",
            "ก",
            "\u{301}",
            "\u{fffd}",
            // Some fonts show them.
            "\u{0}\u{7}",
            "👍\u{fe0f}",
        ] {
            assert!(!says_nothing(something), "{something:?}");
        }
    }
}
