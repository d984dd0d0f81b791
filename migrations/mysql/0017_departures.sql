-- Who deleted their account and wanted their messages to go with it, as long as some of them may still be there: up to which room
-- they are gone, and until when a process has said that it goes on with it.
CREATE TABLE IF NOT EXISTS departures (
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    after_room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    claimed_until_ms BIGINT NOT NULL,
    left_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
