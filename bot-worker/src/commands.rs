//! The bot's commands: messages that it answers by itself, without a model, or by having one sum up what was said. Each
//! is one entry of `COMMANDS`, and whoever has to know a command asks here: answering for its reply, the context for
//! what it leaves out, `/help` for its list.
//!
//! The page completes the commands as one types. Its build takes them from `common/tests/golden/commands.json`, which a
//! test below holds against this list, so a new command is an entry here, and that file and the page written anew:
//! `UPDATE_GOLDEN=1 cargo test -p bot-worker commands`, then `npm run build` in `web/`.

use common::names::BOT;

/// Where the reply to a command has a line for each of the commands.
const ALL_COMMANDS: &str = "{commands}";

/// Every command there is, in the order in which `/help` names them.
static COMMANDS: &[Command] = &[
    Command {
        name: "reset",
        help: "makes me start afresh, without what was said before.",
        hint: "The bot starts afresh, without what was said before",
        reply: "Done: from here on I start afresh, without what was said before.",
        context: ContextEffect::BeginsAnew,
        sums_up: None,
    },
    Command {
        name: "catchup",
        help: "sums up what you have not read here; everybody sees it.",
        hint: "The bot sums up what you have not read, for all to see",
        reply: "There is nothing here that you have not read.",
        context: ContextEffect::None,
        sums_up: Some(SummedPart::Unread),
    },
    Command {
        name: "summary",
        help: "sums up what was said in this room.",
        hint: "The bot sums up what was said here",
        reply: "Nothing was said here yet that I could sum up.",
        context: ContextEffect::None,
        sums_up: Some(SummedPart::Room),
    },
    Command {
        name: "help",
        help: "shows this.",
        hint: "What the bot can do",
        reply: "\
I am the bot of this room. Ask me something: I know what was said here lately.\n\n\
- In a room of your own I answer everything. In others it is as the owner set it: everything, messages with `@bot` in them, \
or nothing.\n\
- While I write, you can stop me: what is there by then is my answer.\n\
{commands}\n\n\
A room's owner can also say who I am to be there. In rooms where I answer only when I am named, write `@bot` beside a command.",
        context: ContextEffect::None,
        sums_up: None,
    },
];

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// What is written behind the `/`: letters of a-z. Also how the request ended, in the log of replies and the metrics.
    pub name: &'static str,
    /// What it does, in the bot's words, which go on after the name.
    help: &'static str,
    /// What it does, as the page says it beside the name.
    hint: &'static str,
    /// The whole reply, with [`ALL_COMMANDS`] for a list of the commands; of one that sums up, what is said where there
    /// is nothing.
    reply: &'static str,
    /// What it does to the prompts of later requests.
    pub context: ContextEffect,
    /// What a model is to sum up, if it is not answered by the bot itself.
    pub sums_up: Option<SummedPart>,
}

/// What is summed up of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SummedPart {
    /// What whoever asks has not read.
    Unread,
    /// All that was said.
    Room,
}

/// What a command does to the prompts of later requests. It and its reply are in none of them in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextEffect {
    /// What was said before it still goes along.
    None,
    /// Nothing goes along of what was said before it.
    BeginsAnew,
}

impl Command {
    /// What the bot replies to it.
    pub(crate) fn reply(&self) -> String {
        let lines: Vec<String> = COMMANDS
            .iter()
            .map(|command| format!("- `/{}` {}", command.name, command.help))
            .collect();
        self.reply.replace(ALL_COMMANDS, &lines.join("\n"))
    }
}

/// The command that a message is: its name and nothing else but the bot's, in any case. None if it is anything else.
pub(crate) fn read(message: &str) -> Option<&'static Command> {
    let is_the_bot = |word: &&str| {
        word.strip_prefix('@')
            .is_some_and(|name| name.eq_ignore_ascii_case(BOT))
    };
    let mut words = message.split_whitespace().filter(|word| !is_the_bot(word));
    let (word, more) = (words.next()?, words.next());
    let name = word.strip_prefix('/').filter(|_| more.is_none())?;
    COMMANDS
        .iter()
        .find(|command| command.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs, path::PathBuf};

    use common::wire::MESSAGE_MAX_CHARS;
    use serde_json::json;

    use super::*;

    /// Holds a list, one item a line, against a golden file that the page reads as well.
    fn golden(name: &str, items: &[serde_json::Value]) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../common/tests/golden")
            .join(name);
        let lines: Vec<String> = items.iter().map(|item| format!("  {item}")).collect();
        let written = format!("[\n{}\n]\n", lines.join(",\n"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &written).expect("the golden files can be written");
        }
        let golden = fs::read_to_string(&path).expect("the golden file is there");
        assert_eq!(written, golden, "the commands are not what {name} says");
    }

    #[test]
    fn the_page_offers_the_commands_that_there_are() {
        let offered: Vec<_> = COMMANDS
            .iter()
            .map(|command| json!({"name": command.name, "hint": command.hint}))
            .collect();
        golden("commands.json", &offered);
    }

    #[test]
    fn a_command_is_the_whole_message_but_for_the_bots_name() {
        let texts = [
            ("/reset", Some("reset")),
            (" /Reset ", Some("reset")),
            ("@bot /reset", Some("reset")),
            ("/reset @bot", Some("reset")),
            ("@bot /help", Some("help")),
            (" /HELP @Bot ", Some("help")),
            ("@bot\n@bot /help\t@bot", Some("help")),
            ("\u{a0}/help", Some("help")),
            ("/catchup", Some("catchup")),
            ("@bot /Summary", Some("summary")),
            ("/reset now", None),
            ("/reset /help", None),
            ("reset", None),
            ("//reset", None),
            ("/ reset", None),
            ("/resets", None),
            ("/stop", None),
            ("what does /reset do?", None),
            ("@bob /help", None),
            ("@bot, /help", None),
            ("@bot/help", None),
            ("bot /help", None),
            ("@bot", None),
            ("/", None),
            ("", None),
        ];
        for (text, wanted) in texts {
            assert_eq!(read(text).map(|command| command.name), wanted, "{text:?}");
        }
        let shown = texts.map(|(text, command)| json!({"text": text, "command": command}));
        golden("command_texts.json", &shown);
    }

    #[test]
    fn each_command_can_be_written_told_and_posted() {
        let mut names = HashSet::new();
        let help = read("/help").unwrap().reply();
        for command in COMMANDS {
            let Command { name, hint, .. } = command;
            assert!(
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()),
                "{name:?} is a word of a-z"
            );
            assert!(names.insert(name), "{name} is there once");
            assert_eq!(read(&format!("/{name}")), Some(command));
            assert!(help.contains(&format!("\n- `/{name}` ")), "{help}");
            assert!(!hint.is_empty());
            let reply = command.reply();
            assert!(
                reply.trim() == reply && (1..=MESSAGE_MAX_CHARS).contains(&reply.chars().count()),
                "{reply:?} is a message"
            );
            assert!(!reply.contains(ALL_COMMANDS), "{reply}");
        }
    }
}
