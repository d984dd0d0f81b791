//! Who did what to whom: a line in the log, written along with the deed.

use super::Connection;
use crate::sql::{columns::now_ms, failure::Failure};

/// Writes a line, within the deed's own transaction. An empty actor is the operator.
pub(super) async fn note(
    db: &mut Connection,
    actor: &str,
    deed: &str,
    subject: &str,
    detail: &str,
) -> Result<(), Failure> {
    let insert = sqlx::query(
        "INSERT INTO audit (at_ms, actor, deed, subject, detail) VALUES (?, ?, ?, ?, ?)",
    );
    let insert = insert.bind(now_ms()).bind(actor).bind(deed);
    insert.bind(subject).bind(detail).execute(db).await?;
    Ok(())
}
