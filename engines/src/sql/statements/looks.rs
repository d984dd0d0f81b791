//! What names look like: a user's is held against rooms', and a room's against users', so that nobody is taken for somebody
//! else by where they speak. (Two rooms may look the same: nobody is taken for a room.)
//!
//! Each side writes its own look first and reads the other's then, under a lock: of two that come at the same moment, one sees
//! the other.

use common::{names, store::StoreError};
use sqlx::Connection as _;

use super::{Connection, dialect};
use crate::sql::{batch::lists, failure::Failure};

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

/// The most rooms that are looked at together.
const PAGE_ROOMS: i64 = 1_000;

/// Rooms in the order of their names.
pub(super) struct RoomsLookedAt {
    /// Those among them whose looks are not noted: a program made them that did not know of looks.
    pub(super) lacking: Vec<String>,
    /// The last of them; none if there are no more.
    pub(super) last: Option<String>,
}

/// The next page of rooms after a name, and which of them lack their looks.
pub(super) async fn look_at_rooms(
    db: &mut Connection,
    after: &str,
) -> Result<RoomsLookedAt, Failure> {
    let rooms = sqlx::query_as::<_, (String, bool)>(
        "SELECT rooms.name, room_looks.room IS NULL AND users.name IS NULL FROM rooms \
         LEFT JOIN room_looks ON room_looks.room = rooms.name LEFT JOIN users ON users.name = rooms.name \
         WHERE rooms.name > ? ORDER BY rooms.name LIMIT ?",
    );
    let rooms = rooms.bind(after).bind(PAGE_ROOMS).fetch_all(db).await?;
    let last = rooms.last().map(|(name, _)| name.clone());
    let lacking = rooms
        .into_iter()
        .filter_map(|(name, lacks)| lacks.then_some(name));
    Ok(RoomsLookedAt {
        lacking: lacking.collect(),
        last,
    })
}

/// Notes what these rooms look like, where nobody else has meanwhile. Within a transaction.
pub(super) async fn note_all(
    db: &mut Connection,
    rooms: &[String],
    takes: usize,
) -> Result<(), Failure> {
    let looks: Vec<_> = rooms
        .iter()
        .map(|room| (room, names::skeleton(room)))
        .collect();
    let looks: Vec<_> = looks.iter().collect();
    for list in lists(&looks, takes) {
        let mut insert = sqlx::query(dialect::NOTE_LOOKS.sql(list.len()));
        for (room, skeleton) in list {
            insert = insert.bind(*room).bind(skeleton);
        }
        insert.execute(&mut *db).await?;
    }
    Ok(())
}

/// Fills in all that is lacking, a page in a transaction: where it is cut off, what was done stays.
pub(super) async fn fill_in(db: &mut Connection, takes: usize) -> Result<(), Failure> {
    let mut page = look_at_rooms(db, "").await?;
    while let Some(last) = page.last {
        if !page.lacking.is_empty() {
            let mut transaction = db.begin_with(dialect::BEGIN).await?;
            note_all(&mut transaction, &page.lacking, takes).await?;
            transaction.commit().await?;
        }
        page = look_at_rooms(db, &last).await?;
    }
    Ok(())
}
