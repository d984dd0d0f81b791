//! Whether the engine takes writes: tried, because nothing that could be asked says so for every reason.

use common::store::NOTES_ROOM;
use uuid::Uuid;

use super::{Connection, ThisStore, dialect};
use crate::sql::{call::call, columns::now_ms, failure::Failure};

/// The place of the note in the room that is nobody's.
const PLACE: i64 = 1;

impl ThisStore {
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
