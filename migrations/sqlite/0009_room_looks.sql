-- What rooms look like that are not some user's own: nobody's name may look like a room's, and no room's like a user's. Those
-- that were there before are filled in by the program that migrates.
CREATE TABLE IF NOT EXISTS room_looks (
    room TEXT NOT NULL PRIMARY KEY,
    skeleton TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS room_looks_skeleton ON room_looks (skeleton)
