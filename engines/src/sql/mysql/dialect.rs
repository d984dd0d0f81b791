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
/// The same, and what the messages are and say.
pub(in crate::sql) static STORED_CONTENTS: BySize = BySize::new(
    "SELECT m.room, m.id, m.seq, m.sender, m.message, m.reply_to, e.kind AS event, e.target FROM messages m \
     LEFT JOIN message_events e ON e.room = m.room AND e.id = m.id WHERE (m.id, m.room) IN (",
    "(?, ?)",
    ", ",
    ")",
);
/// Writes a line of what a call has used, or writes it anew.
pub(in crate::sql) const NOTE_SPENDING: &str = "INSERT INTO spendings (id, day, room, user, model, calls, tokens_in, tokens_out, cost_micros, open_until) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE day = VALUES(day), calls = VALUES(calls), tokens_in = VALUES(tokens_in), \
     tokens_out = VALUES(tokens_out), cost_micros = VALUES(cost_micros), open_until = VALUES(open_until)";
/// The newest edit wins, and a deletion over everything. Each assignment sees those before it.
pub(in crate::sql) const MERGE_STATE: &str = " ON DUPLICATE KEY UPDATE \
     message = CASE WHEN deleted_seq > 0 OR VALUES(deleted_seq) > 0 THEN '' \
     WHEN VALUES(edited_seq) > edited_seq THEN VALUES(message) ELSE message END, \
     edited_seq = GREATEST(edited_seq, VALUES(edited_seq)), \
     deleted_seq = GREATEST(deleted_seq, VALUES(deleted_seq))";
/// Which messages are deleted.
pub(in crate::sql) static DELETED_STATES: BySize = BySize::new(
    "SELECT room, id FROM message_states WHERE deleted_seq > 0 AND (room, id) IN (",
    "(?, ?)",
    ", ",
    ")",
);
/// The events that change these messages.
pub(in crate::sql) static EVENTS_OF: BySize = BySize::new(
    "SELECT room, id FROM message_events WHERE (room, target) IN (",
    "(?, ?)",
    ", ",
    ")",
);
pub(in crate::sql) static SCRUB_MESSAGES: BySize = BySize::new(
    "UPDATE messages SET message = '' WHERE (id, room) IN (",
    "(?, ?)",
    ", ",
    ")",
);
pub(in crate::sql) static DELETE_GROUNDINGS: BySize = BySize::new(
    "DELETE FROM message_groundings WHERE (room, id) IN (",
    "(?, ?)",
    ", ",
    ")",
);
/// Where a piece of so many messages and one more ends that begins behind a place.
pub(in crate::sql) const END_OF_PIECE: &str = "SELECT m.room, m.seq FROM messages m \
     WHERE (m.room > ? OR (m.room = ? AND m.seq > ?)) ORDER BY m.room, m.seq LIMIT 1 OFFSET ?";
/// A sender's messages in such a piece.
pub(in crate::sql) const SENT_IN_PIECE: &str = super::changes::read_messages!(
    "WHERE (m.room > ? OR (m.room = ? AND m.seq > ?)) AND (m.room < ? OR (m.room = ? AND m.seq <= ?)) \
     AND m.sender = ? AND e.kind IS NULL ORDER BY m.room, m.seq LIMIT ?"
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
/// Whether a room of this name was deleted; with a lock, as above.
pub(in crate::sql) const ROOM_WAS_DELETED: &str =
    "SELECT 1 FROM deleted_rooms WHERE name = ? LIMIT 1 LOCK IN SHARE MODE";
pub(in crate::sql) const ERASE_MESSAGES: &str =
    "DELETE FROM messages WHERE room = ? ORDER BY seq LIMIT ?";
pub(in crate::sql) const ERASE_EVENTS: &str = "DELETE FROM message_events WHERE room = ? LIMIT ?";
pub(in crate::sql) const ERASE_STATES: &str = "DELETE FROM message_states WHERE room = ? LIMIT ?";
pub(in crate::sql) const ERASE_STOPS: &str = "DELETE FROM reply_stops WHERE room = ? LIMIT ?";
pub(in crate::sql) const ERASE_GROUNDINGS: &str =
    "DELETE FROM message_groundings WHERE room = ? LIMIT ?";
/// A mark that is there goes on, and never back. (The newer name for what was to be inserted is one that MariaDB lacks.)
pub(in crate::sql) const FURTHEST_READ: &str =
    " ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))";
pub(in crate::sql) const ERASE_READ_MARKS: &str = "DELETE FROM read_marks WHERE room = ? LIMIT ?";
/// What rooms look like, where that is not noted yet.
pub(in crate::sql) static NOTE_LOOKS: BySize = BySize::new(
    "INSERT INTO room_looks (room, skeleton) VALUES ",
    "(?, ?)",
    ", ",
    " ON DUPLICATE KEY UPDATE room = room_looks.room",
);
/// Microseconds since the Unix epoch, by the clock of the database's machine.
pub(in crate::sql) const CLOCK: &str =
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))";
/// A round of looking at all rooms begins for the first time, unless somebody else has begun it.
pub(in crate::sql) const BEGIN_SWEEP: &str = "INSERT INTO sweeps (name, after_room, due_at_ms) VALUES (?, '', 0) ON DUPLICATE KEY UPDATE name = name";
/// What calls to models have used, each in a table of its own kind.
pub(in crate::sql) const SWEEP_REPLY_LOG: [&str; 3] = [
    "DELETE FROM replies WHERE day < ? ORDER BY day LIMIT ?",
    "DELETE FROM reply_details WHERE day < ? ORDER BY day LIMIT ?",
    "DELETE FROM spendings WHERE day < ? ORDER BY day LIMIT ?",
];
/// All that is read from here on is as it is at this moment.
pub(in crate::sql) const BEGIN_SNAPSHOT: [&str; 2] = [
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];
/// An import begins; that it has begun is a duplicate.
pub(in crate::sql) const BEGIN_IMPORT: &str =
    "INSERT INTO imports (id, rows_done, begun_at_ms) VALUES (?, ?, ?)";
/// Leaves rows that are there as they are, in a table with this column.
pub(in crate::sql) fn if_absent(column: &str) -> String {
    format!(" ON DUPLICATE KEY UPDATE {column} = {column}")
}
