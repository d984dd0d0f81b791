-- Who may see a private room beside its owner.
CREATE TABLE IF NOT EXISTS members (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (room, user),
    KEY members_user (user)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
