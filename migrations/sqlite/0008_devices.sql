-- Devices on which somebody has logged in rightly: others' wrong passwords do not lock these out. A device knows a random
-- value, which is kept nowhere; at most a few for each user, those lately used.
CREATE TABLE IF NOT EXISTS devices (
    device_hash BLOB NOT NULL PRIMARY KEY CHECK (length(device_hash) = 32),
    user TEXT NOT NULL,
    used_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_user ON devices (user, used_at_ms)
