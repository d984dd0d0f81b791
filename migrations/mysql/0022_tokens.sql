-- Tokens of programs, which their owners made and named. The token itself is kept nowhere.
CREATE TABLE IF NOT EXISTS tokens (
    token_hash BINARY(32) NOT NULL,
    id BINARY(16) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(400) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    last_used_at_ms BIGINT NULL,
    expires_at_ms BIGINT NULL,
    PRIMARY KEY (token_hash),
    UNIQUE KEY tokens_id (id),
    KEY tokens_user (user, created_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
