-- Archives that were imported, or are being: how many of their lines are in the database, written along with them.
CREATE TABLE IF NOT EXISTS imports (
    id BINARY(16) NOT NULL,
    rows_done BIGINT NOT NULL,
    begun_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
