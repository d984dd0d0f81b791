-- Who made which rooms within the last hour that they made any, whatever became of these.
CREATE TABLE IF NOT EXISTS room_makings (
    maker VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    made_at_ms BIGINT NOT NULL,
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (maker, made_at_ms, room)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
