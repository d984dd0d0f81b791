//! `persister dead-letters`: what an operator does with messages that could not be handled.

use std::{io::Write, time::Duration};

use clap::{Subcommand, ValueEnum};
use common::queue::{DeadLetter, DeadLetters, QueueError, QueueName};
use uuid::Uuid;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// One line each: when, which queue, which message, why. Takes nothing away.
    List {
        /// Only of this queue.
        #[arg(long)]
        queue: Option<QueueArgument>,
        /// The most lines for a queue.
        #[arg(long, default_value = "100")]
        limit: usize,
    },
    /// Everything about one, with its payload. Takes nothing away.
    Show {
        /// The message's id.
        id: Uuid,
    },
    /// Puts some back into the queue they came from.
    Replay {
        /// The queue they came from.
        queue: QueueArgument,
        /// Which of them.
        #[command(flatten)]
        which: Which,
    },
    /// Throws some away, for good.
    Drop {
        /// The queue they came from.
        queue: QueueArgument,
        /// Which of them.
        #[command(flatten)]
        which: Which,
    },
}

/// Which dead letters of a queue.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// These.
    ids: Vec<Uuid>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// A queue, as its name is written on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum QueueArgument {
    /// Messages on their way to the database.
    Persist,
    /// Requests to the bot.
    #[value(name = "bot.requests")]
    BotRequests,
}

impl From<QueueArgument> for QueueName {
    fn from(argument: QueueArgument) -> QueueName {
        match argument {
            QueueArgument::Persist => QueueName::Persist,
            QueueArgument::BotRequests => QueueName::BotRequests,
        }
    }
}

/// The most dead letters of a queue that `show` looks through.
const SHOW_LIMIT: usize = 100_000;

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The output.
    #[error(transparent)]
    Output(#[from] std::io::Error),
    /// Nothing there.
    #[error("there is no dead letter {0}")]
    Unknown(Uuid),
}

/// Does it, and says what was done.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    letters: &dyn DeadLetters,
    command: Command,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    match command {
        Command::List { queue, limit } => list(letters, queue, limit, out).await,
        Command::Show { id } => show(letters, id, out).await,
        Command::Replay { queue, which } => {
            let count = letters.replay(queue.into(), &which.ids).await?;
            Ok(writeln!(
                out,
                "put back into {}: {count}",
                QueueName::from(queue).as_str()
            )?)
        }
        Command::Drop { queue, which } => {
            let count = letters.discard(queue.into(), &which.ids).await?;
            Ok(writeln!(
                out,
                "dropped from {}: {count}",
                QueueName::from(queue).as_str()
            )?)
        }
    }
}

async fn list(
    letters: &dyn DeadLetters,
    queue: Option<QueueArgument>,
    limit: usize,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let queues = queue.map_or(QueueName::ALL.to_vec(), |queue| vec![queue.into()]);
    let mut none = true;
    for queue in queues {
        for letter in letters.list(queue, limit).await? {
            none = false;
            writeln!(
                out,
                "{}  {}  {}  {}",
                time(&letter),
                queue.as_str(),
                letter.id,
                letter.reason
            )?;
        }
    }
    if none {
        writeln!(out, "no dead letters")?;
    }
    Ok(())
}

async fn show(
    letters: &dyn DeadLetters,
    id: Uuid,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    for queue in QueueName::ALL {
        let found = letters
            .list(queue, SHOW_LIMIT)
            .await?
            .into_iter()
            .find(|letter| letter.id == id);
        if let Some(letter) = found {
            writeln!(out, "id       {}", letter.id)?;
            writeln!(out, "queue    {}", letter.queue.as_str())?;
            writeln!(out, "died at  {}", time(&letter))?;
            writeln!(out, "reason   {}", letter.reason)?;
            writeln!(out, "payload  {}", String::from_utf8_lossy(&letter.payload))?;
            return Ok(());
        }
    }
    Err(CommandError::Unknown(id))
}

fn time(letter: &DeadLetter) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(letter.died_at_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}
