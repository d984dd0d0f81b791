-- How each reply came about: the log of what was asked of the models. One row per message of the bot. The day (UTC) is
-- the reply's, the cost an estimate in millionths of the price table's currency.
CREATE TABLE IF NOT EXISTS replies (
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    request BLOB NOT NULL,
    user TEXT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL CHECK (length(model) <= 128),
    attempts INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    first_token_ms INTEGER,
    total_ms INTEGER NOT NULL,
    cost_micros INTEGER,
    outcome TEXT NOT NULL CHECK (length(outcome) <= 64),
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replies_day ON replies (day)
