-- What a room has chosen of the bot: its model, how much it thinks, whether it looks things up. A room without a row, and a
-- column without a value, has what the server has.
CREATE TABLE IF NOT EXISTS room_bots (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    model VARCHAR(128) NULL,
    thinking VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    search BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
