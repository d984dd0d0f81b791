//! How long the bot talks with programs: not at all where a room does not say so, and else until it has answered them
//! so often in a row that a person has to say something first. Two programs that answer whatever they hear would go on
//! for ever.

use std::collections::HashSet;

use common::wire::{Kind, Message};

/// The most answers in a row to programs.
const ANSWERS_IN_A_ROW: usize = 10;

/// Whether the bot has said enough for now, by what was said in the room, the latest last.
pub(crate) fn have_heard_enough(said: &[Message], programs: &HashSet<String>) -> bool {
    let is_a_persons =
        |message: &&Message| message.kind == Kind::User && !programs.contains(&message.sender);
    let since = said
        .iter()
        .rev()
        .take_while(|message| !is_a_persons(message));
    let answers = since.filter(|message| matches!(message.kind, Kind::Bot | Kind::Fallback));
    answers.count() >= ANSWERS_IN_A_ROW
}

#[cfg(test)]
mod tests {
    use common::wire::NewMessage;
    use uuid::Uuid;

    use super::*;

    fn said(by: &[&str]) -> Vec<Message> {
        let message = |(at, sender): (usize, &&str)| {
            let new = NewMessage {
                room: "lobby".to_owned(),
                id: Uuid::now_v7(),
                sender: (*sender).to_owned(),
                kind: if *sender == "bot" {
                    Kind::Bot
                } else {
                    Kind::User
                },
                message: "hi".to_owned(),
                reply_to: None,
                of: None,
                stopped_by: None,
                grounding: Default::default(),
            };
            new.at(at as u64 + 1, at as u64)
        };
        by.iter().enumerate().map(message).collect()
    }

    #[test]
    fn after_ten_answers_to_programs_a_person_has_to_say_something() {
        let programs = HashSet::from(["echo".to_owned(), "parrot".to_owned()]);
        let enough = |by: &[&str]| have_heard_enough(&said(by), &programs);
        let answers = |n: usize| ["echo", "bot", "parrot"].repeat(n);
        assert!(!enough(&[]));
        assert!(!enough(&answers(9)));
        assert!(enough(&answers(10)));
        assert!(enough(&[&["ada"][..], &answers(10)].concat()));
        assert!(!enough(&[&answers(10)[..], &["ada"], &answers(9)].concat()));
        // What the bot says to people counts for nothing.
        assert!(!enough(&["ada", "bot"].repeat(20)));
    }
}
