-- Who made which rooms within the last hour that they made any, whatever became of these.
CREATE TABLE IF NOT EXISTS room_makings (
    maker TEXT NOT NULL,
    made_at_ms INTEGER NOT NULL,
    room TEXT NOT NULL,
    PRIMARY KEY (maker, made_at_ms, room)
) STRICT, WITHOUT ROWID
