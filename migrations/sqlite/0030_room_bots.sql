-- What a room has chosen of the bot: its model, how much it thinks, whether it looks things up. A room without a row, and a
-- column without a value, has what the server has.
CREATE TABLE IF NOT EXISTS room_bots (
    room TEXT NOT NULL PRIMARY KEY,
    model TEXT,
    thinking TEXT,
    search INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID
