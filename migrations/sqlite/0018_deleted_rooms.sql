-- Rooms that were deleted. Their names are nobody's for ever: what still lies somewhere for one of them names it by that. Each
-- is looked through for what came late, at `due_at_ms` next.
CREATE TABLE IF NOT EXISTS deleted_rooms (
    name TEXT NOT NULL PRIMARY KEY CHECK (length(name) <= 64),
    owner TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    due_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deleted_rooms_due ON deleted_rooms (due_at_ms);
CREATE INDEX IF NOT EXISTS deleted_rooms_owner ON deleted_rooms (owner, created_at_ms)
