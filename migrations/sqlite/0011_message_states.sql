-- The newest state of each message that was changed, whether the message itself is here yet or not: the text of its last edit with
-- that one's place, and the place of its deletion; 0 where there is none. What is deleted has no text, and gets none again.
CREATE TABLE IF NOT EXISTS message_states (
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    edited_seq INTEGER NOT NULL,
    deleted_seq INTEGER NOT NULL,
    message TEXT NOT NULL CHECK (length(CAST(message AS BLOB)) <= 65535),
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_states_deleted ON message_states (deleted_seq)
