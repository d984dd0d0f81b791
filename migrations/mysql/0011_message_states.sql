-- The newest state of each message that was changed, whether the message itself is here yet or not: the text of its last edit with
-- that one's place, and the place of its deletion; 0 where there is none. What is deleted has no text, and gets none again.
CREATE TABLE IF NOT EXISTS message_states (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    edited_seq BIGINT NOT NULL,
    deleted_seq BIGINT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (room, id),
    KEY message_states_deleted (deleted_seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
