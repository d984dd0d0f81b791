-- What rooms look like that are not some user's own: nobody's name may look like a room's, and no room's like a user's. Those
-- that were there before are filled in by the program that migrates.
CREATE TABLE IF NOT EXISTS room_looks (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    skeleton VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (room),
    KEY room_looks_skeleton (skeleton)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
