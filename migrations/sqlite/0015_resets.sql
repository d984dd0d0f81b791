-- Links by which somebody may set a new password, once. The token itself is kept nowhere.
CREATE TABLE IF NOT EXISTS resets (
    token_hash BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    user TEXT NOT NULL,
    made_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resets_user ON resets (user);
CREATE INDEX IF NOT EXISTS resets_expires ON resets (expires_at_ms)
