-- Rooms. Every user has one named as they are, so this table's key is the namespace of users and rooms together.
CREATE TABLE IF NOT EXISTS rooms (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    owner VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    private BOOLEAN NOT NULL,
    bot VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    persona TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name),
    KEY rooms_owner (owner),
    KEY rooms_private (private, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
