-- What else is known of what a reply has used, beside its row in the log: how many of its tokens were cached and how many were
-- thoughts, how often something was searched, and whether any of it is an estimate, since the model did not come to say.
CREATE TABLE IF NOT EXISTS reply_details (
    room TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    day TEXT NOT NULL,
    tokens_cached INTEGER NOT NULL,
    tokens_thought INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reply_details_day ON reply_details (day)
