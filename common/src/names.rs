//! Names of users and rooms. They share one namespace, since every user has a room of their own, named as they are.

/// The fewest characters of a name.
pub const NAME_MIN_CHARS: usize = 3;
/// The most characters of a user's name.
pub const USER_NAME_MAX_CHARS: usize = 32;
/// The most characters of a room's name.
pub const ROOM_NAME_MAX_CHARS: usize = 64;

/// The name that the bot's messages carry as their sender.
pub const BOT: &str = "bot";

/// Names nobody may take, because messages under them would look like the server's own or its keepers', or like an address of
/// it. (Accounts and rooms that had one before keep it.)
const RESERVED: [&str; 35] = [
    "abuse",
    "admin",
    "administration",
    "administrator",
    "admins",
    "api",
    "assistant",
    "bot",
    "bots",
    "chinwag",
    "everybody",
    "everyone",
    "fallback",
    "help",
    "helpdesk",
    "here",
    "hostmaster",
    "mod",
    "moderation",
    "moderator",
    "moderators",
    "mods",
    "noreply",
    "official",
    "operator",
    "postmaster",
    "root",
    "security",
    "server",
    "staff",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "webmaster",
];

/// Whether this may be the name of a room: 3 to 64 of `a-z 0-9 _ -`.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn check_room(name: &str) -> Result<(), String> {
    check(name, ROOM_NAME_MAX_CHARS)
}

/// Whether this may be the name of a user: 3 to 32 of `a-z 0-9 _ -`.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn check_user(name: &str) -> Result<(), String> {
    check(name, USER_NAME_MAX_CHARS)
}

/// Whether a user or room may have this name. What may not is not looked up: engines differ in what they take for equal
/// (MySQL ignores spaces at the end) or comparable (characters outside a column's set).
pub fn may_exist(name: &str) -> bool {
    check_room(name).is_ok()
}

fn check(name: &str, max: usize) -> Result<(), String> {
    if !(NAME_MIN_CHARS..=max).contains(&name.len()) {
        return Err(format!("a name has {NAME_MIN_CHARS} to {max} characters"));
    }
    match name
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))
    {
        Some(c) => Err(format!(
            "a name is made of a-z, 0-9, _ and -, and {c:?} is none of them"
        )),
        None => Ok(()),
    }
}

/// Whether nobody may take this name, because it is reserved or looks like one that is.
pub fn is_reserved(name: &str) -> bool {
    let looks = skeleton(name);
    RESERVED.iter().any(|reserved| skeleton(reserved) == looks)
}

/// What a name looks like at a glance: characters that are easily taken for one another become the same, and
/// separators vanish, except between two digits, where they tell numbers apart. Two users whose names have one
/// skeleton must not both exist (`bob` and `b0b`, `ada-l` and `adal`; but `u-1-10` and `u-11-0` may).
pub fn skeleton(name: &str) -> String {
    let mut looks = String::with_capacity(name.len());
    let mut before = None;
    let mut separated = false;
    for c in name.chars() {
        if matches!(c, '_' | '-') {
            separated = true;
            continue;
        }
        if separated && c.is_ascii_digit() && before.is_some_and(|b: char| b.is_ascii_digit()) {
            looks.push('-');
        }
        looks.push(match c {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            other => other,
        });
        before = Some(c);
        separated = false;
    }
    // Two letters side by side that read as one.
    looks.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_letters_digits_and_two_marks() {
        assert!(check_user("ada_l-1").is_ok());
        for bad in ["ad", "Ada", "ada l", "adä", "", "a\0b", &"a".repeat(33)] {
            assert!(check_user(bad).is_err(), "{bad:?}");
        }
        assert!(check_room(&"a".repeat(64)).is_ok());
        assert!(check_room(&"a".repeat(65)).is_err());
    }

    #[test]
    fn what_looks_reserved_is_reserved() {
        for name in [
            "bot",
            "b0t",
            "b-o-t",
            "system",
            "sy5tern",
            "adm1n",
            "support",
            "m0d",
            "help",
            "no-reply",
            "sec_urity",
            "0fficial",
            "5taff",
            "moderator",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "ada",
            "lobby",
            "robot",
            "bottle",
            "modest",
            "helper",
            "support-group",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn names_that_look_the_same_have_one_skeleton() {
        for [one, other] in [
            ["bob", "b0b"],
            ["user1", "userl"],
            ["user-1", "user1"],
            ["ada-l", "adal"],
            ["1-1", "1__1"],
            ["barney", "bamey"],
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} and {other}");
        }
        for [one, other] in [
            ["u-1-10", "u-11-0"],
            ["load-1-1", "load-11"],
            ["ada", "bob"],
        ] {
            assert_ne!(skeleton(one), skeleton(other), "{one} and {other}");
        }
    }
}
