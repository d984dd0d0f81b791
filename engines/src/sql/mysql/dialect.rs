//! Where this side's SQL is not the other's.

use crate::sql::batch::BySize;

/// What an operator calls it, and where it is named.
pub(in crate::sql) const ENGINE: &str = "MySQL or MariaDB (DATABASE_URL)";
pub(in crate::sql) const BEGIN: &str = "START TRANSACTION";
/// Leaves a row that is there as it is. (`INSERT IGNORE` would also let pass what is wrong with a row.)
pub(in crate::sql) const IF_ABSENT: &str = " ON DUPLICATE KEY UPDATE id = id";
pub(in crate::sql) const SWEEP_SESSIONS: &str =
    "DELETE FROM sessions WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT 2000";
/// One entry of the index `messages_id` for each pair. (With `OR`, MariaDB takes five times as long to find that.)
pub(in crate::sql) static STORED_MESSAGES: BySize = BySize::new(
    "SELECT room, id FROM messages WHERE (id, room) IN (",
    "(?, ?)",
    ", ",
    ")",
);
/// The same, and what the messages say.
pub(in crate::sql) static STORED_CONTENTS: BySize = BySize::new(
    "SELECT room, id, sender, message FROM messages WHERE (id, room) IN (",
    "(?, ?)",
    ", ",
    ")",
);
/// The end of a session is put off, but not beyond its longest life.
pub(in crate::sql) static TOUCH_SESSIONS: BySize = BySize::new(
    "UPDATE sessions SET last_seen_at_ms = ?, expires_at_ms = LEAST(?, created_at_ms + ?) \
     WHERE expires_at_ms > ? AND id IN (",
    "?",
    ", ",
    ")",
);
/// Whether some user's name looks like this. With a lock, so that what somebody else writes at this moment is waited for.
pub(in crate::sql) const USER_THAT_LOOKS_SO: &str =
    "SELECT 1 FROM users WHERE skeleton = ? LIMIT 1 LOCK IN SHARE MODE";
/// Whether some room's does.
pub(in crate::sql) const ROOM_THAT_LOOKS_SO: &str =
    "SELECT 1 FROM room_looks WHERE skeleton = ? LIMIT 1 LOCK IN SHARE MODE";
/// What rooms look like, where that is not noted yet.
pub(in crate::sql) static NOTE_LOOKS: BySize = BySize::new(
    "INSERT INTO room_looks (room, skeleton) VALUES ",
    "(?, ?)",
    ", ",
    " ON DUPLICATE KEY UPDATE room = room_looks.room",
);
