-- Invitations: who is in `members` and has not yet said whether they want to be. Taking one deletes its row. One that was
-- declined or withdrawn stays for a day, with how often within one, so that nobody is asked again and again.
CREATE TABLE IF NOT EXISTS invitations (
    room TEXT NOT NULL,
    user TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    invited_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    ended_times INTEGER NOT NULL,
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS invitations_user ON invitations (user, room);
CREATE INDEX IF NOT EXISTS invitations_by ON invitations (invited_by, invited_at_ms)
