-- How far people have read in which rooms.
CREATE TABLE IF NOT EXISTS read_marks (
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (user, room),
    KEY read_marks_room (room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
