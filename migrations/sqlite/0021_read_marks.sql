-- How far people have read in which rooms.
CREATE TABLE IF NOT EXISTS read_marks (
    user TEXT NOT NULL,
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (user, room)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS read_marks_room ON read_marks (room)
