-- What else is known of what a reply has used, beside its row in the log: how many of its tokens were cached and how many were
-- thoughts, how often something was searched, and whether any of it is an estimate, since the model did not come to say.
CREATE TABLE IF NOT EXISTS reply_details (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    day CHAR(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    tokens_cached INT UNSIGNED NOT NULL,
    tokens_thought INT UNSIGNED NOT NULL,
    searches INT UNSIGNED NOT NULL,
    estimated BOOLEAN NOT NULL,
    PRIMARY KEY (room, id),
    KEY reply_details_day (day)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
