-- What an account is beyond its name and password: whether it administers, is disabled, was deleted. One without a row is an
-- ordinary one. The row of nobody (`:`) is the lock under which standings change: one at a time, so that the last administrator
-- stays.
CREATE TABLE IF NOT EXISTS standings (
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    admin BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user),
    KEY standings_changed (changed_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
