-- Invitations to the server: who knows the token may register, so often and so long. The token itself is kept nowhere. Made by
-- a person, by the operator (an empty name), or by a server that has no administrator yet (`:`); perhaps with a room whose
-- member one becomes, perhaps making an administrator.
CREATE TABLE IF NOT EXISTS invites (
    token_hash BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    id BLOB NOT NULL UNIQUE,
    made_by TEXT NOT NULL,
    admin INTEGER NOT NULL,
    room TEXT,
    uses INTEGER NOT NULL,
    used INTEGER NOT NULL,
    made_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    withdrawn_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS invites_by ON invites (made_by, made_at_ms);
CREATE INDEX IF NOT EXISTS invites_expires ON invites (expires_at_ms)
