-- Rooms. Every user has one named as they are, so this table's key is the namespace of users and rooms together.
CREATE TABLE IF NOT EXISTS rooms (
    name TEXT NOT NULL PRIMARY KEY CHECK (length(name) <= 64),
    owner TEXT NOT NULL CHECK (length(owner) <= 32),
    private INTEGER NOT NULL,
    bot TEXT NOT NULL,
    persona TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rooms_owner ON rooms (owner);
CREATE INDEX IF NOT EXISTS rooms_private ON rooms (private, name)
