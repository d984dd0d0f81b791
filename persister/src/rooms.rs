//! `persister rooms` (and `chinwag rooms`): what an operator does with rooms, while all runs. Whoever may use the database may do it;
//! the edges find what has changed in the database: a deleted room within seconds, another owner within half a minute.

use std::{
    error::Error,
    io::Write,
    time::{Duration, UNIX_EPOCH},
};

use clap::Subcommand;
use common::store::{HandOver, Room, RoomChanges, RoomKeeper, Store};

/// How many rooms are read at a time.
const PAGE: usize = 500;

/// What to do with rooms.
#[derive(Clone, Debug, Subcommand)]
pub enum RoomsCommand {
    /// One line each, without people's own: name, whose, private or public, members, when made.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// All that is set about one, its members and who is banned from it; nothing of what is said in it.
    Show {
        /// Which.
        room: String,
    },
    /// Deletes a room with all that was said in it, for good. Its name is nobody's from then on.
    Delete {
        /// Which.
        room: String,
    },
    /// Gives a room another owner; the old one stays as a member.
    HandOver {
        /// Which.
        room: String,
        /// Whose it is to be: anybody whose account is not disabled.
        user: String,
    },
}

type Done = Result<(), Box<dyn Error>>;

/// Does it, and writes what came of it.
///
/// # Errors
/// What the store refuses, and those of writing.
pub async fn run(store: &dyn Store, command: RoomsCommand, out: &mut dyn Write) -> Done {
    match command {
        RoomsCommand::List { json } => list(store, json, out).await,
        RoomsCommand::Show { room } => show(store, &room, out).await,
        RoomsCommand::Delete { room } => {
            if !store.delete_room(&room, RoomKeeper::Operator).await? {
                return Err(no_room(&room).into());
            }
            Ok(writeln!(
                out,
                "{room} is deleted; what was said in it goes within a minute, while an edge runs"
            )?)
        }
        RoomsCommand::HandOver { room, user } => {
            let before = store.room(&room).await?.ok_or_else(|| no_room(&room))?;
            let changes = RoomChanges {
                hand_over: Some(HandOver {
                    from: before.owner.clone(),
                    to: user.clone(),
                    owned_max: None,
                }),
                ..RoomChanges::default()
            };
            let changed = store.change_room(&room, &changes, RoomKeeper::Operator);
            changed.await?.ok_or_else(|| no_room(&room))?;
            Ok(writeln!(
                out,
                "{room} is {user}'s, and was {}'s",
                before.owner
            )?)
        }
    }
}

async fn list(store: &dyn Store, json: bool, out: &mut dyn Write) -> Done {
    let mut after: Option<String> = None;
    loop {
        let page = store.rooms_kept(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.name.clone());
        for room in page {
            let made = UNIX_EPOCH + Duration::from_millis(room.created_at_ms);
            let made = humantime::format_rfc3339_seconds(made).to_string();
            let (name, owner, private, members) =
                (&room.name, &room.owner, room.private, room.members);
            if json {
                let line = serde_json::json!({
                    "name": name, "owner": owner, "private": private, "members": members,
                    "latest": room.latest, "created_at": made,
                });
                writeln!(out, "{line}")?;
                continue;
            }
            let kind = if private { "private" } else { "public" };
            writeln!(
                out,
                "{name:32}  {owner:32}  {kind:7}  {members} members  {made}"
            )?;
        }
    }
}

async fn show(store: &dyn Store, name: &str, out: &mut dyn Write) -> Done {
    let Some(room) = store.room(name).await? else {
        return Err(no_room(name).into());
    };
    let Room {
        name,
        private,
        bot,
        persona,
        owner,
        title,
        topic,
        retention_days,
        ..
    } = &room;
    let kept = match retention_days {
        Some(days) => format!("{days} days, or as long as the server does if that is shorter"),
        None => "as long as the server does".to_owned(),
    };
    let kind = if *private { "private" } else { "public" };
    let (members, bans) = (store.members(name).await?, store.bans(name).await?);
    let invited = store.invited(name).await?;
    for (what, is) in [
        ("name", name.as_str()),
        ("owner", owner),
        ("title", title),
        ("topic", topic),
        ("seen by", kind),
        ("bot", bot.as_str()),
        ("persona", persona),
        ("kept for", &kept),
        ("members", &members.join(" ")),
        ("invited", &invited.join(" ")),
        ("banned", &bans.join(" ")),
    ] {
        if !is.is_empty() {
            // A line feed in a topic is no line of ours.
            writeln!(out, "{what}: {}", is.replace('\n', " "))?;
        }
    }
    Ok(())
}

fn no_room(room: &str) -> String {
    format!("there is no room {room:?}")
}
