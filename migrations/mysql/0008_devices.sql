-- Devices on which somebody has logged in rightly: others' wrong passwords do not lock these out. A device knows a random
-- value, which is kept nowhere; at most a few for each user, those lately used.
CREATE TABLE IF NOT EXISTS devices (
    device_hash BINARY(32) NOT NULL,
    user VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    used_at_ms BIGINT NOT NULL,
    PRIMARY KEY (device_hash),
    KEY devices_user (user, used_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
