-- Invitations to the server: who knows the token may register, so often and so long. The token itself is kept nowhere. Made by
-- a person, by the operator (an empty name), or by a server that has no administrator yet (`:`); perhaps with a room whose
-- member one becomes, perhaps making an administrator.
CREATE TABLE IF NOT EXISTS invites (
    token_hash BINARY(32) NOT NULL,
    id BINARY(16) NOT NULL,
    made_by VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    admin BOOLEAN NOT NULL,
    room VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    uses INT NOT NULL,
    used INT NOT NULL,
    made_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    withdrawn_at_ms BIGINT NULL,
    PRIMARY KEY (token_hash),
    UNIQUE KEY invites_id (id),
    KEY invites_by (made_by, made_at_ms),
    KEY invites_expires (expires_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
