-- Who stopped a reply of the bot, where somebody did. Programs of the version before neither write nor read it.
CREATE TABLE IF NOT EXISTS reply_stops (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    stopped_by VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (room, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
