-- Who did what to whom, and when: what administrators and operators did, and what concerns somebody's way in. Written along with
-- the deed, or not at all. An empty actor is the operator at the command line.
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL CHECK (length(actor) <= 32),
    deed TEXT NOT NULL CHECK (length(deed) <= 32),
    subject TEXT NOT NULL CHECK (length(subject) <= 64),
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS audit_at ON audit (at_ms)
