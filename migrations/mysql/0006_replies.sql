-- How each reply came about: the log of what was asked of the models. One row per message of the bot. The day (UTC) is
-- the reply's, the cost an estimate in millionths of the price table's currency.
CREATE TABLE IF NOT EXISTS replies (
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id BINARY(16) NOT NULL,
    request BINARY(16) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    day CHAR(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    model VARCHAR(128) NOT NULL,
    attempts INT UNSIGNED NOT NULL,
    tokens_in INT UNSIGNED NOT NULL,
    tokens_out INT UNSIGNED NOT NULL,
    first_token_ms BIGINT NULL,
    total_ms BIGINT NOT NULL,
    cost_micros BIGINT NULL,
    outcome VARCHAR(64) NOT NULL,
    PRIMARY KEY (room, id),
    KEY replies_day (day)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
