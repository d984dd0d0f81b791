-- Who did what to whom, and when: what administrators and operators did, and what concerns somebody's way in. Written along with
-- the deed, or not at all. An empty actor is the operator at the command line.
CREATE TABLE IF NOT EXISTS audit (
    id BIGINT NOT NULL AUTO_INCREMENT,
    at_ms BIGINT NOT NULL,
    actor VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    deed VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (id),
    KEY audit_at (at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
