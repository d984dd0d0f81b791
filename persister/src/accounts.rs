//! `persister accounts` and `persister invites` (and `chinwag` …): what an operator does with accounts, while all runs. Whoever
//! may use the database may do it; the edges find what has changed in the database within a second.

use std::{
    error::Error,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand, ValueEnum};
use common::{
    names,
    secret_token::{invite_path, new_token, reset_path},
    settings::seconds,
    store::{Actor, INVITE_USES_MAX, Invite, OPERATOR, Standing, StandingChanges, Store, WaysIn},
};
use uuid::Uuid;

/// How many accounts are read at a time.
const PAGE: usize = 500;

/// What to do with accounts.
#[derive(Clone, Debug, Subcommand)]
pub enum AccountsCommand {
    /// One line each: name, what they are, when made, sessions, rooms.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Makes an invitation to register, and prints its link, which is shown this once.
    Invite(NewInvite),
    /// Prints a link by which somebody may set a new password, once. Earlier ones are worth nothing then.
    Reset {
        /// Whose.
        user: String,
        /// How long the link may be used: seconds, or as in `12h`.
        #[arg(long, value_parser = seconds, default_value = "24h")]
        expires_in: Duration,
        /// Where people open this server: `https://chat.example.org`.
        #[arg(long, default_value = "")]
        url: String,
    },
    /// Lets nobody in as them; their sockets close and their tokens are worth nothing.
    Disable {
        /// Whom.
        user: String,
    },
    /// Lets them in again.
    Enable {
        /// Whom.
        user: String,
    },
    /// Makes them an administrator.
    MakeAdmin {
        /// Whom.
        user: String,
    },
    /// They are an administrator no more.
    RemoveAdmin {
        /// Whom.
        user: String,
    },
    /// Marks them as a program: the bot does not answer them, unless a room says so.
    MakeProgram {
        /// Whom.
        user: String,
    },
    /// They are a program no more.
    RemoveProgram {
        /// Whom.
        user: String,
    },
    /// Deletes an account, for good. Its name stays taken.
    Delete {
        /// Whose.
        user: String,
        /// Whether what they wrote stays.
        #[arg(long, value_enum, default_value = "keep")]
        messages: TheirMessages,
    },
    /// By what somebody gets in: whether they have a password, and one line each of what leads into their account at the provider of
    /// single sign-on: id, issuer, since when.
    Identities {
        /// Whose.
        user: String,
    },
    /// Takes an identity at the provider away from an account, also the last way in.
    Unlink {
        /// Whose.
        user: String,
        /// Its id, as `identities` shows it.
        id: Uuid,
    },
    /// Who did what to whom, the newest first.
    Audit {
        /// The most lines.
        #[arg(long, default_value = "100")]
        limit: usize,
    },
}

/// What to do with invitations to the server.
#[derive(Clone, Debug, Subcommand)]
pub enum InvitesCommand {
    /// One line each of those that may still be used: id, by whom, used how often, until when.
    List,
    /// As `accounts invite`.
    Make(NewInvite),
    /// Nobody comes in by it any more.
    Withdraw {
        /// Its id, as `list` shows it.
        id: Uuid,
    },
}

/// An invitation to be made.
#[derive(Args, Clone, Debug)]
pub struct NewInvite {
    /// Whoever takes it is an administrator.
    #[arg(long)]
    admin: bool,
    /// How many may take it.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=i64::from(INVITE_USES_MAX)))]
    uses: u32,
    /// How long it may be used: seconds, or as in `12h`.
    #[arg(long, value_parser = seconds, default_value = "7d")]
    expires_in: Duration,
    /// A room whose member one becomes by it.
    #[arg(long)]
    room: Option<String>,
    /// Where people open this server: `https://chat.example.org`.
    #[arg(long, default_value = "")]
    url: String,
}

/// What becomes of what somebody wrote whose account is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TheirMessages {
    /// It stays.
    Keep,
    /// It goes too.
    Delete,
}

type Done = Result<(), Box<dyn Error>>;

/// Does it, and writes what came of it.
///
/// # Errors
/// What the store refuses, and those of writing.
pub async fn run(store: &dyn Store, command: AccountsCommand, out: &mut dyn Write) -> Done {
    let admin = |admin| StandingChanges {
        admin: Some(admin),
        ..StandingChanges::default()
    };
    let disabled = |disabled| StandingChanges {
        disabled: Some(disabled),
        ..StandingChanges::default()
    };
    let program = |program| StandingChanges {
        program: Some(program),
        ..StandingChanges::default()
    };
    match command {
        AccountsCommand::List { json } => list(store, json, out).await,
        AccountsCommand::Invite(new) => invite(store, new, out).await,
        AccountsCommand::Reset {
            user,
            expires_in,
            url,
        } => {
            let token = new_token();
            let expires_at_ms = ms(now() + expires_in);
            let made = store.make_reset(Actor::Operator, &user, &token.hash, expires_at_ms);
            there_is(made.await?.then_some(()), &user)?;
            let at = humantime::format_rfc3339_seconds(
                UNIX_EPOCH + Duration::from_millis(expires_at_ms),
            );
            writeln!(out, "{user} sets a new password, once, until {at}:")?;
            Ok(writeln!(out, "{}", link(&url, &reset_path(&token.token)))?)
        }
        AccountsCommand::Disable { user } => change(store, &user, disabled(true), out).await,
        AccountsCommand::Enable { user } => change(store, &user, disabled(false), out).await,
        AccountsCommand::MakeAdmin { user } => change(store, &user, admin(true), out).await,
        AccountsCommand::RemoveAdmin { user } => change(store, &user, admin(false), out).await,
        AccountsCommand::MakeProgram { user } => change(store, &user, program(true), out).await,
        AccountsCommand::RemoveProgram { user } => change(store, &user, program(false), out).await,
        AccountsCommand::Delete { user, messages } => {
            let with_messages = messages == TheirMessages::Delete;
            let deleted = store.delete_account(Actor::Operator, &user, None, with_messages);
            there_is(deleted.await?, &user)?;
            Ok(writeln!(out, "{user} is deleted; the name stays taken")?)
        }
        AccountsCommand::Identities { user } => {
            let ways = there_is(store.ways_in(&user).await?, &user)?;
            for identity in &ways.identities {
                let since = UNIX_EPOCH + Duration::from_millis(identity.linked_at_ms);
                let since = humantime::format_rfc3339_seconds(since);
                writeln!(out, "{}  {}  since {since}", identity.id, identity.issuer)?;
            }
            tell_ways_in(&user, &ways, out)
        }
        AccountsCommand::Unlink { user, id } => {
            let left = store.take_identity(Actor::Operator, &user, id).await?;
            let left = left.ok_or_else(|| format!("no identity {id} leads into {user:?}"))?;
            writeln!(out, "it leads into {user} no more")?;
            tell_ways_in(&user, &left, out)
        }
        AccountsCommand::Audit { limit } => {
            for line in store.audit(None, limit).await? {
                let at = humantime::format_rfc3339_seconds(
                    UNIX_EPOCH + Duration::from_millis(line.at_ms),
                );
                let actor = if line.actor == OPERATOR {
                    "(operator)"
                } else {
                    &*line.actor
                };
                let (deed, subject, detail) = (line.deed, line.subject, line.detail);
                writeln!(out, "{at}  {actor}  {deed}  {subject}  {detail}")?;
            }
            Ok(())
        }
    }
}

/// Does it, and writes what came of it.
///
/// # Errors
/// What the store refuses, and those of writing.
pub async fn run_invites(store: &dyn Store, command: InvitesCommand, out: &mut dyn Write) -> Done {
    match command {
        InvitesCommand::Make(new) => invite(store, new, out).await,
        InvitesCommand::List => {
            for invite in store.invites(None, ms(now())).await? {
                let until = UNIX_EPOCH + Duration::from_millis(invite.expires_at_ms);
                let until = humantime::format_rfc3339_seconds(until);
                let is_account = names::check_user(&invite.made_by).is_ok();
                let by = if is_account {
                    &*invite.made_by
                } else {
                    "(operator)"
                };
                let (id, used, uses) = (invite.id, invite.used, invite.uses);
                let kind = if invite.admin { "  administrator" } else { "" };
                let room = invite
                    .room
                    .map_or_else(String::new, |room| format!("  into {room}"));
                writeln!(
                    out,
                    "{id}  by {by}  {used} of {uses} used  until {until}{kind}{room}"
                )?;
            }
            Ok(())
        }
        InvitesCommand::Withdraw { id } => {
            if !store.withdraw_invite(Actor::Operator, id).await? {
                return Err(format!("there is no invitation {id} that could still be used").into());
            }
            Ok(writeln!(out, "nobody comes in by it any more")?)
        }
    }
}

async fn list(store: &dyn Store, json: bool, out: &mut dyn Write) -> Done {
    let mut after: Option<String> = None;
    loop {
        let page = store.accounts_listed(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.name.clone());
        for account in page {
            let made = UNIX_EPOCH + Duration::from_millis(account.created_at_ms);
            let made = humantime::format_rfc3339_seconds(made).to_string();
            let Standing {
                admin,
                disabled,
                deleted,
                program,
            } = account.standing;
            let (name, sessions, rooms) = (&account.name, account.sessions, account.rooms);
            if json {
                let line = serde_json::json!({
                    "name": name, "admin": admin, "disabled": disabled, "deleted": deleted, "program": program,
                    "created_at": made, "sessions": sessions, "rooms": rooms,
                });
                writeln!(out, "{line}")?;
                continue;
            }
            let is = match account.standing {
                _ if deleted => "deleted",
                _ if disabled => "disabled",
                _ if admin => "administrator",
                _ if program => "program",
                _ => "",
            };
            writeln!(
                out,
                "{name:32}  {is:13}  {made}  {sessions} sessions  {rooms} rooms"
            )?;
        }
    }
}

async fn invite(store: &dyn Store, new: NewInvite, out: &mut dyn Write) -> Done {
    let invitation = Invite {
        id: Uuid::now_v7(),
        made_by: OPERATOR.to_owned(),
        admin: new.admin,
        room: new.room,
        uses: new.uses,
        used: 0,
        made_at_ms: ms(now()),
        expires_at_ms: ms(now() + new.expires_in),
    };
    let token = new_token();
    store.make_invite(&invitation, &token.hash).await?;
    let until = UNIX_EPOCH + Duration::from_millis(invitation.expires_at_ms);
    let until = humantime::format_rfc3339_seconds(until);
    let who = match (new.uses, new.admin) {
        (1, true) => "one person comes in as an administrator".to_owned(),
        (1, false) => "one person comes in".to_owned(),
        (uses, true) => format!("{uses} people come in as administrators"),
        (uses, false) => format!("{uses} people come in"),
    };
    writeln!(out, "By this link {who}, until {until}:")?;
    Ok(writeln!(
        out,
        "{}",
        link(&new.url, &invite_path(&token.token))
    )?)
}

async fn change(
    store: &dyn Store,
    user: &str,
    changes: StandingChanges,
    out: &mut dyn Write,
) -> Done {
    let changed = store.change_standing(Actor::Operator, user, changes);
    let (standing, _) = there_is(changed.await?, user)?;
    let is = |is: bool| if is { "yes" } else { "no" };
    let (admin, disabled) = (is(standing.admin), is(standing.disabled));
    let program = is(standing.program);
    Ok(writeln!(
        out,
        "{user}: administrator {admin}, disabled {disabled}, program {program}"
    )?)
}

fn tell_ways_in(user: &str, ways: &WaysIn, out: &mut dyn Write) -> Done {
    let (password, identities) = (ways.password, ways.identities.len());
    match (password, identities) {
        (false, 0) => writeln!(
            out,
            "{user} has no password, and no identity leads in: `accounts reset {user}` prints a link by which they set one"
        ),
        (true, _) => writeln!(
            out,
            "{user} has a password, and {identities} identities lead in"
        ),
        (false, _) => writeln!(
            out,
            "{user} has no password; {identities} identities lead in"
        ),
    }?;
    Ok(())
}

fn there_is<T>(found: Option<T>, user: &str) -> Result<T, String> {
    found.ok_or_else(|| format!("there is no account {user:?}"))
}

fn link(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
