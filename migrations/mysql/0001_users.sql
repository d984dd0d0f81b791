-- Who may log in. A skeleton is what a name looks like: two users must not look the same.
CREATE TABLE IF NOT EXISTS users (
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    skeleton VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    password_hash VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name),
    UNIQUE KEY users_skeleton (skeleton)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
