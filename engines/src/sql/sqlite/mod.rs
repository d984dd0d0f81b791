//! The embedded side of the store: one SQLite file in the data folder, for one process.
//!
//! What the statements need of their side is named here, by the same names for both.

#[path = "../statements/accounts.rs"]
mod accounts;
#[path = "../statements/archive.rs"]
mod archive;
#[path = "../statements/audit.rs"]
mod audit;
#[path = "../statements/changes.rs"]
mod changes;
#[path = "../statements/checks.rs"]
mod checks;
mod dialect;
#[path = "../statements/identities.rs"]
mod identities;
#[path = "../statements/invitations.rs"]
mod invitations;
#[path = "../statements/invites.rs"]
mod invites;
#[path = "../statements/listing.rs"]
mod listing;
#[path = "../statements/looks.rs"]
mod looks;
#[path = "../statements/messages.rs"]
mod messages;
#[path = "../statements/passwords.rs"]
mod passwords;
#[path = "../statements/people.rs"]
mod people;
#[path = "../statements/programs.rs"]
mod programs;
#[path = "../statements/read_marks.rs"]
mod read_marks;
#[path = "../statements/removals.rs"]
mod removals;
#[path = "../statements/retention.rs"]
mod retention;
#[path = "../statements/rooms.rs"]
mod rooms;
#[path = "../statements/spendings.rs"]
mod spendings;
#[path = "../statements/standings.rs"]
mod standings;
mod store;
#[path = "../statements/tokens.rs"]
mod tokens;
#[path = "../statements/usage.rs"]
mod usage;

pub use store::SqliteStore;

use sqlx::SqliteConnection as Connection;
use sqlx::sqlite::SqliteRow as ThisRow;
use store::SqliteStore as ThisStore;
