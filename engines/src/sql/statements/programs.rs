//! Which accounts are programs, and in which rooms the bot answers those, in statements that both engines understand.

use std::collections::HashSet;

use super::Connection;
use crate::sql::failure::Failure;

/// Marks an account as a program or as none, under the lock of its own room.
pub(super) async fn mark(db: &mut Connection, user: &str, is_program: bool) -> Result<(), Failure> {
    change(db, user, Some(is_program), None).await
}

/// Has the bot answer programs in a room or not, under the lock of the room.
pub(super) async fn answer(
    db: &mut Connection,
    room: &str,
    are_answered: bool,
) -> Result<(), Failure> {
    change(db, room, None, Some(are_answered)).await
}

async fn change(
    db: &mut Connection,
    name: &str,
    is_program: Option<bool>,
    are_answered: Option<bool>,
) -> Result<(), Failure> {
    let there = sqlx::query("SELECT 1 FROM programs WHERE name = ?");
    let there = there.bind(name).fetch_optional(&mut *db).await?;
    let statement = match there {
        Some(_) => {
            "UPDATE programs SET is_program = COALESCE(?, is_program), \
             are_answered = COALESCE(?, are_answered) WHERE name = ?"
        }
        None => {
            "INSERT INTO programs (is_program, are_answered, name) \
             VALUES (COALESCE(?, 0), COALESCE(?, 0), ?)"
        }
    };
    let query = sqlx::query(statement).bind(is_program);
    query.bind(are_answered).bind(name).execute(db).await?;
    Ok(())
}

/// All that are programs.
pub(super) async fn all(db: &mut Connection) -> Result<HashSet<String>, Failure> {
    let names = sqlx::query_scalar("SELECT name FROM programs WHERE is_program = 1");
    Ok(names.fetch_all(db).await?.into_iter().collect())
}
