-- What else is set about a room. A room without a row has the defaults.
CREATE TABLE IF NOT EXISTS room_details (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    title VARCHAR(400) NOT NULL,
    topic TEXT NOT NULL,
    PRIMARY KEY (room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
