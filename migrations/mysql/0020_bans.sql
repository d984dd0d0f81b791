-- Who must not see a room, whatever else they are to it.
CREATE TABLE IF NOT EXISTS bans (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    banned_by VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    banned_at_ms BIGINT NOT NULL,
    PRIMARY KEY (room, user),
    KEY bans_user (user)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
