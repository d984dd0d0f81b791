//! Where this side's SQL is not the other's.

use crate::sql::batch::BySize;

/// What an operator calls it, and where it is named.
pub(in crate::sql) const ENGINE: &str = "SQLite (DATA_DIR)";
/// Takes the write lock at once: a transaction that reads first and finds the file changed when it wants to write
/// could only begin anew.
pub(in crate::sql) const BEGIN: &str = "BEGIN IMMEDIATE";
/// Leaves a row that is there as it is.
pub(in crate::sql) const IF_ABSENT: &str = " ON CONFLICT DO NOTHING";
pub(in crate::sql) const SWEEP_SESSIONS: &str = "DELETE FROM sessions WHERE token_hash IN \
     (SELECT token_hash FROM sessions WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT 2000)";
/// One entry of the index `messages_id` for each pair. (With `IN`, SQLite reads the whole index.)
pub(in crate::sql) static STORED_MESSAGES: BySize = BySize::new(
    "SELECT room, id FROM messages WHERE ",
    "(id = ? AND room = ?)",
    " OR ",
    "",
);
/// The same, and what the messages say.
pub(in crate::sql) static STORED_CONTENTS: BySize = BySize::new(
    "SELECT room, id, sender, message FROM messages WHERE ",
    "(id = ? AND room = ?)",
    " OR ",
    "",
);
/// The end of a session is put off, but not beyond its longest life.
pub(in crate::sql) static TOUCH_SESSIONS: BySize = BySize::new(
    "UPDATE sessions SET last_seen_at_ms = ?, expires_at_ms = MIN(?, created_at_ms + ?) \
     WHERE expires_at_ms > ? AND id IN (",
    "?",
    ", ",
    ")",
);
/// Whether some user's name looks like this. Whoever writes is the only one.
pub(in crate::sql) const USER_THAT_LOOKS_SO: &str =
    "SELECT 1 FROM users WHERE skeleton = ? LIMIT 1";
/// Whether some room's does.
pub(in crate::sql) const ROOM_THAT_LOOKS_SO: &str =
    "SELECT 1 FROM room_looks WHERE skeleton = ? LIMIT 1";
/// What rooms look like, where that is not noted yet.
pub(in crate::sql) static NOTE_LOOKS: BySize = BySize::new(
    "INSERT INTO room_looks (room, skeleton) VALUES ",
    "(?, ?)",
    ", ",
    " ON CONFLICT DO NOTHING",
);
