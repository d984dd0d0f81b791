//! What an account is to be called whose person comes by single sign-on: what the provider says, as far as it is a name
//! here. By no such name anybody gets into an account that is there.

use common::names::{NAME_MIN_CHARS, USER_NAME_MAX_CHARS, check_user, is_reserved};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use super::id_token::Claims;

/// The numbers that are tried behind a name, beginning with 2.
const NUMBERS: u32 = 9;

/// Random ones that are tried after those.
const RANDOM_NUMBERS: usize = 8;

/// Who has no name that could be one here.
const NAMELESS: &str = "person";

/// Names to try, in order.
pub(crate) fn names_for(claims: &Claims) -> Vec<String> {
    let said = ["preferred_username", "email", "nickname", "name"];
    let said = said.into_iter().filter_map(|claim| claims.text(claim));
    let name = said.filter_map(as_name).next();
    let name = name.unwrap_or_else(|| NAMELESS.to_owned());
    let mut names = Vec::new();
    if name != NAMELESS {
        names.push(name.clone());
    }
    let random = (0..RANDOM_NUMBERS).map(|_| rand::random_range(1_000..1_000_000));
    let numbers = (2..=NUMBERS).chain(random);
    names.extend(numbers.map(|number| {
        let number = format!("-{number}");
        let kept = name.len().min(USER_NAME_MAX_CHARS - number.len());
        format!("{}{number}", name[..kept].trim_end_matches(['-', '_']))
    }));
    names
}

/// A text as a name, if enough of it can be one: of an address what stands before the `@`.
fn as_name(text: &str) -> Option<String> {
    let text = text.split('@').next().unwrap_or(text);
    let mut name = String::new();
    let letters = text.nfkd().filter(|c| !is_combining_mark(*c));
    for c in letters.flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' => name.push(c),
            // What stands between two words; several are one.
            _ if !name.ends_with('-') && !name.is_empty() => name.push('-'),
            _ => {}
        }
        if name.len() >= USER_NAME_MAX_CHARS {
            break;
        }
    }
    let name = name.trim_matches(['-', '_']);
    let letters = name.chars().filter(char::is_ascii_alphanumeric).count();
    let is_name = letters >= NAME_MIN_CHARS && check_user(name).is_ok() && !is_reserved(name);
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn first(claims: serde_json::Value) -> String {
        let claims = Claims(claims.as_object().unwrap().clone());
        let names = names_for(&claims);
        for name in &names {
            assert_eq!(check_user(name), Ok(()), "{name}");
            assert!(!is_reserved(name), "{name}");
        }
        names[0].clone()
    }

    #[test]
    fn what_the_provider_says_becomes_a_name() {
        for (claims, name) in [
            (json!({ "preferred_username": "ada" }), "ada"),
            (
                json!({ "preferred_username": "Ada.Lovelace@example.org" }),
                "ada-lovelace",
            ),
            (
                json!({ "email": "bob+chat@example.org", "name": "Robert" }),
                "bob-chat",
            ),
            (
                json!({ "preferred_username": "x", "name": "Zoë  Müller" }),
                "zoe-muller",
            ),
            (
                json!({ "preferred_username": "admin", "email": "eve@example.org" }),
                "eve",
            ),
            (
                json!({ "preferred_username": 7, "nickname": "--Ida--" }),
                "ida",
            ),
            (
                json!({ "name": "王小明", "email": "root@example.org" }),
                "person-2",
            ),
            (json!({}), "person-2"),
        ] {
            assert_eq!(first(claims.clone()), name, "{claims}");
        }
        assert_eq!(first(json!({ "name": "a".repeat(100) })), "a".repeat(32));
    }

    #[test]
    fn where_a_name_is_taken_a_number_stands_behind_it() {
        let claims = json!({ "preferred_username": "a".repeat(40) });
        let names = names_for(&Claims(claims.as_object().unwrap().clone()));
        assert_eq!(names[1], format!("{}-2", "a".repeat(30)));
        assert_eq!(names.len(), 1 + 8 + RANDOM_NUMBERS);
        assert!(names.iter().all(|name| check_user(name).is_ok()));
    }
}
