-- How long a room keeps what is said in it, where that is set, and up to which place all of it is gone by age: what comes late
-- for a place up to there is written nowhere. A room without a row keeps as the server does, and nothing of it is gone yet.
CREATE TABLE IF NOT EXISTS room_retention (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    days INT NULL,
    gone_until BIGINT NOT NULL DEFAULT 0,
    untrimmed BOOLEAN NOT NULL DEFAULT 0,
    PRIMARY KEY (room),
    KEY room_retention_untrimmed (untrimmed, room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
