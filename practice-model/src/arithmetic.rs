//! A tiny calculator for sums in words or digits ("what is two plus two?"), so that a first try of the bot gets an
//! answer that can be checked, and a test one that it can wait for.

/// Longest expression that is looked at, in tokens: it bounds how deep brackets nest.
const LONGEST: usize = 100;

/// The first sum in a text, worked out: `two plus two is four (4)`. `None` where there is none.
pub fn answer(text: &str) -> Option<String> {
    let tokens = tokens_of(text);
    let run = tokens
        .split(|token| token.kind == Kind::Other)
        .find_map(longest_sum)?;
    let asked = text[run.begins..run.ends]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let Some(value) = run.value.filter(|value| value.is_finite()) else {
        return Some(format!(
            "{asked} has no answer: nothing can be divided by zero"
        ));
    };
    let digits = in_digits(value);
    Some(match in_words(value) {
        Some(words) => format!("{asked} is {words} ({digits})"),
        None => format!("{asked} is {digits}"),
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Number(f64),
    Plus,
    Minus,
    Times,
    Over,
    Opens,
    Closes,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: Kind,
    begins: usize,
    ends: usize,
}

/// Cuts a text into numbers, signs, and what is neither. Numbers in words are put together ("one hundred and five").
fn tokens_of(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let begins = at;
        at += character.len_utf8();
        let kind = match character {
            c if c.is_whitespace() => continue,
            c if c.is_ascii_digit() => {
                at = begins + digits_at(&text[begins..]);
                text[begins..at].parse().map_or(Kind::Other, Kind::Number)
            }
            c if c.is_alphabetic() => {
                if let Some((value, length)) = number_in_words(&text[begins..]) {
                    at = begins + length;
                    Kind::Number(value)
                } else {
                    let word = word_at(&text[begins..]);
                    at = begins + word.len();
                    let (kind, more) = sign_in_words(word, &text[at..]);
                    at += more;
                    kind
                }
            }
            '+' => Kind::Plus,
            '-' | '−' | '–' => Kind::Minus,
            '*' | '×' | '·' => Kind::Times,
            '/' | '÷' | ':' => Kind::Over,
            '(' => Kind::Opens,
            ')' => Kind::Closes,
            _ => Kind::Other,
        };
        tokens.push(Token {
            kind,
            begins,
            ends: at,
        });
    }
    tokens
}

/// How many bytes of digits stand here; a point counts only before a further digit, so that a full stop ends a number.
fn digits_at(text: &str) -> usize {
    let whole = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let Some(fraction) = text[whole..].strip_prefix('.') else {
        return whole;
    };
    let digits = fraction
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(fraction.len());
    if digits == 0 {
        whole
    } else {
        whole + 1 + digits
    }
}

fn word_at(text: &str) -> &str {
    &text[..text
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(text.len())]
}

/// The sign that a word is, and how many bytes after it belong to it (" by").
fn sign_in_words(word: &str, after: &str) -> (Kind, usize) {
    let by = |kind| {
        let trimmed = after.trim_start();
        if word_at(trimmed).eq_ignore_ascii_case("by") {
            (kind, after.len() - trimmed.len() + 2)
        } else {
            (Kind::Other, 0)
        }
    };
    match word.to_ascii_lowercase().as_str() {
        "plus" => (Kind::Plus, 0),
        "minus" | "negative" => (Kind::Minus, 0),
        "times" | "x" => (Kind::Times, 0),
        "over" => (Kind::Over, 0),
        "multiplied" => by(Kind::Times),
        "divided" => by(Kind::Over),
        _ => (Kind::Other, 0),
    }
}

const SMALL: [&str; 20] = [
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
];
const TENS: [&str; 8] = [
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
const LARGE: [(&str, f64); 3] = [("million", 1e6), ("thousand", 1e3), ("hundred", 1e2)];

/// The number that begins here in words, and its length in bytes.
fn number_in_words(text: &str) -> Option<(f64, usize)> {
    let (mut total, mut current, mut length, mut seen) = (0.0, 0.0, 0, false);
    let mut last_was_small = false;
    let mut rest = text;
    loop {
        let word = word_at(rest).to_ascii_lowercase();
        let position = |list: &[&str]| list.iter().position(|known| *known == word);
        if let Some(small) = position(&SMALL) {
            // "two two" is two numbers; "twenty two" is one.
            if last_was_small {
                break;
            }
            current += small as f64;
            last_was_small = true;
        } else if let Some(tens) = position(&TENS) {
            if last_was_small {
                break;
            }
            current += (tens as f64 + 2.0) * 10.0;
        } else if let Some((_, size)) = LARGE.iter().find(|(name, _)| seen && *name == word) {
            current = f64::max(current, 1.0) * size;
            if *size >= 1e3 {
                total += current;
                current = 0.0;
            }
            last_was_small = false;
        } else if word != "and"
            || !seen
            || number_in_words(rest[3..].trim_start()).is_none()
            || last_was_small
        {
            break;
        }
        seen = true;
        let here = text.len() - rest.len() + word.len();
        if word != "and" {
            length = here;
        }
        let after = &text[here..];
        rest = after
            .strip_prefix('-')
            .unwrap_or_else(|| after.trim_start());
    }
    seen.then_some((total + current, length))
}

struct Sum {
    begins: usize,
    ends: usize,
    /// `None` where it divides by zero.
    value: Option<f64>,
}

/// The longest part of a run of tokens that is a sum with at least one sign between two numbers.
fn longest_sum(run: &[Token]) -> Option<Sum> {
    let run = &run[..run.len().min(LONGEST)];
    (0..run.len())
        .filter_map(|first| {
            let mut parser = Parser {
                tokens: &run[first..],
                at: 0,
                signs: 0,
            };
            let value = parser.sum()?;
            let last = parser.tokens[..parser.at].last()?;
            (parser.signs > 0).then_some((
                parser.at,
                Sum {
                    begins: run[first].begins,
                    ends: last.ends,
                    value: Some(value),
                },
            ))
        })
        // `max_by_key` takes the last of equals; the first is wanted.
        .rev()
        .max_by_key(|(length, _)| *length)
        .map(|(_, sum)| Sum {
            value: sum.value.filter(|value| !value.is_nan()),
            ..sum
        })
}

/// Products before sums, brackets before both. It stops at the first token that does not fit.
struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    signs: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product()?;
        while let Some(sign @ (Kind::Plus | Kind::Minus)) = self.peek() {
            let Some(right) = self.after_sign(Parser::product) else {
                break;
            };
            value = if sign == Kind::Plus {
                value + right
            } else {
                value - right
            };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.single()?;
        while let Some(sign @ (Kind::Times | Kind::Over)) = self.peek() {
            let Some(right) = self.after_sign(Parser::single) else {
                break;
            };
            // Zero over zero is NaN and anything else over zero infinite: neither is an answer.
            value = if sign == Kind::Times {
                value * right
            } else {
                value / right
            };
        }
        Some(value)
    }

    /// What stands after the sign; where nothing fits, the sign does not belong to the sum.
    fn after_sign(&mut self, part: impl Fn(&mut Self) -> Option<f64>) -> Option<f64> {
        let (at, signs) = (self.at, self.signs);
        (self.at, self.signs) = (at + 1, signs + 1);
        let value = part(self);
        if value.is_none() {
            (self.at, self.signs) = (at, signs);
        }
        value
    }

    fn single(&mut self) -> Option<f64> {
        let token = self.peek()?;
        let before = self.at;
        self.at += 1;
        let value = match token {
            Kind::Number(value) => Some(value),
            Kind::Minus => self.single().map(|value| -value),
            Kind::Opens => self
                .sum()
                .filter(|_| self.peek() == Some(Kind::Closes))
                .inspect(|_| self.at += 1),
            _ => None,
        };
        if value.is_none() {
            self.at = before;
        }
        value
    }
}

/// Six decimals at most, and none that say nothing.
fn in_digits(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// A whole number below a milliard, in words.
fn in_words(value: f64) -> Option<String> {
    if value.fract() != 0.0 || value.abs() >= 1e9 {
        return None;
    }
    // Whole and small enough, as just checked.
    let whole = value.abs() as usize;
    Some(if value < 0.0 {
        format!("minus {}", whole_in_words(whole))
    } else {
        whole_in_words(whole)
    })
}

fn whole_in_words(number: usize) -> String {
    for (name, size) in LARGE {
        let size = size as usize;
        if number >= size {
            let head = format!("{} {name}", whole_in_words(number / size));
            return match number % size {
                0 => head,
                rest if rest < 100 => format!("{head} and {}", whole_in_words(rest)),
                rest => format!("{head} {}", whole_in_words(rest)),
            };
        }
    }
    match (number.checked_sub(20), number % 10) {
        (None, _) => SMALL[number].to_owned(),
        (Some(over), 0) => TENS[over / 10].to_owned(),
        (Some(over), unit) => format!("{}-{}", TENS[over / 10], SMALL[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_words_and_digits() {
        for (text, expected) in [
            ("what is two plus two?", "two plus two is four (4)"),
            ("2+2", "2+2 is four (4)"),
            ("Please, what's 7 / 2.", "7 / 2 is 3.5"),
            (
                "twenty-one times two",
                "twenty-one times two is forty-two (42)",
            ),
            (
                "one hundred and five minus 6",
                "one hundred and five minus 6 is ninety-nine (99)",
            ),
            (
                "two thousand  plus one",
                "two thousand plus one is two thousand and one (2001)",
            ),
            (
                "eighty divided by four",
                "eighty divided by four is twenty (20)",
            ),
            (
                "six multiplied by seven, please",
                "six multiplied by seven is forty-two (42)",
            ),
            ("3 x 4", "3 x 4 is twelve (12)"),
            ("6 × 7 ÷ 2", "6 × 7 ÷ 2 is twenty-one (21)"),
            ("1 + 2 * 3", "1 + 2 * 3 is seven (7)"),
            ("(1 + 2) * 3", "(1 + 2) * 3 is nine (9)"),
            ("2 - 5", "2 - 5 is minus three (-3)"),
            ("0.1 + 0.2", "0.1 + 0.2 is 0.3"),
            ("-2 * -3", "-2 * -3 is six (6)"),
            ("nine minus nine", "nine minus nine is zero (0)"),
            ("two plus two plus", "two plus two is four (4)"),
            ("1000000 * 1000000", "1000000 * 1000000 is 1000000000000"),
            (
                "one million plus 1",
                "one million plus 1 is one million and one (1000001)",
            ),
            (
                "one over zero",
                "one over zero has no answer: nothing can be divided by zero",
            ),
            (
                "0 / 0",
                "0 / 0 has no answer: nothing can be divided by zero",
            ),
        ] {
            assert_eq!(answer(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn no_sum_where_there_is_none() {
        for text in [
            "",
            "hello",
            "I have two cats",
            "room 2",
            "plus",
            "a - b",
            "2 +",
            "one and two",
            "überzwei × ",
            "(((((",
        ] {
            assert_eq!(answer(text), None, "{text}");
        }
    }

    #[test]
    fn endless_brackets_end() {
        assert_eq!(answer(&"(".repeat(100_000)), None);
        assert!(answer(&"1+".repeat(100_000)).is_some());
    }
}
