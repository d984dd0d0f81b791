//! What the practice model says: always the same to the same, that it is a practice model, and just enough of an answer
//! for a first try to feel like a conversation.

use crate::conversation::Conversation;

/// Longest piece of a message that a reply repeats, in characters.
const GIST_LIMIT: usize = 160;

/// Words a chunk of a stream holds.
const WORDS_PER_CHUNK: usize = 3;

const HELP: &str = "I can greet you, and add, subtract and multiply two numbers. For trying out trouble, put an order into your \
                    message, such as `[[practice: 503]]`, `[[practice: pace=300ms words=80]]` or `[[practice: stall]]`.";

/// The reply to a conversation.
pub(crate) fn reply(conversation: &Conversation) -> String {
    let said = conversation.said.as_str();
    let name = conversation.speaker.as_deref().unwrap_or("there");
    let lower = said.to_lowercase();
    let answer = if said.is_empty() {
        "You said nothing yet.".to_owned()
    } else if let Some(sum) = sum_in(&lower) {
        sum
    } else if ["help", "who are you", "what can you"]
        .iter()
        .any(|ask| lower.contains(ask))
    {
        HELP.to_owned()
    } else {
        format!("You said: “{}”", gist(said))
    };
    let earlier = match conversation.earlier {
        0 => "and was given no earlier messages".to_owned(),
        1 => "and was given one earlier message".to_owned(),
        many => format!("and was given {many} earlier messages"),
    };
    format!(
        "Hello {name}! {answer}\n\n*I am the practice model, a stand-in for Gemini on this machine, {earlier}.*"
    )
}

/// What is said where a marker holds an order that cannot be read: a person typed it, and shall know.
pub(crate) fn not_understood(problem: &str) -> String {
    format!(
        "I am the practice model, and a marker in your message is {problem}. The words I know are in the documentation of my crate."
    )
}

const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// The first sum of two numbers in a text, in words or digits, worked out: a first try of the bot gets an answer that can
/// be checked. The text is in lower case.
fn sum_in(text: &str) -> Option<String> {
    let spaced = ["+", "*"].iter().fold(text.to_owned(), |text, sign| {
        text.replace(sign, &format!(" {sign} "))
    });
    let is_around = |c: char| c.is_ascii_punctuation() && !"+-*".contains(c);
    let words: Vec<&str> = spaced
        .split_whitespace()
        .map(|word| word.trim_matches(is_around))
        .collect();
    let number = |word: &str| -> Option<i64> {
        let in_words = NUMBERS.iter().zip(0..).find(|(name, _)| **name == word);
        in_words.map_or_else(|| word.parse().ok(), |(_, number)| Some(number))
    };
    words.windows(3).find_map(|three| {
        let (left, right) = (number(three[0])?, number(three[2])?);
        let value = match three[1] {
            "plus" | "+" => left.checked_add(right),
            "minus" | "-" => left.checked_sub(right),
            "times" | "x" | "*" => left.checked_mul(right),
            _ => None,
        }?;
        let asked = with_capital(&three.join(" "));
        let in_words = usize::try_from(value)
            .ok()
            .and_then(|index| NUMBERS.get(index));
        Some(match in_words {
            Some(words) => format!("{asked} is {words} ({value})."),
            None => format!("{asked} is {value}."),
        })
    })
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
pub(crate) fn with_words(text: &str, wanted: usize) -> String {
    let have = text.split_whitespace().count();
    if have >= wanted {
        let end = word_ends(text).nth(wanted.saturating_sub(1));
        return text[..end.unwrap_or(text.len())].to_owned();
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

/// Cuts a text into chunks of a few words; put together they are the text again, to the byte.
pub(crate) fn chunks(text: &str) -> Vec<&str> {
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

    fn asked(said: &str, earlier: usize) -> String {
        reply(&Conversation {
            last_turn: said.to_owned(),
            speaker: Some("ada".to_owned()),
            said: said.to_owned(),
            marker: None,
            earlier,
        })
    }

    #[test]
    fn it_greets_and_says_what_it_is_and_what_it_was_given() {
        let text = asked("good morning to you", 3);
        assert!(
            text.starts_with("Hello ada! You said: “good morning to you”"),
            "{text}"
        );
        assert!(
            text.contains("practice model") && text.contains("3 earlier messages"),
            "{text}"
        );
        assert!(asked("help", 1).contains("[[practice:"));
        assert!(asked("", 1).contains("nothing yet"));
        let long = asked(&"ä".repeat(5_000), 0);
        assert!(long.contains('…') && long.chars().count() < 500);
    }

    #[test]
    fn it_does_sums_of_two_numbers() {
        for (said, sum) in [
            ("What is two plus two?", "Two plus two is four (4)."),
            ("2+2", "2 + 2 is four (4)."),
            ("what is 57 plus 91?", "57 plus 91 is 148."),
            ("seven times 6, please", "Seven times 6 is 42."),
            ("2 - 5", "2 - 5 is -3."),
        ] {
            assert!(
                asked(said, 0).starts_with(&format!("Hello ada! {sum}")),
                "{said}"
            );
        }
        for said in [
            "I have two cats",
            "a - b",
            "2 +",
            "one and two",
            "9223372036854775807 + 1",
        ] {
            assert!(asked(said, 0).contains("You said"), "{said}");
        }
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
            let text = with_words("one two  three", wanted);
            assert_eq!(text.split_whitespace().count(), wanted);
        }
    }
}
