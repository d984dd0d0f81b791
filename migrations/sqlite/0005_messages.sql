-- Every message, in the order in which a room is read. An id is unique in its room only: who reuses an id in
-- another room must not be able to suppress a message there. `seq` is the time as well, in microseconds.
-- The lengths are those of the other side's columns, so that both refuse the same rows.
CREATE TABLE IF NOT EXISTS messages (
    room TEXT NOT NULL CHECK (length(room) <= 64),
    seq INTEGER NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    sender TEXT NOT NULL CHECK (length(sender) <= 32),
    kind TEXT NOT NULL,
    message TEXT NOT NULL CHECK (length(CAST(message AS BLOB)) <= 65535),
    reply_to BLOB,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS messages_id ON messages (id, room)
