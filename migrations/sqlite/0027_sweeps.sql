-- What is looked through again and again by whoever comes first: behind which room the next page begins, and when the next round.
CREATE TABLE IF NOT EXISTS sweeps (
    name TEXT NOT NULL PRIMARY KEY,
    after_room TEXT NOT NULL,
    due_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
