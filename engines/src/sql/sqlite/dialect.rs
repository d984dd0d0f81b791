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
/// The same, and what the messages are and say.
pub(in crate::sql) static STORED_CONTENTS: BySize = BySize::new(
    "SELECT m.room, m.id, m.seq, m.sender, m.message, m.reply_to, e.kind AS event, e.target FROM messages m \
     LEFT JOIN message_events e ON e.room = m.room AND e.id = m.id WHERE ",
    "(m.id = ? AND m.room = ?)",
    " OR ",
    "",
);
/// Writes a line of what a call has used, or writes it anew.
pub(in crate::sql) const NOTE_SPENDING: &str = "INSERT INTO spendings (id, day, room, user, model, calls, tokens_in, tokens_out, cost_micros, open_until) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET day = excluded.day, calls = excluded.calls, tokens_in = excluded.tokens_in, \
     tokens_out = excluded.tokens_out, cost_micros = excluded.cost_micros, open_until = excluded.open_until";
/// The newest edit wins, and a deletion over everything. Each assignment sees what was before all of them.
pub(in crate::sql) const MERGE_STATE: &str = " ON CONFLICT (room, id) DO UPDATE SET \
     message = CASE WHEN deleted_seq > 0 OR excluded.deleted_seq > 0 THEN '' \
     WHEN excluded.edited_seq > edited_seq THEN excluded.message ELSE message END, \
     edited_seq = MAX(edited_seq, excluded.edited_seq), \
     deleted_seq = MAX(deleted_seq, excluded.deleted_seq)";
/// Which messages are deleted.
pub(in crate::sql) static DELETED_STATES: BySize = BySize::new(
    "SELECT room, id FROM message_states WHERE deleted_seq > 0 AND (",
    "(room = ? AND id = ?)",
    " OR ",
    ")",
);
/// The events that change these messages.
pub(in crate::sql) static EVENTS_OF: BySize = BySize::new(
    "SELECT room, id FROM message_events WHERE ",
    "(room = ? AND target = ?)",
    " OR ",
    "",
);
pub(in crate::sql) static SCRUB_MESSAGES: BySize = BySize::new(
    "UPDATE messages SET message = '' WHERE ",
    "(id = ? AND room = ?)",
    " OR ",
    "",
);
pub(in crate::sql) static DELETE_GROUNDINGS: BySize = BySize::new(
    "DELETE FROM message_groundings WHERE ",
    "(room = ? AND id = ?)",
    " OR ",
    "",
);
/// Where a piece of so many messages and one more ends that begins behind a place.
pub(in crate::sql) const END_OF_PIECE: &str = "SELECT m.room, m.seq FROM messages m \
     WHERE m.room >= ? AND (m.room, m.seq) > (?, ?) ORDER BY m.room, m.seq LIMIT 1 OFFSET ?";
/// A sender's messages in such a piece.
pub(in crate::sql) const SENT_IN_PIECE: &str = super::changes::read_messages!(
    "WHERE m.room >= ? AND (m.room, m.seq) > (?, ?) AND m.room <= ? AND (m.room, m.seq) <= (?, ?) \
     AND m.sender = ? AND e.kind IS NULL ORDER BY m.room, m.seq LIMIT ?"
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
/// Whether a room of this name was deleted.
pub(in crate::sql) const ROOM_WAS_DELETED: &str =
    "SELECT 1 FROM deleted_rooms WHERE name = ? LIMIT 1";
pub(in crate::sql) const ERASE_MESSAGES: &str = "DELETE FROM messages WHERE (room, seq) IN \
     (SELECT room, seq FROM messages WHERE room = ? ORDER BY seq LIMIT ?)";
pub(in crate::sql) const ERASE_EVENTS: &str = "DELETE FROM message_events WHERE (room, id) IN \
     (SELECT room, id FROM message_events WHERE room = ? LIMIT ?)";
pub(in crate::sql) const ERASE_STATES: &str = "DELETE FROM message_states WHERE (room, id) IN \
     (SELECT room, id FROM message_states WHERE room = ? LIMIT ?)";
pub(in crate::sql) const ERASE_STOPS: &str = "DELETE FROM reply_stops WHERE (room, id) IN \
     (SELECT room, id FROM reply_stops WHERE room = ? LIMIT ?)";
pub(in crate::sql) const ERASE_GROUNDINGS: &str = "DELETE FROM message_groundings WHERE (room, id) IN \
     (SELECT room, id FROM message_groundings WHERE room = ? LIMIT ?)";
/// A mark that is there goes on, and never back.
pub(in crate::sql) const FURTHEST_READ: &str =
    " ON CONFLICT (user, room) DO UPDATE SET seq = MAX(seq, excluded.seq)";
pub(in crate::sql) const ERASE_READ_MARKS: &str = "DELETE FROM read_marks WHERE (user, room) IN \
     (SELECT user, room FROM read_marks WHERE room = ? LIMIT ?)";
/// What rooms look like, where that is not noted yet.
pub(in crate::sql) static NOTE_LOOKS: BySize = BySize::new(
    "INSERT INTO room_looks (room, skeleton) VALUES ",
    "(?, ?)",
    ", ",
    " ON CONFLICT DO NOTHING",
);
/// Microseconds since the Unix epoch, by the clock of this machine, which is the database's.
pub(in crate::sql) const CLOCK: &str =
    "SELECT CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)";
/// A round of looking at all rooms begins for the first time, unless somebody else has begun it.
pub(in crate::sql) const BEGIN_SWEEP: &str =
    "INSERT INTO sweeps (name, after_room, due_at_ms) VALUES (?, '', 0) ON CONFLICT DO NOTHING";
/// What calls to models have used, each in a table of its own kind.
pub(in crate::sql) const SWEEP_REPLY_LOG: [&str; 3] = [
    "DELETE FROM replies WHERE (room, id) IN (SELECT room, id FROM replies WHERE day < ? ORDER BY day LIMIT ?)",
    "DELETE FROM reply_details WHERE (room, id) IN \
     (SELECT room, id FROM reply_details WHERE day < ? ORDER BY day LIMIT ?)",
    "DELETE FROM spendings WHERE id IN (SELECT id FROM spendings WHERE day < ? ORDER BY day LIMIT ?)",
];
/// All that is read from here on is as it is at this moment.
pub(in crate::sql) const BEGIN_SNAPSHOT: [&str; 1] = ["BEGIN"];
/// An import begins, unless it has begun.
pub(in crate::sql) const BEGIN_IMPORT: &str =
    "INSERT INTO imports (id, rows_done, begun_at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
/// Leaves rows that are there as they are.
pub(in crate::sql) fn if_absent(_column: &str) -> String {
    IF_ABSENT.to_owned()
}
