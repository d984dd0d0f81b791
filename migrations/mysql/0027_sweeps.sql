-- What is looked through again and again by whoever comes first: behind which room the next page begins, and when the next round.
CREATE TABLE IF NOT EXISTS sweeps (
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    after_room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    due_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
