-- What an account is beyond its name and password: whether it administers, is disabled, was deleted. One without a row is an
-- ordinary one. The row of nobody (`:`) is the lock under which standings change: one at a time, so that the last administrator
-- stays.
CREATE TABLE IF NOT EXISTS standings (
    user TEXT NOT NULL PRIMARY KEY CHECK (length(user) <= 32),
    admin INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS standings_changed ON standings (changed_at_ms)
