-- Who stopped a reply of the bot, where somebody did. Programs of the version before neither write nor read it.
CREATE TABLE IF NOT EXISTS reply_stops (
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    stopped_by TEXT NOT NULL,
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID
