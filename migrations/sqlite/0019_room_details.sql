-- What else is set about a room. A room without a row has the defaults.
CREATE TABLE IF NOT EXISTS room_details (
    room TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,
    topic TEXT NOT NULL
) STRICT, WITHOUT ROWID
