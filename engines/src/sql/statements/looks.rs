//! What names look like: a user's is held against rooms', and a room's against users', so that nobody is taken for somebody
//! else by where they speak. (Two rooms may look the same: nobody is taken for a room.)
//!
//! Each side writes its own look first and reads the other's then, under a lock: of two that come at the same moment, one sees
//! the other.

use common::{names, store::StoreError};

use super::{Connection, dialect};
use crate::sql::failure::Failure;

/// A new room's look, refused if it is a user's.
pub(super) async fn room_made(db: &mut Connection, room: &str) -> Result<(), Failure> {
    let skeleton = names::skeleton(room);
    note(db, room, &skeleton).await?;
    refuse_if_there(db, dialect::USER_THAT_LOOKS_SO, &skeleton).await
}

/// Refuses a new user whose name looks like a room's.
pub(super) async fn user_made(db: &mut Connection, user: &str) -> Result<(), Failure> {
    refuse_if_there(db, dialect::ROOM_THAT_LOOKS_SO, &names::skeleton(user)).await
}

async fn refuse_if_there(
    db: &mut Connection,
    query: &'static str,
    skeleton: &str,
) -> Result<(), Failure> {
    let one = sqlx::query(query).bind(skeleton).fetch_optional(db).await?;
    match one {
        Some(_) => Err(Failure::Refused(StoreError::Taken)),
        None => Ok(()),
    }
}

async fn note(db: &mut Connection, room: &str, skeleton: &str) -> Result<(), Failure> {
    let insert = sqlx::query("INSERT INTO room_looks (room, skeleton) VALUES (?, ?)");
    insert.bind(room).bind(skeleton).execute(db).await?;
    Ok(())
}

/// Fills in the looks of rooms that were made by a program that did not know of them.
pub(super) async fn fill_in(db: &mut Connection) -> Result<(), Failure> {
    loop {
        let rooms = sqlx::query_scalar::<_, String>(
            "SELECT rooms.name FROM rooms LEFT JOIN room_looks ON room_looks.room = rooms.name \
             LEFT JOIN users ON users.name = rooms.name \
             WHERE room_looks.room IS NULL AND users.name IS NULL LIMIT 1000",
        );
        let rooms = rooms.fetch_all(&mut *db).await?;
        if rooms.is_empty() {
            return Ok(());
        }
        for room in rooms {
            match note(db, &room, &names::skeleton(&room)).await {
                // Somebody else has done it meanwhile.
                Ok(()) | Err(Failure::Duplicate) => (),
                Err(failure) => return Err(failure),
            }
        }
    }
}
