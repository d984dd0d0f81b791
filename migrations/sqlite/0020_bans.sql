-- Who must not see a room, whatever else they are to it.
CREATE TABLE IF NOT EXISTS bans (
    room TEXT NOT NULL,
    user TEXT NOT NULL,
    banned_by TEXT NOT NULL,
    banned_at_ms INTEGER NOT NULL,
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bans_user ON bans (user)
