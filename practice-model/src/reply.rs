//! What the practice model says: always the same to the same, that it is a practice model, and just enough of an answer
//! for a first try to feel like a conversation.

use crate::arithmetic;
use crate::conversation::Conversation;

/// Longest piece of a message that a reply repeats, in characters.
const GIST_LIMIT: usize = 160;

/// Words a chunk of a stream holds.
const WORDS_PER_CHUNK: usize = 3;

const CODE: &str = "Here is some code:\n\n```rust\nfn main() {\n    let people = [\"ada\", \"bob\"];\n    for name in people {\n        \
                    println!(\"Hello, {name}!\");\n    }\n}\n```";
const LIST: &str = "Here is a list:\n\n- **Ask** me a sum, such as *two plus two*.\n- Ask for some `code`.\n- Ask for a table.";
const TABLE: &str = "Here is a table:\n\n| who | does |\n|---|---|\n| `ws-edge` | speaks with browsers |\n| `bot-worker` | asks the model |\n| \
                     `persister` | writes it down |";
const HELP: &str = "I can greet, do sums in words or digits, and show some code, a list or a table. For trying out trouble, put an \
                    order into your message, such as `[[practice: 503 times=1]]`, `[[practice: pace=300ms words=80]]` or \
                    `[[practice: stall]]`.";

/// The reply to a conversation.
pub fn reply(conversation: &Conversation) -> String {
    let said = conversation.said.as_str();
    let name = conversation.speaker.as_deref().unwrap_or("there");
    let lower = said.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));

    let answer = if said.is_empty() {
        format!("Hello {name}! You said nothing yet.")
    } else if let Some(sum) = arithmetic::answer(said) {
        format!("Hello {name}! {}.", with_capital(&sum))
    } else if has(&["code", "program", "function"]) {
        format!("Hello {name}! {CODE}")
    } else if has(&["table"]) {
        format!("Hello {name}! {TABLE}")
    } else if has(&["list"]) {
        format!("Hello {name}! {LIST}")
    } else if has(&["help"]) || lower.contains("who are you") || lower.contains("what can you") {
        format!("Hello {name}! {HELP}")
    } else {
        format!("Hello {name}! You said: “{}”", gist(said))
    };
    format!("{answer}\n\n{}", about(conversation))
}

/// What is said where a marker holds an order that cannot be read: a person typed it, and shall know.
pub fn not_understood(problem: &str) -> String {
    format!(
        "I am the practice model, and a marker in your message is {problem}. The words I know are in the documentation of my crate."
    )
}

fn about(conversation: &Conversation) -> String {
    let earlier = match conversation.earlier {
        0 => "and was given no earlier messages".to_owned(),
        1 => "and was given one earlier message".to_owned(),
        many => format!("and was given {many} earlier messages"),
    };
    let last = conversation
        .speaker
        .as_deref()
        .map(|name| format!("; {name} spoke last"))
        .unwrap_or_default();
    format!("*I am the practice model, a stand-in for Gemini on this machine, {earlier}{last}.*")
}

fn with_capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

fn gist(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(GIST_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text with exactly so many words. What is added is numbered, so that a lost or doubled piece shows.
pub fn with_words(text: &str, wanted: usize) -> String {
    let have = text.split_whitespace().count();
    if have >= wanted {
        return first_words(text, wanted).to_owned();
    }
    let mut long = text.to_owned();
    long.push('\n');
    for number in have + 1..=wanted {
        // A new paragraph now and then keeps it readable.
        long.push_str(if number % 50 == 0 { "\n\n" } else { " " });
        long.push_str(&format!("word-{number}"));
    }
    long
}

fn first_words(text: &str, wanted: usize) -> &str {
    match word_ends(text).nth(wanted.saturating_sub(1)) {
        Some(end) => &text[..end],
        None => text,
    }
}

/// Cuts a text into chunks of a few words; put together they are the text again, to the byte.
pub fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut begin = 0;
    for end in word_ends(text)
        .skip(WORDS_PER_CHUNK - 1)
        .step_by(WORDS_PER_CHUNK)
    {
        chunks.push(&text[begin..end]);
        begin = end;
    }
    if begin < text.len() {
        chunks.push(&text[begin..]);
    }
    chunks
}

/// Where each word of a text ends, in bytes.
fn word_ends(text: &str) -> impl Iterator<Item = usize> + '_ {
    let next_is_blank = |end: usize| text[end..].chars().next().is_none_or(char::is_whitespace);
    text.char_indices()
        .filter(|(_, character)| !character.is_whitespace())
        .map(|(at, character)| at + character.len_utf8())
        .filter(move |end| next_is_blank(*end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(said: &str, earlier: usize) -> Conversation {
        Conversation {
            last_turn: said.to_owned(),
            speaker: Some("ada".to_owned()),
            said: said.to_owned(),
            marker: None,
            earlier,
        }
    }

    #[test]
    fn it_says_what_it_is_who_spoke_and_what_it_was_given() {
        let text = reply(&asked("good morning to you", 3));
        assert!(
            text.starts_with("Hello ada! You said: “good morning to you”"),
            "{text}"
        );
        assert!(
            text.contains("practice model")
                && text.contains("3 earlier messages")
                && text.contains("ada spoke last"),
            "{text}"
        );
        assert_eq!(text, reply(&asked("good morning to you", 3)));
    }

    #[test]
    fn it_answers_sums_and_shows_markdown() {
        assert!(reply(&asked("what is two plus two?", 0)).contains("Two plus two is four (4)."));
        assert!(reply(&asked("Show me some code!", 0)).contains("```rust"));
        assert!(reply(&asked("a list, please", 1)).contains("\n- "));
        assert!(reply(&asked("a table please", 1)).contains("|---|"));
        assert!(reply(&asked("help", 1)).contains("[[practice:"));
        assert!(reply(&asked("", 1)).contains("nothing yet"));
    }

    #[test]
    fn a_long_message_is_not_repeated_in_full() {
        let text = reply(&asked(&"ä".repeat(5_000), 0));
        assert!(text.contains('…') && text.chars().count() < 500);
    }

    #[test]
    fn chunks_are_the_text_again() {
        for text in [
            "",
            "one",
            "one two three",
            " a  b\n\nc d e f ",
            "ä ö ü ß 👋 x",
            "\n\n",
        ] {
            assert_eq!(chunks(text).concat(), text);
        }
        assert_eq!(chunks("a b c d"), ["a b c", " d"]);
    }

    #[test]
    fn a_reply_can_be_made_as_long_or_short_as_wanted() {
        for wanted in [1, 2, 3, 10, 500] {
            assert_eq!(
                with_words("one two  three", wanted)
                    .split_whitespace()
                    .count(),
                wanted
            );
        }
    }
}
