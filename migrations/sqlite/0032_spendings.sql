-- What calls to models have used that is in the log of no reply: of summaries, and of answers that were thrown away. While a call
-- is under way it is here with the most it can cost, until it is over at `open_until` (µs since the Unix epoch): that is
-- what counts of a call whose worker was killed.
CREATE TABLE IF NOT EXISTS spendings (
    id BLOB NOT NULL PRIMARY KEY,
    day TEXT NOT NULL,
    room TEXT NOT NULL,
    user TEXT NOT NULL,
    model TEXT NOT NULL CHECK (length(model) <= 128),
    calls INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost_micros INTEGER,
    open_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spendings_day ON spendings (day)
