-- How long a room keeps what is said in it, where that is set, and up to which place all of it is gone by age: what comes late
-- for a place up to there is written nowhere. A room without a row keeps as the server does, and nothing of it is gone yet.
CREATE TABLE IF NOT EXISTS room_retention (
    room TEXT NOT NULL PRIMARY KEY,
    days INTEGER,
    gone_until INTEGER NOT NULL DEFAULT 0,
    untrimmed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS room_retention_untrimmed ON room_retention (untrimmed, room);
