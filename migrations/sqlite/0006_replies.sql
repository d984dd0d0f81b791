-- How each reply came about: the log of what was asked of the models. One row per message of the bot.
CREATE TABLE IF NOT EXISTS replies (
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    request BLOB NOT NULL,
    model TEXT NOT NULL CHECK (length(model) <= 128),
    attempts INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    total_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (length(outcome) <= 64),
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID
