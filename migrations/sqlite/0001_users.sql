-- Who may log in. A skeleton is what a name looks like: two users must not look the same.
CREATE TABLE IF NOT EXISTS users (
    name TEXT NOT NULL PRIMARY KEY CHECK (length(name) <= 32),
    skeleton TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID
