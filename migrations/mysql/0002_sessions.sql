-- Who is logged in, on which device. The token itself is kept nowhere.
CREATE TABLE IF NOT EXISTS sessions (
    token_hash BINARY(32) NOT NULL,
    id BINARY(16) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    last_seen_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (token_hash),
    UNIQUE KEY sessions_id (id),
    KEY sessions_user (user),
    KEY sessions_expires (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
