//! Who did what to whom: a line in the log, written along with the deed.

use common::store::AuditLine;

use super::Connection;
use crate::sql::{
    columns::{column, now_ms},
    failure::Failure,
};

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

/// Lines before an id, the newest first.
pub(super) async fn page(
    db: &mut Connection,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditLine>, Failure> {
    let rows = sqlx::query_as::<_, (i64, i64, String, String, String, String)>(
        "SELECT id, at_ms, actor, deed, subject, detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
    );
    let rows = rows.bind(before.map_or(i64::MAX, column));
    let rows = rows.bind(column(limit as u64)).fetch_all(db).await?;
    let line = |(id, at_ms, actor, deed, subject, detail): (i64, i64, _, _, _, _)| AuditLine {
        id: id.cast_unsigned(),
        at_ms: at_ms.cast_unsigned(),
        actor,
        deed,
        subject,
        detail,
    };
    Ok(rows.into_iter().map(line).collect())
}
