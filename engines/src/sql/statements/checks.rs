//! Whether the engine takes writes: tried, because nothing that could be asked says so for every reason.

use common::store::NOTES_ROOM;
use uuid::Uuid;

use super::{Connection, ThisStore, dialect};
use crate::sql::{
    call::call,
    columns::{column, now_ms},
    failure::Failure,
};

/// The place of the note in the room that is nobody's.
const PLACE: i64 = 1;

/// The most bytes of text in a row that is only tried: as many as the column takes, or nearly.
const TEXT_MAX: usize = 60_000;

impl ThisStore {
    /// Adds a row of so many bytes of text to the same room, and takes it away again.
    pub(super) async fn check_rows(&self, bytes: usize) -> Result<(), Failure> {
        let id = Uuid::now_v7();
        // Not the note's place, and nobody else's at the same time.
        let place = column(id.as_u128() as u64 >> 1).max(PLACE + 1);
        let text = "x".repeat(bytes.min(TEXT_MAX));
        call!(self.writer(), |db| {
            let insert = "INSERT INTO messages (room, seq, id, sender, kind, message, reply_to) \
                 VALUES (?, ?, ?, 'chinwag', 'user', ?, ?)";
            let insert = sqlx::query(insert).bind(NOTES_ROOM).bind(place);
            insert
                .bind(id)
                .bind(&*text)
                .bind(id)
                .execute(&mut *db)
                .await?;
            let delete = sqlx::query("DELETE FROM messages WHERE room = ? AND seq = ?");
            delete.bind(NOTES_ROOM).bind(place).execute(db).await?;
            Ok(())
        })
        .await
    }

    /// Writes the time into a row of its own in `messages`: the table that everything depends on.
    pub(super) async fn check_writes(&self) -> Result<(), Failure> {
        let now = now_ms().to_string();
        call!(self.writer(), |db| {
            let update = "UPDATE messages SET message = ? WHERE room = ? AND seq = ?";
            let update = sqlx::query(update).bind(&*now).bind(NOTES_ROOM).bind(PLACE);
            if update.execute(&mut *db).await?.rows_affected() > 0 {
                return Ok(());
            }
            const INSERT: &str = "INSERT INTO messages (room, seq, id, sender, kind, message) \
                 VALUES (?, ?, ?, 'chinwag', 'user', ?)";
            let insert = sqlx::query(sqlx::AssertSqlSafe(format!(
                "{INSERT}{}",
                dialect::IF_ABSENT
            )));
            let insert = insert
                .bind(NOTES_ROOM)
                .bind(PLACE)
                .bind(Uuid::nil())
                .bind(&*now);
            insert.execute(db).await?;
            Ok(())
        })
        .await
    }
}
