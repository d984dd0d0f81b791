-- What calls to models have used that is in the log of no reply: of summaries, and of answers that were thrown away. While a call
-- is under way it is here with the most it can cost, until it is over at `open_until` (µs since the Unix epoch): that is
-- what counts of a call whose worker was killed.
CREATE TABLE IF NOT EXISTS spendings (
    id BINARY(16) NOT NULL PRIMARY KEY,
    day CHAR(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    model VARCHAR(128) NOT NULL,
    calls INT UNSIGNED NOT NULL,
    tokens_in BIGINT NOT NULL,
    tokens_out BIGINT NOT NULL,
    cost_micros BIGINT NULL,
    open_until BIGINT NOT NULL,
    KEY spendings_day (day)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
