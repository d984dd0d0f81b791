-- Archives that were imported, or are being: how many of their lines are in the database, written along with them.
CREATE TABLE IF NOT EXISTS imports (
    id BLOB NOT NULL PRIMARY KEY,
    rows_done INTEGER NOT NULL,
    begun_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER
) STRICT, WITHOUT ROWID;
