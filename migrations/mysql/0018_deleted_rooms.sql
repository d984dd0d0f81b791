-- Rooms that were deleted. Their names are nobody's for ever: what still lies somewhere for one of them names it by that. Each
-- is looked through for what came late, at `due_at_ms` next.
CREATE TABLE IF NOT EXISTS deleted_rooms (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    owner VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT NOT NULL,
    due_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name),
    KEY deleted_rooms_due (due_at_ms),
    KEY deleted_rooms_owner (owner, created_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
