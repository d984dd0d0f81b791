-- Who deleted their account and wanted their messages to go with it, as long as some of them may still be there: up to which room
-- they are gone, and until when a process has said that it goes on with it.
CREATE TABLE IF NOT EXISTS departures (
    user TEXT NOT NULL PRIMARY KEY,
    after_room TEXT NOT NULL,
    claimed_until_ms INTEGER NOT NULL,
    left_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID
