-- Links by which somebody may set a new password, once. The token itself is kept nowhere.
CREATE TABLE IF NOT EXISTS resets (
    token_hash BINARY(32) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    made_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    used_at_ms BIGINT NULL,
    PRIMARY KEY (token_hash),
    KEY resets_user (user),
    KEY resets_expires (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
