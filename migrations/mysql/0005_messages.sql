-- Every message, in the order in which a room is read. An id is unique in its room only: who reuses an id in
-- another room must not be able to suppress a message there. `seq` is the time as well, in microseconds.
CREATE TABLE IF NOT EXISTS messages (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    seq BIGINT NOT NULL,
    id BINARY(16) NOT NULL,
    sender VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    message TEXT NOT NULL,
    reply_to BINARY(16) NULL,
    PRIMARY KEY (room, seq),
    UNIQUE KEY messages_id (id, room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
